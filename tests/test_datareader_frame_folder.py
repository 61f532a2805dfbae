"""Folders of pictures are videos: the same sampling, guarantees and tools."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
from conftest import ROOT

from datareader.dataset import ClipDataset
from datareader.decoding.opening import decode_frames, open_video
from datareader.filelist import named_videos, unlabelled_videos
from datareader.processes.job import SampleRequest
from datareader.video_facts import read_facts
from datareader.views import MultiView
from utils.errors import VideoError


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
        for time in range(4):
            expected = pictures[10 * clip + 2 * time][4:36, left : left + 32]
            np.testing.assert_array_equal(clips[view, :, time], expected.transpose(2, 0, 1))


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
    assert "a folder of pictures; only video files are copied" in done.stdout
