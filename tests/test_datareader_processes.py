"""Work per video with and without reader processes, and a pool with a job of its own."""

import multiprocessing
import os
import threading
import time

import numpy as np
import pytest

from datareader.filelist import unlabelled_videos
from datareader.processes import pool as pool_module
from datareader.processes import worker as worker_module
from datareader.processes.job import SampleRequest
from datareader.processes.per_video import for_each_video
from datareader.processes.pool import WorkerPool
from datareader.processes.reader_process import run_reader
from datareader.processes.time_limit import TimeLimitError, call_with_limit
from utils.errors import ConfigError, ReaderError, VideoError


def size_of(path, listed):
    """Bytes of a file, and the process that counted them."""
    if path.stat().st_size == 3:
        raise VideoError(f"{listed}: three bytes")
    if path.stat().st_size == 4:
        raise ConfigError("a mistake of the caller")
    return path.stat().st_size, os.getpid()


@pytest.fixture
def files(tmp_path):
    for number in range(6):
        (tmp_path / f"{number}.mp4").write_bytes(b"x" * (number if number != 4 else 40))
    return unlabelled_videos([f"{tmp_path}/{number}.mp4" for number in range(6)] + [f"{tmp_path}/gone.mp4"])


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_every_number_of_processes_gives_the_same(files, num_workers):
    outcomes = list(for_each_video(files, size_of, [5, 0, 3, 6, 1], num_workers=num_workers, timeout_seconds=60))
    assert [outcome.index for outcome in outcomes] == [5, 0, 3, 6, 1]
    assert [outcome.value and outcome.value[0] for outcome in outcomes] == [5, 0, None, None, 1]
    assert outcomes[2].reason == f"{files.paths[3]}: three bytes"
    assert "gone.mp4: no such file" in outcomes[3].reason
    here = {outcome.value[1] == os.getpid() for outcome in outcomes if outcome.value}
    assert here == {num_workers == 0}


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_error_that_is_no_video_s_ends_the_loop(files, tmp_path, num_workers):
    (tmp_path / "5.mp4").write_bytes(b"four")
    with pytest.raises(ConfigError, match="a mistake of the caller"):
        list(for_each_video(files, size_of, [0, 5, 1], num_workers=num_workers, timeout_seconds=60))


def test_without_processes_nothing_is_done_ahead(files):
    outcomes = for_each_video(files, size_of, [0, 5], num_workers=0, timeout_seconds=60)
    assert next(outcomes).value[0] == 0
    outcomes.close()


class Squares:
    """A job that writes rows of numbers, of a length of its own for each request."""

    def __init__(self, videos):
        self.videos = videos

    def candidates(self, request):
        return [request.index]

    def file_of(self, index):
        return index

    def run(self, request, *, out, known_bad, starts_on):
        starts_on(request.index)
        if request.index == 5:
            raise ValueError("a bug of the job")
        if request.index == 0:
            return "nothing", None
        shape = (request.index, 2)
        out[: request.index, :2] = request.index**2
        return f"number {request.index}", shape


@pytest.fixture
def pool(files):
    pool = WorkerPool(Squares(files), slot_shape=(6, 2), num_workers=2, num_slots=3, timeout_seconds=60)
    yield pool
    pool.close()


def test_a_pool_takes_any_job_and_slots_of_its_shape(pool):
    requests = (SampleRequest(0, position, index) for position, index in enumerate([3, 0, 1, 4, 2, 0, 3]))
    found = [(result, None if array is None else array.copy()) for result, array in pool.results(requests)]
    assert [result for result, _ in found] == [
        "number 3", "nothing", "number 1", "number 4", "number 2", "nothing", "number 3",
    ]  # fmt: skip
    for (_, array), index in zip(found, [3, 0, 1, 4, 2, 0, 3], strict=True):
        if not index:
            assert array is None
        else:
            np.testing.assert_array_equal(array.ravel()[: 2 * index], np.full(2 * index, index**2))
            assert array.shape == (index, 2)


def test_a_bug_of_the_job_names_the_file(pool, files):
    with pytest.raises(ReaderError, match=rf"{files.paths[5]}: the reader failed on it\n(.*\n)*.*a bug of the job"):
        list(pool.results(iter([SampleRequest(0, 0, 5)])))


def never_ready(*arguments):
    time.sleep(600)


def without_threads(*arguments):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    threading.Thread.start = refuse
    run_reader(*arguments)


def start_with(monkeypatch, main_of):
    """Let the processes whose number `main_of` has begin with another function."""
    start_worker = pool_module.start_worker

    def start(number, job, ring):
        with monkeypatch.context() as patch:
            patch.setattr(worker_module, "run_reader", main_of.get(number, run_reader))
            return start_worker(number, job, ring)

    monkeypatch.setattr(pool_module, "start_worker", start)


def test_a_process_that_starts_slowly_holds_up_nothing(files, monkeypatch):
    start_with(monkeypatch, {0: never_ready})
    pool = WorkerPool(Squares(files), slot_shape=(6, 2), num_workers=2, num_slots=3, timeout_seconds=60)
    try:
        requests = (SampleRequest(0, position, index) for position, index in enumerate([3, 0, 1, 4, 2]))
        found = [result for result, _ in pool.results(requests)]
    finally:
        pool.close()
    assert found == ["number 3", "nothing", "number 1", "number 4", "number 2"]


def two_seconds(path, listed):
    time.sleep(2)
    return os.getpid()


def test_the_first_that_is_ready_leaves_the_others_their_share(files):
    outcomes = for_each_video(files, two_seconds, [0, 1, 2, 5], num_workers=2, timeout_seconds=60)
    assert len({outcome.value for outcome in outcomes}) == 2


def test_the_others_go_on_without_one_that_cannot_start(files, monkeypatch, logged):
    """However long their work takes: what cannot start is no sign that nothing can."""
    start_with(monkeypatch, {0: without_threads})
    outcomes = list(for_each_video(files, twenty_seconds, [1], num_workers=2, timeout_seconds=100))
    assert outcomes[0].value == 1
    assert logged().count("was given no thread by the system (ulimit -u) before it could start: replaced") == 2
    assert logged().count("before it could start: the others go on without it") == 1


def twenty_seconds(path, listed):
    time.sleep(20)
    return path.stat().st_size


def test_an_empty_place_is_tried_again(files, monkeypatch, logged):
    monkeypatch.setattr(pool_module, "_START_SECONDS", 5)
    failing = {0: without_threads}
    start_with(monkeypatch, failing)
    outcomes = for_each_video(files, two_seconds, [0, 1, 2, 5] * 5, num_workers=2, timeout_seconds=60)
    found = [next(outcomes).value for _ in range(4)]
    assert len(set(found)) == 1
    failing.clear()
    found += [outcome.value for outcome in outcomes]
    assert len(set(found)) == 2


def test_a_process_that_cannot_be_replaced_ends_the_run_with_that_error(files, monkeypatch):
    start_with(monkeypatch, {0: without_threads})
    start, started = pool_module.start_worker, []

    def start_twice(*arguments):
        if len(started) == 2:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        started.append(start(*arguments))
        return started[-1]

    monkeypatch.setattr(pool_module, "start_worker", start_twice)
    with pytest.raises(BlockingIOError):
        list(for_each_video(files, twenty_seconds, [1], num_workers=2, timeout_seconds=60))
    started.clear()
    with pytest.raises(BlockingIOError):  # the third cannot even be started the first time
        list(for_each_video(files, twenty_seconds, [1, 2, 5], num_workers=3, timeout_seconds=60))
    assert not multiprocessing.active_children()


def test_processes_without_threads(files, monkeypatch, capfd):
    """As under a limit of them (ulimit -u): no trace, and the reason is named."""
    start_with(monkeypatch, {0: without_threads})
    pool = WorkerPool(Squares(files), slot_shape=(6, 2), num_workers=1, num_slots=3, timeout_seconds=60)
    try:
        with pytest.raises(ReaderError, match=r"the last one was given no thread by the system \(ulimit -u\)"):
            list(pool.results(iter([SampleRequest(0, 0, 3)])))
    finally:
        pool.close()
    assert "Traceback" not in capfd.readouterr().err


def threads_of_numpy(path, listed):
    return os.environ.get("OPENBLAS_NUM_THREADS")


@pytest.mark.parametrize("of_the_user", [None, "3"])
def test_readers_have_no_threads_for_linear_algebra(files, monkeypatch, of_the_user):
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    if of_the_user is not None:
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", of_the_user)
    (outcome,) = for_each_video(files, threads_of_numpy, [0], num_workers=1, timeout_seconds=60)
    assert outcome.value == (of_the_user or "1")
    assert os.environ.get("OPENBLAS_NUM_THREADS") == of_the_user


def test_work_that_is_left_behind_ends_at_its_next_sign_of_life():
    ended, go_on = threading.Event(), threading.Event()

    def work(is_alive):
        go_on.wait(60)
        try:
            is_alive()
        finally:
            ended.set()

    with pytest.raises(TimeLimitError):
        call_with_limit(work, timeout_seconds=0.2)
    assert not ended.is_set()
    go_on.set()
    assert ended.wait(60)

    def slow_but_alive(is_alive):
        for _ in range(10):
            time.sleep(0.1)
            is_alive()
        return "done"

    assert call_with_limit(slow_but_alive, timeout_seconds=0.8) == "done"
    with pytest.raises(ZeroDivisionError):
        call_with_limit(lambda is_alive: 1 / 0, timeout_seconds=1)
