"""Measures the phases of a training step, for ``train.py --profile``."""

import contextlib
import time
from collections.abc import Iterator

import numpy as np
import paddle


class PhaseClock:
    """Measures named phases of iterations while it is on. When off, it does nothing.

    When on, it waits for the device at the end of every phase, so that each phase gets its own time. This makes a step
    a little slower.
    """

    def __init__(self, *, is_on: bool = False) -> None:
        self.is_on = is_on
        self._running: dict[str, float] = {}
        self._iterations: list[dict[str, float]] = []

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time of the block to a phase of the current iteration."""
        if not self.is_on:
            yield
            return
        started = time.perf_counter()
        yield
        if paddle.get_device() != "cpu":  # on a CPU every operation has finished
            paddle.device.synchronize()
        self.add(name, time.perf_counter() - started)

    def add(self, name: str, seconds: float) -> None:
        """Add seconds to a phase of the current iteration."""
        if self.is_on:
            self._running[name] = self._running.get(name, 0.0) + seconds

    def iteration_done(self) -> None:
        """End the current iteration."""
        if self.is_on:
            self._iterations.append(self._running)
            self._running = {}

    @property
    def num_iterations(self) -> int:
        """Iterations measured so far."""
        return len(self._iterations)

    def table(self, *, skip: int = 0) -> str:
        """Return a table of every phase: median, smallest and largest milliseconds, share of the sum of medians.

        Args:
            skip: the number of first iterations that are left out: they allocate memory and choose algorithms.
        """
        measured = self._iterations[skip:]
        names = list(dict.fromkeys(name for iteration in measured for name in iteration))
        times = {name: 1000 * np.array([iteration.get(name, 0.0) for iteration in measured]) for name in names}
        total = sum(float(np.median(values)) for values in times.values())
        lines = [f"{'phase':<10} {'median ms':>10} {'min':>9} {'max':>9} {'share':>7}"]
        for name, values in times.items():
            median = float(np.median(values))
            lines.append(
                f"{name:<10} {median:>10.1f} {values.min():>9.1f} {values.max():>9.1f} {100 * median / total:>6.1f}%"
            )
        return "\n".join([*lines, f"{'all':<10} {total:>10.1f}   over {len(measured)} iterations"])
