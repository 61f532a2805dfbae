"""Decoders: the right frames, exactly, of the right number; and one clear error for what is no video."""

import os
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from conftest import write_counting_video
from generated_streams import StreamKind, all_kinds, write_stream

import datareader.decoding.packets
from datareader.decoding.av_decoder import AvDecoder
from datareader.decoding.frame_times import PacketIndex
from datareader.decoding.opening import decode, decode_frames, open_video
from utils.errors import VideoError


def decode_whole_file(path):
    """Every frame, in order, with nothing clever. The reference for everything else."""
    with av.open(str(path), metadata_errors="replace") as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_frames_by_number(tmp_path):
    path = write_counting_video(tmp_path / "v.mp4", 40)
    indices = np.array([0, 3, 17, 38, 39])
    video = open_video(path)
    assert video.num_frames == 40
    frames = decode(video, indices)
    assert frames.shape == (5, 48, 64, 3)
    assert frames.dtype == np.uint8
    np.testing.assert_allclose(frames.mean(axis=(1, 2, 3)), 5 * indices + 20, atol=2)
    np.testing.assert_array_equal(decode(video, indices), frames)  # a second call gives the same
    video.close()


def test_channels_are_red_green_blue(tmp_path):
    with av.open(str(tmp_path / "v.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        orange = np.full((48, 64, 3), (230, 120, 20), np.uint8)
        for _ in range(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(orange, format="rgb24")))
        container.mux(stream.encode())
    frames = decode(open_video(tmp_path / "v.mp4"), np.array([1]))
    np.testing.assert_allclose(frames.mean(axis=(0, 1, 2)), (230, 120, 20), atol=6)


@pytest.mark.parametrize("b_frames", [0, 2, 8])
@pytest.mark.parametrize("key_interval", [1, 12, 250])
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_av_equals_a_full_decode(tmp_path, codec, b_frames, key_interval):
    options = {"crf": "10"}
    if codec == "libx264":
        options |= {"bf": str(b_frames), "g": str(key_interval), "x264-params": "open-gop=1:log=-1"}
    else:
        options |= {"x265-params": f"bframes={b_frames}:keyint={key_interval}:open-gop=1:log-level=-1"}
    path = write_counting_video(tmp_path / "v.mp4", 45, codec=codec, options=options)
    assert_equals_full_decode(path)


@pytest.mark.parametrize("kept_bytes", [0, 1 << 20])
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_every_pair_of_frames_of_open_groups(tmp_path, monkeypatch, codec, kept_bytes):
    """Any two frames, before and behind a key frame, in one stretch of decoding or in two; packets kept or not."""
    monkeypatch.setattr(datareader.decoding.packets, "_KEPT_BYTES", kept_bytes)
    options = {"crf": "10", "x264-params": "open-gop=1:keyint=9:min-keyint=9:scenecut=0:bframes=3:b-adapt=0:log=-1"}
    options |= {"x265-params": "open-gop=1:keyint=9:min-keyint=9:scenecut=0:bframes=3:b-adapt=0:log-level=-1"}
    path = write_counting_video(tmp_path / "v.mp4", 40, codec=codec, options=options)
    expected = decode_whole_file(path)
    video = open_video(path)
    assert video.times is not None, "found by time, not by counting"
    for first in range(40):
        for second in range(first + 1, 40):
            frames = decode(video, np.array([first, second]))
            np.testing.assert_array_equal(frames, [expected[first], expected[second]])
    assert video.times is not None
    video.close()


@pytest.mark.parametrize(
    ("codec", "suffix"), [("mpeg4", "avi"), ("mpeg4", "mp4"), ("libvpx-vp9", "webm"), ("libx264", "mkv")]
)
def test_av_equals_a_full_decode_in_other_formats(tmp_path, codec, suffix):
    assert_equals_full_decode(write_counting_video(tmp_path / f"v.{suffix}", 30, codec=codec))


def assert_equals_full_decode(path):
    expected = decode_whole_file(path)
    video = open_video(path)
    assert video.num_frames == len(expected)
    random = np.random.default_rng(0)
    for _ in range(6):
        indices = np.unique(random.integers(0, len(expected), random.integers(1, 9)))
        np.testing.assert_array_equal(decode(video, indices), [expected[i] for i in indices])
    video.close()


@pytest.mark.parametrize("kept_bytes", [0, 1 << 30])
def test_real_clips_equal_a_full_decode(real_clips, monkeypatch, kept_bytes):
    monkeypatch.setattr(datareader.decoding.packets, "_KEPT_BYTES", kept_bytes)
    for path in sorted((real_clips / "single").rglob("*.*")):
        assert_equals_full_decode(path)


def test_variable_frame_rate_and_a_late_start(tmp_path):
    path = tmp_path / "v.mp4"
    times = np.cumsum(np.random.default_rng(0).integers(1, 90, 30)) + 500
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "7", "bf": "3"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 8 * number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = int(time), stream.codec_context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert_equals_full_decode(path)


@pytest.mark.parametrize(("first", "count"), [(5, 20), (0, 7), (13, 17)])
def test_an_edit_list_that_shows_a_part(tmp_path, first, count):
    """Frames before and behind what the edit list shows do not exist, for a full decode and so for the reader."""
    path = write_counting_video(tmp_path / "v.mp4", 30, options={"crf": "10", "bf": "2", "g": "10"})
    content = bytearray(path.read_bytes())
    entry = content.index(b"elst") + 12  # version, flags, count; then duration (1/1000 s), first tick (512 a frame)
    _, delay = struct.unpack(">ii", content[entry : entry + 8])
    content[entry : entry + 8] = struct.pack(">ii", 40 * count, delay + 512 * first)
    path.write_bytes(content)
    assert len(decode_whole_file(path)) < 30
    assert_equals_full_decode(path)


@pytest.mark.parametrize("suffix", ["mp4", "ts", "mkv"])
def test_times_that_begin_below_zero(tmp_path, suffix):
    path = tmp_path / f"v.{suffix}"
    with av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "9", "bf": "3"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(30):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 8 * number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number - 11, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with av.open(str(path)) as container:
        times = [packet.pts for packet in container.demux(video=0) if packet.size]
    assert None in times or min(times) < 0, "as it should be for this test"
    assert_equals_full_decode(path)


def test_decode_frames_decodes_each_frame_once(tmp_path):
    path = write_counting_video(tmp_path / "v.mp4", 20)
    wanted = np.array([[18, 0, 3], [3, 3, 19]])
    frames, order = decode_frames(path, lambda n: wanted % n)
    assert len(frames) == 4
    np.testing.assert_allclose(frames[order].mean(axis=(2, 3, 4)), 5 * wanted + 20, atol=2)


def test_what_is_no_video(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("this is a text\n" * 100)
    os.mkfifo(tmp_path / "fifo.mp4")
    (tmp_path / "dead.mp4").symlink_to(tmp_path / "gone.mp4")
    whole = write_counting_video(tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "no_moov.mp4").write_bytes(whole[: whole.rfind(b"moov") - 4])
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    expected = {
        "empty.mp4": "empty",
        "text.mp4": "not a video",
        "fifo.mp4": "not a regular file",
        "dead.mp4": "cannot be opened",
        "no_moov.mp4": "not a video",
        "sound.mp4": "no video stream",
        ".": "a folder without pictures",
    }
    for name, reason in expected.items():
        with pytest.raises(VideoError, match=reason) as caught:
            open_video(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_truncated_file_gives_the_frames_that_are_there(tmp_path):
    """The index at the front still promises 40 frames; a full decode of what is left is the truth."""
    options = {"movflags": "faststart"}
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "10", "g": "10"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        random = np.random.default_rng(0)
        for _ in range(40):
            noise = random.integers(0, 256, (48, 64, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise, format="rgb24")))
        container.mux(stream.encode())
    cut = Path(tmp_path / "cut.mp4")
    cut.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    frames, order = decode_frames(cut, lambda n: (np.arange(8) * 8 % n)[None])
    assert order.shape == (1, 8)
    assert 0 < len(frames) <= 8
    video = open_video(cut)
    assert 5 < video.num_frames < 40


def test_more_frames_asked_than_there_are(tmp_path):
    path = write_counting_video(tmp_path / "v.mp4", 3)
    frames, order = decode_frames(path, lambda n: (np.arange(8) % n)[None])
    assert len(frames) == 3
    np.testing.assert_array_equal(order, [[0, 1, 2, 0, 1, 2, 0, 1]])


@pytest.mark.parametrize("fails_at", ["__init__", "pictures"])
def test_whatever_a_decoder_raises_is_the_fault_of_its_video(tmp_path, monkeypatch, fails_at):
    class Careless:
        num_frames = 8

        def __init__(self, path):
            self.fail("__init__")

        def pictures(self, indices, *, go_on=False):
            self.fail("pictures")

        def fail(self, place):
            if place == fails_at:
                raise RuntimeError("first line\nsecond")

        def close(self):
            pass

    monkeypatch.setattr("datareader.decoding.opening.AvDecoder", Careless)
    (tmp_path / "a.mp4").write_bytes(b"x")
    with pytest.raises(VideoError, match=r"a\.mp4: cannot be decoded: first line second$"):
        decode_frames(tmp_path / "a.mp4", np.arange)


_KINDS = list(all_kinds())


@pytest.mark.parametrize(
    ("start", "step"), [(0, 103), *(pytest.param(start, 8 * 7, marks=pytest.mark.slow) for start in range(1, 56, 14))]
)
def test_streams_of_every_kind_equal_a_full_decode(tmp_path, start, step):
    """Frame by frame. About 30 kinds in the quick tests, and 200 in all."""
    for number in range(start, len(_KINDS), step):
        kind = _KINDS[number]
        path = write_stream(tmp_path / f"v.{kind.suffix}", kind, seed=number)
        expected = decode_whole_file(path)
        for index, frame in enumerate(expected):
            found, _ = decode_frames(path, lambda n, index=index: np.array([min(index, n - 1)]))
            np.testing.assert_array_equal(found[0], frame, err_msg=f"{kind}, frame {index}")
        video = open_video(path)
        assert video.num_frames == len(expected), kind
        video.close()


def test_what_is_found_by_time(tmp_path):
    """Streams as encoders write them are never decoded to be counted."""
    for suffix in ("mp4", "mov", "mkv", "ts"):
        for groups in ("closed", "open"):
            kind = StreamKind(suffix, "libx264", 2, groups, "none", "none", 0, "constant")
            video = open_video(write_stream(tmp_path / f"v.{suffix}", kind))
            assert video.times is not None, kind
            video.close()


@pytest.mark.parametrize(("codec", "suffix"), [("libvpx", "webm"), ("libvpx-vp9", "webm"), ("libsvtav1", "mp4")])
@pytest.mark.parametrize("kept_bytes", [0, 1 << 20])
def test_codecs_of_the_web_are_found_by_time(tmp_path, monkeypatch, codec, suffix, kept_bytes):
    monkeypatch.setattr(datareader.decoding.packets, "_KEPT_BYTES", kept_bytes)
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV cannot write {codec}")
    options = {"g": "8", "auto-alt-ref": "1", "lag-in-frames": "16"} if "vpx" in codec else {"g": "8", "preset": "12"}
    path = write_counting_video(tmp_path / f"v.{suffix}", 30, codec=codec, options=options)
    expected = decode_whole_file(path)
    video = open_video(path)
    for index in (29, 3, 8, 7, 16, 0):
        np.testing.assert_array_equal(decode(video, np.array([index]))[0], expected[index])
    assert video.times is not None
    video.close()


def test_a_packet_that_shows_nothing_is_counted_by_decoding(tmp_path):
    """A VP8 picture is made one that is only referred to."""
    random = np.random.default_rng(0)
    path = tmp_path / "v.webm"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx", rate=25, options={"auto-alt-ref": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(20):
            noise = random.integers(0, 256, (48, 64, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise, format="rgb24")))
        container.mux(stream.encode())
    with av.open(str(path)) as container:
        packet = [bytes(packet) for packet in container.demux(video=0) if packet.size][7]
    hidden = bytes([packet[0] & 0xEF]) + packet[1:]
    content = path.read_bytes()
    assert content.count(packet) == 1
    path.write_bytes(content.replace(packet, hidden))
    expected = decode_whole_file(path)
    assert len(expected) == 19
    video = open_video(path)
    assert video.num_frames == 19
    np.testing.assert_array_equal(decode(video, np.array([6, 7, 18])), [expected[6], expected[7], expected[18]])
    video.close()


def test_a_seek_is_worth_it_in_memory(tmp_path, monkeypatch):
    """Copies with many key frames: only the groups of wanted frames are decoded."""
    options = {"g": "4", "bf": "0", "sc_threshold": "0"}
    path = write_counting_video(tmp_path / "v.mp4", 47, options=options)
    video = open_video(path)
    wanted = set(video.times[[1, 20, 22, 40]].tolist())
    for worth, expected in ((1, [(0, 1), (20, 22), (40, 40)]), (8, [(0, 1), (20, 22), (40, 40)]), (19, [(0, 40)])):
        parts = PacketIndex(video.packets).stretches(wanted, worth_a_seek=worth)
        assert [(part.first_packet, part.last_packet) for part in parts] == expected
    fed = []
    original = AvDecoder.packets_of
    noted = lambda self, part: (fed.append(packet) or packet for packet in original(self, part))  # noqa: E731
    monkeypatch.setattr(AvDecoder, "packets_of", noted)
    decode(video, np.array([0, 8, 16, 24, 32, 40]))
    assert len([packet for packet in fed if packet is not None]) == 6, "one packet a frame"
    video.close()
