"""The numbers of a log line: means over the iterations since the last one."""

import math
import resource
import sys
import time
from dataclasses import astuple, dataclass

import numpy as np
import paddle

from engine.training.train_step import StepResult
from metrics.topk import has_top5, top_k_hits


@dataclass
class StepTotals:
    """Sums over the clips of one update, of one process or of all."""

    loss: float = 0.0
    top1_hits: float = 0.0
    top5_hits: float = 0.0
    clips: float = 0.0

    @classmethod
    def of_step(cls, result: StepResult, labels: np.ndarray) -> "StepTotals":
        """Return the sums of this process; of an update that was skipped nothing counts."""
        if result.is_skipped:
            return cls()
        return cls(
            loss=float(result.losses.sum(dtype=np.float64)),
            top1_hits=float(top_k_hits(result.logits, labels, 1).sum()),
            top5_hits=float(top_k_hits(result.logits, labels, 5).sum()),
            clips=len(labels),
        )

    def as_array(self) -> np.ndarray:
        """Return the same as float64 (4,)."""
        return np.array(astuple(self), np.float64)


@dataclass(frozen=True)
class IntervalMetrics:
    """The numbers of a log line. Times are means per iteration; accuracies are in [0, 1].

    Where videos have several labels, a clip is right if one of them is among the best classes.
    """

    loss: float
    top1: float
    top5: float | None  # None where there are no more than five classes
    learning_rate: float
    gradient_norm: float  # of the last update, before clipping
    reader_seconds: float  # waited for the reader
    batch_seconds: float
    reader_share: float  # of the time
    clips_per_second: float  # of all processes
    memory_mb: float  # the largest use so far by this process, of the GPU's memory or of main memory
    skipped: int  # updates skipped since the program started

    def line(self, *, seconds_left: float) -> str:
        """The log line."""
        eta = int(seconds_left)
        top5 = "" if self.top5 is None else f", top-5 {self.top5:.4f}"
        skipped = f", skipped {self.skipped}" if self.skipped else ""
        return (
            f"loss {self.loss:.4f}, top-1 {self.top1:.4f}{top5}, lr {self.learning_rate:.3g}, "
            f"grad {self.gradient_norm:.3g}{skipped}, reader_cost {self.reader_seconds:.3f} s, "
            f"batch_cost {self.batch_seconds:.3f} s, {self.clips_per_second:.1f} clips/s, "
            f"ETA {eta // 3600}:{eta // 60 % 60:02d}:{eta % 60:02d}"
        )


class IntervalMeter:
    """Sums over an interval of iterations. The time between epochs is not counted."""

    def __init__(self, num_classes: int) -> None:
        self._num_classes = num_classes
        self.reset()

    def reset(self) -> None:
        """Begin a new interval."""
        self._totals = StepTotals().as_array()
        self._count = 0
        self._reader_seconds = 0.0
        self._batch_seconds = 0.0
        self.start_clock()

    def start_clock(self) -> None:
        """Start the clock. The time since the last step is not counted."""
        self._clock = time.perf_counter()

    def batch_arrived(self) -> float:
        """Count the time since the last step as waiting for the reader, and return it in seconds."""
        waited = time.perf_counter() - self._clock
        self._reader_seconds += waited
        return waited

    def step_done(self, totals: StepTotals) -> None:
        """Add the numbers of an iteration."""
        self._totals += totals.as_array()
        self._count += 1
        now = time.perf_counter()
        self._batch_seconds += now - self._clock
        self._clock = now

    def metrics(self, *, learning_rate: float, gradient_norm: float, skipped: int) -> IntervalMetrics:
        """Return the numbers of the interval."""
        totals = StepTotals(*self._totals.tolist())
        seconds = max(self._batch_seconds, 1e-9)
        clips = totals.clips or math.nan
        return IntervalMetrics(
            loss=totals.loss / clips,
            top1=totals.top1_hits / clips,
            top5=totals.top5_hits / clips if has_top5(self._num_classes) else None,
            learning_rate=learning_rate,
            gradient_norm=gradient_norm,
            reader_seconds=self._reader_seconds / self._count,
            batch_seconds=self._batch_seconds / self._count,
            reader_share=self._reader_seconds / seconds,
            clips_per_second=totals.clips / seconds,
            memory_mb=_largest_memory() / 1e6,
            skipped=skipped,
        )


def _largest_memory() -> float:
    """Return the largest memory use so far in bytes: of the GPU if one is in use, else of main memory."""
    if paddle.get_device().startswith("gpu"):
        return float(paddle.device.cuda.max_memory_allocated())
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
