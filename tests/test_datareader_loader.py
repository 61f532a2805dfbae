"""Data set, order of an epoch, loader and quarantine: same batches whatever the workers do, and no wait without end."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import ROOT, write_counting_video

from datareader.building import build_loader, build_test_dataset, build_train_dataset, build_valid_dataset
from datareader.dataset import BadVideo, ClipDataset
from datareader.decoding.opening import decode_frames
from datareader.epoch_order import listed_order, shuffled_epoch
from datareader.list_reading import read_labelled_list
from datareader.loader import ClipLoader
from datareader.processes.job import SampleRequest
from datareader.processes.shared_ring import SharedRing
from datareader.quarantine import Quarantine
from datareader.views import MiddleView
from utils.errors import ReaderError, VideoError

EVERYWHERE = -2


@dataclass(frozen=True)
class OddPlan(MiddleView):
    """A plan that at some place of the epoch never comes back, ends its process, or fails."""

    stuck_at: int = -1
    dies_at: int = -1
    fails_at: int = -1

    def frame_indices(self, num_frames, key, seconds=None):
        number = num_frames - 8  # which video
        if number == self.stuck_at:
            time.sleep(1000)
        if self.dies_at in (number, EVERYWHERE):
            os.kill(os.getpid(), signal.SIGKILL)
        if number == self.fails_at:
            raise ZeroDivisionError
        return super().frame_indices(num_frames, key)


class Unpicklable(MiddleView):
    """A plan that a new process cannot make."""

    def __setstate__(self, state):
        raise ZeroDivisionError


PLAN = {"video_length": 4, "sample_rate": 1, "crop_size": 32, "short_side": 32}


@pytest.fixture
def videos(tmp_path):
    """Five videos of different brightness range; the list is relative to its folder."""
    for number in range(5):
        write_counting_video(tmp_path / f"v{number}.mp4", 8 + number)
    listing = tmp_path / "list.txt"
    listing.write_text("".join(f"v{number}.mp4 {number}\n" for number in range(5)))
    return listing


def read(path):
    return read_labelled_list(str(path), num_classes=10)


def loader_of(dataset, *, batch_size=2, num_workers=0, timeout_seconds=60, stall_seconds=60):
    return ClipLoader(
        dataset,
        batch_size=batch_size,
        num_workers=num_workers,
        timeout_seconds=timeout_seconds,
        stall_seconds=stall_seconds,
    )


def test_the_order_of_an_epoch():
    first = list(shuffled_epoch(100, seed=0, epoch=0))
    assert sorted(request.index for request in first) == list(range(100))
    assert first == list(shuffled_epoch(100, seed=0, epoch=0))
    assert first[30:50] == list(shuffled_epoch(100, seed=0, epoch=0, start=30, stop=50))
    for other in (shuffled_epoch(100, seed=0, epoch=1), shuffled_epoch(100, seed=1, epoch=0)):
        assert [request.index for request in other] != [request.index for request in first]


@pytest.mark.parametrize("num_ranks", [1, 2, 3, 8])
def test_ranks_share_an_epoch(num_ranks):
    """Disjoint, complete, and the same samples whatever their number; batches of the whole are batches of each."""
    whole = list(shuffled_epoch(21, seed=0, epoch=3))
    shares = [list(shuffled_epoch(21, seed=0, epoch=3, rank=r, num_ranks=num_ranks)) for r in range(num_ranks)]
    assert sorted(request for share in shares for request in share) == sorted(whole)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    first_batch = {request for share in shares for request in share[: 8 // num_ranks]}
    assert first_batch == set(whole[: 8 // num_ranks * num_ranks])
    listed = [request.index for r in range(num_ranks) for request in listed_order(21, rank=r, num_ranks=num_ranks)]
    assert sorted(listed) == list(range(21))


def test_any_number_of_workers_gives_the_same_batches(narrow_config, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    config = narrow_config("TRAIN.mirror=True")
    dataset = build_train_dataset(config)

    def all_batches(num_workers):
        with loader_of(dataset, num_workers=num_workers, batch_size=3) as loader:
            return list(loader.batches(shuffled_epoch(len(dataset), seed=5, epoch=2)))

    expected = all_batches(0)
    assert [len(batch.labels) for batch in expected] == [3, 3, 2], "the last partial batch counts"
    for num_workers in (1, 2, 4):
        for batch, other in zip(expected, all_batches(num_workers), strict=True):
            np.testing.assert_array_equal(batch.clips, other.clips)
            assert (batch.labels.tolist(), batch.paths) == (other.labels.tolist(), other.paths)


def test_a_resumed_epoch_goes_on_with_the_same_batches(narrow_config):
    dataset = build_train_dataset(narrow_config())
    loader = loader_of(dataset)
    whole = list(loader.batches(shuffled_epoch(8, seed=0, epoch=1)))
    rest = list(loader.batches(shuffled_epoch(8, seed=0, epoch=1, start=4)))
    for batch, other in zip(whole[2:], rest, strict=True):
        np.testing.assert_array_equal(batch.clips, other.clips)


def test_batches_are_uint8_of_the_stated_shape(narrow_config):
    config = narrow_config()
    for build, views in ((build_train_dataset, 1), (build_valid_dataset, 1), (build_test_dataset, 6)):
        dataset = build(config)
        batch = next(loader_of(dataset).batches(listed_order(len(dataset))))
        assert batch.clips.shape == (2, views, 3, 8, 32, 32)
        assert batch.clips.dtype == np.uint8
        assert batch.labels.tolist() == dataset.videos.labels[:2].tolist()


def test_one_decode_serves_all_views_of_a_test_video(narrow_config, monkeypatch):
    opened = []
    import datareader.dataset as decoder

    original = decoder.open_video
    monkeypatch.setattr(decoder, "open_video", lambda *args: opened.append(args) or original(*args))
    dataset = build_test_dataset(narrow_config())
    assert dataset.load(SampleRequest(0, 0, 0)).clips.shape[0] == 6
    assert len(opened) == 1


def test_one_resize_serves_all_views_of_a_test_video(narrow_config, monkeypatch):
    resized = []
    original = cv2.resize
    monkeypatch.setattr(cv2, "resize", lambda frame, *rest, **more: resized.append(1) or original(frame, *rest, **more))
    config = narrow_config("TEST.jitter_scales=[40,40]")
    dataset = build_test_dataset(config)
    frames, _ = decode_frames(
        dataset.videos.locate(dataset.videos.paths[0]), lambda n: dataset.plan.frame_indices(n, (0, 0, 0))
    )
    dataset.load(SampleRequest(0, 0, 0))
    assert len(resized) == len(frames), "once for each frame that any view shows"


def test_a_bad_video_is_replaced_by_its_neighbour_in_training(videos):
    (videos.parent / "v1.mp4").write_text("no video")
    (videos.parent / "v2.mp4").unlink()
    dataset = ClipDataset(read(videos), MiddleView(**PLAN), replace_bad=True)
    sample = dataset.load(SampleRequest(0, 0, 1))
    assert sample.index == 3
    assert [bad.index for bad in sample.bad_videos] == [1, 2]
    assert "v1.mp4" in sample.bad_videos[0].reason
    assert "no such file" in sample.bad_videos[1].reason


def test_a_bad_video_is_reported_in_a_test(videos):
    (videos.parent / "v1.mp4").write_text("no video")
    dataset = ClipDataset(read(videos), MiddleView(**PLAN))
    batches = list(loader_of(dataset).batches(listed_order(5)))
    assert [batch.indices.tolist() for batch in batches] == [[0], [2, 3], [4]]
    assert [bad.index for batch in batches for bad in batch.bad_videos] == [1]


def test_when_all_neighbours_are_bad(videos):
    for path in videos.parent.glob("*.mp4"):
        path.write_text("no video")
    dataset = ClipDataset(read(videos), MiddleView(**PLAN), replace_bad=True)
    with pytest.raises(VideoError, match=r"videos in a row cannot be read; the first: .*v0\.mp4"):
        dataset.load(SampleRequest(0, 0, 0))


def bad_of(batches):
    return [bad for batch in batches for bad in batch.bad_videos]


@pytest.mark.parametrize("num_workers", [2, 0])
def test_a_stuck_worker_is_replaced_and_its_video_is_bad(videos, num_workers):
    """The third video holds its process for ever. In a test it stays unscored, in training a neighbour stands in."""
    started = time.monotonic()
    dataset = ClipDataset(read(videos), OddPlan(**PLAN, stuck_at=2))
    with loader_of(dataset, num_workers=num_workers, timeout_seconds=2) as loader:
        batches = list(loader.batches(listed_order(5)))
        assert [batch.indices.tolist() for batch in batches] == [[0, 1], [3], [4]]
        (bad,) = bad_of(batches)
        assert (bad.index, bad.path) == (2, "v2.mp4")
        assert bad.reason == "v2.mp4: gave nothing for 2 s (decode_timeout)"
        before = time.monotonic()
        assert [batch.indices.tolist() for batch in loader.batches(listed_order(5))] == [[0, 1], [3], [4]]
        assert time.monotonic() - before < 2, "it is not opened again"
    dataset = ClipDataset(read(videos), OddPlan(**PLAN, stuck_at=2), replace_bad=True)
    with loader_of(dataset, num_workers=min(num_workers, 1), timeout_seconds=2) as loader:
        batches = list(loader.batches(listed_order(5)))
    assert [batch.indices.tolist() for batch in batches] == [[0, 1], [3, 3], [4]]
    assert [bad.index for bad in bad_of(batches)] == [2]
    assert time.monotonic() - started < 60
    assert not multiprocessing.active_children()


def test_a_stalled_reader_is_reported_with_what_each_process_does(videos, logged):
    dataset = ClipDataset(read(videos), OddPlan(**PLAN, stuck_at=2))
    with loader_of(dataset, num_workers=2, timeout_seconds=6, stall_seconds=1) as loader:
        assert len(list(loader.batches(listed_order(5)))) == 3
    reports = [line for line in logged().splitlines() if "the reader has given nothing for" in line]
    assert len(reports) >= 2, "again and again while it lasts"
    at_video = r"process \d \(pid \d+\) for [1-6] s at v2\.mp4"
    elsewhere = r"process \d \(pid \d+\) (idle|\d tasks, none begun|starting for)"
    assert any(re.search(at_video, report) and re.search(elsewhere, report) for report in reports)


def test_a_signal_to_the_group_of_the_run_reaches_no_reader(videos):
    """Launchers, job schedulers and terminals send one to all; the main process decides when its readers end."""
    with loader_of(ClipDataset(read(videos), OddPlan(**PLAN)), num_workers=2) as loader:
        batches = loader.batches(listed_order(5))
        next(batches)
        readers = multiprocessing.active_children()
        assert len(readers) == 2
        # The second may still be starting when the first has given all of a batch.
        assert not wait_for(lambda: [reader for reader in readers if os.getpgid(reader.pid) != reader.pid])
        assert os.getpgrp() not in [reader.pid for reader in readers]


def test_a_video_that_ends_its_process_twice_is_bad(videos):
    dataset = ClipDataset(read(videos), OddPlan(**PLAN, dies_at=2))
    with loader_of(dataset, num_workers=2) as loader:
        batches = list(loader.batches(listed_order(5)))
    assert [batch.indices.tolist() for batch in batches] == [[0, 1], [3], [4]]
    (bad,) = bad_of(batches)
    assert bad.reason.startswith(
        "v2.mp4: the reader process was ended by signal 9 (killed, perhaps out of memory) while"
    )


def test_workers_that_are_stopped_while_they_wait(narrow_config):
    """SIGSTOP between two videos: noticed when samples are late, replaced, and no video is blamed."""
    dataset = build_train_dataset(narrow_config())
    expected = list(loader_of(dataset).batches(shuffled_epoch(8, seed=0, epoch=1)))
    with loader_of(dataset, num_workers=2, timeout_seconds=2) as loader:
        list(loader.batches(shuffled_epoch(8, seed=0, epoch=0)))
        for process in multiprocessing.active_children():
            os.kill(process.pid, signal.SIGSTOP)
        found = list(loader.batches(shuffled_epoch(8, seed=0, epoch=1)))
    for batch, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(batch.clips, other.clips)
        assert not other.bad_videos


def test_a_worker_that_is_killed_while_it_starts(videos):
    dataset = ClipDataset(read(videos), MiddleView(**PLAN))
    with loader_of(dataset, num_workers=2) as loader:
        pool = loader._started_pool()
        for worker in pool._workers:
            worker.process.kill()
        assert len(list(loader.batches(listed_order(5)))) == 3


def test_a_worker_that_is_killed_changes_nothing(narrow_config):
    """SIGKILL in the middle of an epoch: a new process makes the same samples."""
    dataset = build_train_dataset(narrow_config())
    expected = list(loader_of(dataset).batches(shuffled_epoch(8, seed=0, epoch=0)))
    with loader_of(dataset, num_workers=2) as loader:
        found = []
        for number, batch in enumerate(loader.batches(shuffled_epoch(8, seed=0, epoch=0))):
            found.append(batch)
            if number == 0:
                os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
    for batch, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(batch.clips, other.clips)
        assert (batch.paths, other.bad_videos) == (other.paths, [])


def test_workers_that_all_die_end_the_run(videos):
    dataset = ClipDataset(read(videos), OddPlan(**PLAN, dies_at=EVERYWHERE))
    loader = loader_of(dataset, num_workers=2)
    with (
        loader,
        pytest.raises(ReaderError, match="9 reader processes in a row ended without giving a result, the last"),
    ):
        list(loader.batches(listed_order(5)))
    assert not multiprocessing.active_children()


def test_workers_that_cannot_start(videos):
    loader = loader_of(ClipDataset(read(videos), Unpicklable(**PLAN)), num_workers=1)
    with loader, pytest.raises(ReaderError, match=r"9 reader processes in a row .* exit code 1 before it could start"):
        list(loader.batches(listed_order(5)))


def test_an_error_that_is_no_videos_is_raised(videos):
    dataset = ClipDataset(read(videos), OddPlan(**PLAN, fails_at=1))
    loader = loader_of(dataset, num_workers=1)
    with loader, pytest.raises(ReaderError, match=r"v1\.mp4: the reader failed on it\n(.*\n)*ZeroDivisionError"):
        list(loader.batches(listed_order(5)))
    with pytest.raises(ZeroDivisionError):
        list(loader_of(dataset).batches(listed_order(5)))


def test_memory_that_cannot_be_had():
    with pytest.raises(ReaderError, match=r"of memory for 1048576 samples .*use fewer num_reader_threads"):
        SharedRing(1 << 20, (1 << 30,), 1)


def test_an_epoch_after_one_that_was_left_early(videos):
    """Samples under way for the first are dropped, not handed to the second."""
    dataset = ClipDataset(read(videos), MiddleView(**PLAN))
    with loader_of(dataset, num_workers=2, batch_size=1) as loader:
        for _ in range(3):
            next(loader.batches(listed_order(5)))
        batches = list(loader.batches(listed_order(5)))
    assert [batch.indices.tolist() for batch in batches] == [[0], [1], [2], [3], [4]]
    for batch, other in zip(batches, loader_of(dataset, batch_size=1).batches(listed_order(5)), strict=True):
        np.testing.assert_array_equal(batch.clips, other.clips)


def test_batches_do_not_share_memory(videos):
    dataset = ClipDataset(read(videos), MiddleView(**PLAN))
    for num_workers in (0, 2):
        with loader_of(dataset, num_workers=num_workers) as loader:
            first, second, third = loader.batches(listed_order(5))
        assert not np.may_share_memory(first.clips, second.clips)
        assert third.clips.shape[0] == 1
        assert first.clips.mean() != second.clips.mean()


def test_leaving_an_epoch_early_leaves_no_process(videos):
    dataset = ClipDataset(read(videos), MiddleView(**PLAN))
    with loader_of(dataset, num_workers=2) as loader:
        for _ in loader.batches(listed_order(5)):
            break
    assert not multiprocessing.active_children()


ORPHAN_PROGRAM = """
import multiprocessing, sys, time
sys.path.insert(0, {root!r})
from datareader.dataset import ClipDataset
from datareader.epoch_order import listed_order
from datareader.list_reading import read_labelled_list
from datareader.loader import ClipLoader
from datareader.processes.shared_ring import SharedRing
from datareader.decoding.opening import decode_frames
from datareader.views import MiddleView
if __name__ == "__main__":
    videos = read_labelled_list({listing!r}, num_classes=10)
    plan = MiddleView(video_length=4, sample_rate=1, crop_size=32, short_side=32)
    loader = ClipLoader(ClipDataset(videos, plan), batch_size=1, num_workers=2, timeout_seconds=60)
    next(loader.batches(listed_order(5)))
    print(*[process.pid for process in multiprocessing.active_children()], flush=True)
    time.sleep(1000)
"""


def test_killing_the_main_process_ends_its_readers(videos, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(ORPHAN_PROGRAM.format(root=str(ROOT), listing=str(videos)))
    with subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, text=True) as process:
        pids = [int(pid) for pid in process.stdout.readline().split()]
        process.kill()
    assert pids
    assert not wait_for(lambda: [pid for pid in pids if is_alive(pid)])


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_main_process_that_ends_at_any_moment_leaves_nothing(videos, tmp_path, end):
    program = tmp_path / "program.py"
    program.write_text(ORPHAN_PROGRAM.format(root=str(ROOT), listing=str(videos)))
    for moment in range(12):
        mark = f"READER_TEST_MARK={os.getpid()}_{moment}_{end}"
        environment = dict([*os.environ.items(), mark.split("=")])
        process = subprocess.Popen(
            [sys.executable, str(program)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(0.15 * moment)
        process.send_signal(end)
        process.wait(timeout=60)
        assert not wait_for(lambda mark=mark: processes_with(mark))


@pytest.mark.slow
def test_memory_stays_flat(videos):
    """The short form of benchmarks/reader_memory.py: 3000 clips, of which the later half adds next to nothing."""
    from benchmarks.reader_memory import measure

    rows = measure(read(videos), MiddleView(**PLAN), num_clips=3000, num_workers=2)
    middle, end = rows[len(rows) // 2], rows[-1]
    assert end["clips"] == 3000
    assert end["main MB"] - middle["main MB"] < 10
    assert end["readers MB"] - middle["readers MB"] < 10


def wait_for(left_over):
    """What is left after at most 10 seconds."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and left_over():
        time.sleep(0.1)
    return left_over()


def processes_with(mark):
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (process / "environ").read_bytes() and is_alive(process.name):
                found.append(process.name)
        except OSError:
            pass
    return found


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as handle:
            return handle.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_quarantine(tmp_path):
    file = tmp_path / "quarantine.txt"
    quarantine = Quarantine(file, num_videos=100, max_fraction=0.02)
    quarantine.add([])
    assert not file.exists()
    quarantine.add([BadVideo(3, "a.mp4", "a.mp4: empty"), BadVideo(3, "a.mp4", "a.mp4: empty")])
    quarantine.add([BadVideo(3, "a.mp4", "a.mp4: empty"), BadVideo(4, "b.mp4", "b.mp4: text")])
    assert len(quarantine) == 2
    assert file.read_text() == "a.mp4\ta.mp4: empty\nb.mp4\tb.mp4: text\n"
    with pytest.raises(
        ReaderError, match=r"3 of 100 videos cannot be read, more than TRAIN\.max_bad_fraction \(0\.02\)"
    ):
        quarantine.add([BadVideo(5, "c.mp4", "c.mp4: text")])
    assert "c.mp4" in file.read_text()


@pytest.mark.parametrize("num_workers", [0, 2])
def test_whole_frames_of_different_sizes(narrow_config, tmp_path, num_workers):
    sizes = [(64, 48), (48, 64), (80, 40)]
    paths = [write_counting_video(tmp_path / f"{w}x{h}.mp4", 20, size=(w, h)) for w, h in sizes]
    (tmp_path / "wide.mp4").write_bytes(write_counting_video(tmp_path / "w.mp4", 20, size=(160, 32)).read_bytes())
    listing = tmp_path / "list.txt"
    listing.write_text("".join(f"{path} 0\n" for path in [*paths, tmp_path / "wide.mp4"]))
    config = narrow_config(f"TEST.filelist={listing}", "TEST.spatial=full", f"TEST.num_reader_threads={num_workers}")
    dataset = build_test_dataset(config)
    with build_loader(dataset, config.TEST, batch_size=1) as loader:
        batches = list(loader.batches(listed_order(4)))
    assert [batch.clips.shape[4:] for batch in batches[:3]] == [(32, 43), (43, 32), (32, 64)]
    for index, batch in enumerate(batches[:3]):
        expected = dataset.load(SampleRequest(0, index, index)).clips
        np.testing.assert_array_equal(batch.clips[0], expected)
    (bad,) = batches[3].bad_videos
    assert "wide.mp4: a frame of 160 x 32 pixels is longer than 3 times its short side" in bad.reason
