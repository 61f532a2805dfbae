"""The accuracies of a test, where each video has one label. Legend: N videos, K classes."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from metrics.calibration import expected_calibration_error, reliability
from metrics.classes import ClassAccuracy, class_accuracies, confusion_matrix, mean_class_accuracy
from metrics.intervals import Interval, class_mean_interval, drawn_interval, wilson_interval
from metrics.percentages import MainMeasure, with_interval
from metrics.topk import answers, has_top5, top_k_hits
from metrics.two_classes import TwoClassMeasures, measure_two_classes


@dataclass(frozen=True)
class Accuracy:
    """Accuracies in [0, 1] over the scored videos; None if no video was scored.

    Intervals are of 95 %: Wilson's, for a mean over classes by drawing videos anew in their class, and for single views
    by drawing videos anew, with all their views. None where they were not asked for.
    """

    top1: float | None
    top5: float | None  # None too where there are no more than five classes
    mean_class_top1: float | None  # mean over the classes
    clip_top1: float | None  # of single views
    top1_of_all: float | None  # if unscored videos count as wrong
    num_videos: int
    num_scored: int
    views_per_video: int  # 0: not known
    top1_interval: Interval | None = None
    top5_interval: Interval | None = None
    mean_class_top1_interval: Interval | None = None
    clip_top1_interval: Interval | None = None
    top1_of_all_interval: Interval | None = None
    ece: float | None = None  # see metrics.calibration
    two_classes: TwoClassMeasures | None = None  # where there are no more

    def as_dict(self) -> dict[str, Any]:
        """Return the same as a dictionary."""
        return asdict(self)

    @property
    def main(self) -> MainMeasure:
        """The measure that saves are compared by."""
        return MainMeasure("top1", "top-1", self.top1, self.top1_interval)

    def validation(self) -> dict[str, float | None]:
        """The measures that are worth a look after every epoch, by name."""
        return {"top1": self.top1, "top5": self.top5}

    def lines(self) -> list[str]:
        """Return lines for the screen, with percentages."""
        views = f", {self.views_per_video} view{'s' * (self.views_per_video > 1)} each" if self.views_per_video else ""
        shown = [("top-1", self.top1, self.top1_interval, "")]
        if self.top5 is not None:
            shown.append(("top-5", self.top5, self.top5_interval, ""))
        shown.append(
            ("mean class", self.mean_class_top1, self.mean_class_top1_interval, "top-1, every class counts the same")
        )
        if self.views_per_video:
            shown.append(("clip top-1", self.clip_top1, self.clip_top1_interval, "single views"))
        if self.num_scored < self.num_videos:
            shown.append(
                ("top-1 of all", self.top1_of_all, self.top1_of_all_interval, "unscored videos counted as wrong")
            )
        lines = [f"videos scored   {self.num_scored} of {self.num_videos}{views}"]
        for title, value, interval, meaning in shown:
            lines.append(f"{title:16}{with_interval(value, interval)}{meaning and f'   ({meaning})'}")
        if self.two_classes is not None:
            lines += self.two_classes.lines()
        if self.top1_interval is not None:
            lines.append("[low, high]     95 % intervals")
        return lines


def measure_accuracy(
    probabilities: np.ndarray,
    labels: np.ndarray,
    *,
    view_hits: np.ndarray | None,
    views_per_video: int,
    threshold: float = 0.5,
    with_intervals: bool = False,
) -> Accuracy:
    """Compare mean probabilities (N, K) with labels, int64 (N,). A NaN row is an unscored video.

    Args:
        view_hits: of each video the single views whose best class is right, int64 (N,); None: not known.
        threshold: of two classes, see `answers`. Single views are answered with their best class.
    """
    scored = ~np.isnan(probabilities[:, 0])
    count = int(scored.sum())
    given = answers(probabilities[scored], threshold)
    hits = {1: int((given == labels[scored]).sum()), 5: int(top_k_hits(probabilities[scored], labels[scored], 5).sum())}
    classes = class_accuracies(confusion_matrix(probabilities, labels, threshold=threshold), labels)
    has_five = has_top5(probabilities.shape[1])
    of_views = view_hits[scored] / views_per_video if count and view_hits is not None else None
    intervals = {}
    if with_intervals and count:
        intervals = {
            "top1_interval": wilson_interval(hits[1], count),
            "top5_interval": wilson_interval(hits[5], count) if has_five else None,
            "mean_class_top1_interval": _class_mean_interval(classes),
            "clip_top1_interval": None
            if of_views is None
            else drawn_interval(lambda drawn: drawn @ of_views / count, count),
            "top1_of_all_interval": wilson_interval(hits[1], len(labels)),
        }
    confidences = probabilities[scored][np.arange(count), given]
    two_classes = None
    if probabilities.shape[1] == 2 and count:
        two_classes = measure_two_classes(
            probabilities[scored, 1],
            given == 1,
            labels[scored] == 1,
            threshold=threshold,
            with_intervals=with_intervals,
        )
    return Accuracy(
        top1=hits[1] / count if count else None,
        top5=hits[5] / count if count and has_five else None,
        mean_class_top1=mean_class_accuracy(classes),
        top1_of_all=hits[1] / len(labels) if count else None,
        clip_top1=None if of_views is None else int(view_hits[scored].sum()) / (count * views_per_video),
        num_videos=len(labels),
        num_scored=count,
        views_per_video=views_per_video,
        ece=expected_calibration_error(reliability(confidences, given == labels[scored])),
        two_classes=two_classes,
        **intervals,
    )


def _class_mean_interval(classes: list[ClassAccuracy]) -> Interval:
    known = [(row.top1 * row.num_scored, row.num_scored) for row in classes if row.top1 is not None]
    hits, counts = np.array(known).round().astype(np.int64).T
    return class_mean_interval(hits, counts)
