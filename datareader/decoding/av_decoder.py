"""Videos by PyAV (FFmpeg). Only what stands between a key frame and the last wanted frame is decoded.

Frames are found by presentation time. The times come from the headers of the packets, which takes a few milliseconds to
read. `frame_times.shown_times` decides whether they can be trusted, and every decode checks them again. Where they
cannot, frames are found by counting.
"""

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from datareader.decoding.frame_times import PacketIndex, Stretch
from datareader.decoding.interface import FrameCountError
from datareader.decoding.packets import read_packets
from datareader.decoding.rgb import RgbConverter
from datareader.decoding.streams import decode_all, open_stream
from utils.errors import VideoError

# What is left out of pictures that are not wanted: those that no other refers to.
_UNWANTED = {"h264": "NONREF", "hevc": "NONREF"}
# A seek must skip more packets than this: in memory it is a reset of the decoder, in a file as dear as a few packets.
_WORTH_A_SEEK_IN_MEMORY = 1
_WORTH_A_SEEK_IN_A_FILE = 8
_LARGEST_ASPECT = 16  # of a pixel; no camera has more
_RARE_KEYS = 600  # packets from one key frame to the next: more are decoded once, where windows move over a video


class AvDecoder:
    """A video opened with PyAV. See `VideoDecoder` for the interface.

    Attributes:
        packets: the packets of the video, or their headers if the file is large.
        times: when each frame is shown, in units of the time base; None: frames are found by counting.
        on_frame: called for every frame that is decoded, where this may take long.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._converter = RgbConverter()
        self._num_frames: int | None = None
        self._counted: list[int | None] = []  # the times of a full decode
        self._first_size: tuple[int, int] | None = None
        self._walk: Iterator[av.VideoFrame] | None = None  # the decoding by counting that is under way
        self._position = 0  # the number of the frame that the walk gives next
        self.on_frame: Callable[[], None] = lambda: None
        self._container, self._stream = open_stream(path)
        self._stated_size = self.codec_context.height, self.codec_context.width
        self.packets, self._are_kept, self.times, self._may_change_size = read_packets(self._container, self._stream)
        if self.times is not None:
            self._num_frames = len(self.times)
            self._index = PacketIndex(self.packets)

    @property
    def num_frames(self) -> int:
        """The number of frames that a full decode yields. Where headers do not tell, the first call decodes all.

        Raises:
            VideoError: no frame can be decoded.
        """
        if self._num_frames is None:
            self._num_frames = self.count_by_decoding()
        if self._num_frames == 0:
            raise VideoError(f"{self._path}: no frame can be decoded")
        return self._num_frames

    @property
    def first_size(self) -> tuple[int, int]:
        """(height, width) of the first frame as it is shown."""
        if self._first_size is None:  # opened once more: the other one may be at work
            container, stream = open_stream(self._path)
            with container:
                first = next(decode_all(container, stream), None)
                if first is None:
                    raise VideoError(f"{self._path}: no frame can be decoded")
                self._first_size = self._converter.shown_size(first)
        return self._first_size

    @property
    def pixel_aspect(self) -> Fraction:
        """Width of a pixel of the first frame by its height, as it is shown; 1 where the file says nothing usable."""
        stated = self._stream.sample_aspect_ratio or Fraction(1)
        if not 1 / _LARGEST_ASPECT <= stated <= _LARGEST_ASPECT:
            return Fraction(1)
        is_turned = self.first_size and self._converter.changes_places  # the converter knows once it has seen a frame
        return 1 / stated if is_turned else stated

    @property
    def reads_on(self) -> bool:
        """Whether decoding all that stands between is better for callers that move forward: key frames are rare."""
        return self.times is None or len(self.packets) > _RARE_KEYS * sum(packet.is_keyframe for packet in self.packets)

    def pictures(self, indices: np.ndarray, *, go_on: bool = False) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (place in `indices`, picture): see `VideoDecoder`."""
        if self.times is not None and not (go_on and self.reads_on):
            places = {int(self.times[index]): place for place, index in enumerate(indices)}
            for time, picture in self._pictures_by_time(set(places)):
                yield places.pop(time), picture
            if not places:
                return
            self._distrust_times()
        yield from self._pictures_by_count(indices)

    @property
    def codec_context(self) -> av.VideoCodecContext:
        """libavcodec's decoder."""
        return self._stream.codec_context

    @property
    def promised_frames(self) -> int:
        """The number of frames that the container says it shows, 0 if it does not say.

        An edit list hides frames at the beginning and at the end, and shortens the duration by them.
        """
        shown = self._stream.frames - sum(packet.is_discard for packet in self.packets)
        if self._stream.duration and self.frame_rate:
            shown = min(shown, round(float(self._stream.duration * self._stream.time_base) * self.frame_rate))
        return max(shown, 0)

    @property
    def frame_rate(self) -> float:
        """Frames a second on average, 0 if the file does not say."""
        return float(self._stream.average_rate or 0)

    @property
    def times_seconds(self) -> np.ndarray:
        """When each frame is shown: seconds from the first, float64 (num_frames,).

        Computed from the frame rate if the file does not state times.
        """
        count = self.num_frames
        times = self._counted if self.times is None else self.times
        if None in times or (np.diff(np.array(times, np.int64)) <= 0).any():
            if not self.frame_rate:
                raise VideoError(f"{self._path}: states neither the times of its frames nor a frame rate")
            return np.arange(count) / self.frame_rate
        return (np.array(times, np.int64) - int(times[0])) * float(self._stream.time_base)

    def close(self) -> None:
        self._container.close()

    def count_by_decoding(self) -> int:
        """Decode everything and return the number of frames."""
        self._counted = []
        for frame in self.all_frames():
            self._counted.append(frame.pts)
            self.on_frame()
        return len(self._counted)

    def all_frames(self, on_damage: Callable[[], None] = lambda: None) -> Iterator[av.VideoFrame]:
        """Return the frames of a full decode: see `decode_all`. Asking for others in between begins it anew."""
        self._walk = None
        self._container.close()
        self._container, self._stream = open_stream(self._path)
        return decode_all(self._container, self._stream, on_damage=on_damage)

    def to_rgb(self, frame: av.VideoFrame) -> np.ndarray:
        """Return a frame as it is shown, in its own size: uint8 (H, W, 3)."""
        return self._converter.to_rgb(frame)

    def _distrust_times(self) -> None:
        """The decoder did not give what the headers state: find frames by counting from now on."""
        self.times = None
        before, self._num_frames = self._num_frames, None
        if self.num_frames != before:
            raise FrameCountError

    def _pictures_by_count(self, indices: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        if self._walk is None or indices[0] < self._position:
            self._walk, self._position = self.all_frames(), 0
        for place, index in enumerate(indices.tolist()):
            for frame in self._walk:
                if self._position == 0:
                    self._first_size = self._converter.shown_size(frame)
                self._position += 1
                self.on_frame()
                if self._position > index:
                    yield place, self.to_rgb(frame)
                    break
            else:
                self._correct_count(self._position, place, len(indices))

    def _correct_count(self, counted: int, found: int, wanted: int) -> None:
        before, self._num_frames = self._num_frames, counted
        if counted != before and counted:
            raise FrameCountError
        raise VideoError(f"{self._path}: {found} of {wanted} wanted frames could be decoded")

    def _pictures_by_time(self, wanted: set[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (time, picture); fewer than wanted, if the decoder does not give what the headers state."""
        worth = _WORTH_A_SEEK_IN_MEMORY if self._are_kept else _WORTH_A_SEEK_IN_A_FILE
        try:
            for stretch in self._index.stretches(wanted, worth_a_seek=worth):
                yield from self._decode_stretch(stretch)
        except av.FFmpegError:
            pass
        finally:
            self.codec_context.skip_frame = "DEFAULT"

    def _decode_stretch(self, stretch: Stretch) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (time, picture) of the wanted frames; fewer, if one is damaged, missing or out of order."""
        context, left, latest = self.codec_context, set(stretch.times), None
        unwanted = _UNWANTED.get(context.name, "DEFAULT")
        for packet in self.packets_of(stretch):
            context.skip_frame = "DEFAULT" if packet is None or packet.pts in left else unwanted
            for frame in context.decode(packet):
                if frame.pts is None or (latest is not None and frame.pts <= latest):
                    return
                latest = frame.pts
                if latest in left:
                    if frame.is_corrupt:
                        return
                    is_stated = (frame.height, frame.width) == self._stated_size
                    if self._first_size is None and is_stated and not self._may_change_size:
                        self._first_size = self._converter.shown_size(frame)
                    yield latest, self.to_rgb(frame)
                    left.remove(latest)
            if not left:
                return

    def packets_of(self, stretch: Stretch) -> Iterator[av.Packet | None]:
        """Yield the packets of a stretch, and None at the end, after a reset of the decoder."""
        if self._are_kept:
            self.codec_context.flush_buffers()
            yield from self.packets[stretch.first_packet : stretch.last_packet + 1]
        else:
            start, last = self.packets[stretch.first_packet], self.packets[stretch.last_packet]
            self._container.seek(start.pts if start.dts is None else start.dts, stream=self._stream, backward=True)
            has_begun = False  # a container may land before the key frame
            for packet in self._container.demux(self._stream):
                has_begun = has_begun or packet.pts == start.pts
                if packet.size and has_begun:
                    yield packet
                if packet.pts == last.pts:
                    break
        yield None
