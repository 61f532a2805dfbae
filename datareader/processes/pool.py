"""Reader processes under supervision: tasks out, results back; a process that dies or hangs is replaced.

Every process has a pipe of its own and shares no lock with another, so that one which is killed at any moment harms
none but its own task. The main process decides everything, and only while it waits for a result.
"""

import selectors
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np

from datareader.processes.job import Job, SampleRequest
from datareader.processes.reader_process import READY, Answer, Task
from datareader.processes.shared_ring import SharedRing
from datareader.processes.worker import Worker, start_worker
from utils.errors import ReaderError
from utils.logging import get_logger

_START_SECONDS = 120
_FAILED_STARTS = 2  # in a row; after more the others go on without it, and it is tried again after _START_SECONDS
_LOOK_SECONDS = 0.2  # from one look at the time limits to the next
_DEATHS_IN_A_ROW = 8  # without a single result between them: it is not the videos


class WorkerPool:
    """Reader processes that work on a job.

    Args:
        job: the work; every process gets a copy.
        slot_shape: of the array that a request may write into shared memory.
        num_slots: requests that may be worked on, or whose results may wait, at a time.
        timeout_seconds: a process that works longer on one video is replaced, and the video not opened again.
        limit_name: what the user knows this limit as.
        stall_seconds: a wait of this long for a result is reported in the log, with what every process does.

    Attributes:
        cpu_seconds: that the answers which came so far have taken.
    """

    def __init__(
        self,
        job: Job,
        *,
        slot_shape: tuple[int, ...],
        num_workers: int,
        num_slots: int,
        timeout_seconds: float,
        limit_name: str = "decode_timeout",
        stall_seconds: float = 60,
    ) -> None:
        self.cpu_seconds = 0.0
        self._job = job
        self._limit_name = limit_name
        self._timeout_seconds = timeout_seconds
        self._stall_seconds = stall_seconds
        self._ring = SharedRing(num_slots, slot_shape, num_workers)
        self._free_slots = deque(range(num_slots))
        self._queue: deque[Task] = deque()  # not yet sent
        self._answers: dict[int, tuple[Task, Answer]] = {}
        self._abandoned: set[int] = set()
        self._known_bad: dict[int | str, str] = {}  # by file, see `Job.file_of`
        self._deaths: dict[int | str, int] = {}  # by file: processes that ended while they worked on it
        self._deaths_in_a_row = 0
        self._next_number = 0
        self._depth = -(-num_slots // num_workers) + 1  # tasks sent ahead to one process
        self._selector = selectors.DefaultSelector()  # pipes and ends of the processes
        self._next_look = 0.0
        self._failed_starts = [0] * num_workers  # in a row, by number of the worker
        self._workers: list[Worker] = []
        try:
            for number in range(num_workers):
                self._workers.append(self._start(number))
        except BaseException:  # no process can be started
            self.close()
            raise

    def results(self, requests: Iterator[SampleRequest]) -> Iterator[tuple[Any, np.ndarray | None]]:
        """Yield what comes of `requests`, in order, worked on ahead as far as there are slots.

        Yields:
            the result, and the array that the request wrote, None if it wrote none. The array lies in shared memory,
            and is valid until the next one is asked for.

        Raises:
            VideoToolkitError: see `result`.
        """
        pending: deque[int] = deque()
        try:
            while True:
                while (self._free_slots or not pending) and (request := next(requests, None)) is not None:
                    pending.append(self.submit(request))
                if not pending:
                    return
                yield self.result(pending[0])
                self.release(pending.popleft())
        finally:
            self.abandon(list(pending))

    def submit(self, request: SampleRequest) -> int:
        """Queue a request as soon as a slot is free, and return the number of its task."""
        while not self._free_slots:
            self._supervise()
        task = Task(self._next_number, request, self._free_slots.popleft())
        self._next_number += 1
        self._queue.append(task)
        self._send_tasks()
        return task.number

    def result(self, number: int) -> tuple[Any, np.ndarray | None]:
        """Wait for a task. The array lies in shared memory, and is valid until `release`.

        Raises:
            VideoToolkitError: what the job raised.
            ReaderError: the processes cannot start, keep dying, or met an error that is no video's.
        """
        started = reported = time.monotonic()
        while number not in self._answers:
            self._supervise()
            if time.monotonic() > reported + self._stall_seconds:
                reported = time.monotonic()
                self._report_stall(reported - started)
        task, answer = self._answers[number]
        if answer.error and answer.error_class is None:
            raise ReaderError(f"{self._job.videos.paths[task.request.index]}: the reader failed on it\n{answer.error}")
        if answer.error:
            raise answer.error_class(answer.error)
        return answer.result, self._ring.slot(task.slot, answer.shape) if answer.shape else None

    def release(self, number: int) -> None:
        """Free the slot of a finished task."""
        task, _ = self._answers.pop(number)
        self._free_slots.append(task.slot)

    def abandon(self, numbers: list[int]) -> None:
        """Drop these tasks. Those under way are finished first, and their results are thrown away."""
        queued = {task.number for task in self._queue}
        for number in numbers:
            if number in self._answers:
                self.release(number)
            elif number not in queued:
                self._abandoned.add(number)
        for task in [task for task in self._queue if task.number in set(numbers)]:
            self._queue.remove(task)
            self._free_slots.append(task.slot)

    def close(self) -> None:
        """End the processes, including those that hang, and release the shared memory."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.close()
        self._workers = []
        self._selector.close()
        self._ring.close()

    def _start(self, number: int) -> Worker:
        worker = start_worker(number, self._job, self._ring)
        for end in (worker.pipe, worker.process.sentinel):
            self._selector.register(end, selectors.EVENT_READ, number)
        return worker

    def _send_tasks(self) -> None:
        while self._queue:
            # One that starts slowly, or never, holds up nothing; and the first that is ready leaves it its share.
            ready = [worker for worker in self._workers if worker.is_ready]
            depth = self._depth if len(ready) == len(self._workers) else 1
            worker = min(ready, key=lambda worker: len(worker.tasks), default=None)
            if worker is None or len(worker.tasks) >= depth:
                return
            task = self._queue.popleft()
            task.known_bad = self._bad_for(task.request)
            if not worker.tasks:
                worker.busy_since = time.monotonic()
            worker.tasks.append(task)
            try:
                worker.pipe.send(task)
            except OSError:
                return  # the process has died: `_supervise` gives its tasks to another

    def _bad_for(self, request: SampleRequest) -> dict[int, str]:
        files = {index: self._job.file_of(index) for index in self._job.candidates(request)}
        return {index: self._known_bad[file] for index, file in files.items() if file in self._known_bad}

    def _supervise(self) -> None:
        """Wait for a message, the end of a process, or a time limit, and react to it."""
        self._send_tasks()
        ended = []
        for key, _ in self._selector.select(_LOOK_SECONDS):
            worker = self._workers[key.data]
            if key.fileobj is worker.pipe:
                self._receive(worker)
            else:
                ended.append(key.data)
        for number in ended:
            self._receive_rest(self._workers[number])
            self._replace(number, "")
        if time.monotonic() >= self._next_look:
            for number in range(len(self._workers)):
                if self._is_late(number):
                    self._replace(number, f"gave nothing for {self._timeout_seconds:g} s ({self._limit_name})")
            self._next_look = time.monotonic() + _LOOK_SECONDS

    def _receive(self, worker: Worker) -> bool:
        """Take a message; return whether there was one."""
        try:
            self._take(worker, worker.pipe.recv())
        except (EOFError, OSError):
            return False  # the process has died, perhaps in the middle of a message
        return True

    def _receive_rest(self, worker: Worker) -> None:
        """Take the last messages of a process that has ended."""
        while self._receive(worker):
            pass

    def _take(self, worker: Worker, answer: Answer) -> None:
        worker.busy_since = time.monotonic()
        if answer.task == READY.task:
            worker.is_ready = True
            self._failed_starts[self._workers.index(worker)] = 0
            self._send_tasks()
            return
        self.cpu_seconds += answer.cpu_seconds
        task = worker.tasks.popleft()
        if answer.shape or not task.known_bad:
            self._deaths_in_a_row = 0
        if task.number in self._abandoned:
            self._abandoned.remove(task.number)
            self._free_slots.append(task.slot)
        else:
            self._answers[task.number] = task, answer
        self._send_tasks()

    def _video_of(self, number: int) -> tuple[int, float] | None:
        """Return the index of the video that a worker is working on, and since when; None if it is working on none."""
        task, index, since = self._ring.status(number).tolist()  # read once: the worker may change it meanwhile
        tasks = self._workers[number].tasks
        return (int(index), since) if since and tasks and tasks[0].number == task else None

    def _limit(self, number: int) -> float | None:
        """Return the time at which a worker is late: with its video, with its next answer, or with its start."""
        worker = self._workers[number]
        if not worker.is_ready:
            return worker.started + _START_SECONDS
        if not worker.tasks:
            return None
        at_video = self._video_of(number)
        return (at_video[1] if at_video is not None else worker.busy_since) + self._timeout_seconds

    def _report_stall(self, seconds: float) -> None:
        now = time.monotonic()
        states = []
        for number, worker in enumerate(self._workers):
            at_video = self._video_of(number)
            video = None if at_video is None else (self._job.videos.paths[at_video[0]], now - at_video[1])
            states.append(f"process {number} (pid {worker.process.pid}) {worker.state(video, now)}")
        get_logger().warning("the reader has given nothing for %.0f s: %s", seconds, "; ".join(states))

    def _is_late(self, number: int) -> bool:
        limit = self._limit(number)
        return limit is not None and time.monotonic() > limit

    def _replace(self, number: int, fault: str) -> None:
        """End a worker, start another in its place, and put its tasks back into the queue.

        Args:
            fault: why its video is not to be opened again. Empty if the worker died: then the video is blamed only the
                second time.
        """
        worker = self._workers[number]
        if worker.has_left:
            self._start_in_place_of(number)
            return
        at_video = self._video_of(number)
        end = worker.end()
        others_work = any(other.is_ready for other in self._workers if other is not worker)
        if not worker.is_ready:
            self._failed_starts[number] += 1
        if worker.is_ready or not others_work:
            self._deaths_in_a_row += 1
        if self._deaths_in_a_row > _DEATHS_IN_A_ROW:
            raise ReaderError(
                f"{self._deaths_in_a_row} reader processes in a row ended without giving a result, the last one {end}: "
                "are there memory and processes enough for num_reader_threads of them? (And a program of your own that "
                "starts readers needs if __name__ == '__main__': around its work.)"
            )
        if at_video is not None:
            index = at_video[0]
            path, file = self._job.videos.paths[index], self._job.file_of(index)
            self._deaths[file] = self._deaths.get(file, 0) + 1
            get_logger().warning("reader process %d %s at %s: replaced", number, fault or end, path)
            if not fault and self._deaths[file] > 1:
                fault = f"the reader process {end} while it worked on it, twice"
            if fault:
                self._known_bad[file] = f"{path}: {fault}"
        else:
            worker.has_left = others_work and self._failed_starts[number] > _FAILED_STARTS
            outcome = "the others go on without it" if worker.has_left else "replaced"
            get_logger().warning("reader process %d %s: %s", number, fault or end, outcome)
        self._queue.extendleft(reversed(worker.tasks))
        for end_of_it in (worker.pipe, worker.process.sentinel):
            self._selector.unregister(end_of_it)
        worker.tasks.clear()
        if not worker.has_left:
            self._start_in_place_of(number)
        self._send_tasks()

    def _start_in_place_of(self, number: int) -> None:
        ended = self._workers[number]
        self._workers[number] = self._start(number)
        ended.close()
