"""Folders of pictures are videos: the same sampling, guarantees and tools."""

import os
import shutil
import struct
import subprocess
import sys
import time
import zlib

import cv2
import numpy as np
import pytest
from conftest import ROOT, write_counting_video

from datareader.dataset import ClipDataset
from datareader.decoding.opening import decode_frames, open_video
from datareader.filelist import named_videos, unlabelled_videos
from datareader.list_reading import read_any_list, read_labelled_list
from datareader.list_remarks import remarks_on_contents, remarks_on_lists
from datareader.processes.job import SampleRequest
from datareader.video_facts import read_facts
from datareader.video_folder import find_videos
from datareader.views import MultiView
from utils.errors import FileListError, VideoError


def write_folder(folder, names, *, size=(48, 64)):
    """Pictures whose k-th has the brightness 5 * k + 20, in the order of `names`."""
    folder.mkdir(parents=True)
    for number, name in enumerate(names):
        picture = np.full((*size, 3), 5 * number + 20, np.uint8)
        picture[:, :, 0] += 30  # blue, as OpenCV orders it
        (folder / name).write_bytes(cv2.imencode(name[name.rindex(".") :].lower(), picture)[1].tobytes())
    return folder


@pytest.mark.parametrize(
    "pattern", ["{:05d}.jpg", "img_{:05d}.JPG", "frame_{}.png", "a 2nd take-{}.jpeg", "{}.bmp", "f{:03d}.webp"]
)
def test_pictures_come_in_natural_order(tmp_path, pattern):
    folder = write_folder(tmp_path / "v", [pattern.format(number) for number in range(1, 31)])
    (folder / ".hidden.jpg").write_text("x")
    (folder / "notes.txt").write_text("x")
    video = open_video(folder)
    assert video.num_frames == 30
    frames, _ = decode_frames(folder, lambda n: np.array([0, 1, 9, 29]))
    np.testing.assert_allclose(frames[..., 0].mean(axis=(1, 2)), [20, 25, 65, 165], atol=3)
    np.testing.assert_allclose(frames[..., 2].mean(axis=(1, 2)), [50, 55, 95, 195], atol=3)


def test_views_of_a_folder_are_those_of_its_pictures(tmp_path):
    names = [f"{number}.png" for number in range(20)]
    folder = write_folder(tmp_path / "v", names, size=(60, 80))
    plan = MultiView(video_length=4, sample_rate=2, crop_size=32, short_side=40, num_clips=2, num_crops=3)
    clips = ClipDataset(unlabelled_videos([str(folder)]), plan).load(SampleRequest(0, 0, 0)).clips
    pictures = [cv2.resize(cv2.imread(str(folder / name))[:, :, ::-1], (53, 40)) for name in names]
    for view in range(6):
        clip, crop = divmod(view, 3)
        left = (0, 10, 20)[crop]
        for moment in range(4):
            expected = pictures[10 * clip + 2 * moment][4:36, left : left + 32]
            np.testing.assert_array_equal(clips[view, :, moment], expected.transpose(2, 0, 1))


def test_what_is_no_folder_of_frames(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(VideoError, match=r"empty: a folder without pictures"):
        open_video(tmp_path / "empty")
    write_folder(tmp_path / "both", ["img_1.jpg", "img_2.jpg", "flow_x_1.jpg"])
    with pytest.raises(VideoError, match=r"both: holds pictures of several kinds, flow_x_, img_: which are its frames"):
        open_video(tmp_path / "both")
    folder = write_folder(tmp_path / "damaged", ["1.jpg", "2.jpg", "3.jpg"])
    for content in (b"", b"no picture"):
        (folder / "2.jpg").write_bytes(content)
        with pytest.raises(VideoError, match=r"2\.jpg: not a picture that OpenCV can read"):
            decode_frames(folder, lambda n: np.arange(n))


def run(*arguments, cwd):
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300)


def test_lists_and_tools(tmp_path):
    for class_ in ("run", "jump"):
        for number in range(6):
            write_folder(tmp_path / "data" / class_ / f"v{number}", [f"{k:05d}.jpg" for k in range(10)])
    (tmp_path / "data" / "run" / "v5" / "00003.jpg").write_text("damaged")
    make = ROOT / "tools" / "make_filelist.py"
    done = run(make, "folders", "data", "--out", "lists", "--val", 0, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "lists" / "trainlist.txt").read_text().splitlines()
    assert lines[0] == f"{tmp_path}/data/jump/v0 0"
    assert len(lines) == 12
    check = ROOT / "tools" / "check_videos.py"
    done = run(check, "lists/trainlist.txt", "--out", "checked", "--full", cwd=tmp_path)
    assert "11 of 12 videos are good" in done.stdout, done.stderr
    assert "00003.jpg: not a picture that OpenCV can read" in done.stdout
    facts = read_facts(tmp_path / "data" / "run" / "v0")
    assert (facts.width, facts.height, facts.num_frames, facts.codec) == (64, 48, 10, "jpg")
    assert named_videos([str(tmp_path / "data" / "run" / "v0")]).paths == [str(tmp_path / "data" / "run" / "v0")]
    assert len(named_videos([str(tmp_path / "data")])) == 12
    done = run(ROOT / "tools" / "resize_videos.py", "lists/trainlist.txt", "small", cwd=tmp_path)
    assert "11 of 12 videos in small" in done.stdout
    assert "00003.jpg: not a picture that OpenCV can read" in done.stdout


def brightness(folder):
    """Of the red of each frame."""
    return decode_frames(folder, np.arange)[0][..., 0].mean(axis=(1, 2))


@pytest.mark.parametrize("pattern", ["img_{:05d}.jpg", "{}.png", "take-7_{:03d}.jpg"])
def test_parts_of_a_folder(tmp_path, pattern):
    """The numbers are those in the names, whether these begin at 0, at 1 or elsewhere."""
    write_folder(tmp_path / "v", [pattern.format(number) for number in range(5, 35)])
    (tmp_path / "list.csv").write_text(
        "path,first,last,fps,label\nv,7,9,12.5,3\nv/,,8,,1\nv,30,,,0\nv,,,50,2\nv,,,,2\nv,9,7,,0\nv,4,9,,0\n"
    )
    videos = read_labelled_list(str(tmp_path / "list.csv"), num_classes=4)
    assert videos.labels.tolist() == [3, 1, 0, 2, 2, 0, 0]
    opened = [open_video(videos.locate(listed)) for listed in videos.paths[:5]]
    assert [video.num_frames for video in opened] == [3, 4, 5, 30, 30]
    assert [video.frame_rate for video in opened] == [12.5, 25, 25, 50, 25]
    np.testing.assert_allclose(opened[0].times_seconds, [0, 0.08, 0.16])
    np.testing.assert_allclose(brightness(videos.locate(videos.paths[0])), [30, 35, 40], atol=3)
    with pytest.raises(VideoError, match=r"v: last \(7\) is before first \(9\)"):
        open_video(videos.locate(videos.paths[5]))
    with pytest.raises(VideoError, match=r"v: has no picture with the number 4 \(first\); its 30 pictures are .*5"):
        open_video(videos.locate(videos.paths[6]))
    # A plain list may hold what a csv list comes to; so lists that tools write name the same parts.
    (tmp_path / "plain.txt").write_text("".join(f"{videos.line(i)}\n" for i in range(7)))
    again = read_labelled_list(str(tmp_path / "plain.txt"), num_classes=4)
    assert (again.paths, again.sha256()) == (videos.paths, videos.sha256())


def test_parts_that_cannot_be_meant(tmp_path):
    write_folder(tmp_path / "v", ["1.jpg", "2.jpg"])
    write_folder(tmp_path / "w|1|2|", ["1.jpg", "2.jpg", "3.jpg"])
    (tmp_path / "a.mp4").write_bytes(b"x")
    for text, reason in (
        ("x,2", r"first \(x\) must be a whole number"),
        ("-1,2", "first"),
        (f"1,{'9' * 5000}", "last"),
    ):
        (tmp_path / "list.csv").write_text(f"path,first,last\nv,{text}\n")
        with pytest.raises(FileListError, match=r"list\.csv:2: " + reason):
            read_any_list(str(tmp_path / "list.csv"))
    for fps in ("0", "0.0"):
        (tmp_path / "list.csv").write_text(f"path,fps\nv,{fps}\n")
        with pytest.raises(VideoError, match=r"fps \(0.*\) must be a positive number"):
            open_video(tmp_path / f"v|||{fps}")
    with pytest.raises(VideoError, match=r"first, last and fps are for folders of pictures, and a\.mp4 is a file"):
        open_video(tmp_path / "a.mp4|1|2|")
    assert open_video(tmp_path / "w|1|2|").num_frames == 3, "what is there by this name is meant"
    with pytest.raises(VideoError, match="cannot be opened"):
        open_video(tmp_path / "gone|1|2|")


def test_two_pictures_with_one_number(tmp_path):
    for number, names in enumerate((["1.jpg", "1.png"], ["001.jpg", "01.jpg"], ["f_1.jpg", "f_01.jpg"])):
        folder = write_folder(tmp_path / str(number), names)
        with pytest.raises(VideoError, match="have one number: which is the frame"):
            open_video(folder)


def test_a_changed_picture_is_noticed(tmp_path):
    folder = write_folder(tmp_path / "v", ["1.png", "2.png"])
    videos = unlabelled_videos([str(folder), f"{folder}|1|2|"])
    before = [videos.stamp(listed) for listed in videos.paths]
    assert before[0] == before[1] is not None
    time.sleep(0.02)
    (folder / "1.png").write_bytes((folder / "2.png").read_bytes())
    assert videos.stamp(str(folder)) != before[0]


def test_copies_of_pictures(tmp_path):
    write_folder(tmp_path / "data" / "a" / "v0", [f"img_{k}.png" for k in range(1, 13)], size=(120, 90))
    write_folder(tmp_path / "data" / "b" / "v1.x", [f"{k:05d}.jpg" for k in range(4)], size=(30, 40))
    write_counting_video(tmp_path / "data" / "b" / "v2.avi", 10, codec="mpeg4", size=(160, 120))
    (tmp_path / "list.csv").write_text(
        "path,first,last,fps,label\ndata/a/v0,1,5,10,0\ndata/a/v0,6,12,10,1\ndata/b/v1.x,,,,1\ndata/b/v2.avi,,,,0\n"
    )
    resize = [ROOT / "tools" / "resize_videos.py", "list.csv", "small", "--short_side", 60]
    done = run(*resize, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "small" / "list.csv").read_text().splitlines() == [
        "a/v0|1|5|10 0", "a/v0|6|12|10 1", "b/v1.x 1", "b/v2.mp4 0",
    ]  # fmt: skip
    names = sorted(file.name for file in (tmp_path / "small" / "a" / "v0").iterdir())
    assert names == sorted([".copy.json", *(f"img_{k}.jpg" for k in range(1, 13))])
    copies = read_labelled_list(str(tmp_path / "small" / "list.csv"), num_classes=2)
    assert read_facts(copies.locate("a/v0|1|5|10")).width == 60
    assert read_facts(copies.locate("a/v0|1|5|10")).height == 80
    assert read_facts(copies.locate("b/v1.x")).width == 40, "never enlarged"
    np.testing.assert_allclose(brightness(copies.locate("a/v0|6|12|10")), 5 * np.arange(5, 12) + 20, atol=2)
    made = {file: file.stat().st_mtime_ns for file in (tmp_path / "small").rglob("*.jpg")}
    time.sleep(0.02)
    picture = np.full((120, 90, 3), 200, np.uint8)
    (tmp_path / "data" / "a" / "v0" / "img_3.png").write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    assert run(*resize, cwd=tmp_path).returncode == 0
    again = {file: file.stat().st_mtime_ns for file in made}
    changed = {file.parent.name for file in made if made[file] != again[file]}
    assert changed == {"v0"}, "only the folder with the changed picture is copied again"
    assert brightness(copies.locate("a/v0|1|5|10"))[2] == pytest.approx(200, abs=2)
    (tmp_path / "small" / "b" / "v1.x" / ".copy.json").unlink()
    done = run(*resize, cwd=tmp_path)
    assert done.returncode == 1
    assert "v1.x is there, and is no copy by this program" in done.stdout


def test_pictures_that_are_no_frames(tmp_path):
    """Posters and thumbnails: a video lies in the folder, below it, or beside it."""
    write_folder(tmp_path / "a" / "frames", ["1.jpg", "2.jpg"])
    write_folder(tmp_path / "b" / "thumbs", ["1.png"])
    write_counting_video(tmp_path / "b" / "v.mp4", 4)
    write_folder(tmp_path / "c" / "session", ["poster.png"])
    (tmp_path / "c" / "session" / "camera").mkdir()
    write_counting_video(tmp_path / "c" / "session" / "camera" / "v.mp4", 4)
    write_folder(tmp_path / "d", ["cover.jpg"])
    write_folder(tmp_path / "d" / "v", ["1.jpg", "2.jpg"])
    found = find_videos(tmp_path)
    names = [path.removeprefix(f"{tmp_path}/") for path in found.paths]
    assert names == ["a/frames", "b/v.mp4", "c/session/camera/v.mp4", "d/v"]
    (line,) = [line for line in found.remarks() if "folders of pictures" in line]
    assert "not taken for videos (3): " in line
    assert found.other_types == {".png": 2, ".jpg": 1}


def test_numbers_that_name_no_part(tmp_path):
    """Where the last numbers repeat or do not ascend, first and last would be anything."""
    write_folder(tmp_path / "a", [f"img_{k:05d}_2.jpg" for k in range(1, 5)])
    write_folder(tmp_path / "b", [f"cam{c}_{k}.jpg" for c in (1, 2) for k in (1, 2)])
    for name in "ab":
        with pytest.raises(VideoError, match="ascend"):
            open_video(tmp_path / f"{name}|2||")


def test_pictures_that_are_named_by_their_times(tmp_path):
    write_folder(tmp_path / "v", ["0.125.jpg", "0.25.jpg", "0.5.jpg", "1.0.jpg", "10.0.jpg"])
    np.testing.assert_allclose(brightness(tmp_path / "v"), 5 * np.arange(5) + 20, atol=3)


def test_a_picture_of_an_absurd_size_is_one_bad_video(tmp_path):
    """OpenCV raises an error of its own for it."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    write_folder(tmp_path / "ok", ["1.jpg", "2.jpg"])
    folder = write_folder(tmp_path / "big", ["1.png", "2.png"])
    header = struct.pack(">IIBBBBB", 200_000, 200_000, 8, 2, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"0")) + chunk(b"IEND", b"")
    (folder / "2.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    (tmp_path / "list.txt").write_text("big 0\nok 1\n")
    for program, option in (("check_videos.py", ("--out", "c", "--full")), ("resize_videos.py", ("s",))):
        done = run(ROOT / "tools" / program, "list.txt", *option, cwd=tmp_path)
        assert "1 of 2 videos" in done.stdout, done.stderr
        assert "2.png: not a picture that OpenCV can read" in done.stdout


def test_copies_of_folders_in_one_another(tmp_path):
    """Nothing but its own pictures is replaced when a folder is copied again."""
    write_folder(tmp_path / "data" / "a", [f"{k}.jpg" for k in range(6)])
    write_folder(tmp_path / "data" / "a" / "flow", [f"{k}.jpg" for k in range(4)])
    write_counting_video(tmp_path / "data" / "a" / "x.mp4", 8)
    (tmp_path / "list.txt").write_text("data/a/flow 1\ndata/a/x.mp4 2\ndata/a 0\n")
    resize = [ROOT / "tools" / "resize_videos.py", "list.txt", "small"]
    done = run(*resize, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    copy = tmp_path / "small" / "a"
    (copy / "README.txt").write_text("mine")
    (copy / "3.jpg").unlink()  # a copy that is damaged is made again
    (tmp_path / "data" / "a" / "5.jpg").unlink()
    assert run(*resize, cwd=tmp_path).returncode == 0
    assert sorted(path.name for path in copy.iterdir()) == sorted(
        [".copy.json", "README.txt", "flow", "x.mp4", *(f"{k}.jpg" for k in range(5))]
    )
    assert len(list((copy / "flow").glob("*.jpg"))) == 4


def test_parts_that_are_not_there_are_not_copied(tmp_path):
    write_folder(tmp_path / "data" / "v", ["1.jpg", "2.jpg"])
    write_counting_video(tmp_path / "data" / "x.mp4", 8)
    (tmp_path / "list.txt").write_text("data/v|1|99| 0\ndata/x.mp4|1|2| 0\ndata/v|1|2| 1\n")
    done = run(ROOT / "tools" / "resize_videos.py", "list.txt", "small", cwd=tmp_path)
    assert (tmp_path / "small" / "list.txt").read_text() == "v|1|2| 1\n", done.stdout


def test_splits_that_share_pictures(tmp_path):
    write_folder(tmp_path / "a", [f"{k}.png" for k in range(9)])
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    lists = {
        name: unlabelled_videos([str(tmp_path / path) for path in paths])
        for name, paths in (("train", ["a|1|5|"]), ("valid", ["a|3|8|"]), ("test", ["copy"]))
    }
    assert remarks_on_lists(lists) == [f"train and valid share files (1): {tmp_path}/a"]
    shared = [line for line in remarks_on_contents(lists) if "test" in line]
    assert len(shared) == 2


def test_more_pictures_above_than_below(tmp_path):
    write_folder(tmp_path / "class" / "v0", [f"{k}.jpg" for k in range(9)])
    write_folder(tmp_path / "class" / "v0" / "thumbs", ["1.jpg"])
    write_folder(tmp_path / "class" / "v1", ["poster.jpg"])
    write_folder(tmp_path / "class" / "v1" / "frames", [f"{k}.jpg" for k in range(9)])
    found = find_videos(tmp_path)
    assert found.paths == [f"{tmp_path}/class/v0", f"{tmp_path}/class/v1/frames"]
    assert sorted(found.beside_videos) == [f"{tmp_path}/class/v0/thumbs", f"{tmp_path}/class/v1"]


def test_a_list_in_the_folder_of_its_pictures(tmp_path):
    write_folder(tmp_path / "v", ["1.jpg", "2.jpg", "3.jpg"])
    (tmp_path / "v" / "list.csv").write_text("path,first,last\n.,2,3\n")
    videos = read_any_list(str(tmp_path / "v" / "list.csv"), data_root=str(tmp_path / "v"))
    assert open_video(videos.locate(videos.paths[0])).num_frames == 2


@pytest.mark.parametrize("kind", ["fifo", "device", "loop", "folder"])
def test_what_is_named_like_a_picture_and_is_none(tmp_path, kind):
    """A folder with it is read without waiting, or is a bad video; the folder beside it is read."""
    for name in ("good", "odd"):
        write_folder(tmp_path / name, [f"{k:03d}.jpg" for k in range(4)])
    odd = tmp_path / "odd" / "004.jpg"
    if kind == "fifo":
        os.mkfifo(odd)
    elif kind == "device":
        odd.symlink_to("/dev/zero")
    elif kind == "folder":
        odd.mkdir()
    else:
        odd.symlink_to(odd)
    assert named_videos([str(tmp_path / "odd")]).paths == [str(tmp_path / "odd")]
    assert sorted(find_videos(tmp_path).paths) == [str(tmp_path / "good"), str(tmp_path / "odd")]
    for name in ("good", "odd"):
        try:
            decode_frames(tmp_path / name, lambda n: np.array([0, 3]))
        except VideoError as error:
            assert (name, kind) == ("odd", "loop")
            assert "Too many levels" in str(error)
