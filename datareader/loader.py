"""Batches of uint8 clips, made by reader processes ahead of the network.

The processes are a standard process pool started afresh (no inherited locks or threads). They end when the main
process ends, however it ends. Samples come back in the order asked for, so their number and timing change nothing.
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import wait

import cv2
import numpy as np

from datareader.dataset import BadVideo, ClipDataset, Sample, SampleRequest
from utils.errors import ReaderError

_BATCHES_AHEAD = 2


@dataclass
class Batch:
    """Samples side by side; those without clips are left out of the arrays and stand in `bad_videos`."""

    clips: np.ndarray  # uint8 (B, V, 3, T, S, S)
    labels: np.ndarray  # int64 (B,)
    indices: np.ndarray  # int64 (B,), index of each video in its list
    paths: list[str]
    bad_videos: list[BadVideo]


class ClipLoader:
    """Reads samples of a data set, `batch_size` at a time. Use as a context manager; processes live until `close`.

    Args:
        num_workers: reader processes, at most one per core; 0 reads in this process.
        timeout_seconds: how long to wait for one sample before giving up.
    """

    def __init__(self, dataset: ClipDataset, *, batch_size: int, num_workers: int, timeout_seconds: float) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self._timeout_seconds = timeout_seconds
        self._num_workers = min(num_workers, os.cpu_count() or 1)
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> "ClipLoader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def batches(self, requests: Iterable[SampleRequest]) -> Iterator[Batch]:
        """Yield the requested samples in batches, in order; the last one may be smaller.

        Raises:
            ReaderError: a reader process died or gave nothing for `timeout_seconds`; names the videos in work.
            VideoError: see `ClipDataset.load`.
        """
        samples = self._in_order(iter(requests)) if self._num_workers else map(self.dataset.load, requests)
        waiting: list[Sample] = []
        for sample in samples:
            waiting.append(sample)
            if len(waiting) == self.batch_size:
                yield _collate(waiting)
                waiting = []
        if waiting:
            yield _collate(waiting)

    def close(self) -> None:
        """End the reader processes, also those that are stuck in a video."""
        if self._pool is None:
            return
        processes = [process for process in multiprocessing.active_children() if process.name.startswith("Spawn")]
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        for process in processes:
            while process.is_alive():  # `join` may return early: the pool's own thread waits for the same process
                process.join(timeout=0.01)
        self._pool = None

    def _in_order(self, requests: Iterator[SampleRequest]) -> Iterator[Sample]:
        self._start()
        ahead = max(_BATCHES_AHEAD * self.batch_size, self._num_workers + 1)
        pending: deque[tuple[SampleRequest, Future[Sample]]] = deque()
        try:
            while True:
                while len(pending) < ahead and (request := next(requests, None)) is not None:
                    pending.append((request, self._pool.submit(_load, request)))
                if not pending:
                    return
                yield self._result(pending)
                pending.popleft()
        except BrokenProcessPool as error:
            raise ReaderError(
                f"a reader process died (killed, or out of memory) while working on one of: {self._names(pending)}"
            ) from error
        finally:
            for _, future in pending:
                future.cancel()

    def _result(self, pending: deque[tuple[SampleRequest, "Future[Sample]"]]) -> Sample:
        try:
            return pending[0][1].result(timeout=self._timeout_seconds)
        except FutureTimeoutError as error:
            names = self._names(pending)  # before `close` cancels what is unfinished
            self.close()
            raise ReaderError(
                f"the reader gave nothing for {self._timeout_seconds:g} s (decode_timeout); it works on one of: {names}"
            ) from error

    def _names(self, pending: deque[tuple[SampleRequest, "Future[Sample]"]]) -> str:
        unfinished = [
            request for request, future in pending if not future.done() or future.cancelled() or future.exception()
        ]
        paths = [self.dataset.videos.paths[request.index] for request in unfinished[: self._num_workers + 1]]
        return ", ".join(paths)

    def _start(self) -> None:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self._num_workers,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_start_worker,
                initargs=(self.dataset,),
            )


def _collate(samples: list[Sample]) -> Batch:
    good = [sample for sample in samples if sample.clips is not None]
    return Batch(
        clips=np.stack([sample.clips for sample in good]) if good else np.empty((0, 0), np.uint8),
        labels=np.array([sample.label for sample in good], np.int64),
        indices=np.array([sample.index for sample in good], np.int64),
        paths=[sample.path for sample in good],
        bad_videos=[bad for sample in samples for bad in sample.bad_videos],
    )


_worker_dataset: ClipDataset  # set once in each reader process


def _start_worker(dataset: ClipDataset) -> None:
    global _worker_dataset
    _worker_dataset = dataset
    cv2.setNumThreads(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _load(request: SampleRequest) -> Sample:
    return _worker_dataset.load(request)
