"""How many views go through the network at once: a number, or the fastest one by measurement."""

import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np

from utils.logging import get_logger

_SIZES = (1, 2, 4, 8, 16)
_CALLS = 3  # that count, of each size; the one before them does not
_LEAST_GAIN = 0.03  # of the time of a view: a larger portion needs more memory, and shall be worth it


class ViewsAtOnce:
    """Divides views into portions.

    Without a number, the first views of a run are scored in portions that grow as long as that makes a view faster:
    no view is scored for the measurement alone, and no result depends on it.

    Args:
        number: of views; 0: the fastest one of 1, 2, 4, 8 and 16.
        clock: seconds.
    """

    def __init__(self, number: int, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._best = number or _SIZES[0]
        self._untried = [] if number else list(_SIZES)
        self._seconds: list[float] = []  # of the calls with the first of these sizes, divided by their values
        self._measured: dict[int, float] = {}  # size -> median of them

    def portions(self, views: np.ndarray) -> Iterator[np.ndarray]:
        """Yield `views`, (N, ...), in portions; each is to be scored before the next one is asked for."""
        start = 0
        while start < len(views):
            size = self._untried[0] if self._untried and self._untried[0] <= len(views) else self._best
            portion = views[start : start + size]
            started = self._clock()
            yield portion
            self._note(portion, self._clock() - started)
            start += size

    def _note(self, portion: np.ndarray, seconds: float) -> None:
        if not self._untried or len(portion) != self._untried[0]:
            return
        self._seconds.append(seconds / portion.size)
        if len(self._seconds) <= _CALLS:
            return
        size, median = self._untried.pop(0), statistics.median(self._seconds[1:])
        self._seconds = []
        if not self._measured or median < (1 - _LEAST_GAIN) * self._measured[self._best]:
            self._best = size
        else:
            self._untried = []
        self._measured[size] = median
        if not self._untried:
            values = portion[0].size
            told = ", ".join(f"{size}: {1e3 * values * median:.0f} ms" for size, median in self._measured.items())
            get_logger().info("batch size auto: %d views at once (a view in portions of %s)", self._best, told)
