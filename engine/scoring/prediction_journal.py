"""The predictions of infer.py while it runs, a line for each, so that a stopped run can go on where it was.

Each process appends to its own ``NAME.partial.jsonl`` (``NAME.partial.rank1.jsonl`` and so on). The first line says
what the predictions belong to; then comes a line for every prediction. An incomplete last line is ignored.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from engine.distributed import Processes
from engine.scoring.locked_file import open_locked
from engine.scoring.predictor import Prediction
from utils.atomic_file import errors_name
from utils.errors import ConfigError
from utils.json_text import parse_json
from utils.logging import get_logger

_LONGEST_SHOWN = 40  # characters of a value in a message
_FIELDS = [field.name for field in fields(Prediction) if field.name != "features"]  # which have a file of their own


class PredictionJournal:
    """The file of this process, locked while it is open, and what earlier parts of the run wrote. A context manager.

    Args:
        path: of the result, without a suffix.
        origin: what the predictions follow from, as JSON values by name; a run goes on only where it is the same.
        stamps: size and modification time of every file, by its listed path.
        resume: go on with the predictions that are there.

    Attributes:
        earlier: predictions that need not be made again, by index: not those of files that have changed.

    Raises:
        ConfigError: another run is writing the file, it cannot be written, or it belongs to another run.
    """

    def __init__(
        self, path: Path, origin: dict[str, Any], stamps: dict[str, Any], *, resume: bool, processes: Processes
    ) -> None:
        self._result = path
        suffix = f".rank{processes.rank}" if processes.rank else ""
        self._path = path.with_name(f"{path.name}.partial{suffix}.jsonl")
        self.earlier: dict[int, Prediction] = {}
        self._handle = open_locked(self._path)
        try:
            if resume:
                self._read_earlier(origin, stamps)
            elif self._path.stat().st_size:
                get_logger().info("%s of a stopped run is written anew; --resume would go on with it", self._path)
            processes.gather(None)  # all have read before one writes
        except ConfigError:
            self._handle.close()
            raise
        own = [item for index, item in self.earlier.items() if index % processes.count == processes.rank]
        lines = [json.dumps({"origin": origin, "stamps": stamps}), *map(_as_line, own)]
        self._handle.seek(0)
        self._handle.truncate()
        with errors_name(self._path):
            self._handle.write("".join(f"{line}\n" for line in lines))
            self._handle.flush()
        if processes.is_main:
            for file in self._files():
                rank = file.name.removesuffix(".jsonl").rpartition(".rank")[2]
                if rank.isdecimal() and int(rank) >= processes.count:  # of a run of more processes
                    file.unlink(missing_ok=True)

    def __enter__(self) -> "PredictionJournal":
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.close()

    def add(self, item: Prediction) -> None:
        """Write a prediction. It is on disk when this returns, unless the machine itself fails."""
        with errors_name(self._path):
            self._handle.write(_as_line(item) + "\n")
            self._handle.flush()

    def remove(self) -> None:
        """Remove the file: the results have been written."""
        self._path.unlink(missing_ok=True)

    def _files(self) -> Iterable[Path]:
        return sorted(self._result.parent.glob(f"{self._result.name}.partial*.jsonl"))

    def _read_earlier(self, origin: dict[str, Any], stamps: dict[str, Any]) -> None:
        changed: set[str] = set()
        for file in self._files():
            rows = list(_rows(file))
            if not rows:
                continue
            before, known = (_as_dict(rows[0].get(name)) for name in ("origin", "stamps"))
            different = [name for name, value in origin.items() if before.get(name) != value]
            if different:
                told = [_difference(name, before.get(name), origin[name]) for name in different]
                raise ConfigError(
                    f"--resume: {file} belongs to another run, with other {', '.join(told)}; "
                    "without --resume it is written anew"
                )
            for row in rows[1:]:
                item = _as_prediction(row)
                if item is None or item.error:
                    continue
                if known.get(item.path) != stamps.get(item.path):
                    changed.add(item.path)
                else:
                    self.earlier[item.index] = item
        if changed:
            get_logger().warning(
                "%d videos have changed, and are predicted again: %s", len(changed), ", ".join(sorted(changed)[:3])
            )


def _as_line(item: Prediction) -> str:
    return json.dumps({name: getattr(item, name) for name in _FIELDS})


def _as_prediction(row: dict[str, Any]) -> Prediction | None:
    """Return the prediction of a line, None if it is none: a damaged file is not believed."""
    if row.keys() != set(_FIELDS):
        return None
    item = Prediction(**{name: tuple(value) if isinstance(value, list) else value for name, value in row.items()})
    times = item.start_seconds, item.end_seconds
    is_one = (
        _are(int, [item.index], item.classes, item.labels or ())
        and _are(str, [item.path, item.error], item.names)
        and _are(float, item.probabilities, [time for time in times if time is not None])
        and len(item.classes) == len(item.probabilities) == len(item.names)
        and min([item.index, *item.classes, *(item.labels or ())]) >= 0
    )
    return item if is_one else None


def _difference(name: str, before: Any, now: Any) -> str:
    """Return a difference in words; long texts, such as hashes, are named only."""
    shown = [str(value) for value in (before, now)]
    return (
        name if before is None or max(map(len, shown)) > _LONGEST_SHOWN else f"{name} (was {shown[0]}, is {shown[1]})"
    )


def _as_dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _are(kind: type, *groups: Any) -> bool:
    """Whether each group is a list or tuple of values of this kind, numbers finite."""
    kinds = (int, float) if kind is float else (kind,)
    return all(
        isinstance(group, (list, tuple))
        and all(isinstance(value, kinds) and not isinstance(value, bool) for value in group)
        and (kind is str or all(math.isfinite(value) for value in group))
        for group in groups
    )


def _rows(file: Path) -> Iterable[dict[str, Any]]:
    """The lines that are whole."""
    for line in file.read_text(encoding="utf-8", errors="surrogateescape").split("\n"):
        try:
            row = parse_json(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            yield row
