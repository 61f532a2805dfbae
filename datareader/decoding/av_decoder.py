"""The default decoder: PyAV (FFmpeg). It decodes only from a key frame to the last wanted frame.

Frames are found by presentation time. The times come from the headers of the packets, which takes a few milliseconds to
read. `_trusted_times` decides whether they can be trusted, and every decode checks them again.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from datareader.decoding.interface import FrameCountError
from utils.errors import VideoError

# Containers whose presentation times are exact, and codecs in which every packet is one picture.
_EXACT_CONTAINERS = {"mov", "mp4", "matroska"}
_EXACT_CODECS = {"h264", "hevc"}
# PyAV 17 began to convert with several threads, for each frame anew.
_ONE_THREAD = {"threads": 1} if int(av.__version__.partition(".")[0]) >= 17 else {}


_WORTH_A_SEEK = 8  # a seek must skip more packets than this: it costs about as much as decoding a few
_KEPT_BYTES = 64 << 20  # a file up to this size is read once, and its packets stay in memory


class _Packet(NamedTuple):
    """The header of a packet, for files too large to keep their packets."""

    pts: int | None
    dts: int | None
    is_keyframe: bool
    is_discard: bool


class AvDecoder:
    """A video opened with PyAV. See `VideoDecoder` for the interface."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._counted: list[int | None] = []  # presentation times of the frames of a full decode
        self._size: tuple[int, int] | None = None  # (width, height) of the first frame converted
        self._reformatter = VideoReformatter()  # one for all frames: making one takes longer than using it
        self._open()
        try:
            self.packets = self._read_packets()
            self.times = self._trusted_times()  # presentation time of each frame, or None: count instead
            self.num_frames = len(self.times) if self.times is not None else self.count_by_decoding()
        except VideoError:
            self.close()
            raise
        if self.num_frames == 0:
            self.close()
            raise VideoError(f"{path}: no frame can be decoded")

    def get_frames(self, indices: np.ndarray) -> np.ndarray:
        if self.times is not None:
            frames = self._frames_by_time(indices)
            if frames is not None:
                return frames
            self.times = None  # the decoder did not give what the packets state: find frames by counting from now on
            counted = self.count_by_decoding()
            if counted == 0:
                raise VideoError(f"{self._path}: no frame can be decoded")
            if counted != self.num_frames:
                self.num_frames = counted
                raise FrameCountError
        return self._frames_by_count(indices)

    @property
    def codec_context(self) -> av.VideoCodecContext:
        """libavcodec's decoder."""
        return self._stream.codec_context

    @property
    def promised_frames(self) -> int:
        """The number of frames that the container states, 0 if it does not."""
        return self._stream.frames

    @property
    def frame_rate(self) -> float:
        """Frames a second on average, 0 if the file does not say."""
        return float(self._stream.average_rate or 0)

    @property
    def times_seconds(self) -> np.ndarray:
        """When each frame is shown: seconds from the first, float64 (num_frames,).

        Computed from the frame rate if the file does not state times.
        """
        times = self._counted if self.times is None else self.times
        if None in times or (np.diff(np.array(times, np.int64)) <= 0).any():
            return np.arange(self.num_frames) / self.frame_rate
        return (np.array(times, np.int64) - int(times[0])) * float(self._stream.time_base)

    def close(self) -> None:
        self._container.close()

    def _open(self) -> None:
        try:
            self._container = av.open(str(self._path.absolute()), metadata_errors="replace")
        except (av.FFmpegError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise VideoError(f"{self._path}: not a video that FFmpeg can open ({reason})") from error
        if not self._container.streams.video:
            self._container.close()
            raise VideoError(f"{self._path}: the file has no video stream")
        self._stream = self._container.streams.video[0]
        if self._stream.codec_context is None:
            self._container.close()
            raise VideoError(f"{self._path}: FFmpeg has no decoder for its video stream")
        self._stream.thread_type = "NONE"  # the reader runs one process per core already

    def _reopen(self) -> None:
        self._container.close()
        self._open()

    def _read_packets(self) -> list[av.Packet] | list[_Packet]:
        packets = []
        self._are_kept = self._path.stat().st_size <= _KEPT_BYTES
        try:
            for packet in self._container.demux(self._stream):
                if packet.size and self._are_kept:
                    packets.append(packet)
                elif packet.size:
                    packets.append(_Packet(packet.pts, packet.dts, packet.is_keyframe, packet.is_discard))
        except av.FFmpegError:
            pass  # a damaged end: keep what was read before it; decoding will show whether it is usable
        return packets

    def _trusted_times(self) -> np.ndarray | None:
        names = set(self._container.format.name.split(","))
        if not names & _EXACT_CONTAINERS or self._stream.codec_context.name not in _EXACT_CODECS:
            return None
        if not self.packets or not self.packets[0].is_keyframe:
            return None
        times = [packet.pts for packet in self.packets if not packet.is_discard]
        if None in times or any(packet.dts is None for packet in self.packets) or len(set(times)) != len(times):
            return None
        return np.sort(np.array(times, np.int64))

    def count_by_decoding(self) -> int:
        """Decode everything and return the number of frames."""
        self._reopen()
        self._counted = [frame.pts for frame in self._decode_all()]
        return len(self._counted)

    def _decode_all(self) -> Iterator[av.VideoFrame]:
        """Yield every frame of a newly opened file. Damaged packets are skipped, as a player does."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                frames = packet.decode()
            except av.error.EOFError:
                return
            except av.FFmpegError:
                if packet is None:
                    return
                continue
            yield from frames

    def _frames_by_count(self, indices: np.ndarray) -> np.ndarray:
        self._reopen()
        wanted = {int(index): place for place, index in enumerate(indices)}
        found: dict[int, np.ndarray] = {}
        for number, frame in enumerate(self._decode_all()):
            if number in wanted:
                found[wanted[number]] = self._to_rgb(frame)
                if len(found) == len(wanted):
                    return np.stack([found[place] for place in range(len(wanted))])
        raise VideoError(f"{self._path}: {len(found)} of {len(wanted)} wanted frames could be decoded")

    def _frames_by_time(self, indices: np.ndarray) -> np.ndarray | None:
        """Return the frames at the known times, or None if the decoder does not give all of them."""
        wanted = {int(self.times[index]): place for place, index in enumerate(indices)}
        found: dict[int, np.ndarray] = {}
        try:
            for key_number, times in self.stretches(set(wanted)):
                for time, picture in self._decode_stretch(key_number, times):
                    found[wanted[time]] = picture
        except av.FFmpegError:
            pass
        finally:
            self._stream.codec_context.skip_frame = "DEFAULT"
        return np.stack([found[place] for place in range(len(wanted))]) if len(found) == len(wanted) else None

    def stretches(self, wanted: set[int]) -> list[tuple[int, set[int]]]:
        """Return the parts of the file that are decoded without a seek: number of the packet to begin at, wanted times.

        A part begins at a key frame. For a wanted frame that is the last key frame that comes before it both in the
        file and on the screen. A key frame that is shown later is of no use: pictures that follow it in the file but
        are shown before it (an open group of pictures) may refer to the group before. A new part begins where a seek
        skips enough packets.
        """
        stretches: list[tuple[int, set[int]]] = []
        keys: list[tuple[int, int]] = []  # (number, presentation time)
        last_number = 0
        for number, packet in enumerate(self.packets):
            if packet.is_keyframe:
                keys.append((number, packet.pts))
            if packet.pts not in wanted or packet.is_discard:
                continue
            key_number = next((key for key, time in reversed(keys) if time <= packet.pts), keys[0][0])
            if not stretches or key_number - last_number > _WORTH_A_SEEK:
                stretches.append((key_number, set()))
            elif key_number < stretches[-1][0]:  # shown before the key frame that this stretch began at
                stretches[-1] = key_number, stretches[-1][1]
            stretches[-1][1].add(packet.pts)
            last_number = number
        return stretches

    def _decode_stretch(self, key_number: int, times: set[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (time, picture) of the wanted frames from a key frame on; fewer, if one is damaged or missing."""
        context, left = self.codec_context, len(times)
        for packet in self.packets_from(key_number):
            # A picture that is not wanted, and that no other picture refers to, is not decoded.
            context.skip_frame = "DEFAULT" if packet is None or packet.pts in times else "NONREF"
            for frame in context.decode(packet):
                if frame.pts in times:
                    if frame.is_corrupt:
                        return
                    yield frame.pts, self._to_rgb(frame)
                    left -= 1
            if not left:
                return

    def packets_from(self, number: int) -> Iterator[av.Packet | None]:
        """Yield the packets from a key frame on, and None at the end, after a reset of the decoder."""
        if self._are_kept:
            self.codec_context.flush_buffers()
            yield from self.packets[number:]
        else:
            self._container.seek(self.packets[number].dts, stream=self._stream, backward=True)
            yield from (packet for packet in self._container.demux(self._stream) if packet.size)
        yield None

    def _to_rgb(self, frame: av.VideoFrame) -> np.ndarray:
        # All frames get the size of the first, in case the size changes within the video.
        self._size = self._size or (frame.width, frame.height)
        width, height = self._size
        picture = self._reformatter.reformat(frame, width, height, "rgb24", **_ONE_THREAD).to_ndarray()
        if frame.rotation % 360 == 0:
            return picture
        return np.rot90(picture, k=round(frame.rotation / 90))  # counterclockwise, as the file's matrix asks for
