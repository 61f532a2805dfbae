"""Streams as editors, cutters and joiners leave them: B frames, open groups, cuts, joins, edit lists, odd times.

Each is a function of its parameters alone. The pictures are noise, so that no two frames are alike.
"""

import io
import itertools
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

_TICKS = 512  # of a frame, in 1 / 12800 s
_BASE = Fraction(1, 12800)


class StreamKind(NamedTuple):
    """What a stream is like."""

    suffix: str  # of the container
    codec: str
    b_frames: int
    groups: str  # closed, open (pictures before a key frame refer to the group before it), refresh (no key frames)
    cut: (
        str  # none; key: begins at a later key frame; anywhere: in a group; end: ends in one; second: key of the second
    )
    joined: str  # none; clean: times go on; overlap: those of the second part begin early; late: with a gap
    hidden: int  # frames before time 0, which mp4 hides by an edit list
    rate: str  # constant, variable

    def __str__(self) -> str:
        return "-".join(map(str, self))


def all_kinds() -> Iterator[StreamKind]:
    """The combinations that make sense, some thousand."""
    for kind in itertools.product(
        ("mp4", "mov", "mkv", "ts", "flv"),
        ("libx264", "libx265"),
        (0, 2, 5),
        ("closed", "open", "refresh"),
        ("none", "key", "anywhere", "end", "second"),
        ("none", "clean", "overlap", "late"),
        (0, 5),
        ("constant", "variable"),
    ):
        kind = StreamKind(*kind)
        if kind.suffix == "flv" and kind.codec == "libx265":
            continue
        if kind.groups == "refresh" and (kind.codec == "libx265" or kind.b_frames):
            continue
        if kind.cut == "second" and kind.joined == "none":
            continue
        if kind.groups == "open" and not kind.b_frames:
            continue
        yield kind


class _Part(NamedTuple):
    template: av.VideoStream
    packets: list[tuple[bytes, int, int, bool]]  # content, pts, dts, key


def write_stream(path: Path, kind: StreamKind, *, seed: int = 0) -> Path:
    """Write a stream of about 30 frames of 64 x 48 pixels."""
    random = np.random.default_rng(seed)
    parts = [_cut(_encode(kind, random, 30), "none" if kind.cut == "second" else kind.cut)]
    if kind.joined != "none":
        parts.append(_cut(_encode(kind, random, 20), "key" if kind.cut == "second" else kind.cut))
    with av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as container:
        stream = container.add_stream_from_template(parts[0].template)
        gap = {"none": 0, "clean": 0, "overlap": -3 * _TICKS, "late": 40 * _TICKS}[kind.joined]
        begin, last_dts = -kind.hidden * _TICKS, None  # when the part is shown first
        for part in parts:
            shift = begin - min(pts for _, pts, _, _ in part.packets)
            for content, pts, dts, is_key in part.packets:
                packet = av.Packet(content)
                packet.stream, packet.time_base = stream, _BASE
                packet.dts = dts + shift if last_dts is None else max(dts + shift, last_dts + 1)
                packet.pts = max(pts + shift, packet.dts)  # as muxers and cutting tools make times fit
                packet.is_keyframe, last_dts = is_key, packet.dts
                container.mux(packet)
            begin = max(pts for _, pts, _, _ in part.packets) + shift + _TICKS + gap
    return path


def _encode(kind: StreamKind, random: np.random.Generator, count: int) -> _Part:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4" if kind.suffix != "ts" else "mpegts") as container:
        stream = container.add_stream(kind.codec, rate=25, options=_options(kind))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = stream.time_base = _BASE
        time = 0
        for _ in range(count):
            frame = av.VideoFrame.from_ndarray(random.integers(0, 256, (48, 64, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = time, _BASE
            time += _TICKS if kind.rate == "constant" else _TICKS * int(random.integers(1, 5))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    buffer.seek(0)
    source = av.open(buffer)
    template = source.streams.video[0]
    scale = template.time_base / _BASE
    packets = [
        (bytes(p), int(p.pts * scale), int(p.dts * scale), p.is_keyframe) for p in source.demux(template) if p.size
    ]
    return _Part(template, packets)


def _options(kind: StreamKind) -> dict[str, str]:
    is_open = int(kind.groups == "open")
    if kind.codec == "libx265":
        values = f"keyint=9:min-keyint=9:scenecut=0:bframes={kind.b_frames}:b-adapt=0:open-gop={is_open}:log-level=-1"
        return {"crf": "20", "x265-params": values}
    values = f"keyint=9:min-keyint=9:scenecut=0:bframes={kind.b_frames}:b-adapt=0:open-gop={is_open}:log=-1"
    if kind.groups == "refresh":
        values += ":intra-refresh=1"
    return {"crf": "20", "x264-params": values}


def _cut(part: _Part, cut: str) -> _Part:
    keys = [number for number, packet in enumerate(part.packets) if packet[3]]
    later = keys[1] if len(keys) > 1 else 0
    chosen = {
        "none": part.packets,
        "key": part.packets[later:],
        "anywhere": part.packets[later + 3 :],
        "end": part.packets[: later + 6],
    }[cut]
    return _Part(part.template, chosen)
