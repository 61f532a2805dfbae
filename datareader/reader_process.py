"""What runs in a reader process: it takes tasks from its pipe one by one, and writes the views into shared memory."""

import os
import signal
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait

import cv2

from datareader.dataset import ClipDataset, Sample, SampleRequest
from datareader.shared_ring import SharedRing
from utils.errors import VideoToolkitError


@dataclass
class Task:
    """One sample to make, into one slot of the ring."""

    number: int
    request: SampleRequest
    slot: int
    known_bad: dict[int, str] = field(default_factory=dict)  # index of a video not to be opened again, and why


@dataclass
class Answer:
    """What became of a task: the sample (its clips lie in the slot), or an error."""

    task: int
    sample: Sample | None
    shape: tuple[int, ...] | None = None  # of the clips; None: there are none
    error: str = ""
    is_bug: bool = False  # none of our own errors: `error` is a traceback


READY = Answer(-1, None)  # the first message of every process


def run_reader(worker: int, dataset: ClipDataset, ring: SharedRing, pipe: Connection) -> None:
    """Answer tasks until the pipe closes. The main function of a reader process."""
    os.setpgrp()  # what stops the run is sent to its group; the main process decides when its readers end
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(0)
    status = ring.status(worker)
    try:
        pipe.send(READY)
        while True:
            task: Task = pipe.recv()

            def starts_on(index: int, number: int = task.number) -> None:
                status[:] = number, index, time.monotonic()

            pipe.send(_answer(task, dataset, ring, starts_on))
            status[2] = 0
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the main process is gone


def _answer(task: Task, dataset: ClipDataset, ring: SharedRing, starts_on: Callable[[int], None]) -> Answer:
    try:
        sample = dataset.load(task.request, out=ring.slot(task.slot), known_bad=task.known_bad, starts_on=starts_on)
    except VideoToolkitError as error:
        return Answer(task.number, None, error=str(error))
    except Exception:  # noqa: BLE001 - the main process raises it
        return Answer(task.number, None, error=traceback.format_exc(), is_bug=True)
    shape = None if sample.clips is None else sample.clips.shape
    return Answer(task.number, replace(sample, clips=None), shape)


def _end_with_parent() -> None:
    wait([parent_process().sentinel])
    os._exit(1)
