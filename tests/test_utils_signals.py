"""Ctrl-C and SIGTERM: nothing is lost, nothing is left, and no library swallows them."""

import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT

from utils.signals import interrupts_blocked, signals_held

WAITING = """
import sys, time
from pathlib import Path
from utils.atomic_file import atomic_path
from utils.commandline import run_program
from utils.temporary_folder import temporary_folder
def main(arguments):
    with temporary_folder(Path(arguments[0])) as folder, atomic_path(Path(arguments[0]) / "result") as temporary:
        (folder / "large").write_text("x")
        temporary.write_text("half")
        print("begun", flush=True)
        time.sleep(60)
sys.exit(run_program(main))
"""


def started(folder):
    command = [sys.executable, "-c", WAITING, str(folder)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begun\n"
    return process


@pytest.mark.parametrize(("number", "code", "said"), [(signal.SIGTERM, 143, ""), (signal.SIGINT, 130, "by Ctrl-C")])
def test_a_program_that_is_stopped_leaves_nothing(tmp_path, number, code, said):
    process = started(tmp_path)
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == code
    assert said in errors and "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_program_left_goes_away_when_the_next_one_begins(tmp_path):
    killed = started(tmp_path)
    killed.kill()
    killed.communicate()
    left = sorted(path.name for path in tmp_path.iterdir())
    assert len(left) == 2 and ".result.tmp" in left
    process = started(tmp_path)
    running = {path.name for path in tmp_path.iterdir()}
    assert len(running) == 2 and len(running - set(left)) == 1, "the folder is another one, the file is used again"
    other = started(tmp_path)  # beside the first: neither takes what the other is using
    assert len(list(tmp_path.iterdir())) == 4
    for running_process in (process, other):
        running_process.terminate()
        running_process.communicate(timeout=30)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_a_library_would_swallow_comes_afterwards(number):
    heard = []
    before = signal.signal(number, lambda *_: heard.append(number))
    try:
        with signals_held():
            signal.raise_signal(number)
            time.sleep(0.01)
            assert heard == []
        assert heard == [number]
        signal.raise_signal(number)
        assert heard == [number, number], "the handler is the one that was there"
    finally:
        signal.signal(number, before)


def test_an_error_inside_comes_out():
    with pytest.raises(ZeroDivisionError), signals_held():
        raise ZeroDivisionError


def test_blocked_interrupts_come_afterwards_and_never_to_children():
    with pytest.raises(KeyboardInterrupt):  # noqa: SIM117 - what comes after the block is the matter
        with interrupts_blocked():
            os.kill(os.getpid(), signal.SIGINT)
            child = subprocess.run(
                [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGINT); print('lives')"],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert child.stdout == "lives\n"
