"""Receives a stream: one thread reads packets, one decodes them and cuts windows, and a caller takes the newest window.

No thread waits for the next one. Where decoding is too slow, packets are dropped up to the next key frame; where the
caller is, windows are. Both are counted. What is kept is bounded: packets of a few seconds, the frames of a window.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import av
import numpy as np
from av.format import Flags

from datareader.decoding.rgb import RgbConverter
from datareader.streaming.clock import Pace, StreamClock
from datareader.streaming.source import StreamSource, opened, reason_of
from datareader.streaming.windows import LiveCutter, LiveWindow
from datareader.transforms import resize, resized_size
from utils.errors import VideoError
from utils.logging import get_logger

_MOST_PACKETS = 100  # that wait for the decoder
_MOST_BYTES = 64 << 20
_LARGEST_WINDOW = 2 << 30  # bytes of frames
_USUAL_RATE = 25
_LONGEST_PAUSE = 8.0  # seconds between two attempts to connect
_ATTEMPTS = 3  # to connect, while a stream that gives nothing is waited for
_LOOK_SECONDS = 0.2  # how often a wait looks whether it is to end


@dataclass
class Counts:
    """What happened to a stream.

    Attributes:
        frames: that were decoded and kept.
        dropped: packets that were left out because decoding fell behind, and frames that come before an earlier one.
        damaged: packets that cannot be decoded.
        skipped: windows that were not handed out because the caller was busy.
        reconnections: connections after the first.
    """

    frames: int = 0
    dropped: int = 0
    damaged: int = 0
    skipped: int = 0
    reconnections: int = 0


@dataclass(frozen=True)
class _Connection:
    """A connection that begins.

    Attributes:
        states_times: whether it says when frames are shown; MJPEG and raw H.264 do not.
        step_seconds: from frame to frame, where it does not say and frames are ready as fast as they are read.
        is_paced: its packets come too fast, and wait for their time.
    """

    decoder: av.VideoCodecContext
    states_times: bool
    step_seconds: float | None
    is_paced: bool

    @classmethod
    def of(cls, container: av.container.InputContainer, stream: av.VideoStream, source: StreamSource) -> "_Connection":
        """Return what is known of a connection that was opened."""
        states_times = not container.format.flags & Flags.no_timestamps.value
        if states_times:
            return cls(stream.codec_context, True, None, source.is_paced)
        is_pipe = source.kind == "pipe"
        step = 1 / float(stream.guessed_rate or _USUAL_RATE) if is_pipe else None
        return cls(stream.codec_context, False, step, is_pipe)

    def seconds_of(self, packet: av.Packet, number: int) -> float:
        """Return when a packet is due; `number` counts those of the connection."""
        if self.step_seconds is not None or packet.dts is None:
            return number * (self.step_seconds or 0.0)
        return float(packet.dts * packet.time_base)


class StreamReceiver:
    """A stream that is being received. A context manager.

    Args:
        short_side: of the frames, pixels. All have the size that the first one has.
        window, stride: seconds, see `LiveCutter`.
        patience_seconds: how long the stream may give nothing, attempts to connect again included.

    Attributes:
        counts: what happened so far.
        lost: why the stream ended before its end; empty if it did not.
    """

    def __init__(
        self, source: StreamSource, *, short_side: int, window: float, stride: float, patience_seconds: float
    ) -> None:
        self.counts = Counts()
        self.lost = ""
        self._source = source
        self._short_side = short_side
        self._patience_seconds = patience_seconds
        self._cutter = LiveCutter(window=window, stride=stride)
        self._clock = StreamClock()
        self._size: tuple[int, int] | None = None
        self._packets: deque[av.Packet | _Connection] = deque()
        self._num_bytes = 0
        self._windows: deque[LiveWindow] = deque()
        self._changed = threading.Condition()
        self._is_dropping = False  # up to the next key frame
        self._is_received = False  # no more packets will come
        self._is_decoded = False  # no more windows will come
        self._must_end = False
        self._failure: Exception | None = None
        self._undecoded_since: float | None = None  # when the first packet came of which no frame has come yet
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._receive, self._decode)]

    def __enter__(self) -> "StreamReceiver":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._must_end = True
            self._changed.notify_all()
        for thread in self._threads:  # one that waits for a network ends with its time limit, or with the process
            thread.join(2 * _LOOK_SECONDS)

    def windows(self, must_end: Callable[[], bool] = lambda: False) -> Iterator[LiveWindow]:
        """Yield the newest window each time; end with the stream, or when `must_end` says so.

        Raises:
            VideoError: the stream could not be opened, has no video, or its windows are too large.
        """
        while True:
            with self._changed:
                while not (self._windows or self._is_decoded or must_end()):
                    self._changed.wait(_LOOK_SECONDS)
                if self._failure is not None:
                    raise self._failure
                if must_end() or not self._windows:
                    return
                window = self._windows.popleft()
            yield window

    def _receive(self) -> None:
        """Read packets until the stream ends, is lost or is no longer wanted."""
        pause, last_seen = 1.0, time.monotonic()
        has_begun = False
        is_pipe = self._source.kind == "pipe"
        left = self._patience_seconds
        try:
            while not self._must_end:
                reason = "the stream ended"
                try:
                    short = self._patience_seconds / _ATTEMPTS
                    limits = (min(short, left) if has_begun else left, left if is_pipe else short)
                    for packet in self._connection(*limits):
                        if isinstance(packet, av.Packet):
                            has_begun, pause, last_seen = True, 1.0, time.monotonic()
                        self._put(packet)
                        if self._is_undecodable():
                            self.lost = f"what comes cannot be decoded ({self.counts.damaged} damaged packets)"
                            return
                    if self._must_end or (has_begun and not self._source.may_come_back):
                        return
                except (av.FFmpegError, OSError, VideoError, ValueError) as error:
                    if not has_begun:
                        raise
                    reason = reason_of(error, self._source)
                left = last_seen + self._patience_seconds - time.monotonic()
                if left <= 0 or is_pipe:
                    self.lost = reason
                    return
                get_logger().warning("%s: %s; connecting again", self._source.shown, reason)
                self._wait(min(pause, left))
                pause = min(2 * pause, _LONGEST_PAUSE)
                self.counts.reconnections += 1
        except Exception as error:  # noqa: BLE001 - raised in the caller's thread
            named = isinstance(error, VideoError)
            self._fail(error if named else VideoError(f"{self._source.shown}: {reason_of(error, self._source)}"))
        finally:
            with self._changed:
                self._is_received = True
                self._changed.notify_all()

    def _is_undecodable(self) -> bool:
        """Whether packets came for longer than the patience, and no frame of them."""
        now = time.monotonic()
        self._undecoded_since = since = self._undecoded_since or now
        return now - since > self._patience_seconds

    def _connection(self, open_seconds: float, silence_seconds: float) -> Iterator["av.Packet | _Connection"]:
        """Yield one connection, then its packets."""
        with opened(
            self._source,
            open_seconds=open_seconds,
            silence_seconds=silence_seconds,
            must_end=lambda: self._must_end,
        ) as (container, stream):
            connection = _Connection.of(container, stream, self._source)
            yield connection
            pace = Pace() if connection.is_paced else None
            last = None
            for number, packet in enumerate(container.demux(stream)):
                last = packet
                if not packet.size:
                    continue
                if pace is not None:
                    self._wait(pace.seconds_until(connection.seconds_of(packet, number)))
                if self._must_end:
                    return
                yield packet
            if last is not None and not last.size:  # the decoder gives what it held back
                yield last

    def _put(self, packet: "av.Packet | _Connection") -> None:
        """Give a packet to the decoder. If too many wait there, it and all up to the next key frame are dropped."""
        with self._changed:
            if not isinstance(packet, av.Packet):
                self._is_dropping = False
                self._packets.append(packet)
            else:
                is_end = not packet.size  # by it the decoder gives what it held back
                is_full = len(self._packets) >= _MOST_PACKETS or self._num_bytes + packet.size > _MOST_BYTES
                self._is_dropping = not is_end and (is_full or (self._is_dropping and not packet.is_keyframe))
                if self._is_dropping:
                    self.counts.dropped += 1
                    return
                self._packets.append(packet)
                self._num_bytes += packet.size
            self._changed.notify_all()

    def _decode(self) -> None:
        """Decode packets until none will come; cut the frames into windows."""
        converter = RgbConverter()
        try:
            while True:
                with self._changed:
                    while not (self._packets or self._is_received or self._must_end):
                        self._changed.wait(_LOOK_SECONDS)
                    if self._must_end or not self._packets:
                        break
                    packet = self._packets.popleft()
                    if isinstance(packet, av.Packet):
                        self._num_bytes -= packet.size
                if not isinstance(packet, av.Packet):
                    decoder = packet.decoder
                    self._clock.reconnect(states_times=packet.states_times, step_seconds=packet.step_seconds)
                    continue
                try:
                    frames = decoder.decode(packet)
                except av.FFmpegError:
                    self.counts.damaged += 1
                    continue
                for frame in frames:
                    self._add(converter, frame, is_end=not packet.size)
            self._hand_out(self._cutter.finish(), is_end=True)
        except Exception as error:  # noqa: BLE001 - raised in the caller's thread
            self._fail(error if isinstance(error, VideoError) else VideoError(f"{self._source.shown}: {error}"))
        finally:
            with self._changed:
                self._is_decoded = True
                self._changed.notify_all()

    def _add(self, converter: RgbConverter, frame: av.VideoFrame, *, is_end: bool) -> None:
        seconds = self._clock.seconds_of(frame)
        if self._clock.latest is not None and seconds <= self._clock.latest:
            self.counts.dropped += 1
            return
        self._clock.latest = seconds
        picture = converter.to_rgb(frame)
        if self._size is None:
            self._size = resized_size(*picture.shape[:2], self._short_side)
        small = np.empty((*self._size, 3), np.uint8)
        resize(picture, small)
        self.counts.frames += 1
        self._undecoded_since = None
        self._hand_out(self._cutter.add(seconds, small), is_end=is_end)
        if self._cutter.num_kept * small.nbytes > _LARGEST_WINDOW:
            raise VideoError(
                f"{self._source.shown}: a window holds more than {_LARGEST_WINDOW >> 30} GiB of frames; "
                "a shorter --window holds fewer"
            )

    def _hand_out(self, windows: list[LiveWindow], *, is_end: bool) -> None:
        with self._changed:
            if windows and not is_end:  # the caller is not at those before yet
                self.counts.skipped += len(self._windows)
                self._windows.clear()
            self._windows.extend(windows)
            self._changed.notify_all()

    def _wait(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._must_end, seconds)

    def _fail(self, error: Exception) -> None:
        with self._changed:
            self._failure = self._failure or error
            self._must_end = True
            self._changed.notify_all()
