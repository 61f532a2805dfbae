"""The accuracies of a test: as plain data for JSON, and as lines for the screen."""

from dataclasses import asdict, dataclass

import numpy as np

from metrics.classes import class_accuracies, confusion_matrix, mean_class_accuracy
from metrics.topk import has_top5, top_k_hits


@dataclass(frozen=True)
class Accuracy:
    """Accuracies in [0, 1] over the scored videos; None if no video was scored."""

    top1: float | None
    top5: float | None  # None too where there are no more than five classes
    mean_class_top1: float | None  # mean over the classes
    clip_top1: float | None  # of single views
    top1_of_all: float | None  # if unscored videos count as wrong
    num_videos: int
    num_scored: int
    views_per_video: int  # 0: not known

    def as_dict(self) -> dict[str, float | int | None]:
        """Return the same as a dictionary."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return lines for the screen, with percentages."""
        views = f", {self.views_per_video} view{'s' * (self.views_per_video > 1)} each" if self.views_per_video else ""
        lines = [
            f"videos scored   {self.num_scored} of {self.num_videos}{views}",
            f"top-1           {_percent(self.top1)}",
            *([f"top-5           {_percent(self.top5)}"] if self.top5 is not None else []),
            f"mean class      {_percent(self.mean_class_top1)}   (top-1, every class counts the same)",
        ]
        if self.views_per_video:
            lines.append(f"clip top-1      {_percent(self.clip_top1)}   (single views)")
        if self.num_scored < self.num_videos:
            lines.append(f"top-1 of all    {_percent(self.top1_of_all)}   (unscored videos counted as wrong)")
        return lines


def measure_accuracy(
    probabilities: np.ndarray, labels: np.ndarray, *, view_hits: int | None, views_per_video: int
) -> Accuracy:
    """Compare mean probabilities (N, K) with labels (N,). A NaN row is an unscored video.

    Args:
        view_hits: number of single views of the scored videos whose best class is right; None: not known.
    """
    scored = ~np.isnan(probabilities[:, 0])
    count = int(scored.sum())
    share = {k: float(top_k_hits(probabilities[scored], labels[scored], k).mean()) if count else None for k in (1, 5)}
    return Accuracy(
        top1=share[1],
        top5=share[5] if has_top5(probabilities.shape[1]) else None,
        mean_class_top1=mean_class_accuracy(class_accuracies(confusion_matrix(probabilities, labels), labels)),
        top1_of_all=share[1] * count / len(labels) if count else None,
        clip_top1=view_hits / (count * views_per_video) if count and view_hits is not None else None,
        num_videos=len(labels),
        num_scored=count,
        views_per_video=views_per_video,
    )


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f} %"
