"""File lists in both formats, their errors with file and line, and where listed paths are looked for."""

import os
import re
import subprocess
import sys
import time
import tracemalloc

import numpy as np
import pytest
from conftest import ROOT

from datareader.filelist import NO_LABEL, FileList, VideoRecord, named_videos
from datareader.list_reading import read_any_list, read_labelled_list, read_path_list, read_test_list
from utils.errors import FileListError, VideoError


@pytest.fixture
def write(tmp_path):
    def write_file(text, name="list.txt"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write_file


def test_labelled_lines(write):
    videos = read_labelled_list(write("a/b.mp4 3\n\nwith blanks 2.mp4   0\r\n\ttab.mp4\t1\n"), num_classes=4)
    assert [videos[i] for i in range(len(videos))] == [
        VideoRecord(0, "a/b.mp4", (3,)),
        VideoRecord(1, "with blanks 2.mp4", (0,)),
        VideoRecord(2, "tab.mp4", (1,)),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.mp4 0\nb.mp4 400\n", r"list\.txt:2: label \(400\) must be in \[0, 400\)"),
        ("a.mp4 -1\n", r"list\.txt:1: label \(-1\) must be in \[0, 400\)"),
        ("a.mp4 0\n\nb.mp4\n", r"list\.txt:3: 'b\.mp4' must be a path, a blank and a label"),
        ("a.mp4 x\n", r"list\.txt:1"),
        ("17\n", r"list\.txt:1"),
        ("a.mp4 --1\n", r"list\.txt:1"),
        ("", "is empty"),
        ("\n  \n", "is empty"),
    ],
)
def test_bad_labelled_lists(write, text, message):
    with pytest.raises(FileListError, match=message):
        read_labelled_list(write(text), num_classes=400)


def test_missing_list():
    with pytest.raises(FileListError, match="cannot be read: No such file"):
        read_labelled_list("nowhere.txt", num_classes=4)


def test_byte_order_mark_and_odd_bytes_in_names(write):
    videos = read_labelled_list(write(b"\xef\xbb\xbfcaf\xc3\xa9.mp4 1\nold\xe9.mp4 0\n"), num_classes=2)
    assert videos.paths[0] == "café.mp4"
    assert videos.paths[1].encode("utf-8", "surrogateescape") == b"old\xe9.mp4"


def view_lines(*videos):
    """Old test list: 30 lines a video."""
    return "".join(
        f"{path} {index} {clip} {crop}\n" for path, index in videos for clip in range(10) for crop in range(3)
    )


def test_old_test_list_takes_labels_by_video_index(write):
    truth = write("a.mp4 7\nb.mp4 5\nc.mp4 6\n", "val.txt")
    views = write(view_lines(("x/c.mp4", 2), ("x/a.mp4", 0)))
    videos = read_test_list(views, num_classes=10, labels_file=truth)
    assert (videos.paths, videos.labels.tolist()) == (["x/a.mp4", "x/c.mp4"], [7, 6])


def test_new_test_list_needs_no_labels_file(write):
    videos = read_test_list(write("a.mp4 1\n"), num_classes=2, labels_file="absent.txt")
    assert videos[0] == VideoRecord(0, "a.mp4", (1,))


def test_old_test_list_errors(write):
    truth = write("a.mp4 0\n", "val.txt")
    with pytest.raises(FileListError, match=r"list\.txt:1: video index \(3\) of a\.mp4 must be in \[0, 1\)"):
        read_test_list(write("a.mp4 3 0 0\n"), num_classes=1, labels_file=truth)
    with pytest.raises(FileListError, match=r"list\.txt:2: .* must be a path, video index, clip index and crop index"):
        read_test_list(write("a.mp4 0 0 0\nb.mp4 1\n"), num_classes=1, labels_file=truth)
    with pytest.raises(FileListError, match=r"list\.txt:2: video index 0 is a\.mp4 above, b\.mp4 here"):
        read_test_list(write("a.mp4 0 0 0\nb.mp4 0 0 1\n"), num_classes=1, labels_file=truth)
    with pytest.raises(FileListError, match="cannot be read"):
        read_test_list(write("a.mp4 0 0 0\n"), num_classes=1, labels_file="absent.txt")


def test_path_lists_ignore_labels_and_views(write):
    assert read_path_list(write("a.mp4\nb c.mp4 12\nd e.mp4\n")).paths == ["a.mp4", "b c.mp4", "d e.mp4"]
    videos = read_path_list(write(view_lines(("a.mp4", 0), ("b.mp4", 1))))
    assert videos.paths == ["a.mp4", "b.mp4"]
    assert videos[1].labels == ()


def test_a_video_by_name():
    assert named_videos(["a b.mp4"])[0] == VideoRecord(0, "a b.mp4", ())


def test_relative_paths(write, tmp_path, monkeypatch):
    for folder in ("lists", "data", "work"):
        (tmp_path / folder).mkdir()
    (tmp_path / "lists" / "list.txt").write_text("v.mp4 0\n")
    monkeypatch.chdir(tmp_path / "work")
    source = str(tmp_path / "lists" / "list.txt")
    videos = read_labelled_list(source, num_classes=1)
    with pytest.raises(VideoError, match=r"v\.mp4: no such file; tried .*work/v\.mp4, .*lists/v\.mp4"):
        videos.locate("v.mp4")
    (tmp_path / "lists" / "v.mp4").touch()
    assert videos.locate("v.mp4") == tmp_path / "lists" / "v.mp4"
    (tmp_path / "work" / "v.mp4").touch()
    assert videos.locate("v.mp4").absolute() == tmp_path / "work" / "v.mp4"
    rooted = read_labelled_list(source, num_classes=1, data_root=str(tmp_path / "data"))
    with pytest.raises(VideoError, match=r"tried .*data/v\.mp4$"):
        rooted.locate("v.mp4")
    assert videos.locate(str(tmp_path / "lists" / "v.mp4")).is_absolute()


def test_names_that_no_file_can_have(write):
    videos = read_labelled_list(write("x" * 300 + ".mp4 0\n"), num_classes=1)
    for name, message in ((videos.paths[0], "no file can have this name"), ("a\0b.mp4", "no such file")):
        with pytest.raises(VideoError, match=message):
            videos.locate(name)


def test_a_long_list_is_cheap(write):
    path = write("".join(f"class_{i % 400:03d}/video_{i:06d}_000001_000011.mp4 {i % 400}\n" for i in range(250_000)))
    tracemalloc.start()
    started = time.perf_counter()
    videos = read_labelled_list(path, num_classes=400)
    print(f"{time.perf_counter() - started:.2f} s with memory tracing on")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(videos) == 250_000
    assert peak < 200e6


def test_a_quarter_of_a_million_lines(tmp_path):
    """The memory that the longest list of Kinetics takes, at its peak; and no file of it is looked at."""
    lines = (
        f"/data/train/some class name {i % 400}/abcdefghijk_{i:06d}_000010.mp4 {i % 400}\n" for i in range(250_000)
    )
    (tmp_path / "list.txt").write_text("".join(lines))
    tracemalloc.start()
    videos = read_labelled_list(str(tmp_path / "list.txt"), num_classes=400)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(videos) == 250_000
    assert peak < 200e6


def write_list(folder, content, name="list.txt"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


@pytest.mark.parametrize(
    "content",
    [
        "a b.mp4 0\nc,d.mp4 1\n",
        "\ufeffa b.mp4 0\nc,d.mp4 1\n",
        "a b.mp4 0\r\nc,d.mp4 1\r\n",
        "a b.mp4 0\rc,d.mp4 1\r",
        "a b.mp4\t0\nc,d.mp4\t 1\n\n",
        "'a b.mp4' 0\n\"c,d.mp4\" 1",
        "path label\na b.mp4 0\nc,d.mp4 1\n",
        'path,label\na b.mp4,0\n"c,d.mp4",1\n',
        "\ufeffPath;Label\r\na b.mp4; 0\r\nc,d.mp4; 1\r\n",
        'label\tpath\n0\ta b.mp4\n1\t"c,d.mp4"\n',
        'path,label,duration\na b.mp4,0,3.5\n"c,d.mp4",1,9\n',
        'file,label\na b.mp4,0\n"c,d.mp4",1\n',
        '"Video";"Label"\na b.mp4;0\n"c,d.mp4";1\n',
    ],
)
def test_lists_as_people_write_them(tmp_path, content):
    videos = read_labelled_list(write_list(tmp_path, content), num_classes=2)
    assert videos.paths == ["a b.mp4", "c,d.mp4"]
    assert videos.labels.tolist() == [0, 1]
    assert read_path_list(write_list(tmp_path, content)).paths == videos.paths
    assert read_any_list(write_list(tmp_path, content)).labels.tolist() == [0, 1]
    assert read_test_list(write_list(tmp_path, content), num_classes=2, labels_file="").paths == videos.paths


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "a.mp4,0\nb.mp4,1\n",
            r"list\.txt:1: 'a\.mp4,0' must be .*it holds commas: write 'path label', or put the header",
        ),
        ("a.mp4;0\n", r"list\.txt:1: .*put the header 'path,label' above the lines"),
        ("0 a.mp4\n", r"list\.txt:1: .*the label stands behind the path"),
        ("a.mp4 0\n".encode("utf-16"), r"list\.txt' is in UTF-16: save it as UTF-8"),
        ("a.mp4 0\nsome/other/video.mp4 1\n".encode("utf-16-le") * 9, r"list\.txt' is in UTF-16: save it as UTF-8"),
        (b"a.mp4 0\nb\0.mp4 1\n", r"is no text: it holds zero bytes"),
        (bytes(1000), r"is no text: it holds zero bytes"),
        (b"a.mp4 0\n" * 10000 + b"\0", r"is no text: it holds zero bytes"),
        ("path,label\na.mp4\n", r"list\.txt:2: 'a\.mp4' must have the 2 columns path,label"),
        ("path,label\na,b.mp4,1\n", r"list\.txt:2: .*quote a path that holds the separator"),
        ("path,label\na.mp4,one\n", r"list\.txt:2: 'a\.mp4' must have a label, a whole number"),
        ("path,name\na.mp4,one\n", r"list\.txt:2: 'a\.mp4' must have a label"),
        ("path,label\n", r"is empty"),
        ("path,label,label\na,1,1\n", r"list\.txt:1: the header names label twice"),
        ("a.mp4 " + "9" * 5000 + "\n", r"list\.txt:1: label \(99999999999999999999\.\.\.\) must be a class number"),
        ("path,label\n" + "a" * 200_000 + ",1\n", r"list\.txt:2: .* cannot be read \(field larger than"),
        ("a.mp4 1\nb.mp4 2\n", r"label \(2\) must be in \[0, 2\); the labels of this list begin at 1: subtract 1"),
        ("a.mp4 1\nb.mp4 3\n", r"label \(3\) must be in \[0, 2\)$"),
    ],
)
def test_lists_that_are_refused_with_the_remedy(tmp_path, content, message):
    with pytest.raises(FileListError, match=message) as caught:
        read_labelled_list(write_list(tmp_path, content), num_classes=2)
    assert "\n" not in str(caught.value)


def test_no_list_is_read_without_end():
    with pytest.raises(FileListError, match="file list '/dev/zero' is no text"):
        read_labelled_list("/dev/zero", num_classes=2)


def test_a_list_typed_on_a_terminal_ends_with_one_ctrl_d():
    master, slave = os.openpty()
    code = "from datareader.list_lines import read_lines; print(read_lines('-', standard_input=True)[0])"
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdin=slave, stdout=subprocess.PIPE) as process:
        os.close(slave)
        os.write(master, b"a.mp4 0\n\x04")
        try:
            assert process.communicate(timeout=30)[0] == b"[(1, 'a.mp4 0', None)]\n"
        finally:
            process.kill()
            os.close(master)


def test_columns_that_are_not_used_are_said(tmp_path, logged):
    read_labelled_list(write_list(tmp_path, "path,label,person\na.mp4,0,x\n"), num_classes=2)
    assert "list.txt: columns that are not used: person" in logged()


def test_relative_paths_start_from_one_folder(tmp_path, monkeypatch):
    """The one where the first files are; never from another one that happens to hold a file of the same name."""
    for folder in ("a", "b"):
        for name in ("1.mp4", "2.mp4"):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / name).write_text(folder)
    listing = write_list(tmp_path / "b", "1.mp4 0\n2.mp4 1\n3.mp4 0\n")
    monkeypatch.chdir(tmp_path)
    assert read_labelled_list(listing, num_classes=2).locate("1.mp4").read_text() == "b"
    monkeypatch.chdir(tmp_path / "a")
    with pytest.raises(
        FileListError, match=r"1\.mp4 is in the working directory .*and these are two files; say with data"
    ):
        read_labelled_list(listing, num_classes=2)
    assert read_labelled_list(listing, num_classes=2, data_root=str(tmp_path / "b")).locate("1.mp4").read_text() == "b"
    (tmp_path / "a" / "1.mp4").unlink()
    videos = read_labelled_list(listing, num_classes=2)
    assert videos.locate("2.mp4").read_text() == "b", "the folder is chosen once"
    with pytest.raises(VideoError, match=r"3\.mp4: no such file; tried .*b/3\.mp4$"):
        videos.locate("3.mp4")
    (tmp_path / "a" / "1.mp4").symlink_to(tmp_path / "b" / "1.mp4")
    assert read_labelled_list(listing, num_classes=2).locate("1.mp4").read_text() == "b", "one file by two names"


def test_lines_without_a_label_among_others_are_said(tmp_path, logged):
    videos = read_any_list(write_list(tmp_path, "a.mp4 1\nb.mp4\n"))
    assert videos.labels.tolist() == [-1, -1]
    assert "1 of 2 lines have no label: read without labels" in logged()


@pytest.mark.parametrize(
    "name",
    [
        "clip 3",
        "clip 1 2",
        "clip 1 2 3",
        " a.mp4",
        "a.mp4 ",
        '"a.mp4"',
        "'",
        "a\u2028b",
        "a\x85",
        "\x0ba",
        "a\u3000 .mp4",
    ],
)
@pytest.mark.parametrize("label", ["", " 0"])
def test_odd_names_stand_in_lists_that_are_written(tmp_path, name, label):
    """A line that is written is read as the same name again."""
    labels = np.full(2, 0 if label else NO_LABEL)
    written = FileList("", [name, "b.mp4"], labels)
    listing = write_list(tmp_path, "".join(f"{written.line(i)}\n" for i in range(2)))
    videos = read_any_list(listing)
    assert (videos.paths, videos.labels.tolist()) == ([name, "b.mp4"], labels.tolist())


def test_a_list_in_another_encoding_is_told(tmp_path, caplog):
    """Its names may be bytes of this disk all the same."""
    path = tmp_path / "list.txt"
    path.write_bytes("a.mp4 0\n洗手/一.mp4 1\n".encode("gb18030"))
    assert len(read_labelled_list(str(path), num_classes=2)) == 2
    assert re.search(r"list\.txt' is not in UTF-8 \(line 2\).*GBK, perhaps\), save it as UTF-8", caplog.text)
    caplog.clear()
    path.write_bytes("\ufeffa.mp4 0\n洗手/一.mp4 1\n".encode())
    assert read_labelled_list(str(path), num_classes=2).paths[1] == "洗手/一.mp4"
    assert not caplog.text


@pytest.mark.parametrize("reader", ["table", "config", "charades"])
def test_other_files_in_another_encoding_are_refused(tmp_path, reader):
    from configs.loading import load_config
    from datareader.charades import _classes
    from datareader.split_tables import read_table
    from models.registry import NETWORKS
    from utils.errors import ConfigError

    file = tmp_path / "文件.txt"
    file.write_bytes("path,split\n洗手.mp4,train # 中文\n".encode("gbk"))
    with pytest.raises((FileListError, ConfigError), match=r"not in UTF-8 \(in GBK, perhaps.*save it as UTF-8"):
        if reader == "table":
            list(read_table(file, ["path", "split"]))
        elif reader == "config":
            load_config(file, networks=NETWORKS)
        else:
            _classes(file)
