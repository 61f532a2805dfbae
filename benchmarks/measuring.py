"""What the benchmark programs share: medians, rows printed as a table, the same rows as JSON."""

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def median_seconds(run: Callable[[], Any], *, repeats: int, warm_up: int = 1) -> float:
    """Median wall-clock seconds of `run`, after `warm_up` runs that do not count."""
    for _ in range(warm_up):
        run()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def peak_megabytes() -> float:
    """Largest resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def in_new_process(program: str, arguments: Sequence[str]) -> dict[str, Any]:
    """Run ``program arguments`` and return the JSON object that its last line of output holds.

    A process of its own for each case: memory that one case used does not count for the next.
    """
    done = subprocess.run([sys.executable, program, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit {done.returncode}"}
    return json.loads(done.stdout.strip().splitlines()[-1])


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    """Print dictionaries as the rows of a table; columns in the order in which they first appear."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[_cell(row.get(column, "")) for column in columns] for row in rows]
    widths = [max(len(column), *(len(row[i]) for row in cells)) for i, column in enumerate(columns)]
    for row in [columns, *cells]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def write_rows(path: Path | None, rows: Sequence[dict[str, Any]]) -> None:
    """Write the rows as JSON, if a path is given."""
    if path is not None:
        path.write_text(json.dumps(list(rows), indent=1) + "\n", encoding="utf-8")


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}" if value < 10 else f"{value:.1f}"
    return str(value)
