"""Reads the packets of a video once, and finds out whether their headers say when each frame is shown."""

from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from datareader.decoding.frame_times import shown_times
from datareader.decoding.hidden_pictures import ShownCheck
from datareader.decoding.picture_order import OrderCheck

# Containers that state times, and codecs in which every packet is one picture, with what is checked of their streams.
_EXACT_CONTAINERS = {"mov", "mp4", "matroska", "webm", "mpegts"}
_CHECKS = {"h264": OrderCheck, "hevc": OrderCheck, "vp8": ShownCheck, "vp9": ShownCheck, "libdav1d": ShownCheck}
_KEPT_BYTES = 64 << 20  # a file up to this size is read once, and its packets stay in memory


class PacketHeader(NamedTuple):
    """The header of a packet, for files too large to keep their packets."""

    pts: int | None
    dts: int | None
    is_keyframe: bool
    is_discard: bool


class VideoPackets(NamedTuple):
    """What the packets of a stream tell."""

    packets: list[av.Packet] | list[PacketHeader]  # headers, if the file is large
    are_kept: bool  # they are packets
    times: np.ndarray | None  # when each frame of a full decode is shown, ascending int64; None: headers cannot tell
    may_change_size: bool  # pictures may have another size than the first


def read_packets(container: av.container.InputContainer, stream: av.VideoStream) -> VideoPackets:
    """Read all packets of a stream."""
    packets = []
    context = stream.codec_context
    are_kept = Path(container.name).stat().st_size <= _KEPT_BYTES
    check = _CHECKS.get(context.name)
    check = None if check is None else check(context.name, context.extradata)
    try:
        for packet in container.demux(stream):
            if not packet.size:
                continue
            if check is not None:
                check.add(len(packets), packet)
            if are_kept:
                packets.append(packet)
            else:
                packets.append(PacketHeader(packet.pts, packet.dts, packet.is_keyframe, packet.is_discard))
    except av.FFmpegError:
        pass  # a damaged end: keep what was read before it; decoding will show whether it is usable
    names = set(container.format.name.split(","))
    times = shown_times(packets, check) if names & _EXACT_CONTAINERS and check is not None else None
    may_change_size = check is None or check.may_change_size
    return VideoPackets(packets, are_kept, times, may_change_size)
