"""What the benchmark programs share: processes that measure, medians, tables in Markdown, the same rows as JSON."""

import datetime
import importlib.metadata
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from utils.processor import processor_description, usable_cores

_PACKAGES = (
    "paddlepaddle", "openvino", "onnxruntime", "torch", "av", "torchcodec", "decord", "opencv-python-headless", "numpy"
)  # fmt: skip


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

    A process of its own for each case: memory that one case used does not count for the next, and thread pools do not
    wait for work while another one computes. All libraries compute with as many threads as there are cores to use, or
    with OMP_NUM_THREADS.
    """
    environment = {"OMP_NUM_THREADS": str(usable_cores()), **os.environ}
    command = [sys.executable, program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit {done.returncode}"}
    return json.loads(done.stdout.strip().splitlines()[-1])


def machine() -> str:
    """Return what a table needs to be believed: day, processor, threads, and versions of what is installed."""
    facts = dict(line.split("\t: ", 1) for line in processor_description().splitlines() if "\t: " in line)
    flags = facts.get("flags\t", facts.get("flags", "")).split()
    abilities = [name for name in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16") if name in flags]
    versions = []
    for package in _PACKAGES:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return (
        f"{datetime.date.today()}, {facts.get('model name', 'a processor')} ({', '.join(abilities) or 'no AVX2'}), "
        f"{usable_cores()} cores, {os.environ.get('OMP_NUM_THREADS', usable_cores())} threads; Python "
        f"{sys.version.split()[0]}, {', '.join(versions)}"
    )


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    """Print dictionaries as the rows of a table in Markdown; columns in the order in which they first appear."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[_cell(row.get(column, "-")) for column in columns] for row in rows]
    for row in [columns, ["---"] * len(columns), *cells]:
        print("| " + " | ".join(row) + " |")


def write_rows(path: Path | None, rows: Sequence[dict[str, Any]]) -> None:
    """Write the rows as JSON, if a path is given."""
    if path is not None:
        path.write_text(json.dumps(list(rows), indent=1) + "\n", encoding="utf-8")


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return str(value)
