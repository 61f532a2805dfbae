"""``--precision auto``: the fastest precision whose probabilities agree with fp32, by measurement on a few views."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from engine.scoring.view_scorer import ViewScorer

LARGEST_CHANGE = 0.05  # of a probability, to fp32
_ROUNDS = 3


class Measured(NamedTuple):
    """What was found of one precision."""

    precision: str
    seconds: float  # a view, median
    change: float  # the largest of a probability, to fp32


def choose(
    scorers: Sequence[ViewScorer], views: Sequence[np.ndarray], *, clock: Callable[[], float] = time.perf_counter
) -> tuple[ViewScorer, list[Measured]]:
    """Return the fastest of some scorers of the same network that agrees with the first one, which is fp32.

    They take turns, a view each, so that what else the machine does falls on all of them. The first turn does not
    count.

    Args:
        views: uint8 (3, T, H, W) each.
        clock: seconds.
    """
    seconds: list[list[float]] = [[] for _ in scorers]
    probabilities: list[list[np.ndarray]] = [[] for _ in scorers]
    for scorer in scorers:
        scorer(views[0][None])
    for number in range(_ROUNDS):
        for view in views:
            for position, scorer in enumerate(scorers):
                started = clock()
                found = scorer(view[None])
                seconds[position].append(clock() - started)
                if number == 0:
                    probabilities[position].append(found)
    expected = np.concatenate(probabilities[0])
    measured = [
        Measured(
            scorer.precision, statistics.median(taken), float(np.abs(np.concatenate(found) - expected).max(initial=0.0))
        )
        for scorer, taken, found in zip(scorers, seconds, probabilities, strict=True)
    ]
    able = [number for number, row in enumerate(measured) if row.change <= LARGEST_CHANGE]  # not where it is NaN
    best = min(able, key=lambda number: measured[number].seconds, default=0)
    return scorers[best], measured


def as_line(chosen: str, measured: Sequence[Measured], refused: Mapping[str, str]) -> str:
    """Return what was measured in one line.

    Args:
        refused: why a precision is not among them.
    """
    first, *others = measured
    parts = [f"{first.precision} {1e3 * first.seconds:.0f} ms a view"]
    parts += [
        f"{row.precision} {1e3 * row.seconds:.0f} ms, its probabilities {row.change:.2g} off"
        + ("" if row.change <= LARGEST_CHANGE else f" (more than {LARGEST_CHANGE:g}: not used)")
        for row in others
    ]
    parts += [f"without {precision}: {reason}" for precision, reason in refused.items()]
    return f"precision auto: {'; '.join(parts)}. {chosen} is used"
