"""The learning rate of every iteration, against the figures of its docstrings and by hand."""

import math
from dataclasses import replace

import pytest

from configs.schema import TrainSection
from engine.training.schedule import (
    REFERENCE_BATCH,
    cosine_learning_rate,
    learning_rate,
    require_a_rate,
    step_learning_rate,
)
from utils.errors import ConfigError

STEPS = TrainSection(learning_rate=0.8, learning_rate_decay=0.5, step_sizes=(4, 3, 5))


def rates(section, count=14, num_iterations=12):
    return [learning_rate(iteration, section, num_iterations=num_iterations) for iteration in range(count)]


def test_steps():
    assert rates(STEPS) == pytest.approx([0.8] * 4 + [0.4] * 3 + [0.2] * 7), "the last step never ends"
    assert step_learning_rate(99, base=1.0, decay=0.1, step_sizes=[5]) == 1.0


def test_cosine():
    section = replace(STEPS, schedule="cosine")
    expected = [0.4 * (1 + math.cos(math.pi * i / 12)) for i in range(12)]
    assert rates(section, 12) == pytest.approx(expected)
    assert rates(section, 30)[12:] == pytest.approx([0.0] * 18), "it stays at 0 behind the end"
    assert cosine_learning_rate(3, base=1.0, num_iterations=6) == pytest.approx(0.5)


def test_warm_up_is_a_straight_line_to_what_the_schedule_says_after_it():
    """Five iterations from 0.1: the schedule has its first step behind it then (0.4)."""
    section = replace(STEPS, warmup_iters=5, warmup_start_lr=0.1)
    assert rates(section)[:6] == pytest.approx([0.1, 0.16, 0.22, 0.28, 0.34, 0.4])
    assert rates(section)[6:] == rates(STEPS)[6:]


def test_warm_up_before_a_cosine():
    section = replace(STEPS, schedule="cosine", warmup_iters=4)
    target = 0.4 * (1 + math.cos(math.pi * 4 / 12))
    assert rates(section)[:5] == pytest.approx([0, target / 4, target / 2, 3 * target / 4, target])


def test_a_cosine_that_ends_within_its_warm_up_is_refused():
    section = replace(STEPS, schedule="cosine", warmup_iters=100)
    with pytest.raises(ConfigError, match=r"warmup_iters \(100\) must be less than the iterations .* \(90\).*=9$"):
        require_a_rate(section, 90)
    require_a_rate(section, 101)
    assert max(rates(section, 101, 101)) > 0
    require_a_rate(replace(section, schedule="steps"), 90)


def test_linear_scaling_multiplies_the_whole_curve():
    section = replace(STEPS, warmup_iters=2, warmup_start_lr=0.1, batch_size=16)
    assert REFERENCE_BATCH == 64
    assert rates(replace(section, scale_lr=True)) == pytest.approx([rate / 4 for rate in rates(section)])
    assert rates(replace(section, scale_lr=True, batch_size=64)) == pytest.approx(rates(section))
    assert rates(replace(section, batch_size=32)) == rates(section), "only if it is asked for"
