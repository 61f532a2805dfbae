"""Accuracy by class, and which classes are confused. Legend: N videos, K classes."""

from dataclasses import dataclass

import numpy as np

from metrics.intervals import Interval, wilson_interval
from metrics.topk import answers


@dataclass(frozen=True)
class ClassAccuracy:
    """The results of the videos of one class."""

    label: int
    num_videos: int
    num_scored: int
    top1: float | None  # of the scored ones, in [0, 1]; None if there are none
    top1_interval: Interval | None  # 95 %, Wilson's
    confused_with: int | None  # the most frequent wrong answer (of equals the lower class); None if there was none
    times_confused: int


def confusion_matrix(probabilities: np.ndarray, labels: np.ndarray, *, threshold: float = 0.5) -> np.ndarray:
    """Return how often videos of each class (row) were answered with each class (column), int64 (K, K).

    Args:
        probabilities: mean probabilities (N, K); a NaN row is an unscored video and is not counted.
        labels: int64 (N,).
        threshold: of two classes, see `answers`.
    """
    num_classes = probabilities.shape[1]
    scored = ~np.isnan(probabilities[:, 0])
    matrix = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(matrix, (labels[scored], answers(probabilities[scored], threshold)), 1)
    return matrix


def class_accuracies(confusion: np.ndarray, labels: np.ndarray) -> list[ClassAccuracy]:
    """Return the results of each class that has a video in the list, by label.

    Args:
        confusion: see `confusion_matrix`.
        labels: of all videos, unscored ones too, int64 (N,).
    """
    rows = []
    for label in np.unique(labels).tolist():
        scored, right = int(confusion[label].sum()), int(confusion[label, label])
        wrong = confusion[label].copy()
        wrong[label] = 0
        worst = int(wrong.argmax())
        rows.append(
            ClassAccuracy(
                label=label,
                num_videos=int((labels == label).sum()),
                num_scored=scored,
                top1=right / scored if scored else None,
                top1_interval=wilson_interval(right, scored) if scored else None,
                confused_with=worst if wrong[worst] else None,
                times_confused=int(wrong[worst]),
            )
        )
    return rows


def mean_class_accuracy(rows: list[ClassAccuracy]) -> float | None:
    """Return the mean accuracy of the classes that have a scored video. Every class counts the same."""
    known = [row.top1 for row in rows if row.top1 is not None]
    return float(np.mean(known)) if known else None
