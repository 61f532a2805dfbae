"""Which stream of a file is read: the one that a player shows."""

import av
import numpy as np
import pytest
from av.stream import Disposition
from conftest import write_counting_video

from datareader.decoding.opening import decode_frames
from datareader.video_facts import read_facts
from utils.errors import VideoError


def write_tracks(path, *tracks):
    """A file of several video streams: (codec, width, height, brightness, disposition) of each."""
    with av.open(str(path), "w") as container:
        streams = []
        for codec, width, height, brightness, disposition in tracks:
            stream = container.add_stream(codec, rate=25)
            stream.width, stream.height = width, height
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.disposition = disposition
            streams.append((stream, np.full((height, width, 3), brightness, np.uint8), disposition))
        for stream, picture, disposition in streams:
            for _ in range(1 if disposition & Disposition.attached_pic else 12):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=stream.pix_fmt)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    return path


NONE, DEFAULT, COVER = Disposition(0), Disposition.default, Disposition.attached_pic
SMALL, LARGE, PICTURE = ("libx264", 64, 48, 50), ("libx264", 128, 96, 150), ("mjpeg", 256, 256, 250)


@pytest.mark.parametrize(
    ("tracks", "shown"),
    [
        ([(*SMALL, DEFAULT), (*LARGE, NONE)], 50),
        ([(*SMALL, NONE), (*LARGE, DEFAULT)], 150),
        ([(*LARGE, NONE), (*SMALL, DEFAULT)], 50),
        ([(*SMALL, DEFAULT), (*LARGE, DEFAULT)], 150),
    ],
)
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_the_stream_that_a_player_shows(tmp_path, suffix, tracks, shown):
    path = write_tracks(tmp_path / f"v.{suffix}", *tracks)
    with av.open(str(path)) as container:
        assert [stream.disposition for stream in container.streams.video] == [track[-1] for track in tracks]
    frames, _ = decode_frames(path, lambda n: np.arange(n))
    assert len(frames) == 12
    np.testing.assert_allclose(frames.mean(), shown, atol=2)
    assert read_facts(path).width == (128 if shown == 150 else 64)


@pytest.mark.parametrize("comes_first", [True, False])
def test_a_cover_is_never_it(tmp_path, comes_first):
    """Taggers and download tools put it behind the video or before it."""
    path = write_tracks(tmp_path / "v.mp4", (*SMALL, NONE), (*PICTURE, COVER))
    if comes_first:
        put_the_cover_first(path)
    with av.open(str(path)) as container:
        assert bool(container.streams.video[0].disposition & COVER) == comes_first
    frames, _ = decode_frames(path, lambda n: np.arange(n))
    assert len(frames) == 12
    np.testing.assert_allclose(frames.mean(), 50, atol=2)


def put_the_cover_first(path):
    """Move the box of the tags, which holds the cover, to the beginning of the box of the tracks."""
    content = path.read_bytes()
    start = content.index(b"moov") + 4
    boxes = []
    while len(boxes) == 0 or boxes[-1][4:8] != b"udta":
        size = int.from_bytes(content[start : start + 4], "big")
        boxes.append(content[start : start + size])
        start += size
    begin = start - sum(map(len, boxes))
    path.write_bytes(content[:begin] + boxes[-1] + b"".join(boxes[:-1]) + content[start:])


def test_without_a_default_the_largest(tmp_path):
    """In mp4, which has a flag for each track, tracks that are all switched off."""
    path = write_tracks(tmp_path / "v.mp4", (*SMALL, DEFAULT), (*LARGE, NONE))
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd")
    assert content[place + 7] & 1
    content[place + 7] &= 0xFE
    path.write_bytes(content)
    frames, _ = decode_frames(path, lambda n: np.arange(n))
    np.testing.assert_allclose(frames.mean(), 150, atol=2)


def test_nothing_but_a_cover(tmp_path):
    """As a song with a picture has it."""
    with av.open(str(tmp_path / "song.mp4"), "w") as container:
        sound = container.add_stream("aac", rate=8000)
        stream = container.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt, stream.disposition = 64, 64, "yuvj420p", COVER
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 8000
        container.mux(sound.encode(frame))
        container.mux(sound.encode())
        picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        container.mux(stream.encode(picture.reformat(format="yuvj420p")))
        container.mux(stream.encode())
    with pytest.raises(VideoError, match="has no video stream but an attached picture"):
        decode_frames(tmp_path / "song.mp4", lambda n: np.arange(n))


def test_sound_before_the_picture(tmp_path):
    """The video is found wherever it stands among the streams."""
    source = write_counting_video(tmp_path / "a.mp4", 12)
    with av.open(str(source)) as opened, av.open(str(tmp_path / "v.mkv"), "w") as container:
        sound = container.add_stream("aac", rate=8000)
        stream = container.add_stream_from_template(opened.streams.video[0])
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 8000
        container.mux(sound.encode(frame))
        container.mux(sound.encode())
        for packet in opened.demux(video=0):
            if packet.size:
                packet.stream = stream
                container.mux(packet)
    assert read_facts(tmp_path / "v.mkv").num_frames == 12
