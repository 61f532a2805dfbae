"""Any work on every video of a list, in supervised reader processes: the dead and the stuck are replaced, and named."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from datareader.dataset import SampleRequest
from datareader.filelist import FileList
from datareader.worker_pool import WorkerPool
from utils.errors import VideoError


@dataclass
class Outcome:
    """What came of one video: the value of the work, or why there is none."""

    index: int
    path: str
    value: Any
    reason: str
    is_verdict: bool = True  # False: a time limit or a death says nothing for ever about the file
    clips: None = None  # nothing goes through shared memory


def for_each_video(
    videos: FileList,
    work: Callable[[Path, str], Any],
    indices: Iterable[int],
    *,
    num_workers: int,
    timeout_seconds: float,
    limit_name: str = "--timeout",
) -> Iterator[Outcome]:
    """Call ``work(path, listed path)`` for the videos of `indices`, and yield what came of each, in their order.

    Args:
        work: a function that can be pickled; a VideoError that it raises becomes the reason of the outcome. Any other
            error of ours ends the loop.
        timeout_seconds: a video that takes longer has failed.
        limit_name: what the user knows this limit as.
    """
    num_workers = max(1, min(num_workers, os.cpu_count() or 1))
    pool = WorkerPool(
        _Work(videos, work),
        num_workers=num_workers,
        num_slots=4 * num_workers,
        timeout_seconds=timeout_seconds,
        limit_name=limit_name,
    )
    requests = (SampleRequest(0, position, index) for position, index in enumerate(indices))
    try:
        yield from pool.samples(requests)
    finally:
        pool.close()


class _Work:
    """Looks to a `WorkerPool` like a data set."""

    replace_bad = False
    plan = SimpleNamespace(shape=(1,))

    def __init__(self, videos: FileList, work: Callable[[Path, str], Any]) -> None:
        self.videos = videos
        self._work = work

    def candidates(self, request: SampleRequest) -> list[int]:
        return [request.index]

    def file_of(self, index: int) -> int | str:
        return index

    def load(
        self, request: SampleRequest, *, out: np.ndarray, known_bad: dict[int, str], starts_on: Callable[[int], None]
    ) -> Outcome:
        listed = self.videos.paths[request.index]
        starts_on(request.index)
        try:
            if request.index in known_bad:
                return Outcome(request.index, listed, None, known_bad[request.index], is_verdict=False)
            return Outcome(request.index, listed, self._work(self.videos.locate(listed), listed), "")
        except VideoError as error:
            return Outcome(request.index, listed, None, str(error))
