"""Sums over views: the class probabilities of all views of a video are added, and the largest sum is the answer."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class VideoScores:
    """The scores of one video: sums over all its views."""

    video: int  # index in the list
    sums: np.ndarray  # float64 (K,), of class probabilities
    hits: int  # views whose best class is right


class MultiViewScores:
    """Running sums of class probabilities for each video. Memory does not grow with the number of views.

    A view that is added twice (by a resumed run) counts once.
    """

    def __init__(self, num_videos: int, views_per_video: int, num_classes: int) -> None:
        self.sums = np.zeros((num_videos, num_classes), np.float64)
        self.seen = np.zeros((num_videos, views_per_video), bool)

    def add(self, video: int, probabilities: np.ndarray, *, first_view: int = 0) -> None:
        """Add views `first_view`, `first_view` + 1, ... of one video, probabilities (number of views, K)."""
        for view, row in enumerate(probabilities, start=first_view):
            if not self.seen[video, view]:
                self.seen[video, view] = True
                self.sums[video] += row

    def put(self, scores: VideoScores) -> None:
        """Set the scores of a video that was scored before, all its views at once."""
        self.sums[scores.video] = scores.sums
        self.seen[scores.video] = True

    def shown(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return indices (n,), sums (n, K) and seen views (n, V) of the videos with at least one view."""
        videos = np.flatnonzero(self.seen.any(axis=1))
        return videos, self.sums[videos], self.seen[videos]

    def add_shown(self, shown: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
        """Add videos that another process has scored (its `shown`). Videos with views here already stay as they are."""
        videos, sums, seen = shown
        new = ~self.seen[videos].any(axis=1)
        self.sums[videos[new]] = sums[new]
        self.seen[videos[new]] = seen[new]

    def complete(self) -> np.ndarray:
        """Return which videos have all their views, bool (num_videos,)."""
        return self.seen.all(axis=1)

    def compute(self, unreadable: Collection[int] = ()) -> np.ndarray:
        """Return mean class probabilities, float64 (num_videos, K). The rows of `unreadable` videos are NaN.

        Raises:
            ValueError: another video lacks views.
        """
        complete = self.complete()
        missing = [video for video in np.flatnonzero(~complete).tolist() if video not in set(unreadable)]
        if missing:
            raise ValueError(f"{len(missing)} videos lack views, the first is video {missing[0]}")
        means = np.full_like(self.sums, np.nan)
        means[complete] = self.sums[complete] / self.seen.shape[1]
        return means
