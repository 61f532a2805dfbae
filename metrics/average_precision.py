"""Average precision, precision and recall of one class. Legend: N videos."""

from typing import NamedTuple

import numpy as np


class PrecisionRecall(NamedTuple):
    """What a threshold finds, in [0, 1]; precision is None if it finds nothing, recall if there is nothing to find."""

    threshold: float
    precision: float | None
    recall: float | None

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 if one of them is not known."""
        if not self.precision or not self.recall:
            return 0.0
        return 2 * self.precision * self.recall / (self.precision + self.recall)


def average_precision(scores: np.ndarray, is_positive: np.ndarray) -> float:
    """Return the sum over thresholds of precision times the gain in recall: the area under the curve, not interpolated.

    Videos with one score are found together, so their order changes nothing, as in scikit-learn.

    ==================  ===============  =====================================
    scores              positive         average precision
    ==================  ===============  =====================================
    0.9, 0.8, 0.7, 0.6  yes no yes no    1/2 * 1/1 + 1/2 * 2/3 = 5/6
    0.9, 0.5, 0.5, 0.1  no yes no no     1 * 1/3 = 1/3
    ==================  ===============  =====================================

    Args:
        scores: float (N,).
        is_positive: bool (N,), at least one.
    """
    _, found, hits = counts_by_threshold(scores, is_positive)
    gains = np.diff(hits, prepend=0)
    return float((gains * hits / found).sum() / hits[-1])


def at_threshold(scores: np.ndarray, is_positive: np.ndarray, threshold: float) -> PrecisionRecall:
    """Return precision and recall of the videos with scores of at least `threshold`."""
    is_found = scores >= threshold
    hits, found, positives = int((is_found & is_positive).sum()), int(is_found.sum()), int(is_positive.sum())
    return PrecisionRecall(threshold, hits / found if found else None, hits / positives if positives else None)


def best_threshold(scores: np.ndarray, is_positive: np.ndarray) -> PrecisionRecall:
    """Return the threshold, one of `scores`, with the largest F1; of equals the highest.

    It is chosen by the videos that it is judged by, so it flatters.
    """
    thresholds, found, hits = counts_by_threshold(scores, is_positive)
    best = int((2 * hits / (found + hits[-1])).argmax())
    return PrecisionRecall(float(thresholds[best]), float(hits[best] / found[best]), float(hits[best] / hits[-1]))


class WeightedPrecision:
    """The average precision of one class where each video counts several times: for the bootstrap.

    Args:
        scores, is_positive: see `average_precision`.
    """

    def __init__(self, scores: np.ndarray, is_positive: np.ndarray) -> None:
        self._order = np.argsort(-scores, kind="stable")
        self._is_positive = is_positive[self._order]
        self._last = _last_of_equals(scores[self._order])

    def __call__(self, counts: np.ndarray) -> float | None:
        """Return it for videos that count `counts` (N,) times; None if no positive one does."""
        ordered = counts[self._order]
        found = ordered.cumsum()[self._last]
        hits = (ordered * self._is_positive).cumsum()[self._last]
        if not hits[-1]:
            return None
        return float((np.diff(hits, prepend=0) * hits / np.maximum(found, 1)).sum() / hits[-1])


def _last_of_equals(ordered: np.ndarray) -> np.ndarray:
    """The last place of each run of equal scores."""
    return np.flatnonzero(np.append(np.diff(ordered) != 0, True))


def counts_by_threshold(scores: np.ndarray, is_positive: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the distinct scores, highest first; of each how many videos reach it, and how many of these are positive.

    Args:
        scores, is_positive: see `average_precision`.
    """
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last = _last_of_equals(ordered)
    return ordered[last], last + 1, is_positive[order].cumsum()[last]
