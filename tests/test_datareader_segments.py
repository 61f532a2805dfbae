"""Segments of videos as samples: the frames that are shown then, whoever asks for them."""

import json

import av
import numpy as np
import pytest
from conftest import write_counting_video
from seeded_values import fill

from datareader.clip_sampling import middle_clip
from datareader.dataset import ClipDataset
from datareader.decoding import packets
from datareader.decoding.opening import choose_and_decode, open_video
from datareader.decoding.parts import is_there, segment_of, whole_of, without_part
from datareader.filelist import unlabelled_videos
from datareader.list_reading import read_any_list, read_labelled_list, read_path_list
from datareader.list_remarks import remarks_on_contents, remarks_on_lists
from datareader.processes import per_video
from datareader.processes.job import SampleRequest
from datareader.random_view import RandomView
from datareader.views import MiddleView, MultiView
from engine.scoring.feature_cache import content_sha256
from engine.scoring.feature_files import names_of_files
from models.weights.writing import write_weights
from tools.check_videos import main as check_videos
from tools.resize_videos import main as resize_videos
from utils.errors import FileListError, VideoError


def numbers(path):
    """Which frames of a counting video a path gives, in order."""
    video = open_video(path)
    try:
        frames, _ = choose_and_decode(video, str(path), np.arange)
        assert len(video.times_seconds) == len(frames) == video.num_frames
        assert video.times_seconds[0] == 0
    finally:
        video.close()
    return ((frames.mean(axis=(1, 2, 3)) - 20) / 5).round().astype(int).tolist()


@pytest.fixture(scope="module")
def counting(tmp_path_factory):
    """40 frames at 25 a second, 1.6 s."""
    return write_counting_video(tmp_path_factory.mktemp("counting") / "a b.mp4", 40)


@pytest.mark.parametrize(
    ("start", "end", "first", "last"),
    [
        ("0", "1.6", 0, 39),
        ("0.4", "0.8", 10, 19),
        ("0.40", "0.84", 10, 20),
        ("0.41", "0.84", 11, 20),
        ("0.41", "0.81", 11, 20),
        ("1", "9", 25, 39),
        ("0.41", "0.42", 10, 10),
        ("1.59", "1.595", 39, 39),
        ("0", "0.04", 0, 0),
        ("0.", "0.080", 0, 1),
    ],
)
def test_the_frames_of_a_segment(counting, start, end, first, last):
    assert numbers(counting.with_name(f"{counting.name}#t={start},{end}")) == list(range(first, last + 1))


@pytest.mark.parametrize("suffix", [".mkv", ".avi", ".ts", ".mov", ".webm"])
def test_in_every_container_a_segment_is_what_a_full_decode_shows_then(tmp_path, suffix):
    path = write_counting_video(
        tmp_path / f"a{suffix}",
        40,
        codec={".avi": "ffv1", ".webm": "libvpx-vp9"}.get(suffix, "libx264"),
        options={".avi": {"level": "3"}, ".webm": {"crf": "4", "b": "0", "g": "12"}}.get(
            suffix, {"crf": "1", "g": "12"}
        ),
    )
    with av.open(str(path)) as container:
        times = [float(frame.time) for frame in container.decode(video=0)]
    times = np.array(times) - times[0]
    for start, end in ((0.2, 0.6), (0.5, 0.52), (1.3, 5.0)):
        wanted = [k for k, time in enumerate(times) if start - 1e-3 <= time < end - 1e-3]
        shown_then = [k for k, time in enumerate(times) if time <= start][-1:]
        assert numbers(path.with_name(f"{path.name}#t={start},{end}")) == (wanted or shown_then), (start, end)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("2,3", r"a b\.mp4#t=2,3: starts behind the end of the video, which is 1\.60 s long"),
        ("1.6,3", "starts behind the end"),
        ("1,1", "a segment must end after it starts"),
        ("1,0.5", "a segment must end after it starts"),
    ],
)
def test_segments_that_cannot_be(counting, part, message):
    with pytest.raises(VideoError, match=message):
        numbers(counting.with_name(f"{counting.name}#t={part}"))


def test_a_file_whose_own_name_looks_like_a_segment_is_that_file(tmp_path):
    path = write_counting_video(tmp_path / "x.mp4#t=0,1.mp4", 5)
    odd = path.rename(tmp_path / "x.mp4#t=0,1")
    write_counting_video(tmp_path / "x.mp4", 30)
    assert segment_of(odd) is None
    assert whole_of(odd) == odd
    assert numbers(odd) == [0, 1, 2, 3, 4]
    assert segment_of(tmp_path / "x.mp4#t=0,2") == (tmp_path / "x.mp4", (0, 2))
    assert not is_there(tmp_path / "y.mp4#t=0,2")
    assert without_part("a/x.mp4#t=0,2") == "a/x.mp4"
    for other in ("x.mp4#t=0", "x.mp4#t=-1,2", "x.mp4#t=a,b", "x.mp4#t=0,2.mp4"):
        assert segment_of(tmp_path / other) is None


def test_lists_of_segments(tmp_path, counting):
    """Columns start and end, or the form that they come to; the same list either way."""
    (tmp_path / "a b.mp4").write_bytes(counting.read_bytes())
    table, plain = tmp_path / "list.csv", tmp_path / "list.txt"
    table.write_text("path,start,end,label\na b.mp4,0.4,0.8,3\na b.mp4,,,1\na b.mp4,1,1.6,0\n")
    plain.write_text("a b.mp4#t=0.4,0.8 3\na b.mp4 1\na b.mp4#t=1,1.6 0\n")
    lists = [read_labelled_list(str(path), num_classes=4) for path in (table, plain)]
    assert lists[0].paths == lists[1].paths == ["a b.mp4#t=0.4,0.8", "a b.mp4", "a b.mp4#t=1,1.6"]
    assert lists[0].sha256() == lists[1].sha256()
    assert [numbers(lists[0].locate(path)) for path in lists[0].paths] == [
        list(range(10, 20)),
        list(range(40)),
        list(range(25, 40)),
    ]
    assert lists[0].stamp(lists[0].paths[0]) == lists[0].stamp("a b.mp4") is not None
    table.write_text('path,start_seconds,end_seconds,labels\na b.mp4,0.4,0.8,"1,2"\na b.mp4,1,1.6,-\n')
    several = read_any_list(str(table))
    assert several.labels.tolist() == [[0, 1, 1], [0, 0, 0]]
    assert read_path_list(str(table)).paths == several.paths == ["a b.mp4#t=0.4,0.8", "a b.mp4#t=1,1.6"]
    again = tmp_path / "again.txt"
    again.write_text("".join(f"{several.line(index)}\n" for index in range(2)))
    assert read_any_list(str(again)).sha256() == several.sha256()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.mp4,1,", r"list\.csv:2: start and end must both be given, .* \(start 1, end empty\)"),
        ("a.mp4,,2", r"\(start empty, end 2\)"),
        ("a.mp4,2,1", r"end after start, .* \(start 2, end 1\)"),
        ("a.mp4,1,1.0", "end after start"),
        ("a.mp4,0:10,0:20", r"start \(0:10\) must be seconds"),
        ("a.mp4,-1,2", r"start \(-1\) must be seconds"),
        ("a.mp4,nan,2", r"start \(nan\) must be seconds"),
    ],
)
def test_columns_that_are_refused(tmp_path, row, message):
    path = tmp_path / "list.csv"
    path.write_text(f"path,start,end\n{row}\n")
    with pytest.raises(FileListError, match=message):
        read_path_list(str(path))
    (tmp_path / "list.csv").write_text("path,first,last,fps,start,end\nv,1,5,,0,2\n")
    with pytest.raises(FileListError, match="without first, last and fps"):
        read_path_list(str(path))


def test_a_folder_of_pictures_has_segments_too(tmp_path, counting):
    import cv2

    folder = tmp_path / "v"
    folder.mkdir()
    for number in range(30):
        cv2.imwrite(str(folder / f"{number:05d}.png"), np.full((48, 64, 3), 5 * number + 20, np.uint8))
    assert numbers(tmp_path / "v#t=0.2,0.4") == [5, 6, 7, 8, 9], "25 a second"
    assert numbers(tmp_path / "v|10|29|10#t=0.2,0.4") == [12, 13]


def test_one_sample_a_segment(counting):
    """A plan takes its clips from the frames of the segment; a part that is not there is a video that is not read."""
    parts = [f"{counting}#t=0.4,0.8", f"{counting}#t=1,1.6", f"{counting}#t=7,8"]
    plan = MiddleView(video_length=4, sample_rate=2, crop_size=48, short_side=48)
    dataset = ClipDataset(unlabelled_videos(parts), plan)
    clips = [dataset.load(SampleRequest(0, index, index)).clips for index in range(3)]
    assert clips[2] is None
    for clip, (first, count) in zip(clips, ((10, 10), (25, 15)), strict=False):
        shown = ((clip[0].mean(axis=(0, 2, 3)) - 20) / 5).round().astype(int)
        np.testing.assert_array_equal(shown, first + middle_clip(count, video_length=4, sample_rate=2)[0])
    by_time = MiddleView(video_length=4, sample_rate=8, sample_fps=12.5, crop_size=48, short_side=48)
    clip = ClipDataset(unlabelled_videos(parts[:1]), by_time).load(SampleRequest(0, 0, 0)).clips
    shown = ((clip[0].mean(axis=(0, 2, 3)) - 20) / 5).round().astype(int)
    assert shown.min() >= 10 and shown.max() < 20 and (np.diff(shown) == 2).all()
    assert len({dataset.file_of(index) for index in range(3)}) == 1, "a file that hangs hangs once"


def test_training_and_test_views_stay_in_the_segment(counting):
    """Random clips from many draws, and the clips of a test."""
    videos = unlabelled_videos([f"{counting}#t=0.4,0.8"])
    sizes = {"video_length": 4, "sample_rate": 2, "crop_size": 48}
    train = ClipDataset(videos, RandomView(**sizes, short_sides=(48, 48), mirror=True), replace_bad=True)
    test = ClipDataset(videos, MultiView(**sizes, short_side=48, num_clips=3, num_crops=1))
    starts = set()
    for position in range(20):
        clips = train.load(SampleRequest(0, position, 0)).clips
        shown = ((clips[0].mean(axis=(0, 2, 3)) - 20) / 5).round().astype(int)
        assert (np.diff(shown) == 2).all()
        assert shown.min() >= 10
        assert shown.max() < 20
        starts.add(int(shown[0]))
    assert len(starts) > 1, "the start is random"
    clips = test.load(SampleRequest(0, 0, 0)).clips
    shown = ((clips.mean(axis=(1, 3, 4)) - 20) / 5).round().astype(int)
    assert shown.min() >= 10
    assert shown.max() < 20


@pytest.mark.parametrize("kept_bytes", [0, 1 << 20])
def test_frames_are_reached_by_seeking_and_a_large_file_is_read_once(tmp_path, monkeypatch, kept_bytes):
    """What stands before the key frame is not decoded; what the packets tell is remembered until the file changes."""
    monkeypatch.setattr(packets, "_KEPT_BYTES", kept_bytes)
    path = write_counting_video(tmp_path / "a.mp4", 40, options={"crf": "1", "g": "10", "bf": "0"})
    reads = []
    monkeypatch.setattr(packets, "_read", lambda *a, _read=packets._read, **k: reads.append(1) or _read(*a, **k))
    for start, end in ((1.24, 1.4), (0.08, 0.2), (1.24, 1.4)):
        video = open_video(path.with_name(f"a.mp4#t={start},{end}"))
        decoded = []
        video.on_frame = lambda decoded=decoded: decoded.append(1)
        frames, _ = choose_and_decode(video, "a", np.arange)
        video.close()
        first = round(25 * start)
        assert ((frames.mean(axis=(1, 2, 3)) - 20) / 5).round().astype(int).tolist() == list(
            range(first, first + len(frames))
        )
        assert len(decoded) <= 10, "a group of pictures, and the first frame for its size"
    assert len(reads) == (1 if kept_bytes == 0 else 3)
    write_counting_video(path, 20)
    assert numbers(path) == list(range(20)), "another file of this name"


def test_remarks_see_the_files(tmp_path, counting):
    (tmp_path / "train.txt").write_text(f"{counting}#t=0,0.5 0\n{counting}#t=0.5,1 1\n")
    (tmp_path / "valid.txt").write_text(f"{counting}#t=1,1.6 0\n")
    lists = {name: read_any_list(str(tmp_path / f"{name}.txt")) for name in ("train", "valid")}
    lines = remarks_on_lists(lists)
    assert f"train and valid share files (1): {counting}" in lines
    assert not any("two labels" in line or "again" in line for line in lines), "segments are samples of their own"
    assert not [line for line in remarks_on_contents(lists) if "two labels" in line]


def test_contents_with_two_labels_are_those_of_one_part(tmp_path, counting):
    (tmp_path / "copy.mp4").write_bytes(counting.read_bytes())
    listing = tmp_path / "list.txt"
    listing.write_text(f"{counting}#t=0,0.5 0\n{counting}#t=0.5,1 1\n{tmp_path}/copy.mp4#t=1,1.5 1\n")
    assert not remarks_on_contents({"LIST": read_any_list(str(listing))})
    listing.write_text(f"{counting}#t=0,0.5 0\n{tmp_path}/copy.mp4#t=0,0.5 1\n")
    assert "contents with two labels (1)" in remarks_on_contents({"LIST": read_any_list(str(listing))})[0]


def test_a_segment_that_ends_before_it_starts_is_refused_in_every_list(tmp_path):
    listing = tmp_path / "list.txt"
    listing.write_text("a.mp4#t=1,2 0\na.mp4#t=3,2.5 1\n")
    for read in (read_any_list, read_path_list, lambda path: read_labelled_list(path, num_classes=2)):
        with pytest.raises(FileListError, match=r"list\.txt:2: .* names a segment that does not end after it starts"):
            read(str(listing))


def test_features_of_segments_are_kept_apart(counting):
    known = {}
    keys = {content_sha256(counting.with_name(f"{counting.name}{part}"), known) for part in ("", "#t=0,1", "#t=1,1.5")}
    assert len(keys) == 3
    assert list(known) == [counting], "the file is read once"
    assert content_sha256(counting.with_name(f"{counting.name}#t=0.00,1.0"), known) in keys, "the same seconds"
    assert names_of_files({part: counting.with_name(f"{counting.name}{part}") for part in ("", "#t=0.5,1.25")}) == {
        "": "a b.npy",
        "#t=0.5,1.25": "a b#t=0.5,1.25.npy",
    }


@pytest.mark.parametrize("depth", [[], ["--full"]])
def test_check_videos_reads_a_file_once_and_names_segments_behind_its_end(tmp_path, counting, capsys, depth):
    """Whichever of its lines comes first; and a file that cannot be read makes all of its segments bad, by name."""
    listing, out = tmp_path / "list.txt", tmp_path / "out"
    good = f"{counting}#t=0,0.5 0\n{counting}#t=0.5,1 1\n{counting} 1\n"
    listing.write_text(f"{counting}#t=5,6 1\n{good}")
    assert check_videos([str(listing), "--out", str(out), "--workers", "1", *depth]) == 1
    assert "3 of 4 videos are good" in capsys.readouterr().out
    assert (out / "good.txt").read_text() == good
    assert [line.split("\t")[0] for line in (out / "bad.txt").read_text().splitlines()] == [f"{counting}#t=5,6"]
    assert len((out / "checked.jsonl").read_text().splitlines()) == 1
    whole = tmp_path / "whole.txt"
    whole.write_text(f"{counting} 0\n")
    assert check_videos([str(whole), "--out", str(out), "--workers", "1", *depth]) == 0
    (tmp_path / "broken.mp4").write_text("no video")
    listing.write_text(f"{tmp_path}/broken.mp4#t=0,1 0\n{tmp_path}/broken.mp4#t=1,2 1\n{counting} 1\n")
    assert check_videos([str(listing), "--out", str(out), "--workers", "1", *depth]) == 1
    assert len((out / "bad.txt").read_text().splitlines()) == 2


def test_resize_videos_copies_the_whole_video_once(tmp_path, counting, monkeypatch):
    listing = tmp_path / "list.txt"
    listing.write_text(f"{counting}#t=0.4,0.8 0\n{counting}#t=1,1.6 1\n{counting}#t=50,60 1\n")
    asked, original = [], per_video.for_each_video

    def for_each_video(videos, work, indices, **keys):
        asked.extend(indices)
        return original(videos, work, asked, **keys)

    monkeypatch.setattr("datareader.processes.per_video.for_each_video", for_each_video)
    assert resize_videos([str(listing), str(tmp_path / "out"), "--short_side", "32", "--workers", "1"]) == 1
    assert asked == [0]
    assert "#t=50,60: starts behind the end" in (tmp_path / "out" / "failed.txt").read_text()
    lines = (tmp_path / "out" / "list.txt").read_text().splitlines()
    assert lines == ["a b.mp4#t=0.4,0.8 0", "a b.mp4#t=1,1.6 1"]
    copies = read_labelled_list(str(tmp_path / "out" / "list.txt"), num_classes=2)
    assert numbers(copies.locate(copies.paths[1])) == list(range(25, 40))
    assert [path.name for path in (tmp_path / "out").glob("*.mp4")] == ["a b.mp4"]


def test_infer_names_segments_and_cuts_none_into_windows(run_program, narrow, tmp_path, counting):
    weights = tmp_path / "w.pdparams"
    network = fill(narrow()[0])
    write_weights(weights, {name: value.numpy() for name, value in network.state_dict().items()}, {})
    done = run_program("infer.py", f"--weights={weights}", f"{counting}#t=0.4,0.8", counting, "--save_dir=out")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "out" / "NONLOCAL_infer_result.jsonl").read_text().splitlines()]
    assert [row["path"] for row in rows] == [f"{counting}#t=0.4,0.8", str(counting)]
    assert rows[0]["predictions"] != rows[1]["predictions"]
    done = run_program("infer.py", f"--weights={weights}", f"{counting}#t=0.4,0.8", "--window", "1")
    assert (done.returncode, done.stderr.count("error:")) == (2, 1)
    assert "is a segment of a video: window cuts whole videos" in done.stderr
