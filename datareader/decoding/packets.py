"""Reads the packets of a video once, and finds out whether their headers say when each frame is shown."""

import threading
from collections import OrderedDict
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
_KNOWN_PACKETS = 300_000  # of large files, whose headers a process remembers: three hours of video, 40 MB


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


_Identity = tuple[str, int, int, int]  # path, size, modification time, stream


class _KnownFiles:
    """What the packets of the last large files tell, so that many segments of one file do not each read all of it."""

    def __init__(self) -> None:
        self._files: OrderedDict[_Identity, VideoPackets] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, identity: _Identity) -> VideoPackets | None:
        with self._lock:
            if identity in self._files:
                self._files.move_to_end(identity)
            return self._files.get(identity)

    def put(self, identity: _Identity, found: VideoPackets) -> None:
        with self._lock:
            self._files[identity] = found
            while len(self._files) > 1 and sum(len(file.packets) for file in self._files.values()) > _KNOWN_PACKETS:
                self._files.popitem(last=False)


_known_files = _KnownFiles()


def read_packets(container: av.container.InputContainer, stream: av.VideoStream) -> VideoPackets:
    """Read all packets of a stream; the headers of a large file that was read before are remembered."""
    status = Path(container.name).stat()
    if status.st_size <= _KEPT_BYTES:
        return _read(container, stream, are_kept=True)
    identity = (container.name, status.st_size, status.st_mtime_ns, stream.index)
    found = _known_files.get(identity)
    if found is None:
        found = _read(container, stream, are_kept=False)
        _known_files.put(identity, found)
    return found


def _read(container: av.container.InputContainer, stream: av.VideoStream, *, are_kept: bool) -> VideoPackets:
    packets = []
    context = stream.codec_context
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
