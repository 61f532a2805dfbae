"""From views to videos: of each class the mean of the probabilities of all views, or the largest of them.

Legend: V views of a video, K classes.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from configs.schema import Ensemble


@dataclass(frozen=True)
class VideoScores:
    """The scores of one video, of all its views together."""

    video: int  # index in the list
    combined: np.ndarray  # float64 (K,), of class probabilities the sums, or the largest
    hits: int  # views whose best class is a label of the video


def combine_views(probabilities: np.ndarray, ensemble: Ensemble, *, one_label: bool = False) -> np.ndarray:
    """Return the probabilities of a video, float64 (K,), from those of its views (V, K).

    Args:
        one_label: they add up to 1, see `with_sum_of_1`.
    """
    values = probabilities.astype(np.float64)
    combined = values.max(axis=0) if ensemble == "max" else values.mean(axis=0)
    return with_sum_of_1(combined) if one_label and ensemble == "max" else combined


def with_sum_of_1(probabilities: np.ndarray) -> np.ndarray:
    """Return probabilities (..., K) divided by their sum: the largest of several views add up to more than 1."""
    return probabilities / probabilities.sum(axis=-1, keepdims=True)


class MultiViewScores:
    """Running sums of class probabilities for each video, or the largest so far. Memory does not grow with the views.

    A view that is added twice (by a resumed run) counts once.
    """

    def __init__(self, num_videos: int, views_per_video: int, num_classes: int, *, ensemble: Ensemble = "sum") -> None:
        self._ensemble = ensemble
        self.combined = np.zeros((num_videos, num_classes), np.float64)
        self.seen = np.zeros((num_videos, views_per_video), bool)

    def add(self, video: int, probabilities: np.ndarray, *, first_view: int = 0) -> None:
        """Add views `first_view`, `first_view` + 1, ... of one video, probabilities (number of views, K)."""
        for view, row in enumerate(probabilities, start=first_view):
            if not self.seen[video, view]:
                self.seen[video, view] = True
                earlier = self.combined[video]
                self.combined[video] = np.maximum(earlier, row) if self._ensemble == "max" else earlier + row

    def put(self, scores: VideoScores) -> None:
        """Set the scores of a video that was scored before, all its views at once."""
        self.combined[scores.video] = scores.combined
        self.seen[scores.video] = True

    def shown(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return indices (n,), combined scores (n, K) and seen views (n, V) of the videos with at least one view."""
        videos = np.flatnonzero(self.seen.any(axis=1))
        return videos, self.combined[videos], self.seen[videos]

    def add_shown(self, shown: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
        """Add videos that another process has scored (its `shown`). Videos with views here already stay as they are."""
        videos, combined, seen = shown
        new = ~self.seen[videos].any(axis=1)
        self.combined[videos[new]] = combined[new]
        self.seen[videos[new]] = seen[new]

    def complete(self) -> np.ndarray:
        """Return which videos have all their views, bool (num_videos,)."""
        return self.seen.all(axis=1)

    def compute(self, unreadable: Collection[int] = ()) -> np.ndarray:
        """Return the class probabilities, float64 (num_videos, K). The rows of `unreadable` videos are NaN.

        Raises:
            ValueError: another video lacks views.
        """
        complete = self.complete()
        missing = [video for video in np.flatnonzero(~complete).tolist() if video not in set(unreadable)]
        if missing:
            raise ValueError(f"{len(missing)} videos lack views, the first is video {missing[0]}")
        found = np.full_like(self.combined, np.nan)
        found[complete] = self.combined[complete] / (1 if self._ensemble == "max" else self.seen.shape[1])
        return found
