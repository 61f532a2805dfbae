"""The checker and the resizer, run as a user runs them, on generated videos."""

import json
import shutil
import struct
import subprocess
import sys

import av
import numpy as np
import pytest
from conftest import ROOT, write_counting_video
from test_datareader_broken_input import corners, set_matrix, write_pictures

from datareader.list_reading import read_labelled_list
from datareader.video_facts import read_facts


def run(program, *arguments, cwd):
    command = [sys.executable, str(ROOT / "tools" / program), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300)


@pytest.fixture
def videos(tmp_path):
    """Four good videos, a text, a file that is not there, and one with damage in the middle; the list with labels."""
    (tmp_path / "v").mkdir()
    for number in range(3):
        write_counting_video(tmp_path / "v" / f"a {number}.mp4", 20 + number)
    write_counting_video(tmp_path / "v" / "a 0.avi", 15, codec="mpeg4")
    (tmp_path / "v" / "text.mp4").write_text("no video")
    noise = list(np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3), np.uint8))
    damaged = bytearray(write_pictures(tmp_path / "v" / "damaged.mp4", noise, options={"g": "30"}).read_bytes())
    middle = len(damaged) // 2
    damaged[middle : middle + 3000] = bytes(3000)
    (tmp_path / "v" / "damaged.mp4").write_bytes(damaged)
    names = ["a 0.mp4", "a 1.mp4", "text.mp4", "a 2.mp4", "gone.mp4", "a 0.avi", "damaged.mp4"]
    (tmp_path / "list.txt").write_text("".join(f"v/{name} {number % 3}\n" for number, name in enumerate(names)))
    return tmp_path


def test_check(videos):
    done = run("check_videos.py", "list.txt", "--out", "out", "--full", cwd=videos)
    assert done.returncode == 1, done.stderr
    assert "4 of 7 videos are good; results in out" in done.stdout
    good = (videos / "out" / "good.txt").read_text().splitlines()
    assert good == ["v/a 0.mp4 0", "v/a 1.mp4 1", "v/a 2.mp4 0", "v/a 0.avi 2"]
    bad = dict(line.split("\t") for line in (videos / "out" / "bad.txt").read_text().splitlines())
    assert "not a video" in bad["v/text.mp4"]
    assert "no such file" in bad["v/gone.mp4"]
    assert "of its packets or pictures are damaged" in bad["v/damaged.mp4"]
    found = json.loads((videos / "out" / "statistics.json").read_text())
    assert (found["good"], found["bad"], found["codecs"]) == (4, 3, {"h264": 3, "mpeg4": 1})
    assert found["num_frames"] == {"min": 15, "5 %": 15.75, "median": 20.5, "95 %": 21.85, "max": 22}
    assert found["sizes"] == {"64x48": 4}
    assert found["videos_per_label"] == {"0": 2, "1": 1, "2": 1}
    assert (videos / "out" / "statistics.png").read_bytes()[:4] == b"\x89PNG"


def test_check_goes_on_where_it_was(videos):
    run("check_videos.py", "list.txt", "--out", "out", cwd=videos)
    journal = videos / "out" / "checked.jsonl"
    content = journal.read_text().splitlines()
    assert len(content) == 7
    odd = ["null", "5", "[1]", "{}", '{"path": 3}', "x"]  # lines that this program has not written
    odd += [json.dumps({**json.loads(content[0]), key: None}) for key in ("facts", "full", "reason")]
    odd += [json.dumps({**json.loads(content[0]), "facts": {}})]
    journal.write_text("\n".join([*content[:4], *odd]) + "\n" + content[4][:20])  # ended while it wrote
    write_counting_video(videos / "v" / "a 0.mp4", 33)  # and one changed
    done = run("check_videos.py", "list.txt", "--out", "out", cwd=videos)
    assert "(3 known from before)" in done.stdout
    assert json.loads((videos / "out" / "statistics.json").read_text())["num_frames"]["max"] == 33
    assert "(7 known from before)" in run("check_videos.py", "list.txt", "--out", "out", cwd=videos).stdout
    done = run("check_videos.py", "list.txt", "--out", "out", "--full", cwd=videos)
    assert "known from before" not in done.stdout, "a full check wants more than a quick one found"


def test_resize(videos):
    shutil.copy(videos / "v" / "a 1.mp4", videos / "v" / "deep.mkv")
    with (videos / "list.txt").open("a") as handle:
        handle.write("v/deep.mkv 1\n")
    done = run("resize_videos.py", "list.txt", "small", "--short_side", 32, "--keyint", 8, cwd=videos)
    assert done.returncode == 1, done.stderr
    listed = (videos / "small" / "list.txt").read_text().splitlines()
    assert listed[:3] == ["a 0.mp4 0", "a 1.mp4 1", "a 2.mp4 0"]
    assert "a 0.avi.mp4 2" in listed, "two copies cannot have one name"
    assert "deep.mp4 1" in listed
    failed = (videos / "small" / "failed.txt").read_text()
    assert "text.mp4" in failed
    assert "gone.mp4" in failed
    small = read_facts(videos / "small" / "a 2.mp4")
    assert (small.height, small.width, small.num_frames, small.frame_rate) == (32, 42, 22, 25)
    assert small.frames_between_keys == pytest.approx(22 / 3, abs=0.1)
    with av.open(str(videos / "small" / "a 2.mp4")) as container:
        brightness = [frame.to_ndarray(format="rgb24").mean() for frame in container.decode(video=0)]
    np.testing.assert_allclose(brightness, [5 * number + 20 for number in range(22)], atol=3)
    stamp = (videos / "small" / "a 2.mp4").stat().st_mtime_ns
    (videos / "small" / "a 1.mp4").unlink()
    run("resize_videos.py", "list.txt", "small", "--short_side", 32, "--keyint", 8, cwd=videos)
    assert (videos / "small" / "a 2.mp4").stat().st_mtime_ns == stamp, "what is there is not done again"
    assert (videos / "small" / "a 1.mp4").is_file()


def test_resize_never_enlarges_and_turns_upright_and_drops_sound(tmp_path):
    (tmp_path / "v").mkdir()
    set_matrix(write_pictures(tmp_path / "v" / "phone.mp4", corners(), options={"crf": "5"}), 0, 1, -1, 0)
    (tmp_path / "list.txt").write_text("v/phone.mp4\n")
    done = run("resize_videos.py", "list.txt", "small", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "small" / "list.txt").read_text() == "phone.mp4\n"
    with av.open(str(tmp_path / "small" / "phone.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video"]
        frame = next(container.decode(video=0))
    assert frame.rotation == 0
    picture = frame.to_ndarray(format="rgb24").astype(int)
    assert np.abs(picture - np.rot90(corners()[0], k=-1)).mean() < 8


def test_shards_share_the_list(videos):
    for number in (1, 2, 3):
        run("resize_videos.py", "list.txt", "small", "--shard", f"{number}/3", cwd=videos)
    parts = [(videos / "small" / f"list.txt.{number}of3").read_text().splitlines() for number in (1, 2, 3)]
    together = [line for part in parts for line in part]
    assert len(set(together)) == len(together)
    assert {"a 0.mp4 0", "a 1.mp4 1", "a 2.mp4 0", "a 0.avi.mp4 2"} <= set(together)


def test_a_time_limit_is_no_verdict(videos):
    done = run("check_videos.py", "list.txt", "--out", "out", "--timeout", "1e-9", cwd=videos)
    assert done.returncode != 0
    done = run("check_videos.py", "list.txt", "--out", "out", cwd=videos)
    assert "good" in done.stdout
    assert "--timeout" not in (videos / "out" / "bad.txt").read_text()


def test_a_copy_of_another_video_is_not_taken_for_done(videos):
    for folder, start in (("a", 10), ("b", 20)):
        (videos / "cls" / folder).mkdir(parents=True)
        write_counting_video(videos / "cls" / folder / "1.mp4", start)
        (videos / f"{folder}.txt").write_text(f"cls/{folder}/1.mp4 0\n")
    assert run("resize_videos.py", "a.txt", "small", cwd=videos).returncode == 0
    done = run("resize_videos.py", "b.txt", "small", cwd=videos)
    assert done.returncode == 1
    assert "is the copy of another video" in done.stdout
    for folder in "ab":
        assert run("resize_videos.py", f"{folder}.txt", "tree", "--root", "cls", cwd=videos).returncode == 0
    assert read_facts(videos / "tree" / "b" / "1.mp4").num_frames == 20


def test_other_settings_make_other_copies(videos):
    (videos / "one.txt").write_text("v/a 1.mp4\n")
    for side in (32, 24):
        assert run("resize_videos.py", "one.txt", "small", "--short_side", side, cwd=videos).returncode == 0
        assert read_facts(videos / "small" / "a 1.mp4").height == side


def test_a_file_that_was_cut_off_behind_its_index(tmp_path):
    noise = list(np.random.default_rng(0).integers(0, 256, (40, 48, 64, 3), np.uint8))
    whole = write_pictures(tmp_path / "v.mp4", noise, options={"g": "5"}).read_bytes()
    (tmp_path / "v.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "list.txt").write_text("v.mp4 0\n")
    done = run("check_videos.py", "list.txt", "--out", "out", cwd=tmp_path)
    assert done.returncode == 1
    assert "of the 40 frames that it promises are there" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("list.txt", "small", "--shard", "3/2"), "must be i/n with 1 <= i <= n"),
        (("list.txt", "small", "--short_side", "33"), "--short_side must be even"),
        (("list.txt", "v"), "v: the videos lie in it"),
        (("none.txt", "small"), "file list 'none.txt' cannot be read"),
        (("list.txt", "small", "--preset", "bogus"), "invalid choice: 'bogus'"),
        (("list.txt", "small", "--timeout", "nan"), "nan must be a number above 0"),
        (("list.txt", "small", "--workers", "0"), "0 must be an integer of at least 1"),
        (("list.txt", "small", "--root", "small"), "not all videos of the list lie below it"),
        (("list.txt", "list.txt"), "list.txt: File exists"),
    ],
)
def test_resize_errors(videos, arguments, message):
    done = run("resize_videos.py", *arguments, cwd=videos)
    assert done.returncode == 2
    assert message in done.stderr


def test_check_compares_lists_by_name_and_content(videos):
    shutil.copy(videos / "v" / "a 1.mp4", videos / "v" / "copied.mp4")
    (videos / "train.txt").write_text("v/a 0.mp4 0\nv/a 1.mp4 1\n")
    (videos / "valid.txt").write_text("v/a 0.mp4 0\nv/copied.mp4 1\nv/a 2.mp4 1\n")
    done = run("check_videos.py", "train.txt", "valid.txt", "--out", "out", cwd=videos)
    assert done.returncode == 0, done.stderr
    assert "5 of 5 videos are good (1 known from before); results in out" in done.stdout
    assert f"note: train.txt and valid.txt share files (1): {videos}/v/a 0.mp4" in done.stdout
    same = f"{videos}/v/a 1.mp4 = {videos}/v/copied.mp4"
    assert f"note: train.txt and valid.txt share contents under two names (1): {same}" in done.stdout
    assert (videos / "out" / "good_train.txt").read_text() == "v/a 0.mp4 0\nv/a 1.mp4 1\n"
    assert len((videos / "out" / "good_valid.txt").read_text().splitlines()) == 3
    done = run("check_videos.py", "train.txt", "valid.txt", "--out", "out", "--strict", cwd=videos)
    assert done.returncode == 1
    assert "error: train.txt and valid.txt share files (1)" in done.stdout
    (videos / "train.txt").write_text("v/a 1.mp4 0\nv/copied.mp4 1\n")
    done = run("check_videos.py", "train.txt", "--out", "out", cwd=videos)
    assert f"note: train.txt: contents with two labels (1): {same}" in done.stdout
    (videos / "train.txt").write_text("v/a 1.mp4 0\nv/a 2.mp4 1\n")
    done = run("check_videos.py", "train.txt", "--out", "out", "--strict", cwd=videos)
    assert done.returncode == 0
    assert "note" not in done.stdout


def test_check_counts_as_the_reader_does(tmp_path):
    """Frames that an edit list hides are not promised; a beginning that cannot be decoded is no damage."""
    from generated_streams import StreamKind, write_stream

    kinds = [
        StreamKind("mp4", "libx264", 2, "closed", "none", "none", 5, "constant"),
        StreamKind("mp4", "libx264", 2, "open", "key", "overlap", 5, "variable"),
        StreamKind("mov", "libx264", 0, "refresh", "anywhere", "none", 0, "constant"),
        StreamKind("mkv", "libx265", 5, "open", "key", "none", 0, "constant"),
    ]
    for number, kind in enumerate(kinds):
        write_stream(tmp_path / f"{number}.{kind.suffix}", kind)
    (tmp_path / "list.txt").write_text("".join(f"{n}.{kind.suffix}\n" for n, kind in enumerate(kinds)))
    done = run("check_videos.py", "list.txt", "--out", "out", cwd=tmp_path)
    assert "4 of 4 videos are good" in done.stdout, done.stdout


@pytest.mark.parametrize("first, count", [(5, 20), (0, 7), (13, 17)])
def test_check_of_an_edit_list(tmp_path, first, count):
    path = write_counting_video(tmp_path / "v.mp4", 30, options={"crf": "10", "bf": "2", "g": "10"})
    content = bytearray(path.read_bytes())
    entry = content.index(b"elst") + 12
    _, delay = struct.unpack(">ii", content[entry : entry + 8])
    content[entry : entry + 8] = struct.pack(">ii", 40 * count, delay + 512 * first)
    path.write_bytes(content)
    (tmp_path / "list.txt").write_text("v.mp4\n")
    done = run("check_videos.py", "list.txt", "--out", "out", "--full", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert read_facts(path).num_frames == count


def test_copies_are_verified_and_damage_is_said(tmp_path):
    noise = list(np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3), np.uint8))
    whole = bytearray(write_pictures(tmp_path / "v.mp4", noise, options={"g": "10", "bf": "0"}).read_bytes())
    with av.open(str(tmp_path / "v.mp4")) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][13]
        start, size = packet.pos, packet.size
    whole[start + 4 : start + size] = b"\xff" * (size - 4)
    (tmp_path / "v.mp4").write_bytes(whole)
    (tmp_path / "list.txt").write_text("v.mp4 0\n")
    done = run("resize_videos.py", "list.txt", "small", "--keyint", 4, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "damaged packets were passed over in 1 of them: v.mp4 (1)" in done.stdout
    with av.open(str(tmp_path / "small" / "v.mp4")) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    assert [packet.pts for packet in packets] == [packet.dts for packet in packets], "no B frames"
    assert [packet.is_keyframe for packet in packets[:5]] == [True, False, False, False, True]


def test_resize_overwrites_nothing_of_others(tmp_path):
    """Neither the originals, reached by a link, nor a file that it did not write, nor its own list."""
    (tmp_path / "v").mkdir()
    original = write_counting_video(tmp_path / "v" / "a.mp4", 12).read_bytes()
    (tmp_path / "list.txt").write_text("v/a.mp4 0\n")
    (tmp_path / "link").symlink_to(tmp_path / "v")
    done = run("resize_videos.py", "list.txt", "link", cwd=tmp_path)
    assert done.returncode == 2
    assert "the videos lie in it" in done.stderr
    (tmp_path / "out").mkdir()
    other = write_counting_video(tmp_path / "out" / "a.mp4", 15).read_bytes()
    done = run("resize_videos.py", "list.txt", "out", cwd=tmp_path)
    assert "out/a.mp4 is there, and is no copy by this program" in done.stdout
    (tmp_path / "out" / "list.txt").write_text("v/a.mp4 0\n")
    done = run("resize_videos.py", "out/list.txt", "out", "--data_root", ".", cwd=tmp_path)
    assert "out/list.txt: would be overwritten" in done.stderr
    assert (tmp_path / "v" / "a.mp4").read_bytes() == original
    assert (tmp_path / "out" / "a.mp4").read_bytes() == other
    assert (tmp_path / "out" / "list.txt").read_text() == "v/a.mp4 0\n"


def test_check_of_what_is_no_file(videos):
    """A pipe, an empty file, a link to a device, two folders: none is read for its content."""
    import os

    os.mkfifo(videos / "v" / "pipe.mp4")
    (videos / "v" / "empty.mp4").touch()
    (videos / "v" / "zero.mp4").symlink_to("/dev/zero")
    for folder in ("one", "two"):
        (videos / "v" / folder).mkdir()
    (videos / "odd.txt").write_text("".join(f"v/{n} 0\n" for n in ("pipe.mp4", "empty.mp4", "zero.mp4", "one", "two")))
    done = run("check_videos.py", "odd.txt", "--out", "out", cwd=videos)
    assert done.returncode == 1
    assert "0 of 5 videos are good" in done.stdout
    assert "contents" not in done.stdout
    shutil.copy(videos / "odd.txt", videos / "out" / "good.txt")
    done = run("check_videos.py", "out/good.txt", "--out", "out", cwd=videos)
    assert "out/good.txt: would be overwritten; name another folder with --out" in done.stderr
    (videos / "out" / "odd.txt").write_text("v/one 0\n")
    done = run("check_videos.py", "odd.txt", "out/odd.txt", "--out", "both", cwd=videos)
    assert "two lists have one name" in done.stderr


def test_a_good_list_names_the_same_videos_wherever_it_lies(tmp_path):
    """Paths that start from the list's folder start from that of good.txt then."""
    (tmp_path / "data" / "v").mkdir(parents=True)
    (tmp_path / "data" / "blank ").mkdir()
    for name in ("v/a.mp4", "v/clip 3", "blank /b.mp4"):
        write_counting_video(tmp_path / "data" / "x.mp4", 8).rename(tmp_path / "data" / name)
    (tmp_path / "data" / "list.txt").write_text(f'v/a.mp4 0\n"v/clip 3" 1\n{tmp_path}/data/blank /b.mp4 1\n')
    done = run("check_videos.py", "data/list.txt", "--out", "checked", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    good = (tmp_path / "checked" / "good.txt").read_text().splitlines()
    assert good == ["../data/v/a.mp4 0", '"../data/v/clip 3" 1', f"{tmp_path}/data/blank /b.mp4 1"]
    videos = read_labelled_list(str(tmp_path / "checked" / "good.txt"), num_classes=2)
    assert all(videos.locate(path).is_file() for path in videos.paths)


def test_a_copy_that_cannot_be_named_is_no_reason_to_stop(tmp_path):
    """A name that is longer with the suffix of a copy, and a folder that is a file at the target."""
    (tmp_path / "data" / "sub").mkdir(parents=True)
    names = ("n" * 252 + ".ts", "sub/a.mp4", "b.mp4", "m" * 251 + ".mp4")
    for name in names:
        write_counting_video(tmp_path / "x.mp4", 8).rename(tmp_path / "data" / name)
    (tmp_path / "list.txt").write_text("".join(f"data/{name} 0\n" for name in names))
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "sub").write_text("a file")
    done = run("resize_videos.py", "list.txt", "small", cwd=tmp_path)
    assert done.returncode == 1
    assert "2 of 4 videos" in done.stdout
    assert (tmp_path / "small" / "list.txt").read_text() == f"b.mp4 0\n{names[3]} 0\n"
    assert "File name too long" in done.stdout


def test_labels_that_are_no_class_numbers(videos):
    """Lists are written with all labels or, if some lines have none, without; never without because of a bad one."""
    for content, bad in (("v/a 0.mp4 0\nv/a 1.mp4 -1\n", "label (-1)"), ("path,label\nv/a 0.mp4,0.0\n", "a label")):
        (videos / "odd.txt").write_text(content)
        for program, option in (("check_videos.py", ("--out", "c")), ("resize_videos.py", ("s",))):
            done = run(program, "odd.txt", *option, cwd=videos)
            assert done.returncode == 2, done.stdout
            assert bad in done.stderr


def test_no_list_is_overwritten_by_the_results_of_another(videos):
    (videos / "good_list.txt").write_text("v/a 1.mp4 1\n")
    done = run("check_videos.py", "list.txt", "good_list.txt", "--out", ".", cwd=videos)
    assert done.returncode == 2
    assert "good_list.txt: would be overwritten" in done.stderr
    (videos / "bad.txt").write_text("v/a 1.mp4 1\n")
    assert "bad.txt: would be overwritten" in run("check_videos.py", "bad.txt", "--out", ".", cwd=videos).stderr


def test_one_missing_file_moves_no_copies(tmp_path):
    (tmp_path / "data").mkdir()
    write_counting_video(tmp_path / "data" / "a.mp4", 8)
    (tmp_path / "data" / "list.txt").write_text("a.mp4 0\ngone.mp4 0\n")
    done = run("resize_videos.py", "data/list.txt", "small", "--root", "data", cwd=tmp_path)
    assert "1 of 2 videos" in done.stdout, done.stderr
    assert (tmp_path / "small" / "a.mp4").is_file()


def test_results_behind_a_link_to_another_depth(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "far" / "away" / "deep").mkdir(parents=True)
    (tmp_path / "out").symlink_to(tmp_path / "far" / "away" / "deep")
    write_counting_video(tmp_path / "data" / "a.mp4", 8)
    (tmp_path / "data" / "list.txt").write_text("a.mp4 0\n")
    run("check_videos.py", "data/list.txt", "--out", "out", cwd=tmp_path)
    videos = read_labelled_list(str(tmp_path / "out" / "good.txt"), num_classes=1)
    assert videos.locate(videos.paths[0]).is_file()
