"""Clip sampling and pixel transforms, against the worked rows of their docstrings and naive arithmetic."""

import dataclasses
import doctest

import cv2
import numpy as np
import pytest

from datareader import clip_sampling, transforms
from datareader.building import build_test_dataset, build_train_dataset, build_valid_dataset
from datareader.clip_sampling import linspace_clips, middle_clip, random_clip, spread_clips
from datareader.random_view import RandomView
from datareader.views import FullFrameView, MiddleView, MultiView
from utils.errors import VideoError

EIGHT = {"video_length": 8, "sample_rate": 8}


@pytest.mark.parametrize(
    ("num_frames", "draw", "start"),
    [(70, 0.0, 0), (70, 0.99, 6), (64, 0.99, 0), (10, 0.5, 0), (65, 0.5, 1), (65, 0.49, 0)],
)
def test_random_clip(num_frames, draw, start):
    found = random_clip(num_frames, **EIGHT, draw=draw)
    assert found.dtype == np.int64
    assert found.tolist() == [[(start + k * 8) % num_frames for k in range(8)]]


def views_of(plan, frames, order, key):
    """The views of frames of any size."""
    height, width = frames.shape[1:3]
    scale = plan.frame_side(key) / min(height, width)
    size = int(width * scale + 0.5), int(height * scale + 0.5)
    resized = np.stack([cv2.resize(frame, size) for frame in frames])
    return plan.make_views(resized, order, key, np.empty(plan.shape, np.uint8))


def test_random_clip_reaches_every_start_equally():
    starts = [random_clip(70, **EIGHT, draw=draw)[0, 0] for draw in np.linspace(0, 1, 7000, endpoint=False)]
    assert np.bincount(starts).tolist() == [1000] * 7


@pytest.mark.parametrize(("num_frames", "start"), [(300, 118), (301, 118), (302, 119), (64, 0), (5, 0)])
def test_middle_clip(num_frames, start):
    assert middle_clip(num_frames, **EIGHT).tolist() == [[(start + k * 8) % num_frames for k in range(8)]]


@pytest.mark.parametrize(
    ("num_frames", "starts"),
    [
        (300, list(range(0, 300, 30))),
        (303, [0, 30, 60, 90, 121, 151, 181, 212, 242, 272]),
        (5, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]),
        (1, [0] * 10),
    ],
)
def test_spread_clips(num_frames, starts):
    found = spread_clips(num_frames, num_clips=10, **EIGHT)
    assert found.tolist() == [[(start + k * 8) % num_frames for k in range(8)] for start in starts]


@pytest.mark.parametrize(
    ("num_frames", "num_clips", "starts"),
    [
        (300, 10, list(range(0, 244, 27))),
        (300, 1, [121]),
        (57, 3, [0, 0, 0]),
        (40, 3, [0, 0, 0]),
        (58, 3, [0, 0, 1]),
        (1, 2, [0, 0]),
    ],
)
def test_linspace_clips(num_frames, num_clips, starts):
    found = linspace_clips(num_frames, num_clips=num_clips, **EIGHT)
    assert found.tolist() == [[(start + k * 8) % num_frames for k in range(8)] for start in starts]
    if num_frames > 57:
        assert found[-1, -1] == num_frames - 1 or num_clips == 1, "the last clip ends with the last frame"


def test_the_sampling_of_a_test_is_the_sections(narrow_config):
    for sampling, clips in (("wrap", clip_sampling.spread_clips), ("linspace", linspace_clips)):
        config = narrow_config(f"TEST.temporal_sampling={sampling}")
        plan = build_test_dataset(config).plan
        expected = clips(40, num_clips=2, video_length=8, sample_rate=2)
        np.testing.assert_array_equal(plan.frame_indices(40, (0, 0, 0)), expected)


@pytest.mark.parametrize("module", [clip_sampling, transforms])
def test_docstring_examples(module):
    assert doctest.testmod(module).failed == 0


def picture(num_frames=3, height=48, width=64):
    return np.random.default_rng(0).integers(0, 256, (num_frames, height, width, 3), np.uint8)


@pytest.mark.parametrize("size", [(48, 64), (64, 48), (50, 50)])
def test_resize_is_bilinear(size):
    (frame,) = picture(1, *size)
    height, width = transforms.resized_size(*size, 30)
    assert min(height, width) == 30
    found = np.empty((height, width, 3), np.uint8)
    transforms.resize(frame, found)
    np.testing.assert_array_equal(found, cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR))


def test_resize_to_the_same_size_changes_nothing():
    (frame,) = picture(1)
    found = np.empty_like(frame)
    transforms.resize(frame, found)
    np.testing.assert_array_equal(found, frame)


def test_mirror_and_layout():
    (frame,) = picture(1)
    for mirror in (False, True):
        found = np.empty((3, 32, 32), np.uint8)
        transforms.crop(transforms.to_planes(frame, mirror=mirror), 5, 7, found)
        for y, x, channel in ((0, 0, 0), (5, 7, 1), (31, 31, 2)):
            column = 63 - (7 + x) if mirror else 7 + x
            assert found[channel, y, x] == frame[5 + y, column, channel]


def random_view(**changes):
    settings = {"video_length": 4, "sample_rate": 1, "crop_size": 32, "short_sides": (32, 40), "mirror": True}
    return RandomView(**(settings | changes))


def test_random_view_is_a_function_of_its_key():
    plan, frames, order = random_view(), picture(6), np.array([[0, 2, 4, 5]])
    first, again = (views_of(plan, frames, order, (0, 1, 2)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.shape == (1, 3, 4, 32, 32)
    assert any((views_of(plan, frames, order, (0, 1, other)) != first).any() for other in range(3, 6))


def test_random_view_uses_every_scale_offset_and_both_mirrorings(monkeypatch):
    scales, offsets, crop = set(), set(), transforms.crop

    def note_offset(planes, top, left, out):
        offsets.add((planes.shape[1] - out.shape[1], top))
        crop(planes, top, left, out)

    monkeypatch.setattr(transforms, "crop", note_offset)
    plan, frames, order = random_view(), picture(1, 32, 40), np.zeros((1, 4), np.int64)
    for position in range(600):
        scales.add(plan.frame_side((0, 0, position)))
        views_of(plan, frames, order, (0, 0, position))
    assert scales == set(range(32, 41)), "both ends of the range are drawn"
    assert {top for room, top in offsets if room == 8} == set(range(9)), "the last offset is drawn"
    assert {top for room, top in offsets if room == 0} == {0}


def test_mirror_can_be_switched_off():
    frames, order = picture(4, 32, 32), np.arange(4)[None]

    def mirrored(plan):
        views = [views_of(plan, frames, order, (0, 0, position))[0] for position in range(100)]
        expected = frames[:, :, ::-1].transpose(3, 0, 1, 2)
        return sum(bool((view == expected).all()) for view in views)

    assert 30 < mirrored(random_view(short_sides=(32, 32))) < 70
    assert mirrored(random_view(short_sides=(32, 32), mirror=False)) == 0


def test_middle_view():
    frames = picture(4, 40, 60)
    view = views_of(
        MiddleView(video_length=4, sample_rate=1, crop_size=32, short_side=40), frames, np.arange(4)[None], ()
    )
    np.testing.assert_array_equal(view[0], frames[:, 4:36, 14:46].transpose(3, 0, 1, 2))


@pytest.mark.parametrize("shape", [(40, 60), (60, 40)])
@pytest.mark.parametrize("num_crops", [1, 3, 6, 10])
def test_multi_view(shape, num_crops):
    frames, order = picture(5, *shape), np.array([[0, 1, 2, 3], [1, 2, 3, 4]])
    plan = MultiView(video_length=4, sample_rate=1, crop_size=32, short_side=40, num_clips=2, num_crops=num_crops)
    views = views_of(plan, frames, order, ())
    assert views.shape == (2 * num_crops, 3, 4, 32, 32)
    along = [(0, 4), (14, 4), (28, 4)] if shape == (60, 40) else [(4, 0), (4, 14), (4, 28)]
    bottom, right = (28, 8) if shape == (60, 40) else (8, 28)
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]
    offsets = {1: [along[1]], 3: along, 6: along * 2, 10: corners * 2}[num_crops]
    for view, result in enumerate(views):
        clip, number = divmod(view, num_crops)
        top, left = offsets[number]
        square = frames[order[clip], top : top + 32, left : left + 32]
        expected = square[:, :, ::-1] if num_crops > 3 and number >= num_crops // 2 else square
        np.testing.assert_array_equal(result, expected.transpose(3, 0, 1, 2))


@pytest.mark.parametrize("shape", [(60, 40), (40, 60), (40, 120)])
@pytest.mark.parametrize("mirrored", [False, True])
def test_whole_frames(shape, mirrored):
    frames, order = picture(5, *shape), np.array([[0, 1, 2, 3], [1, 2, 3, 4]])
    plan = FullFrameView(video_length=4, sample_rate=1, short_side=40, num_clips=2, mirrored=mirrored)
    out = np.empty(plan.shape, np.uint8)
    views = plan.make_views(frames, order, (), out)
    assert np.may_share_memory(views, out)
    copies = 2 if mirrored else 1
    assert views.shape == (2 * copies, 3, 4, *shape)
    for view, result in enumerate(views):
        clip, number = divmod(view, copies)
        expected = frames[order[clip]][:, :, ::-1] if number else frames[order[clip]]
        np.testing.assert_array_equal(result, expected.transpose(3, 0, 1, 2))


def test_whole_frames_of_any_size_but_the_longest():
    plan = FullFrameView(video_length=4, sample_rate=1, short_side=40, num_clips=1, mirrored=False)
    order = np.array([[0, 1, 2, 3]])
    for shape, expected in (((80, 142), (40, 71)), ((300, 100), (120, 40))):
        frames = picture(4, *shape)
        views = views_of(plan, frames, order, ())
        assert views.shape[3:] == expected
        resized = np.stack([cv2.resize(frame, expected[::-1]) for frame in frames])
        np.testing.assert_array_equal(views[0], resized.transpose(3, 0, 1, 2))
    with pytest.raises(VideoError, match="a frame of 121 x 40 pixels is longer than 3 times its short side"):
        views_of(plan, picture(4, 100, 302), order, ())


@pytest.mark.parametrize(("multi_crop", "views", "crops"), [(0, 6, 6), (1, 2, 6), (2, 2, 6), (3, 2, 10)])
def test_num_views(narrow_config, multi_crop, views, crops):
    """So many crops in all; whole frames in place of those of a clip, mirrored too where crops would be."""
    overrides = [f"TEST.num_test_clips={crops}", f"TEST.use_multi_crop={multi_crop}"]
    assert narrow_config(*overrides).TEST.num_views == crops
    whole = narrow_config(*overrides, "TEST.spatial=full")
    assert whole.TEST.num_views == views == build_test_dataset(whole).plan.shape[0]


@pytest.mark.parametrize("position", range(12))
def test_frames_and_pixels_of_a_training_view_come_from_streams_of_their_own(position):
    """(seed, epoch, position, 0) decides the start, (seed, epoch, position, 1) short side, crop and mirror."""
    key = (3, 1, position)
    plan = random_view(short_sides=(40, 60), crop_size=32, sample_rate=2)
    start = int(np.random.default_rng((*key, 0)).random() * (100 - 4 * 2 + 1))
    np.testing.assert_array_equal(plan.frame_indices(100, key), [start + 2 * np.arange(4)])
    frames = picture(4, 50, 70)
    pixels = np.random.default_rng((*key, 1))
    side = int(pixels.integers(40, 60, endpoint=True))
    draw_top, draw_left, draw_mirror = pixels.random(3)
    width = int(70 * side / 50 + 0.5)
    resized = np.stack([cv2.resize(frame, (width, side)) for frame in frames])
    top, left = int(draw_top * (side - 32 + 1)), int(draw_left * (width - 32 + 1))
    expected = resized[:, top : top + 32, left : left + 32]
    expected = expected[:, :, ::-1] if draw_mirror < 0.5 else expected
    (view,) = views_of(plan, frames, np.arange(4)[None], key)
    np.testing.assert_array_equal(view, expected.transpose(3, 0, 1, 2))


PLANS = [
    RandomView(video_length=4, sample_rate=1, crop_size=32, short_sides=(32, 40), mirror=True),
    MiddleView(video_length=4, sample_rate=1, crop_size=32, short_side=40),
    MultiView(video_length=4, sample_rate=1, crop_size=32, short_side=40, num_clips=2, num_crops=3),
    FullFrameView(video_length=4, sample_rate=1, short_side=40, num_clips=2, mirrored=True),
]


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: type(plan).__name__)
def test_plans_cannot_be_changed(plan):
    """They are sent to the reader processes, which have copies."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.sample_rate = 9


def test_shapes_of_plans():
    assert [plan.shape for plan in PLANS] == [
        (1, 3, 4, 32, 32), (1, 3, 4, 32, 32), (6, 3, 4, 32, 32), (4, 3, 4, 40, 120),
    ]  # fmt: skip


@pytest.mark.parametrize("plan", PLANS[2:], ids=lambda plan: type(plan).__name__)
def test_clips_wrap_unless_a_test_says_linspace(plan):
    np.testing.assert_array_equal(plan.frame_indices(20, ())[:, 0], [0, 10])
    even = dataclasses.replace(plan, temporal_sampling="linspace")
    np.testing.assert_array_equal(even.frame_indices(20, ())[:, 0], [0, 16])


def test_the_reason_why_a_frame_cannot_be_seen_whole():
    plan = PLANS[3]
    with pytest.raises(VideoError) as caught:
        plan.make_views(picture(4, 40, 121), np.array([[0, 1, 2, 3]]), (), np.empty(plan.shape, np.uint8))
    assert str(caught.value) == (
        "a frame of 121 x 40 pixels is longer than 3 times its short side: too long to be seen whole (spatial=full)"
    )


def naive_by_time(times, starts, length, rate):
    """Every moment on its own, by the definition."""
    times = [float(time) for time in times]
    gap = float(np.median(np.diff(times))) if len(times) > 1 else 1 / rate
    duration = times[-1] + gap
    last = max(duration - length / rate, 0)
    clips = []
    for of_all, of_last in starts:
        moments = [(of_all * duration + of_last * last + k / rate) % duration for k in range(length)]
        clips.append([min(range(len(times)), key=lambda i, m=m: (round(abs(times[i] - m), 7), i)) for m in moments])
    return clips


@pytest.mark.parametrize(
    ("times", "length", "rate", "start", "frames"),
    [
        (np.arange(10) / 10, 3, 5, (0, 0), [0, 2, 4]),
        (np.arange(5) / 5, 3, 5, (0, 0), [0, 1, 2]),
        (np.array([0, 0.1, 0.5, 0.6]), 3, 5, (0, 0), [0, 1, 2]),
        (np.arange(10) / 10, 3, 2, (0.2, 0), [2, 7, 2]),
        (np.array([0.0]), 3, 5, (0.5, 0.5), [0, 0, 0]),
    ],
)
def test_clips_by_time(times, length, rate, start, frames):
    found = clip_sampling.clips_by_time(times, [start], video_length=length, sample_fps=rate)
    assert found.tolist() == [frames]
    assert found.dtype == np.int64


def test_clips_by_time_equal_the_definition():
    random = np.random.default_rng(0)
    for _ in range(300):
        times = np.cumsum(random.integers(1, 9, random.integers(1, 40))) / 25
        times -= times[0]
        length, rate = int(random.integers(1, 12)), float(random.choice([2, 5, 7.5, 12, 30]))
        starts = [(float(random.random()), 0.0), (0.0, float(random.random()))]
        found = clip_sampling.clips_by_time(times, starts, video_length=length, sample_fps=rate)
        assert found.tolist() == naive_by_time(times, starts, length, rate)


def test_copies_at_other_frame_rates_give_the_same_moments(tmp_path):
    """The same ramp of brightness over four seconds, at 15, 30 and 60 frames a second."""
    import av

    from datareader.dataset import ClipDataset
    from datareader.filelist import unlabelled_videos
    from datareader.processes.job import SampleRequest

    paths = []
    for rate in (15, 30, 60):
        paths.append(str(tmp_path / f"{rate}.mp4"))
        with av.open(paths[-1], "w") as container:
            stream = container.add_stream("libx264", rate=rate, options={"crf": "4"})
            stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
            for number in range(4 * rate):
                frame = np.full((32, 32, 3), round(20 + 50 * number / rate), np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
    settings = {"video_length": 4, "sample_rate": 8, "crop_size": 32, "sample_fps": 5.0}
    for plan in (
        RandomView(**settings, short_sides=(32, 32), mirror=False),
        MiddleView(**settings, short_side=32),
        MultiView(**settings, short_side=32, num_clips=3, num_crops=1),
        MultiView(**settings, short_side=32, num_clips=3, num_crops=1, temporal_sampling="linspace"),
    ):
        dataset = ClipDataset(unlabelled_videos(paths), plan)
        seen = [dataset.load(SampleRequest(0, 7, i)).clips.astype(float).mean(axis=(1, 3, 4)) for i in range(3)]
        for other in (1, 2):
            # Half a frame at 15 a second is 1/30 s: 1.7 of brightness, and as much for rounding and coding.
            np.testing.assert_allclose(seen[0], seen[other], atol=3.4)
        np.testing.assert_allclose(np.diff(seen[1][0]), 10, atol=3)


@pytest.mark.parametrize(
    ("num_frames", "places", "frames"),
    [
        (80, [0.5] * 4, [10, 30, 50, 70]),
        (80, [0, 0.9, 0.5, 0.25], [0, 38, 50, 65]),
        (3, [0.5] * 4, [0, 1, 1, 2]),
        (1, [0.99] * 4, [0, 0, 0, 0]),
    ],
)
def test_clips_of_segments(num_frames, places, frames):
    found = clip_sampling.clips_of_segments(num_frames, np.array([places]), video_length=4)
    assert found.tolist() == [frames]


def test_segments_cover_the_whole_video():
    """Training: a random frame of each part; validation: the middle one; a test: shifted clips."""
    settings = {"video_length": 4, "sample_rate": 8, "crop_size": 32, "sampling": "segments"}
    random = RandomView(**settings, short_sides=(32, 32), mirror=False)
    found = np.concatenate([random.frame_indices(40, (0, 0, position)) for position in range(300)])
    for part in range(4):
        assert set(found[:, part].tolist()) == set(range(10 * part, 10 * part + 10))
    middle = MiddleView(**settings, short_side=32)
    assert middle.frame_indices(40, ()).tolist() == [[5, 15, 25, 35]]
    for temporal_sampling in ("wrap", "linspace"):
        clips = {"num_clips": 2, "temporal_sampling": temporal_sampling}
        test = MultiView(**settings, short_side=32, num_crops=1, **clips)
        assert test.frame_indices(40, ()).tolist() == [[2, 12, 22, 32], [7, 17, 27, 37]]


def test_ways_to_sample_that_contradict_one_another(narrow_config):
    from configs.checks import remarks
    from utils.errors import ConfigError

    with pytest.raises(ConfigError, match=r"TEST\.sample_fps: sample_fps \(5\.0\) must be 0 where sampling=segments"):
        narrow_config("TEST.sample_fps=5", "TEST.sampling=segments")
    lines = list(remarks(narrow_config("TEST.sample_fps=5")))
    assert "TEST.sample_rate (2) is not used: sample_fps says which frames are taken" in lines
    assert any(line.startswith("TRAIN.sample_fps is 0.0, but TEST.sample_fps = 5.0: the network is") for line in lines)
    assert build_test_dataset(narrow_config("TEST.sample_fps=5")).plan.sample_fps == 5
    assert build_train_dataset(narrow_config("TRAIN.sampling=segments")).plan.sampling == "segments"
    assert build_valid_dataset(narrow_config("VALID.sample_fps=2.5")).plan.sample_fps == 2.5
