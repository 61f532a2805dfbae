"""The measures where videos have several labels: mean average precision, and the results of each class.

Legend: N videos, K classes.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from metrics.average_precision import WeightedPrecision, at_threshold, average_precision, best_threshold
from metrics.calibration import expected_calibration_error, reliability
from metrics.intervals import Interval, drawn_interval
from metrics.percentages import MainMeasure, percent

_HALF = 0.5
_RESAMPLES = 500  # each needs the average precision of every class


@dataclass(frozen=True)
class ClassPrecision:
    """The results of one class. Precision is None where nothing is found, recall where there is nothing to find."""

    label: int
    num_positives: int  # scored videos that have it
    average_precision: float | None  # None without positives, and the rest of the row too
    precision: float | None  # at `threshold`
    recall: float | None
    precision_at_half: float | None  # at 0.5
    recall_at_half: float | None
    best_threshold: float | None  # with the largest F1 on these videos
    precision_at_best: float | None
    recall_at_best: float | None


@dataclass(frozen=True)
class MultiLabelMeasures:
    """Measures in [0, 1] over the scored videos; None if there is nothing to measure."""

    map: float | None  # mean of the average precisions of the classes with positives
    map_interval: Interval | None  # 95 %, by drawing the videos anew; None where it was not asked for
    num_classes: int  # those with positives
    num_left_out: int  # those without
    threshold: float
    precision: float | None  # of all labels that `threshold` gives
    recall: float | None  # of all labels that there are
    ece: float | None  # see metrics.calibration: each class of each video is an answer
    num_videos: int
    num_scored: int
    views_per_video: int  # 0: not known

    def as_dict(self) -> dict[str, Any]:
        """Return the same as a dictionary."""
        return asdict(self)

    @property
    def main(self) -> MainMeasure:
        """The measure that saves are compared by."""
        return MainMeasure("map", "mAP", self.map, self.map_interval)

    def validation(self) -> dict[str, float | None]:
        """The measures that are worth a look after every epoch, by name."""
        return {"map": self.map}

    def lines(self) -> list[str]:
        """Return lines for the screen, with percentages."""
        views = f", {self.views_per_video} view{'s' * (self.views_per_video > 1)} each" if self.views_per_video else ""
        without = f"; {self.num_left_out} without a video are left out" if self.num_left_out else ""
        return [
            f"videos scored   {self.num_scored} of {self.num_videos}{views}",
            self.main.line(f"mean over {self.num_classes} classes{without}"),
            f"precision       {percent(self.precision)}   (of the labels given at {self.threshold:g})",
            f"recall          {percent(self.recall)}   (of the labels there are, at {self.threshold:g})",
            *(["[low, high]     95 % interval"] if self.map_interval is not None else []),
        ]


def measure_multi_label(
    probabilities: np.ndarray,
    labels: np.ndarray,
    *,
    threshold: float = _HALF,
    views_per_video: int = 0,
    with_intervals: bool = False,
) -> MultiLabelMeasures:
    """Compare probabilities (N, K) with labels, uint8 (N, K). A NaN row is an unscored video."""
    is_scored = ~np.isnan(probabilities[:, 0])
    values, truth = probabilities[is_scored], labels[is_scored].astype(bool)
    present = np.flatnonzero(truth.any(axis=0))
    precisions = [average_precision(values[:, label], truth[:, label]) for label in present]
    overall = at_threshold(values.ravel(), truth.ravel(), threshold)
    return MultiLabelMeasures(
        map=float(np.mean(precisions)) if precisions else None,
        map_interval=map_interval(values[:, present], truth[:, present]) if precisions and with_intervals else None,
        num_classes=len(present),
        num_left_out=truth.shape[1] - len(present),
        threshold=threshold,
        precision=overall.precision,
        recall=overall.recall,
        ece=expected_calibration_error(reliability(values.ravel(), truth.ravel())),
        num_videos=len(labels),
        num_scored=int(is_scored.sum()),
        views_per_video=views_per_video,
    )


def map_interval(probabilities: np.ndarray, is_positive: np.ndarray) -> Interval:
    """Return the 95 % interval of the mean average precision, by drawing the videos anew.

    Args:
        probabilities, is_positive: of the classes with positives, float and bool (N, K).
    """
    classes = [WeightedPrecision(*columns) for columns in zip(probabilities.T, is_positive.T, strict=True)]

    def drawn_map(counts: np.ndarray) -> float | None:
        found = [value for class_ in classes if (value := class_(counts)) is not None]
        return float(np.mean(found)) if found else None

    return drawn_interval(drawn_map, len(probabilities), resamples=_RESAMPLES)


def class_precisions(
    probabilities: np.ndarray, labels: np.ndarray, *, threshold: float = _HALF
) -> list[ClassPrecision]:
    """Return the results of each class, by label; see `measure_multi_label`."""
    is_scored = ~np.isnan(probabilities[:, 0])
    values, truth = probabilities[is_scored], labels[is_scored].astype(bool)
    return [_of_class(label, values[:, label], truth[:, label], threshold) for label in range(labels.shape[1])]


def _of_class(label: int, scores: np.ndarray, is_positive: np.ndarray, threshold: float) -> ClassPrecision:
    given = at_threshold(scores, is_positive, threshold)
    half = at_threshold(scores, is_positive, _HALF)
    has_positives = bool(is_positive.any())
    best = best_threshold(scores, is_positive) if has_positives else None
    return ClassPrecision(
        label=label,
        num_positives=int(is_positive.sum()),
        average_precision=average_precision(scores, is_positive) if has_positives else None,
        precision=given.precision,
        recall=given.recall,
        precision_at_half=half.precision,
        recall_at_half=half.recall,
        best_threshold=best and best.threshold,
        precision_at_best=best and best.precision,
        recall_at_best=best and best.recall,
    )
