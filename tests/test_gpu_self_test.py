"""The self-test for GPUs, on the CPU: its checks find what is right and what is wrong, and its report says so."""

import subprocess
import sys

import gpu_checks
import gpu_self_test
import numpy as np
import paddle
import pytest
from conftest import ROOT
from gpu_checks import Context, Row, within

from engine.scoring.runtimes import RUNTIMES

PROGRAM = str(ROOT / "tests" / "gpu_self_test.py")


@pytest.fixture
def context(tmp_path):
    return Context("cpu", True, tmp_path, tmp_path)


def verdicts(rows):
    return [row.is_right for row in rows]


def test_the_checks_that_start_no_program(context):
    assert verdicts(gpu_checks.networks_and_blocks(context, tf32=False)) == [True]
    assert verdicts(gpu_checks.training_step(context)) == [True] * 3
    rows = list(gpu_checks.engines(context))
    assert [row.check.split(",")[0] for row in rows] == ["engine dygraph", *(f"engine {name}" for name in RUNTIMES)]
    assert verdicts(rows) == [True, *(True if runtime.is_installed else None for runtime in RUNTIMES.values())]


def test_a_step_that_is_wrong_is_found(context, monkeypatch):
    """On 'the GPU' one clip in two is lost."""
    found = gpu_checks.one_step

    def one_step(context, device):
        left = found(context, "cpu")
        if device == "gpu:0":
            left["gradient conv1_weights"] = left["gradient conv1_weights"] / 2
        return left

    monkeypatch.setattr(gpu_checks, "one_step", one_step)
    wrong = Context("gpu:0", True, context.folder, context.videos)
    assert verdicts(gpu_checks.training_step(wrong)) == [True, False, True]


def test_a_difference_that_is_not_a_number_is_wrong():
    assert within("x", 0.5, 1).is_right is True
    assert within("x", 2, 1).is_right is False
    assert within("x", float("nan"), 1).is_right is False
    assert within("x", np.float32("inf"), 1).is_right is False


def test_the_report_holds_every_row_and_failure(tmp_path, capsys):
    rows = [Row("a", "1", "1", True), Row("b", "2"), Row("c", "3", "4", False)]
    out = tmp_path / "report.md"
    assert gpu_self_test.report(out, "gpu", rows, ["c:\nTraceback | of c"]) == 1
    text = out.read_text()
    table = ["| a | 1 | 1 | right |", "| b | 2 |  |  |", "| c | 3 | 4 | WRONG |"]
    for line in ("# Self-test on gpu: 1 of 3 wrong", *table, "## Failed: c", "Traceback | of c", "paddlepaddle"):
        assert line in text
    assert "| c | 3 | 4 | WRONG |" in capsys.readouterr().out
    assert gpu_self_test.report(out, "gpu", rows[:2], []) == 0


@pytest.mark.skipif(paddle.device.is_compiled_with_cuda(), reason="a Paddle for GPUs")
def test_without_a_gpu_it_says_so():
    done = subprocess.run([sys.executable, PROGRAM], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: the installed Paddle")
    assert "requirements-gpu.txt" in done.stderr


@pytest.mark.slow
def test_the_whole_of_it_on_the_cpu(tmp_path):
    out = tmp_path / "report.md"
    done = subprocess.run(
        [sys.executable, PROGRAM, "--device", "cpu", "--small", "--out", str(out)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    text = out.read_text()
    assert "of 14 wrong" in text.replace("of 13", "of 14"), "or without an engine"
    assert "a run that is resumed in its middle | the same | the same | right" in text
    assert "2 processes, frozen BN" in text and "clips/s" in text
