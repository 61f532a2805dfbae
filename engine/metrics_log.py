"""The numbers of a run over time: one JSON object a line in ``metrics.jsonl``, and VisualDL where it is wanted."""

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utils.atomic_file import write_text
from utils.errors import ConfigError

METRICS_FILE = "metrics.jsonl"


class MetricsLog:
    """Appends to the metrics of a run, and forgets those of iterations that a resumed run makes again.

    Args:
        folder: None: nothing is written.
        iteration: where the run stands; 0 begins the file anew.
        use_visualdl: write the numbers as scalars into ``visualdl/`` too.

    Raises:
        ConfigError: VisualDL is wanted and not installed.
    """

    def __init__(self, folder: Path | None, *, iteration: int, use_visualdl: bool = False) -> None:
        self._file = folder and folder / METRICS_FILE
        self._writer = None
        if folder is None:
            return
        kept = [row for row in read_metrics(self._file) if row["iteration"] <= iteration] if iteration else []
        write_text(self._file, "".join(_line(row) for row in kept))
        self._writer = _visualdl_writer(folder / "visualdl") if use_visualdl else None

    def add(self, kind: str, *, iteration: int, epoch: int, values: Mapping[str, Any]) -> None:
        """Write one row.

        Args:
            kind: 'train' or 'valid'.
            values: number by name; one that is not finite is written as null.
        """
        if self._file is None:
            return
        row = {"kind": kind, "iteration": iteration, "epoch": epoch, "time": round(time.time(), 3), **values}
        with open(self._file, "a", encoding="utf-8") as handle:
            handle.write(_line(row))
        if self._writer is not None:
            for name, value in values.items():
                if value is not None:
                    self._writer.add_scalar(tag=f"{kind}/{name}", value=float(value), step=iteration)

    def close(self) -> None:
        """Finish what VisualDL has not written yet."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def read_metrics(file: Path) -> list[dict[str, Any]]:
    """The rows of a metrics file, none if it is absent. A line that a kill cut short is left out."""
    rows = []
    if not file.is_file():
        return rows
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
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


def _visualdl_writer(folder: Path) -> Any:
    try:
        from visualdl import LogWriter
    except ImportError as error:
        raise ConfigError(f"--visualdl needs the package visualdl ({error}): pip install visualdl") from error
    return LogWriter(logdir=str(folder))
