"""The folder of a run: one run at a time, room enough, and a failure that is written down."""

import collections
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT

from engine.distributed import ALONE, Processes
from engine.run_folder import check_shared_memory, check_space, claimed_folder, failure_report
from utils.errors import ConfigError, TrainingError

HOLD = """
import sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
from engine.run_folder import claimed_folder
with claimed_folder(Path(sys.argv[1])):
    print("claimed", flush=True)
    time.sleep(100)
"""


def test_a_folder_of_a_live_run_is_refused_and_of_a_killed_one_not(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD.format(root=str(ROOT)), str(tmp_path / "run")], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "claimed\n"
        with (
            pytest.raises(ConfigError, match=rf"run is used by a live run \(process {other.pid} on .*\): wait for it"),
            claimed_folder(tmp_path / "run"),
        ):
            pass
        other.kill()
    with claimed_folder(tmp_path / "run"):
        pass


def test_two_training_runs_do_not_share_a_folder(run_program, tmp_path):
    with claimed_folder(tmp_path / "run"):
        (tmp_path / "run" / "train_config.txt").write_text("of the other run")
        done = run_program("train.py", "--pretrain=none", "--save_dir=run", "--epoch=1")
    assert done.returncode == 2
    assert "the folder run is used by a live run" in done.stderr
    assert (tmp_path / "run" / "train_config.txt").read_text() == "of the other run"
    assert {path.name for path in (tmp_path / "run").iterdir()} == {".lock", "train_config.txt"}


def test_a_folder_that_cannot_be_made_is_one_error(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ConfigError, match=r"file/run cannot be written: Not a directory"),
        claimed_folder(tmp_path / "file" / "run"),
    ):
        pass


@pytest.mark.parametrize("name", [".lock", "latest", "metrics.jsonl", "quarantine.txt", "failure.json"])
def test_what_a_run_writes_must_be_files(tmp_path, name):
    """Found at the start, not after an epoch; and what a link leads to is not written over."""
    mine = tmp_path / "mine"
    mine.write_text("of the user")
    for number, make in enumerate((Path.mkdir, lambda path: path.symlink_to(mine), os.mkfifo)):
        folder = tmp_path / f"run{number}"
        folder.mkdir()
        make(folder / name)
        with (
            pytest.raises(ConfigError, match=rf"{name}: not a regular file, but a run writes it: remove it"),
            claimed_folder(folder),
        ):
            pass
    assert mine.read_text() == "of the user"


def free(monkeypatch, **sizes):
    """Make folders have this many free bytes."""
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, sizes[path.name]))


def test_room_for_two_checkpoints_is_needed_and_for_all_advised(tmp_path, monkeypatch, logged):
    folder = tmp_path / "run"
    free(monkeypatch, run=10_000_000_000)
    check_space(folder, save_bytes=1_000_000_000, num_saves=10)
    assert not logged()
    check_space(folder, save_bytes=1_000_000_000, num_saves=11)
    assert "10.00 GB free, and 11 checkpoints of 1.00 GB will want 11.00 GB: set TRAIN.keep_last" in logged()
    with pytest.raises(TrainingError, match=r"10\.00 GB free, but a checkpoint has 6\.00 GB and two must fit"):
        check_space(folder, save_bytes=6_000_000_000, num_saves=1)


def test_little_shared_memory_for_several_gpus_is_reported(tmp_path, monkeypatch, logged):
    shm = tmp_path / "shm"
    shm.mkdir()
    free(monkeypatch, shm=64 << 20)
    check_shared_memory(num_gpus=1, shm=shm)
    assert not logged()
    check_shared_memory(num_gpus=8, shm=shm)
    assert "0.07 GB free is little for 8 GPUs that exchange gradients" in logged()


def test_the_size_of_a_save_is_what_it_is(narrow_config, tmp_path):
    from small_trainer import make_trainer

    trainer = make_trainer(narrow_config("TRAIN.epoch=1"), tmp_path)
    trainer.run()
    written = sum((tmp_path / f"NONLOCAL_epoch0.{suffix}").stat().st_size for suffix in ("pdparams", "pdopt"))
    assert trainer.saver.save_bytes < written < trainer.saver.save_bytes + 100_000, "names and shapes beside the values"


def test_an_error_is_written_down_and_an_earlier_one_forgotten(tmp_path, logged):
    (tmp_path / "failure.json").write_text("of yesterday")
    with failure_report(tmp_path, ALONE, tmp_path / "train.log"):
        assert not (tmp_path / "failure.json").exists()
    with pytest.raises(ZeroDivisionError), failure_report(tmp_path, ALONE, tmp_path / "train.log"):
        1 / 0  # noqa: B018
    failure = json.loads((tmp_path / "failure.json").read_text())
    assert (failure["rank"], failure["error"], failure["message"]) == (0, "ZeroDivisionError", "division by zero")
    assert failure["log"].endswith("train.log")
    assert f"the run failed in process 0: see {tmp_path}/failure.json" in logged()


def test_the_first_failure_stays(tmp_path, logged):
    class First(Processes):
        def gather(self, value):
            return ["this run"]

    of_another = '{"run": "this run", "rank": 1}'
    with pytest.raises(ZeroDivisionError), failure_report(tmp_path, First(), tmp_path / "train.log"):
        (tmp_path / "failure.json").write_text(of_another)
        1 / 0  # noqa: B018
    assert (tmp_path / "failure.json").read_text() == of_another
    assert "another process failed before this one" in logged()


WAITS = """
import sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
from engine import run_folder
run_folder._WATCH_SECONDS, run_folder._GRACE_SECONDS = 0.1, 0.5
class OneOfTwo(run_folder.Processes):
    def gather(self, value):
        return ["this run", value]
with run_folder.failure_report(Path(sys.argv[1]), OneOfTwo(1, 2), Path("train.rank1.log")):
    print("waiting", flush=True)
    time.sleep(1000)
"""


def test_a_process_that_waits_for_one_that_failed_ends(tmp_path):
    """As on GPUs, where a collective waits for ever."""
    with subprocess.Popen(
        [sys.executable, "-c", WAITS.format(root=str(ROOT)), str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "waiting\n"
        time.sleep(0.5)
        assert process.poll() is None
        (tmp_path / "failure.json").write_text('{"run": "an earlier one"}')
        time.sleep(1.5)
        assert process.poll() is None
        (tmp_path / "failure.json").write_text('{"run": "this run"}')
        assert process.wait(timeout=30) == 70


def test_one_process_asks_nobody(tmp_path):
    assert Processes().gather("x") == ["x"]
    assert Processes().any(False) is False
