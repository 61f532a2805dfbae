"""Videos as they come: odd, damaged, hostile. Each is read as a full decode reads it, or is one clear error."""

import os
import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from conftest import ROOT, write_counting_video

from datareader.decoding.av_decoder import AvDecoder
from datareader.decoding.opening import decode_frames, open_video
from utils.errors import VideoError


def full_decode(path):
    with av.open(str(path), metadata_errors="replace") as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def remux(source, target, **changes):
    """The packets of the first stream of a file in another container, with times a frame apart."""
    with av.open(str(source)) as opened, av.open(str(target), "w", **changes) as container:
        stream = container.add_stream_from_template(opened.streams.video[0])
        for number, packet in enumerate(packet for packet in opened.demux(video=0) if packet.size):
            packet.stream, packet.time_base = stream, Fraction(1, 25)
            packet.pts = packet.dts = number
            container.mux(packet)
    return target


def read_eight(path):
    """Eight frames spread over the video, wrapping in a short one, as (8, H, W, 3)."""
    frames, order = decode_frames(path, lambda n: (np.arange(8) * max(n // 8, 1) % n)[None])
    return frames[order[0]]


def write_pictures(path, pictures, *, codec="libx264", pix_fmt="yuv420p", options=None, rate=25, **stream_settings):
    """Encode (H, W, 3) RGB pictures."""
    with av.open(str(path), "w", options={"movflags": "faststart"} if Path(path).suffix == ".mp4" else {}) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pix_fmt
        for name, value in stream_settings.items():
            setattr(stream.codec_context, name, value)
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pix_fmt)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def noise(count, height=48, width=64, seed=0):
    return list(np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), np.uint8))


def corners(height=48, width=64, count=10):
    """Pictures with a white top left quarter, red top right, green bottom left, and black bottom right."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2] = 255
    picture[: height // 2, width // 2 :, 0] = 255
    picture[height // 2 :, : width // 2, 1] = 255
    return [picture] * count


def corner_letters(picture):
    """The colours of the corners of a picture as letters."""
    colours = {(1, 1, 1): "W", (1, 0, 0): "R", (0, 1, 0): "G", (0, 0, 0): "B"}
    found = [picture[y, x] > 127 for y in (5, -5) for x in (5, -5)]
    return "".join(colours[tuple(colour.astype(int).tolist())] for colour in found)


def set_matrix(path, a, b, c, d):
    """Give the track of an mp4 file the matrix that players turn and mirror it by, as phones write it."""
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 4 + 4 + 20 + 8 + 8  # version and flags; times, ids, duration; reserved; layer
    one = 1 << 16
    content[place : place + 36] = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path


# a, b, c, d of the display matrix, and the corners of the picture that is shown: top left and right, bottom left and
# right. They are white, red, green and black (W R G B) in the file.
ORIENTATIONS = {
    "as it is": ((1, 0, 0, 1), "WRGB"),
    "mirrored left to right": ((-1, 0, 0, 1), "RWBG"),
    "mirrored top to bottom": ((1, 0, 0, -1), "GBWR"),
    "half a turn": ((-1, 0, 0, -1), "BGRW"),
    "a quarter clockwise": ((0, 1, -1, 0), "GWBR"),
    "a quarter anticlockwise": ((0, -1, 1, 0), "RBWG"),
    "rows and columns change places": ((0, 1, 1, 0), "WGRB"),
    "the same and half a turn": ((0, -1, -1, 0), "BRGW"),
    "zero": ((0, 0, 0, 0), "WRGB"),
    "squeezed into a line": ((1, 0, 0, 0), "WRGB"),
    "squeezed into another line": ((1, 1, 1, 1), "WRGB"),
}


@pytest.mark.parametrize(("matrix", "shown"), ORIENTATIONS.values(), ids=ORIENTATIONS)
def test_a_video_is_shown_as_its_display_matrix_says(tmp_path, matrix, shown):
    path = write_pictures(tmp_path / "v.mp4", corners(), options={"crf": "5"})
    frames = read_eight(set_matrix(path, *matrix))
    turned = matrix[0] == 0 != matrix[1]
    assert frames.shape == ((8, 64, 48, 3) if turned else (8, 48, 64, 3))
    for number, frame in enumerate((frames[3], frames[7])):
        assert corner_letters(frame) == shown, number


@pytest.mark.parametrize(
    ("codec", "suffix", "pix_fmt", "size"),
    [
        ("libx264", "mp4", "yuv444p", (257, 341)),  # odd sizes
        ("libx264", "mp4", "yuv420p10le", (48, 64)),
        ("libx265", "mp4", "yuv420p10le", (48, 64)),
        ("libx264", "mp4", "gray", (48, 64)),
        ("libvpx-vp9", "webm", "yuva420p", (48, 64)),
        ("qtrle", "mov", "argb", (48, 64)),
        ("ffv1", "mkv", "yuv420p", (257, 341)),
        ("mjpeg", "avi", "yuvj420p", (48, 64)),
        ("libx264", "mkv", "yuv420p", (2160, 3840)),
        ("libx264", "mp4", "yuv420p", (2, 2)),
    ],
)
def test_pixel_formats_and_sizes(tmp_path, codec, suffix, pix_fmt, size):
    pictures = noise(9, *size) if size[0] < 1000 else [np.roll(corners(*size)[0], 200 * k, axis=1) for k in range(9)]
    path = write_pictures(tmp_path / f"v.{suffix}", pictures, codec=codec, pix_fmt=pix_fmt)
    expected = full_decode(path)
    assert len(expected) == 9
    frames, order = decode_frames(path, lambda n: np.array([[8, 2, n - 6]]))
    np.testing.assert_array_equal(frames[order[0]], [expected[8], expected[2], expected[3]])


def test_interlaced(tmp_path):
    options = {"flags": "+ildct+ilme", "x264-params": "interlaced=1:bframes=2:log=-1"}
    path = write_pictures(tmp_path / "v.mp4", noise(20), options=options)
    np.testing.assert_array_equal(read_eight(path), [full_decode(path)[i] for i in range(0, 16, 2)])


@pytest.mark.parametrize("count", [1, 3])
def test_few_frames(tmp_path, count):
    path = write_counting_video(tmp_path / "v.mp4", count)
    brightness = read_eight(path).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(brightness, [5 * (i % count) + 20 for i in range(8)], atol=2)


def test_frames_that_change_size(tmp_path):
    """Two sizes in one stream: each frame is resized from its own size to that of the first frame of the video."""
    small = write_pictures(tmp_path / "a.h264", noise(6, 48, 64), options={"g": "4", "bf": "0"})
    large = write_pictures(tmp_path / "b.h264", noise(6, 100, 128), options={"g": "4", "bf": "0"})
    (tmp_path / "v.h264").write_bytes(small.read_bytes() + large.read_bytes())
    every = full_decode(tmp_path / "v.h264")
    assert [frame.shape[0] for frame in every] == [48] * 6 + [100] * 6
    for path in (tmp_path / "v.h264", remux(tmp_path / "v.h264", tmp_path / "v.mkv")):
        for indices in ([0, 5, 6, 11], [7, 11], [5]):
            for short_side, size in ((None, (64, 48)), (30, (40, 30))):
                frames, _ = decode_frames(path, lambda n, i=indices: np.array(i), short_side=short_side)
                expected = [every[i] if every[i].shape[1::-1] == size else cv2.resize(every[i], size) for i in indices]
                np.testing.assert_array_equal(frames, expected)


def test_names_with_blanks_and_other_letters(tmp_path):
    path = tmp_path / "eine größere Übung, 第一 (1).mp4"
    write_counting_video(tmp_path / "v.mp4", 10).rename(path)
    assert read_eight(path).shape == (8, 48, 64, 3)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path):
    path = write_counting_video(tmp_path / "v.mp4", 10)
    path.chmod(0)
    with pytest.raises(VideoError, match=r"v\.mp4: .*[Pp]ermission"):
        read_eight(path)


@pytest.mark.parametrize("suffix", ["webm", "mkv"])
def test_a_container_without_a_count(tmp_path, suffix):
    path = write_pictures(tmp_path / f"v.{suffix}", noise(17), codec="libvpx-vp9" if suffix == "webm" else "libx264")
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 0
    video = open_video(path)
    assert video.num_frames == 17
    video.close()


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_container_that_promises_more_frames_than_it_has(tmp_path, share):
    """Cut off behind its index: what a full decode yields counts, and the clip is sampled from that."""
    whole = write_pictures(tmp_path / "whole.mp4", noise(60), options={"g": "12", "bf": "2"}).read_bytes()
    path = tmp_path / "v.mp4"
    path.write_bytes(whole[: int(len(whole) * share)])
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 60
    decoder = AvDecoder(path)
    counted = decoder.count_by_decoding()
    decoder.close()
    assert 0 < counted < 60
    seen = []
    frames, order = decode_frames(path, lambda n: seen.append(n) or np.array([[0, n - 1]]))
    assert frames.shape[1:] == (48, 64, 3)
    assert seen[-1] == counted
    assert order.shape == (1, 2)


def test_damaged_packets_in_the_middle(tmp_path):
    whole = write_pictures(tmp_path / "whole.mp4", noise(60), options={"g": "12", "bf": "2"}).read_bytes()
    path = tmp_path / "v.mp4"
    random = np.random.default_rng(0)
    start = whole.index(b"mdat") + 4
    for _ in range(10):
        damaged = bytearray(whole)
        for position in random.integers(start + 2000, len(whole) - 2000, 20):
            damaged[position : position + 30] = random.bytes(30)
        path.write_bytes(damaged)
        frames = read_eight(path)
        assert frames.shape == (8, 48, 64, 3)


def write_seeds(folder):
    """Small videos to damage."""
    pictures = noise(6, 32, 32) + corners(32, 32, 6)
    seeds = [
        write_pictures(folder / "a.mp4", pictures, options={"g": "5", "bf": "2"}),
        write_pictures(folder / "b.mkv", pictures, options={"g": "250"}),
        write_pictures(folder / "c.avi", pictures, codec="mpeg4"),
        write_pictures(folder / "d.webm", pictures, codec="libvpx-vp9"),
    ]
    return [(path.suffix, path.read_bytes()) for path in seeds]


FUZZ = """
import contextlib, faulthandler, sys
from fractions import Fraction
from pathlib import Path
import numpy as np
faulthandler.enable()
faulthandler.dump_traceback_later(20, exit=True)
sys.path[:0] = [{root!r}, {root!r} + "/tests"]
from test_datareader_broken_input import damage, read_eight, write_seeds
from utils.errors import VideoError
folder = Path(sys.argv[1])
seeds = write_seeds(folder)
open_before = len(list(Path("/proc/self/fd").iterdir()))
read = 0
for case in range(int(sys.argv[2]), int(sys.argv[3])):
    faulthandler.cancel_dump_traceback_later()
    faulthandler.dump_traceback_later(20, exit=True)
    suffix, content = seeds[case % len(seeds)]
    path = folder / ("case" + suffix)
    path.write_bytes(damage(content, case))
    print(case, end=" ", flush=True)
    with contextlib.suppress(VideoError):
        frames = read_eight(path)
        assert frames.ndim == 4 and len(frames) == 8 and frames.shape[3] == 3 and frames.dtype == np.uint8, frames.shape
        read += 1
assert len(list(Path("/proc/self/fd").iterdir())) <= open_before, "files left open"
print("read", read)
"""


def damage(content, case):
    """Flip, overwrite, cut or remove bytes, anywhere; all of it follows from the number of the case."""
    random = np.random.default_rng(case)
    damaged = bytearray(content)
    what = case // 4 % 5
    for _ in range(int(random.integers(1, 12))):
        position = int(random.integers(len(damaged)))
        if what == 0:
            damaged[position] ^= 1 << int(random.integers(8))
        elif what == 1:
            damaged[position : position + 8] = random.bytes(8)
        elif what == 2:
            del damaged[position : position + int(random.integers(1, 40))]
        elif what == 3:
            damaged[position:position] = random.bytes(int(random.integers(1, 40)))
        else:
            return bytes(damaged[: max(position, 1)])
    return bytes(damaged)


@pytest.mark.parametrize("cases", [(0, 60), pytest.param((60, 700), marks=pytest.mark.slow)])
def test_damaged_bytes_never_crash_hang_or_leak(tmp_path, cases):
    """No crash, no hang (20 s a case), no file left open, no other shape; in a process of its own."""
    program = tmp_path / "fuzz.py"
    program.write_text(FUZZ.format(root=str(ROOT)))
    command = [sys.executable, str(program), str(tmp_path), *map(str, cases)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-200:] + done.stderr[-3000:]
    assert int(done.stdout.split()[-1]) > 0


MEMORY = """
import resource, sys
sys.path.insert(0, {root!r})
import numpy as np
from datareader.dataset import ClipDataset
from datareader.filelist import unlabelled_videos
from datareader.processes.job import SampleRequest
from datareader.views import MultiView
plan = MultiView(video_length=32, sample_rate=2, crop_size=32, short_side=32, num_clips=10, num_crops=3)
dataset = ClipDataset(unlabelled_videos([sys.argv[1]]), plan)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
sample = dataset.load(SampleRequest(0, 0, 0))
assert sample.clips is not None, sample
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.parametrize(("suffix", "codec"), [("mp4", "libx264"), ("avi", "mpeg4")])
def test_large_frames_are_never_all_in_memory(tmp_path, suffix, codec):
    """70 frames of 1920 x 1080, by seeking and by counting: 415 MB if they were kept as RGB."""
    frames = [np.roll(corners(1080, 1920)[0], 20 * number, axis=1) for number in range(70)]
    path = write_pictures(tmp_path / f"v.{suffix}", frames, codec=codec, options={"preset": "ultrafast", "g": "12"})
    command = [sys.executable, "-c", MEMORY.format(root=str(ROOT)), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 150


def test_every_codec_in_every_container(tmp_path):
    """Whatever PyAV can write is read as a full decode reads it, and a full check finds it good."""
    from tools.check_videos import check_video

    codecs = {
        "yuv420p": "libx264 libx265 mpeg4 mpeg2video mpeg1video libvpx libvpx-vp9 libsvtav1 ffv1 wmv2 flv h263p",
        "yuvj420p": "mjpeg",
        "yuv422p": "huffyuv",
        "yuv422p10le": "prores_ks",
        "rgb24": "qtrle png",
        "rgb8": "gif",
    }
    pairs = [(codec, pix_fmt) for pix_fmt, names in codecs.items() for codec in names.split()]
    containers = (
        "mp4",
        "mov",
        "mkv",
        "avi",
        "webm",
        "ts",
        "flv",
        "wmv",
        "mpg",
        "3gp",
        "gif",
        "nut",
        "ogv",
        "mxf",
        "m4v",
    )
    written = 0
    for codec, pix_fmt in pairs:
        if codec not in av.codecs_available:
            continue
        for suffix in containers:
            path = tmp_path / f"{codec}.{suffix}"
            options = {"x265-params": "log-level=-1"} if codec == "libx265" else {}
            try:
                write_pictures(path, noise(12, 96, 96), codec=codec, pix_fmt=pix_fmt, options=options)
                expected = full_decode(path)
            except (av.FFmpegError, ValueError, OSError, IndexError):
                continue  # not a pair that FFmpeg writes and reads
            if not expected:
                continue
            written += 1
            for index in (len(expected) - 1, 0, len(expected) // 2):
                frames, _ = decode_frames(path, lambda n, index=index: np.array([min(index, n - 1)]))
                np.testing.assert_array_equal(frames[0], expected[index], err_msg=path.name)
            assert check_video(path, path.name, full=True)["num_frames"] == len(expected), path.name
    assert written >= 40
