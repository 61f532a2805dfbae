"""The measures where there are two classes: class 1 is looked for, class 0 is the rest."""

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from metrics.average_precision import counts_by_threshold
from metrics.intervals import Interval, drawn_interval, wilson_interval
from metrics.percentages import with_interval


class OperatingPoint(NamedTuple):
    """What a threshold for the probability of class 1 gives, in [0, 1]."""

    threshold: float
    precision: float  # of those that are called class 1
    recall: float  # also true positive rate
    false_positive_rate: float
    f1: float


@dataclass(frozen=True)
class TwoClassMeasures:
    """Measures of class 1 at a threshold, and over all thresholds; None where there is nothing to measure.

    Intervals are of 95 %: Wilson's; of F1 and AUC by drawing videos anew. None where they were not asked for.
    """

    threshold: float
    precision: float | None
    recall: float | None
    f1: float | None  # None if nothing is of class 1 and nothing is called so
    auc: float | None  # area under the curve of true by false positive rate; None of a single class
    precision_interval: Interval | None = None
    recall_interval: Interval | None = None
    f1_interval: Interval | None = None
    auc_interval: Interval | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the same as a dictionary."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return lines for the screen, with percentages."""
        at = f"   (class 1, at {self.threshold:g})"
        return [
            f"precision       {with_interval(self.precision, self.precision_interval)}{at}",
            f"recall          {with_interval(self.recall, self.recall_interval)}{at}",
            f"F1              {with_interval(self.f1, self.f1_interval)}{at}",
            f"AUC             {with_interval(self.auc, self.auc_interval)}   (over all thresholds)",
        ]


def measure_two_classes(
    scores: np.ndarray, is_found: np.ndarray, is_positive: np.ndarray, *, threshold: float, with_intervals: bool
) -> TwoClassMeasures:
    """Measure the answers of two classes.

    Args:
        scores: probabilities of class 1, float (n,).
        is_found: which videos are called class 1 at `threshold`, bool (n,).
        is_positive: which are of class 1, bool (n,).
    """
    area = auc(scores, is_positive)
    hits = int((is_found & is_positive).sum())
    intervals = {}
    if with_intervals:
        intervals = {
            "precision_interval": wilson_interval(hits, int(is_found.sum())) if is_found.any() else None,
            "recall_interval": wilson_interval(hits, int(is_positive.sum())) if is_positive.any() else None,
            "f1_interval": drawn_interval(lambda counts: _f1(counts, is_found, is_positive), len(scores)),
            "auc_interval": None if area is None else drawn_interval(_Auc(scores, is_positive), len(scores)),
        }
    return TwoClassMeasures(
        threshold,
        hits / int(is_found.sum()) if is_found.any() else None,
        hits / int(is_positive.sum()) if is_positive.any() else None,
        _f1(np.ones(len(scores), np.int64), is_found, is_positive),
        area,
        **intervals,
    )


def auc(scores: np.ndarray, is_positive: np.ndarray) -> float | None:
    """Return the share of pairs of a positive and a negative video in which the positive one has the higher score.

    Equal scores count half. This is the area under the curve of true by false positive rate. None of a single class.
    """
    return _Auc(scores, is_positive)(np.ones(len(scores), np.int64))


def operating_points(scores: np.ndarray, is_positive: np.ndarray) -> list[OperatingPoint]:
    """Return what each distinct score gives as a threshold, the highest first.

    Args:
        scores, is_positive: see `measure_two_classes`; both classes must be there.
    """
    thresholds, found, hits = counts_by_threshold(scores, is_positive)
    positives, negatives = hits[-1], found[-1] - hits[-1]
    columns = (thresholds, hits / found, hits / positives, (found - hits) / negatives, 2 * hits / (found + positives))
    return [OperatingPoint(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


class _Auc:
    """The area where each video counts several times."""

    def __init__(self, scores: np.ndarray, is_positive: np.ndarray) -> None:
        _, self._rank = np.unique(scores, return_inverse=True)
        self._is_positive = is_positive

    def __call__(self, counts: np.ndarray) -> float | None:
        num_ranks = int(self._rank.max()) + 1 if len(self._rank) else 0
        positives = np.bincount(self._rank, counts * self._is_positive, minlength=num_ranks)
        negatives = np.bincount(self._rank, counts * ~self._is_positive, minlength=num_ranks)
        if not positives.sum() or not negatives.sum():
            return None
        lower = negatives.cumsum() - negatives / 2  # negatives below, and half of the equal ones
        return float((positives * lower).sum() / (positives.sum() * negatives.sum()))


def _f1(counts: np.ndarray, is_found: np.ndarray, is_positive: np.ndarray) -> float | None:
    found_or_positive = counts @ is_found.astype(np.int64) + counts @ is_positive.astype(np.int64)
    return float(2 * (counts @ (is_found & is_positive)) / found_or_positive) if found_or_positive else None
