"""One reader process as the pool sees it: its tasks, its state, and how it ended."""

import contextlib
import multiprocessing
import os
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection

from datareader.processes.job import Job
from datareader.processes.reader_process import NO_THREAD, Task, run_reader
from datareader.processes.shared_ring import SharedRing
from utils.signals import interrupts_blocked


@dataclass
class Worker:
    """A reader process and the pipe to it."""

    process: multiprocessing.Process
    pipe: Connection
    started: float
    busy_since: float  # when it was last heard of, or given a task while idle
    is_ready: bool = False
    has_left: bool = False  # it could not start, and its place stays empty for a while
    tasks: deque[Task] = field(default_factory=deque)  # sent but not answered, in the order of work

    def end(self) -> str:
        """End the process if it still runs, and return how it ended."""
        self.process.kill()
        self.process.join()
        return _describe_end(self.process.exitcode) + ("" if self.is_ready else " before it could start")

    def close(self) -> None:
        """Wait for the end of the process, and release what belongs to it."""
        self.process.join()
        self.process.close()
        self.pipe.close()

    def state(self, video: tuple[str, float] | None, now: float) -> str:
        """Return what it is doing, for messages.

        Args:
            video: the video it works on, and for how many seconds.
        """
        if self.has_left:
            return "could not start"
        if not self.is_ready:
            return f"starting for {now - self.started:.0f} s"
        if video is not None:
            return f"for {video[1]:.0f} s at {video[0]}"
        return f"{len(self.tasks)} tasks, none begun" if self.tasks else "idle"


def start_worker(number: int, job: Job, ring: SharedRing) -> Worker:
    """Start a process that works on `job`, and reports its status in row `number` of the ring."""
    context = multiprocessing.get_context("spawn")  # inherits no locks, threads or open files
    ours, theirs = context.Pipe()
    process = context.Process(target=run_reader, args=(number, job, ring, theirs), name=f"reader-{number}", daemon=True)
    ring.status(number)[:] = 0
    resource_tracker.ensure_running()  # it would start with the first process, and unblock the signal
    with interrupts_blocked(), _one_thread_of_linear_algebra():
        process.start()
    theirs.close()
    now = time.monotonic()
    return Worker(process, ours, started=now, busy_since=now)


@contextlib.contextmanager
def _one_thread_of_linear_algebra() -> Iterator[None]:
    """Let processes that start meanwhile have one, unless the user says otherwise.

    NumPy would start one for every core, in every process, and a reader has no use for them.
    """
    name = "OPENBLAS_NUM_THREADS"
    if name in os.environ:
        yield
        return
    os.environ[name] = "1"
    try:
        yield
    finally:
        os.environ.pop(name, None)


def _describe_end(exitcode: int | None) -> str:
    if exitcode == NO_THREAD:
        return "was given no thread by the system (ulimit -u)"
    if exitcode is not None and exitcode < 0:
        return f"was ended by signal {-exitcode}" + (" (killed, perhaps out of memory)" if exitcode == -9 else "")
    return f"ended with exit code {exitcode}"
