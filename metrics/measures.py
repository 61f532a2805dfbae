"""What is measured of a labelled list: accuracies, or, where videos have several labels, average precisions.

Legend: N videos, K classes.
"""

from typing import Protocol

import numpy as np

from metrics.multi_label import measure_multi_label
from metrics.percentages import MainMeasure
from metrics.report import measure_accuracy

_TINY = float(np.finfo(np.float32).tiny)


class Measures(Protocol):
    """What every kind of labels is measured by."""

    num_videos: int
    num_scored: int

    @property
    def main(self) -> MainMeasure:
        """The measure that saves are compared by."""

    def validation(self) -> dict[str, float | None]:
        """The measures that are worth a look after every epoch, by name; None: they say nothing here."""

    def as_dict(self) -> dict[str, float | int | None]:
        """All numbers, for JSON."""

    def lines(self) -> list[str]:
        """Lines for the screen."""


def measure(
    probabilities: np.ndarray,
    labels: np.ndarray,
    *,
    view_hits: np.ndarray | None = None,
    views_per_video: int = 0,
    threshold: float = 0.5,
    with_intervals: bool = False,
) -> Measures:
    """Compare probabilities (N, K) with labels, int64 (N,), or uint8 (N, K). A NaN row is an unscored video.

    Args:
        view_hits: of each video the single views whose best class is right, int64 (N,); None: not known.
        threshold: probability from which on a video has one of several labels, or the second of two classes.
        with_intervals: some of them take seconds.
    """
    if labels.ndim == 2:
        return measure_multi_label(
            probabilities, labels, threshold=threshold, views_per_video=views_per_video, with_intervals=with_intervals
        )
    return measure_accuracy(
        probabilities,
        labels,
        view_hits=view_hits,
        views_per_video=views_per_video,
        threshold=threshold,
        with_intervals=with_intervals,
    )


def mean_loss(probabilities: np.ndarray, labels: np.ndarray) -> float | None:
    """Return the mean over the scored videos of the cross-entropy; None if there are none. Arguments as of `measure`.

    With one label it is -log(probability of the label); with several the mean over the classes of -log(p) where the
    class is a label, and -log(1 - p) where it is not.
    """
    is_scored = ~np.isnan(probabilities[:, 0])
    values, truth = probabilities[is_scored], labels[is_scored]
    if not len(values):
        return None
    several = labels.ndim == 2
    of_truth = (
        np.where(truth, values, 1 - values) if several else values[np.arange(len(truth)), truth]
    )  # (n, K) or (n,)
    return float(-np.log(np.maximum(of_truth, _TINY)).mean())
