"""A run in a few numbers, from the rows of its metrics.jsonl."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

_TITLES = {"top1": "top-1", "map": "mAP"}
_LARGEST = 1e30


@dataclass(frozen=True)
class RunSummary:
    """What came of a run. None where it has no such rows."""

    iterations: int
    measure: str | None  # 'top-1' or 'mAP', of the validations
    best: float | None  # in [0, 1]; the later one of equals, as for the best save
    best_epoch: float | None
    last: float | None  # of the last validation
    train_loss: float | None  # of the last row
    valid_loss: float | None  # of the last validation
    clips_per_second: float | None  # the middle one of all rows
    hours: float  # from the first row to the last, pauses included

    def line(self) -> str:
        """Return the run in one line."""
        parts = [f"{self.iterations} iterations in {self.hours:.2f} h"]
        if self.best is not None:
            parts.append(f"best {self.measure} {100 * self.best:.2f} % after epoch {self.best_epoch}")
            parts.append(f"last {100 * self.last:.2f} %")
        if self.train_loss is not None:
            parts.append(f"training loss {self.train_loss:.4f}")
        if self.clips_per_second is not None:
            parts.append(f"{self.clips_per_second:.1f} clips/s")
        return ", ".join(parts)


def summarise(rows: Sequence[Mapping[str, Any]]) -> RunSummary:
    """Return the summary of a run's rows, in their order."""
    train = [row for row in rows if row["kind"] == "train"]
    valid = [row for row in rows if row["kind"] == "valid"]
    measure = next((key for row in valid for key in _TITLES if number(row, key) is not None), None)
    values = [(number(row, measure), number(row, "epoch")) for row in valid] if measure else []
    values = [(value, epoch) for value, epoch in values if value is not None]
    best, best_epoch = max(reversed(values), key=lambda pair: pair[0]) if values else (None, None)
    speeds = [value for row in train if (value := number(row, "clips_per_second")) is not None]
    times = [value for row in rows if (value := number(row, "time")) is not None]
    return RunSummary(
        iterations=max((row["iteration"] for row in rows), default=0),
        measure=_TITLES.get(measure or ""),
        best=best,
        best_epoch=best_epoch,
        last=values[-1][0] if values else None,
        train_loss=_last(train, "loss"),
        valid_loss=_last(valid, "loss"),
        clips_per_second=median(speeds) if speeds else None,
        hours=(max(times) - min(times)) / 3600 if times else 0.0,
    )


def number(row: Mapping[str, Any], key: str) -> float | None:
    """Return the number that a row has for `key`; None if it has none that can be drawn or compared."""
    value = row.get(key)
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST
    return value if is_number else None


def _last(rows: Sequence[Mapping[str, Any]], key: str) -> float | None:
    return number(rows[-1], key) if rows else None
