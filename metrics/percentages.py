"""Shares in [0, 1] as people read them."""

from typing import NamedTuple

from metrics.intervals import Interval


class MainMeasure(NamedTuple):
    """The measure that says how good the answers are."""

    name: str  # in files
    title: str  # for people
    value: float | None  # in [0, 1]; None if there is nothing to measure
    interval: Interval | None  # None where it was not asked for

    def line(self, meaning: str = "") -> str:
        """Return a line for the screen."""
        return f"{self.title:16}{with_interval(self.value, self.interval)}{meaning and f'   ({meaning})'}"


def percent(value: float | None) -> str:
    """Return a share as a percentage; '-' for None.

    >>> percent(0.975), percent(None)
    ('97.50 %', '-')
    """
    return "-" if value is None else f"{100 * value:.2f} %"


def with_interval(value: float | None, interval: Interval | None) -> str:
    """Return a share and its interval, if there is one, as percentages.

    >>> with_interval(0.975, (0.8712, 0.9956)), with_interval(0.975, None)
    ('97.50 % [87.12, 99.56]', '97.50 %')
    """
    if interval is None:
        return percent(value)
    return f"{percent(value)} [{100 * interval[0]:.2f}, {100 * interval[1]:.2f}]"
