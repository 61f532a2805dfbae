"""Views of a user's videos on which precisions are measured, and from which int8 takes its ranges."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from configs.schema import MultiViewSection
from datareader.building import build_test_plan
from datareader.dataset import ClipDataset
from datareader.filelist import FileList, named_videos
from datareader.list_reading import read_path_list
from datareader.processes.job import SampleRequest
from datareader.video_folder import VIDEO_SUFFIXES
from utils.errors import DeviceError

NUM_VIEWS = 20


@dataclass(frozen=True)
class Calibration:
    """Videos, and how views are made of them. The choice is the same every time."""

    videos: FileList
    section: MultiViewSection
    is_named: bool = False  # by --calibrate; else they are those that are scored

    @property
    def label(self) -> str:
        """A short name of the views: another one where a video's name, size or time differs, or how views are made."""
        chosen = [self.videos.paths[index] for index in self._order()]
        told = [repr(build_test_plan(self.section)), *((path, self.videos.stamp(path)) for path in chosen)]
        return hashlib.sha256(repr(told).encode("utf-8", "surrogateescape")).hexdigest()[:8]

    def views(self, count: int = NUM_VIEWS) -> list[np.ndarray]:
        """Return up to `count` views, uint8 (3, T, H, W), of as many videos as there are, evenly spaced in each.

        Whole frames differ in size where the videos do.

        Raises:
            DeviceError: none of the videos that were tried can be read.
        """
        plan = build_test_plan(self.section)
        dataset = ClipDataset(self.videos.unlabelled(self.videos.paths), plan)
        of_each = -(-count // min(count, len(self.videos)))
        found: list[np.ndarray] = []
        reasons: list[str] = []
        for index in self._order():
            sample = dataset.load(SampleRequest(0, index, index))
            if sample.clips is None:
                reasons.append(sample.bad_videos[0].reason)
                continue
            numbers = np.linspace(0, len(sample.clips) - 1, min(of_each, len(sample.clips)) + 2).round().astype(int)
            found += [sample.clips[number].copy() for number in np.unique(numbers[1:-1])]
            if len(found) >= count:
                break
        if not found:
            where = f" in {self.videos.source}" if self.videos.source else ""
            raise DeviceError(
                f"no view to measure or calibrate on{where}: {reasons[0] if reasons else 'no video is named'}"
            )
        return found[:count]

    def others(self, *, most_videos: int, of_each: int) -> Iterator[np.ndarray]:
        """Yield views that `views` does not give, of a video each: (N, 3, T, H, W), N at most `of_each`.

        They are of other videos, spread over the list, where it has more than `views` looks at.
        """
        plan = build_test_plan(self.section)
        dataset = ClipDataset(self.videos.unlabelled(self.videos.paths), plan)
        used = set(self._order())
        left = [index for index in range(len(self.videos)) if index not in used] or sorted(used)
        for place in np.unique(np.linspace(0, len(left) - 1, min(most_videos, len(left))).round().astype(int)):
            sample = dataset.load(SampleRequest(0, left[place], left[place]))
            if sample.clips is not None:
                numbers = np.linspace(0, len(sample.clips) - 1, min(of_each, len(sample.clips))).round().astype(int)
                yield sample.clips[np.unique(numbers)]

    def _order(self) -> list[int]:
        """Numbers of videos: first NUM_VIEWS spread over the list, then as many more in case some cannot be read."""
        total = len(self.videos)
        spread = np.linspace(0, total - 1, min(NUM_VIEWS, total)).round().astype(int).tolist()
        chosen = dict.fromkeys(spread)
        others = (index for index in range(total) if index not in chosen)
        return [*chosen, *(index for index, _ in zip(others, range(NUM_VIEWS), strict=False))]


def calibration_of(named: str | None, section: MultiViewSection, scored: FileList | None) -> Calibration | None:
    """Return what --calibrate names, a list, a folder or a video; else the videos that are scored, if they are known.

    Raises:
        FileListError: there is no such list.
    """
    if named is None:
        return None if scored is None else Calibration(scored, section)
    is_video = Path(named).suffix.lower() in VIDEO_SUFFIXES
    videos = (
        named_videos([named])
        if is_video or Path(named).is_dir()
        else read_path_list(named, data_root=section.data_root)
    )
    return Calibration(videos, section, is_named=True)
