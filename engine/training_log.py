"""The numbers of a training log line: means over the iterations since the last one."""

import time

import numpy as np

from metrics.topk import top_k_hits


class IntervalMeter:
    """Sums over an interval of iterations; what happens between epochs is not counted."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin a new interval, and to wait for its first batch."""
        self._losses: list[float] = []
        self._hits = {1: 0, 5: 0}
        self._clips = 0
        self._reader_seconds = 0.0
        self._batch_seconds = 0.0
        self.start_clock()

    def start_clock(self) -> None:
        """Begin to wait for a batch: the time before does not count."""
        self._clock = time.perf_counter()

    def batch_arrived(self) -> None:
        """Note that the reader delivered; the time since the last step was spent waiting for it."""
        self._reader_seconds += time.perf_counter() - self._clock

    def step_done(self, loss: float, logits: np.ndarray, labels: np.ndarray) -> None:
        """Note one iteration: its loss, logits (N, K) and labels (N,)."""
        self._losses.append(loss)
        self._clips += len(labels)
        for k in self._hits:
            self._hits[k] += int(top_k_hits(logits, labels, k).sum())
        now = time.perf_counter()
        self._batch_seconds += now - self._clock
        self._clock = now

    def line(self, *, learning_rate: float, iterations_left: int) -> str:
        """Describe the interval: seconds are means per iteration, accuracies are in [0, 1]."""
        count = len(self._losses)
        reader_cost, batch_cost = self._reader_seconds / count, self._batch_seconds / count
        eta = int(iterations_left * batch_cost)
        return (
            f"loss {np.mean(self._losses):.4f}, top-1 {self._hits[1] / self._clips:.4f}, "
            f"top-5 {self._hits[5] / self._clips:.4f}, lr {learning_rate:.3g}, "
            f"reader_cost {reader_cost:.3f} s, batch_cost {batch_cost:.3f} s, "
            f"{self._clips / max(self._batch_seconds, 1e-9):.1f} clips/s, "
            f"ETA {eta // 3600}:{eta // 60 % 60:02d}:{eta % 60:02d}"
        )
