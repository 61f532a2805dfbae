"""Any work on every video of a list, in supervised reader processes: one that dies or hangs is replaced."""

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from datareader.filelist import FileList
from datareader.processes.job import SampleRequest
from datareader.processes.pool import WorkerPool
from datareader.processes.time_limit import TimeLimitError, call_with_limit
from utils.errors import VideoError

_NOTHING = (1,)  # nothing goes through shared memory, but a slot must have a shape


@dataclass
class Outcome:
    """What came of one video: the value of the work, or why there is none."""

    index: int
    path: str
    value: Any
    reason: str
    is_verdict: bool = True  # False: a time limit or a death, which says nothing for ever about the file


def for_each_video(
    videos: FileList,
    work: Callable[..., Any],
    indices: Iterable[int],
    *,
    num_workers: int,
    timeout_seconds: float,
    limit_name: str = "--timeout",
    limit_per_step: bool = False,
) -> Iterator[Outcome]:
    """Call ``work(path, listed path)`` for the videos of `indices`, and yield what came of each, in their order.

    Args:
        work: a function that can be pickled; a VideoError that it raises becomes the reason of the outcome. Any other
            error of ours ends the loop.
        num_workers: reader processes, at most one per core; 0 works in a thread of this process.
        timeout_seconds: a video that takes longer has failed.
        limit_name: what the user knows this limit as.
        limit_per_step: `work` gets a third argument, a function to call while it gets on, and the limit holds from one
            call to the next: for work that takes as long as a video is long.
    """
    job = _VideoWork(videos, work, limit_per_step)
    requests = (SampleRequest(0, position, index) for position, index in enumerate(indices))
    if not num_workers:
        for request in requests:
            try:
                yield call_with_limit(functools.partial(job.outcome, request.index), timeout_seconds=timeout_seconds)
            except TimeLimitError:
                path = videos.paths[request.index]
                reason = f"{path}: gave nothing for {timeout_seconds:g} s ({limit_name})"
                yield Outcome(request.index, path, None, reason, is_verdict=False)
        return
    num_workers = min(num_workers, os.cpu_count() or 1)
    pool = WorkerPool(
        job,
        slot_shape=_NOTHING,
        num_workers=num_workers,
        num_slots=4 * num_workers,
        timeout_seconds=timeout_seconds,
        limit_name=limit_name,
    )
    try:
        yield from (outcome for outcome, _ in pool.results(requests))
    finally:
        pool.close()


class _VideoWork:
    """A function of a file as a `Job`."""

    def __init__(self, videos: FileList, work: Callable[..., Any], limit_per_step: bool) -> None:
        self.videos = videos
        self._work = work
        self._limit_per_step = limit_per_step

    def candidates(self, request: SampleRequest) -> list[int]:
        return [request.index]

    def file_of(self, index: int) -> int | str:
        return index

    def run(
        self,
        request: SampleRequest,
        *,
        out: np.ndarray,
        known_bad: Mapping[int, str],
        starts_on: Callable[[int], None],
    ) -> tuple[Outcome, None]:
        index = request.index
        starts_on(index)
        if index in known_bad:
            return Outcome(index, self.videos.paths[index], None, known_bad[index], is_verdict=False), None
        return self.outcome(index, functools.partial(starts_on, index)), None

    def outcome(self, index: int, is_alive: Callable[[], None]) -> Outcome:
        """Return what comes of a video."""
        listed = self.videos.paths[index]
        more = (is_alive,) if self._limit_per_step else ()
        try:
            return Outcome(index, listed, self._work(self.videos.locate(listed), listed, *more), "")
        except VideoError as error:
            return Outcome(index, listed, None, str(error))
