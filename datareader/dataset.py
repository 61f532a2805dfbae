"""A data set: a file list and a plan of views. For one sample it decodes one video and makes its views."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from datareader.decoding.opening import choose_and_decode, open_video
from datareader.decoding.parts import without_part
from datareader.filelist import FileList
from datareader.processes.job import SampleRequest
from datareader.views import ViewPlan
from utils.errors import VideoError

_NEIGHBOURS_TRIED = 20
NOTHING: Mapping[int, str] = MappingProxyType({})


class BadVideo(NamedTuple):
    """A video of the list that could not be read, and why."""

    index: int
    path: str
    reason: str


@dataclass
class Sample:
    """The views of one video. `clips` is None if the video could not be read and must not be replaced."""

    index: int
    path: str
    clips: np.ndarray | None  # uint8 (V, 3, T, S, S), RGB; (V, 3, T, H, W) where views are whole frames
    bad_videos: tuple[BadVideo, ...] = ()


class ClipDataset:
    """Samples of a file list.

    Args:
        videos: the list.
        plan: which views each video gives.
        seed: of the run.
        replace_bad: True in training: a video that cannot be read is replaced by the next video of the list that can
            be read. False in a test: the sample then holds no clips.
    """

    def __init__(self, videos: FileList, plan: ViewPlan, *, seed: int = 0, replace_bad: bool = False) -> None:
        self.videos = videos
        self.plan = plan
        self.seed = seed
        self.replace_bad = replace_bad

    def __len__(self) -> int:
        return len(self.videos)

    def candidates(self, request: SampleRequest) -> list[int]:
        """Return the indices of the videos that may give this sample, in the order in which they are tried."""
        count = _NEIGHBOURS_TRIED + 1 if self.replace_bad else 1
        return [(request.index + offset) % len(self.videos) for offset in range(min(count, len(self.videos)))]

    def file_of(self, index: int) -> int | str:
        """Return what a time limit or a death at this video is held against: all samples of one file give the same."""
        listed = self.videos.paths[index]
        whole = without_part(listed)
        return index if whole == listed else whole

    def leave_behind(self) -> None:
        """Share nothing any more with a call of `load` that has taken too long, and still goes on in its thread."""

    def run(
        self,
        request: SampleRequest,
        *,
        out: np.ndarray,
        known_bad: Mapping[int, str],
        starts_on: Callable[[int], None],
    ) -> tuple[Sample, tuple[int, ...] | None]:
        """Load a sample in a reader process: see `Job.run`. The sample that is returned holds no clips."""
        sample = self.load(request, out=out, known_bad=known_bad, starts_on=starts_on)
        return replace(sample, clips=None), None if sample.clips is None else sample.clips.shape

    def load(
        self,
        request: SampleRequest,
        *,
        out: np.ndarray | None = None,
        known_bad: Mapping[int, str] = NOTHING,
        starts_on: Callable[[int], None] | None = None,
    ) -> Sample:
        """Decode one video and make its views.

        Args:
            out: uint8 array of the plan's shape that the views are written to; a new array by default.
            known_bad: the videos that are not to be opened, by index, and why.
            starts_on: called with the index of each video before it is opened.

        Raises:
            VideoError: with `replace_bad`, if neither the video nor one of the next 20 can be read.
        """
        key = (self.seed, request.epoch, request.position)
        out = np.empty(self.plan.shape, np.uint8) if out is None else out
        bad: list[BadVideo] = []
        for index in self.candidates(request):
            record = self.videos[index]
            is_alive = functools.partial(starts_on or _tell_nobody, index)
            is_alive()
            try:
                if index in known_bad:
                    raise VideoError(known_bad[index])
                clips = self._make_views(index, key, out, is_alive)
            except VideoError as error:
                bad.append(BadVideo(record.index, record.path, str(error)))
                continue
            return Sample(record.index, record.path, clips, tuple(bad))
        if self.replace_bad:
            raise VideoError(f"{len(bad)} videos in a row cannot be read; the first: {bad[0].reason}")
        record = self.videos[request.index]
        return Sample(record.index, record.path, None, tuple(bad))

    def _make_views(
        self, index: int, key: tuple[int, ...], out: np.ndarray, is_alive: Callable[[], None]
    ) -> np.ndarray:
        frames, order = self._decode(index, key, is_alive)
        try:
            return self.plan.make_views(frames, order, key, out)
        except VideoError as error:
            raise VideoError(f"{self.videos.paths[index]}: {error}") from error

    def _decode(self, index: int, key: tuple[int, ...], is_alive: Callable[[], None]) -> tuple[np.ndarray, np.ndarray]:
        """Unique frames (K, H, W, 3) of a video in their final size, and its clips as positions in them."""
        path = self.videos.locate(self.videos.paths[index])
        video = open_video(path)
        try:
            choose = functools.partial(self.plan.frame_indices, key=key, seconds=lambda: video.times_seconds)
            return choose_and_decode(video, str(path), choose, short_side=self.plan.frame_side(key))
        finally:
            video.close()


def _tell_nobody(index: int) -> None:
    """What `starts_on` is where no other process watches the time."""
