"""What runs in a reader process: it takes tasks from its pipe one by one, and writes arrays into shared memory."""

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from typing import Any

import cv2

from datareader.processes.job import Job, SampleRequest
from datareader.processes.shared_ring import SharedRing
from utils.errors import VideoToolkitError


@dataclass
class Task:
    """One request to work on, with one slot of the ring."""

    number: int
    request: SampleRequest
    slot: int
    known_bad: dict[int, str] = field(default_factory=dict)  # index of a video not to be opened again, and why


@dataclass
class Answer:
    """What became of a task: a result, or an error."""

    task: int
    result: Any
    shape: tuple[int, ...] | None = None  # of the array in the slot; None: nothing was written there
    error: str = ""  # one line, if the work cannot be done
    error_class: type[VideoToolkitError] | None = None  # None: none of our own errors, and `error` is a traceback
    cpu_seconds: float = 0.0  # of this process, all threads of it, for the task


READY = Answer(-1, None)  # the first message of every process
NO_THREAD = os.EX_OSERR  # exit code of a process that could not start its thread


def run_reader(worker: int, job: Job, ring: SharedRing, pipe: Connection) -> None:
    """Answer tasks until the pipe closes. The main function of a reader process."""
    os.setpgrp()  # a signal to the group of the run must not end it: the main process decides that
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    except RuntimeError:
        sys.exit(NO_THREAD)
    cv2.setNumThreads(0)
    status = ring.status(worker)
    try:
        pipe.send(READY)
        while True:
            task: Task = pipe.recv()

            def starts_on(index: int, number: int = task.number) -> None:
                status[:] = number, index, time.monotonic()

            before = time.process_time()
            answer = _answer(task, job, ring, starts_on)
            answer.cpu_seconds = time.process_time() - before
            pipe.send(answer)
            status[2] = 0
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the main process is gone


def _answer(task: Task, job: Job, ring: SharedRing, starts_on: Callable[[int], None]) -> Answer:
    try:
        result, shape = job.run(task.request, out=ring.slot(task.slot), known_bad=task.known_bad, starts_on=starts_on)
    except VideoToolkitError as error:
        return Answer(task.number, None, error=str(error), error_class=type(error))
    except Exception:  # noqa: BLE001 - the main process raises it
        return Answer(task.number, None, error=traceback.format_exc())
    return Answer(task.number, result, shape)


def _end_with_parent() -> None:
    wait([parent_process().sentinel])
    os._exit(1)
