"""Damaged files of every kind, a few here, 200 of each kind with --all; `tests/fuzzed_files.py` runs any number."""

import subprocess
import sys

import pytest
from conftest import ROOT
from fuzzed_files import READERS


@pytest.mark.parametrize("inputs", [20, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", [reader.name for reader in READERS])
def test_damaged_files_are_one_line_or_right(name, inputs):
    command = [sys.executable, str(ROOT / "tests" / "fuzzed_files.py"), "--readers", name, "--inputs", str(inputs)]
    done = subprocess.run([*command, "--seed", "1"], capture_output=True, text=True, errors="replace", timeout=600)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-3000:]
    assert done.stdout.startswith(f"{name}: {inputs} inputs, 0 faults")


def test_a_fault_is_found(tmp_path):
    """The program itself: of a reader that fails, writes, or needs too long."""
    program = """
import sys, time
from pathlib import Path
import fuzzed_files
from fuzzed_files import Reader, fuzz
fuzzed_files.SECONDS = 0.2
folder = Path(sys.argv[1])
for read in (lambda path: path.read_text(), lambda path: time.sleep(60 * (path.read_bytes() != b"abc")),
             lambda path: path.parent.with_name(f"new{time.monotonic_ns()}").touch()):
    reader = Reader("r", fuzzed_files._texts(a="abc"), read)
    print(len(fuzz(reader, num_inputs=40, seed=0, folder=folder / str(id(read)))) > 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], cwd=ROOT / "tests", capture_output=True, text=True
    )  # fmt: skip
    assert done.stdout.split() == ["True", "True", "True"], done.stderr
