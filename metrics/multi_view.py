"""The test of the paper: the class probabilities of all views of a video are summed, the largest sum is the answer."""

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
    """Running sums of class probabilities per video; memory does not grow with the number of views.

    A view that comes twice (a resumed run, a padded share) counts once.
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
        """Take over a video that was scored before, all its views at once."""
        self.sums[scores.video] = scores.sums
        self.seen[scores.video] = True

    def shown(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Indices (n,), sums (n, K) and seen views (n, V) of the videos with a view; what `add_shown` takes."""
        videos = np.flatnonzero(self.seen.any(axis=1))
        return videos, self.sums[videos], self.seen[videos]

    def add_shown(self, shown: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
        """Take over videos that another process has scored; what is known of one already stays."""
        videos, sums, seen = shown
        new = ~self.seen[videos].any(axis=1)
        self.sums[videos[new]] = sums[new]
        self.seen[videos[new]] = seen[new]

    def complete(self) -> np.ndarray:
        """Which videos have all their views, bool (num_videos,)."""
        return self.seen.all(axis=1)

    def compute(self, unreadable: Collection[int] = ()) -> np.ndarray:
        """Mean class probabilities, float64 (num_videos, K); NaN rows for the videos said to be `unreadable`.

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
