"""Copies: the reader sees in them what it sees in the original, or they are no copies."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace
from conftest import write_counting_video
from generated_streams import StreamKind, write_stream
from test_datareader_broken_input import (
    ORIENTATIONS,
    corner_letters,
    corners,
    noise,
    read_eight,
    set_matrix,
    write_pictures,
)

from datareader import copying
from datareader.copying import write_copy
from datareader.decoding.av_decoder import AvDecoder
from datareader.decoding.opening import decode, decode_frames
from utils.errors import VideoError

BT2020 = getattr(Colorspace, "BT2020", Colorspace.ITU709)  # PyAV 17 cannot write it
OPTIONS = {"crf": "10", "g": "8", "keyint_min": "8", "sc_threshold": "0", "threads": "1"}


def copy_of(path, **changes):
    """Make a copy of 256 pixels beside the original; return its path and what is known of it."""
    target = path.with_name("copy.mp4")
    settings = {"short_side": 256, "options": OPTIONS, "comment": "", "largest_difference": 6.0} | changes
    return target, write_copy(path, target, **settings)


def all_frames(path):
    return decode_frames(path, lambda n: np.arange(n))[0]


def bars():
    """Bars of saturated and grey colours, which another matrix or range would change by 10 and more."""
    colours = [(250, 10, 10), (10, 250, 10), (10, 10, 250), (250, 250, 10), (128, 128, 128), (16, 16, 16)]
    return np.repeat(np.array(colours, np.uint8)[None], 96, 0).repeat(32, 1)


@pytest.mark.parametrize(
    ("codec", "suffix", "pix_fmt", "matrix", "value_range", "transfer"),
    [
        ("libx264", "mp4", "yuv420p", None, None, None),
        ("libx264", "mp4", "yuv420p", Colorspace.ITU709, ColorRange.MPEG, 1),
        ("libx264", "mp4", "yuv420p", Colorspace.ITU709, ColorRange.JPEG, None),
        ("libx264", "mp4", "yuv444p", Colorspace.ITU709, ColorRange.MPEG, None),
        ("libx265", "mp4", "yuv420p10le", BT2020, ColorRange.MPEG, 16),  # HDR with PQ
        ("libx265", "mp4", "yuv420p10le", Colorspace.ITU709, ColorRange.JPEG, None),
        ("mjpeg", "avi", "yuvj420p", None, ColorRange.JPEG, None),
        ("prores_ks", "mov", "yuv422p10le", Colorspace.ITU709, ColorRange.MPEG, None),
        ("libvpx-vp9", "webm", "yuv420p", Colorspace.ITU709, ColorRange.MPEG, None),
        ("qtrle", "mov", "rgb24", None, None, None),
        ("ffv1", "mkv", "bgr0", None, None, None),
        ("libx264", "mp4", "gray", None, None, None),
    ],
)
def test_colours_are_those_of_the_original(tmp_path, codec, suffix, pix_fmt, matrix, value_range, transfer):
    path = tmp_path / f"v.{suffix}"
    options = {"crf": "4", "x265-params": "log-level=-1:crf=4"} if codec.startswith("libx26") else {}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width = bars().shape[:2]
        stream.pix_fmt = pix_fmt
        if matrix is not None:
            stream.codec_context.colorspace = matrix
        if value_range is not None:
            stream.codec_context.color_range = value_range
        if transfer is not None:
            stream.codec_context.color_trc = transfer
        for number in range(5):
            frame = av.VideoFrame.from_ndarray(bars(), format="rgb24")
            frame = frame.reformat(format=pix_fmt, dst_colorspace=matrix, dst_color_range=value_range)
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    target, copied = copy_of(path)
    assert copied == (5, 0)
    original, copy = all_frames(path)[2].astype(int), all_frames(target)[2].astype(int)
    middles = np.arange(16, 192, 32)
    assert np.abs(copy[48, middles] - original[48, middles]).max() <= 3
    if pix_fmt != "gray":
        assert np.abs(copy[48, middles] - bars()[48, middles]).max() <= 12
    with av.open(str(target)) as container:
        context = container.streams.video[0].codec_context
        assert (context.pix_fmt, context.colorspace, context.color_range) == ("yuv420p", 6, 1)
        assert context.color_trc == (transfer or 2)


@pytest.mark.parametrize(("matrix", "shown"), ORIENTATIONS.values(), ids=ORIENTATIONS)
def test_orientation_is_carried_out(tmp_path, matrix, shown):
    path = set_matrix(write_pictures(tmp_path / "v.mp4", corners(), options={"crf": "5"}), *matrix)
    target, _ = copy_of(path)
    with av.open(str(target)) as container:
        assert next(container.decode(video=0)).rotation == 0
        assert [stream.type for stream in container.streams] == ["video"]
    assert corner_letters(read_eight(target)[4]) == shown


def frame_times(path):
    decoder = AvDecoder(path)
    try:
        return decoder.times_seconds
    finally:
        decoder.close()


def test_times_are_those_of_the_original(tmp_path):
    """From the first frame on: of a varying rate, and with a step that mp4 cannot state."""
    ticks = np.cumsum(np.random.default_rng(0).integers(1, 90, 30)) + 500
    for name, times in (("varying", ticks), ("huge", np.append(ticks[:20], ticks[20:] + 10**9))):
        path = tmp_path / f"{name}.mkv"
        with av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as container:
            stream = container.add_stream("libx264", rate=25, options={"bf": "2"})
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
            for number, time in enumerate(times):
                frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 8 * number, np.uint8), format="rgb24")
                frame.pts, frame.time_base = int(time), Fraction(1, 1000)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        target, copied = copy_of(path)
        assert copied.num_frames == 30
        found = frame_times(target)
        if name == "varying":
            np.testing.assert_allclose(found, (times - times[0]) / 1000, atol=1e-4)
        else:
            assert (np.diff(found) > 0).all()
            assert found[-1] < 1e5


def test_a_stream_without_times(tmp_path):
    path = write_counting_video(tmp_path / "v.h264", 30, options={"bf": "2", "crf": "5"})
    target, copied = copy_of(path)
    assert copied == (30, 0)
    np.testing.assert_allclose(all_frames(target).mean(axis=(1, 2, 3)), [5 * k + 20 for k in range(30)], atol=2)
    np.testing.assert_allclose(frame_times(target), np.arange(30) / 25, atol=1e-4)


@pytest.mark.parametrize("number", range(6))
def test_streams_that_were_cut_and_joined(tmp_path, number):
    kinds = [
        StreamKind("mp4", "libx264", 2, "closed", "key", "overlap", 5, "variable"),
        StreamKind("mkv", "libx265", 2, "open", "second", "clean", 0, "constant"),
        StreamKind("ts", "libx264", 5, "open", "anywhere", "late", 0, "constant"),
        StreamKind("mov", "libx264", 0, "refresh", "key", "none", 0, "constant"),
        StreamKind("mp4", "libx265", 5, "open", "key", "clean", 5, "variable"),
        StreamKind("mkv", "libx264", 2, "closed", "anywhere", "overlap", 0, "variable"),
    ]
    path = write_stream(tmp_path / f"v.{kinds[number].suffix}", kinds[number])
    target, _ = copy_of(path)
    original, copy = all_frames(path), all_frames(target)
    assert len(original) == len(copy)
    assert np.abs(original.astype(int) - copy).mean() < 25, "noise, in crf 10"


def test_damaged_packets_are_passed_over_and_counted(tmp_path):
    whole = bytearray(write_pictures(tmp_path / "whole.mp4", noise(40), options={"g": "10", "bf": "0"}).read_bytes())
    with av.open(str(tmp_path / "whole.mp4")) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        places = [(packet.pos, packet.size) for packet in packets[13:15]]
    for place, size in places:
        whole[place + 4 : place + size] = b"\xff" * (size - 4)
    path = tmp_path / "v.mp4"
    path.write_bytes(whole)
    target, copied = copy_of(path)
    assert copied.num_damaged == 2
    assert copied.num_frames == len(all_frames(path)) == len(all_frames(target)) == 38


def test_a_copy_of_another_picture_is_no_copy(tmp_path, monkeypatch):
    path = write_counting_video(tmp_path / "v.mp4", 20)
    monkeypatch.setattr(copying, "decode", lambda video, numbers: 255 - decode(video, numbers))
    with pytest.raises(VideoError, match=r"v\.mp4: frame 0 of its copy is another picture: it differs by .* of 255"):
        copy_of(path)
    copy_of(path, largest_difference=None)


def test_a_copy_that_lacks_frames_is_no_copy(tmp_path, monkeypatch):
    path = write_counting_video(tmp_path / "v.mp4", 20)
    other = write_counting_video(tmp_path / "short.mp4", 15)
    opened = copying.open_video
    monkeypatch.setattr(copying, "open_video", lambda path: opened(other))
    with pytest.raises(VideoError, match=r"v\.mp4: its copy has 15 frames instead of 20"):
        copy_of(path)


def test_the_size_of_a_copy():
    for width, height, short_side, expected in (
        (1920, 1080, 256, (456, 256)), (340, 256, 256, (340, 256)), (101, 200, 256, (100, 200)),
        (3, 3, 256, (2, 2)), (64, 4000, 32, (32, 2000)),
    ):  # fmt: skip
        assert copying.target_size(width, height, short_side) == expected


@pytest.mark.parametrize("name", ["bt709.mp4", "bt709_full_range.mp4", "no_pts.h264", "two_video_tracks.mp4"])
def test_files_that_failed(tmp_path, name):
    source = Path(__file__).resolve().parents[2] / "shared" / "failing" / "videos" / name
    if not source.is_file():
        pytest.skip("no folder of files that failed beside the project")
    path = tmp_path / name
    path.write_bytes(source.read_bytes())
    target, copied = copy_of(path)
    original, copy = all_frames(path), all_frames(target)
    assert copied.num_damaged == 0
    assert original.shape == copy.shape
    assert np.abs(original.mean(axis=(0, 1, 2)) - copy.mean(axis=(0, 1, 2))).max() < 3
