"""When the frames of a stream are shown, and when the packets of one that comes too fast are due."""

import time

import av

_LONGEST_GAP = 10.0  # seconds: times that jump further are no gap, the sender has begun to count anew
_LATE = 1.0  # seconds


class StreamClock:
    """Times of frames in seconds from the first one, ascending.

    They are those that the sender states. Where it has begun to count anew, and after every new connection, they go on
    with the time that has really passed. Where it states none, as MJPEG does, they are the times at which the frames
    arrive; in a pipe, which has them ready, they follow one another at the rate of the video.

    Attributes:
        latest: time of the last frame that was kept.
    """

    def __init__(self) -> None:
        self.latest: float | None = None
        self._began = 0.0  # by the clock of this machine
        self._offset: float | None = None  # what is added to the stated times; None: not known yet
        self._states_times = True
        self._step: float | None = None

    def reconnect(self, *, states_times: bool, step_seconds: float | None) -> None:
        """The next frame is the first one of a new connection.

        Args:
            states_times: whether the sender states when frames are shown.
            step_seconds: if it does not, from frame to frame; None: as they arrive.
        """
        self._offset, self._states_times, self._step = None, states_times, step_seconds

    def seconds_of(self, frame: av.VideoFrame) -> float:
        """Return when a frame is shown."""
        stated = frame.time if self._states_times else None
        if self.latest is None:
            self._began = time.monotonic()
            self._offset = None if stated is None else -stated
            return 0.0
        passed = time.monotonic() - self._began
        if stated is None:
            return max(passed, self.latest) if self._step is None else self.latest + self._step
        if self._offset is None or not -_LONGEST_GAP / 10 < stated + self._offset - self.latest <= _LONGEST_GAP:
            self._offset = max(passed, self.latest) - stated
        return stated + self._offset


class Pace:
    """Says how long to wait for a packet of a stream that is read faster than it is to be shown."""

    def __init__(self) -> None:
        self._start: float | None = None  # when the time 0 of the stream is shown

    def seconds_until(self, seconds: float) -> float:
        """Return how long it is until the time `seconds` of the stream; 0 if it has passed.

        A stream that was late is not caught up with, and a jump of its times is not waited for.
        """
        now = time.monotonic()
        if self._start is None or not -_LATE <= self._start + seconds - now <= _LONGEST_GAP:
            self._start = now - seconds
        return max(0.0, self._start + seconds - now)
