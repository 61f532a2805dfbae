"""The numbers of a run over time: lines of JSON in ``metrics.jsonl``, and VisualDL or TensorBoard if asked for."""

import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from engine.run_folder import METRICS_FILE
from utils.atomic_file import write_text
from utils.errors import ConfigError
from utils.json_text import parse_json

Board = Literal["visualdl", "tensorboard"]
_BOARD_FILES = ("events.out.tfevents.*", "vdlrecords.*")  # in the folder of a board
_POSITION = ("kind", "iteration", "epoch", "time")


class MetricsLog:
    """Appends to the metrics of a run. No file is changed before `open`.

    Args:
        folder: None: nothing is written.
        log_to: write the numbers as scalars into the folder ``visualdl/`` or ``tensorboard/`` too.

    Raises:
        ConfigError: the package for it is not installed.
    """

    def __init__(self, folder: Path | None, *, log_to: Board | None = None) -> None:
        self._folder = folder
        self._log_to = log_to
        self._make_writer = _WRITERS[log_to]() if log_to and folder is not None else None
        self._writer: Any = None

    def open(self, iteration: int) -> None:
        """Begin a new file at iteration 0. In a resumed run, remove the rows of iterations that are computed again.

        The board is written anew from the rows that are kept: it says what the file says.
        """
        if self._folder is None:
            return
        file = self._folder / METRICS_FILE
        kept = [row for row in read_metrics(file) if row["iteration"] <= iteration] if iteration else []
        write_text(file, "".join(_line(row) for row in kept))
        if self._make_writer is not None:
            folder = self._folder / self._log_to
            for pattern in _BOARD_FILES:
                for old in folder.glob(pattern):
                    old.unlink()
            self._writer = self._make_writer(str(folder))
            for row in kept:
                self._show(row)

    def add(self, kind: str, *, iteration: int, epoch: int, values: Mapping[str, Any]) -> None:
        """Write one row.

        Args:
            kind: 'train' or 'valid'.
            values: numbers by name. A number that is not finite is written as null.
        """
        if self._folder is None:
            return
        row = {"kind": kind, "iteration": iteration, "epoch": epoch, "time": round(time.time(), 3), **values}
        with open(self._folder / METRICS_FILE, "a", encoding="utf-8") as handle:
            handle.write(_line(row))
        if self._writer is not None:
            self._show(row)

    def _show(self, row: Mapping[str, Any]) -> None:
        for name, value in row.items():
            if name not in _POSITION and isinstance(value, int | float):
                self._writer.add_scalar(f"{row['kind']}/{name}", float(value), row["iteration"])

    def close(self) -> None:
        """Write what is buffered."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def read_metrics(file: Path) -> list[dict[str, Any]]:
    """Return the rows of a metrics file; none if there is no file. Incomplete lines are left out."""
    rows = []
    if not file.is_file():
        return rows
    for line in file.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            row = parse_json(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("iteration"), int) and isinstance(row.get("kind"), str):
            rows.append(row)
    return rows


def _line(row: Mapping[str, Any]) -> str:
    finite = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()
    }
    return json.dumps(finite) + "\n"


def _visualdl_writer() -> Callable[[str], Any]:
    try:
        from visualdl import LogWriter
    except ImportError as error:
        raise ConfigError(f"--log_to visualdl needs the package visualdl ({error}): pip install visualdl") from error

    class Writer(LogWriter):
        def add_scalar(self, tag: str, value: float, step: int) -> None:
            super().add_scalar(tag=tag, value=value, step=step)

    return Writer


def _tensorboard_writer() -> Callable[[str], Any]:
    try:
        from tensorboard.summary import Writer
    except ImportError as error:
        raise ConfigError(
            f"--log_to tensorboard needs the package tensorboard ({error}): pip install tensorboard"
        ) from error
    return Writer


_WRITERS = {"visualdl": _visualdl_writer, "tensorboard": _tensorboard_writer}
