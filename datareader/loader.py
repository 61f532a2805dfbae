"""Batches of uint8 clips, made by reader processes while the network computes.

Samples come back in the order in which they were requested, so the number of processes and their timing change nothing.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from datareader.dataset import BadVideo, ClipDataset, Sample
from datareader.processes.job import SampleRequest
from datareader.processes.pool import WorkerPool
from datareader.processes.shared_ring import beginning
from datareader.processes.time_limit import TimeLimitError, call_with_limit

_BATCHES_AHEAD = 2


@dataclass
class Batch:
    """Several samples. Samples without clips are not in the arrays; their videos are in `bad_videos`."""

    clips: np.ndarray  # uint8 (B, V, 3, T, S, S); (1, V, 3, T, H, W) where views are whole frames
    labels: np.ndarray  # int64 (B,); uint8 (B, K) where videos have several labels
    indices: np.ndarray  # int64 (B,), index of each video in its list
    paths: list[str]
    bad_videos: list[BadVideo]


def number_of_videos(batch: Batch) -> int:
    """Return how many videos of the list a batch stands for, unreadable ones included."""
    return len(batch.paths) + len(batch.bad_videos)


class ClipLoader:
    """Reads samples of a data set, `batch_size` at a time. A context manager: the processes live until its end.

    Args:
        num_workers: number of reader processes, at most one per core. 0: read in a thread of this process.
        timeout_seconds: how long the work on one video may take.
        stall_seconds: a wait longer than this is reported in the log.
    """

    def __init__(
        self,
        dataset: ClipDataset,
        *,
        batch_size: int,
        num_workers: int,
        timeout_seconds: float,
        stall_seconds: float = 60,
    ) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self._timeout_seconds = timeout_seconds
        self._stall_seconds = stall_seconds
        self._num_workers = min(num_workers, os.cpu_count() or 1)
        self._pool: WorkerPool | None = None
        self._known_bad: dict[int | str, str] = {}  # by file, where this process reads: those that took too long

    def __enter__(self) -> "ClipLoader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def batches(self, requests: Iterable[SampleRequest]) -> Iterator[Batch]:
        """Yield the requested samples in batches, in order. The last batch may be smaller.

        If a process dies, it is replaced, and its video is tried once more. A video during which two processes died, or
        that takes longer than `timeout_seconds`, counts as unreadable from then on.

        Raises:
            VideoError: see `ClipDataset.load`.
            ReaderError: see `WorkerPool.result`.
        """
        batch = _BatchBuilder(self.batch_size, self.dataset.plan.shape, self.dataset.videos.labels)
        if self._num_workers:
            results = self._started_pool().results(iter(requests))
            samples = (replace(sample, clips=clips) for sample, clips in results)
        else:
            samples = (self._load_here(request) for request in requests)
        for sample in samples:
            batch.add(sample)
            if batch.is_full:
                yield batch.take()
        if not batch.is_empty:
            yield batch.take()

    @property
    def num_processes(self) -> int:
        """Reader processes; 0: a thread of this process reads."""
        return self._num_workers

    @property
    def cpu_seconds(self) -> float:
        """CPU time of the reader processes so far."""
        return 0.0 if self._pool is None else self._pool.cpu_seconds

    def close(self) -> None:
        """End the reader processes, including those that hang."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def _load_here(self, request: SampleRequest) -> Sample:
        """Load a sample without a reader process."""
        present = [request.index]  # the video that is being worked on

        def load(is_alive: Callable[[], None]) -> Sample:
            def starts_on(index: int) -> None:
                is_alive()
                present[0] = index

            files = {index: self.dataset.file_of(index) for index in self.dataset.candidates(request)}
            known_bad = {index: self._known_bad[file] for index, file in files.items() if file in self._known_bad}
            return self.dataset.load(request, known_bad=known_bad, starts_on=starts_on)

        while True:
            try:
                return call_with_limit(load, timeout_seconds=self._timeout_seconds)
            except TimeLimitError:
                reason = f"{self.dataset.videos.paths[present[0]]}: gave nothing for {self._timeout_seconds:g} s"
                self._known_bad[self.dataset.file_of(present[0])] = f"{reason} (decode_timeout)"
                self.dataset.leave_behind()

    def _started_pool(self) -> WorkerPool:
        if self._pool is None:
            self._pool = WorkerPool(
                self.dataset,
                slot_shape=self.dataset.plan.shape,
                num_workers=self._num_workers,
                num_slots=max(_BATCHES_AHEAD * self.batch_size, self._num_workers + 1),
                timeout_seconds=self._timeout_seconds,
                stall_seconds=self._stall_seconds,
            )
        return self._pool


class _BatchBuilder:
    """Collects samples into one array."""

    def __init__(self, batch_size: int, shape: tuple[int, ...], labels: np.ndarray) -> None:
        self._batch_size = batch_size
        self._shape = shape
        self._labels = labels  # of the whole list
        self._start()

    def _start(self) -> None:
        self._clips = np.empty((self._batch_size, *self._shape), np.uint8)
        self._samples: list[Sample] = []
        self._num_clips = 0

    @property
    def is_full(self) -> bool:
        return len(self._samples) == self._batch_size

    @property
    def is_empty(self) -> bool:
        return not self._samples

    def add(self, sample: Sample) -> None:
        """Add a sample; its clips are copied."""
        if sample.clips is not None:
            np.copyto(beginning(self._clips[self._num_clips], sample.clips.shape), sample.clips)
            self._num_clips += 1
        self._samples.append(sample)

    def take(self) -> Batch:
        """Return the samples that were added as a batch, and begin the next one."""
        good = [sample for sample in self._samples if sample.clips is not None]
        clips = self._clips[: self._num_clips]
        if good and good[0].clips.shape != self._shape:  # the only one
            clips = beginning(clips, (1, *good[0].clips.shape))
        indices = np.array([sample.index for sample in good], np.int64)
        batch = Batch(
            clips=clips,
            labels=self._labels[indices],
            indices=indices,
            paths=[sample.path for sample in good],
            bad_videos=[bad for sample in self._samples for bad in sample.bad_videos],
        )
        self._start()
        return batch
