"""Windows over a stream, each handed out as soon as it is whole: the same as `cut_windows` gives of a file."""

import time
from collections import deque
from dataclasses import dataclass, field

import numpy as np

_USUAL_STEP = 0.04  # seconds from frame to frame, before there are two
_STEPS = 100  # the last steps from frame to frame, by whose middle one the length of a frame is known


@dataclass(frozen=True)
class LiveWindow:
    """A part of a stream, in seconds from its first frame."""

    start_seconds: float
    end_seconds: float
    frames: list[np.ndarray]  # uint8 (H, W, 3), RGB, all of one size
    times_seconds: np.ndarray  # of the frames, float64
    whole_at: float = field(default_factory=time.time)  # when it was whole, seconds of the epoch


class LiveCutter:
    """Cuts frames that come one by one into windows.

    Args:
        window, stride: seconds, see `datareader.windows.cut_windows`.
    """

    def __init__(self, *, window: float, stride: float) -> None:
        self._window = window
        self._stride = stride
        self._number = 0  # of the window that is being filled
        self._end_of_last = 0.0
        self._frames: deque[tuple[float, np.ndarray]] = deque()
        self._latest: float | None = None
        self._steps: deque[float] = deque(maxlen=_STEPS)

    @property
    def num_kept(self) -> int:
        """Frames that are kept for windows to come."""
        return len(self._frames)

    def add(self, seconds: float, frame: np.ndarray) -> list[LiveWindow]:
        """Take a frame, later than all before; return the windows that are whole by it."""
        if self._latest is not None:
            self._steps.append(seconds - self._latest)
        self._latest = seconds
        margin = self._nearly() / 2  # containers round times
        whole = []
        while seconds >= self._start() + self._window - margin:
            closed = self._cut(self._start() + self._window, margin)
            if not closed:  # a gap: on to the first window that shows this frame
                self._number = max(self._number, int((seconds - self._window) / self._stride) + 1)
            whole += closed
        if seconds >= self._start() - margin:
            self._frames.append((seconds, frame))
        return whole

    def finish(self) -> list[LiveWindow]:
        """Return what is left at the end of the stream: the windows up to the first that reaches it."""
        if self._latest is None:
            return []
        nearly = self._nearly()
        duration = self._latest + self._frame_seconds()
        rest = []
        while self._frames and max(self._end_of_last, self._start()) < duration - nearly:
            end = self._start() + self._window
            rest += self._cut(end if end < duration - nearly else duration, nearly / 2)
        return rest

    def _start(self) -> float:
        return self._number * self._stride

    def _frame_seconds(self) -> float:
        return float(np.median(self._steps)) if self._steps else _USUAL_STEP

    def _nearly(self) -> float:
        return min(self._frame_seconds() / 2, self._window / 4, self._stride / 4)

    def _cut(self, end: float, margin: float) -> list[LiveWindow]:
        """Close the window that is being filled; drop the frames that no later one shows."""
        start = self._start()
        shown = [(time, frame) for time, frame in self._frames if start - margin <= time < end - margin]
        self._number += 1
        while self._frames and self._frames[0][0] < self._start() - margin:
            self._frames.popleft()
        if not shown:
            return []
        self._end_of_last = end
        return [LiveWindow(start, end, [frame for _, frame in shown], np.array([time for time, _ in shown]))]
