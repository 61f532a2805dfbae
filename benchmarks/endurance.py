"""Long runs: do memory, open files, threads and processes stay flat?

    python benchmarks/endurance.py [--runs NAME ...] [--share 1.0]

Each is a process of its own on small generated videos, watched from outside, its reader processes included. Printed is
what the second quarter and the last quarter of the run held on average, and the slope of the memory between them.
`--share 0.1` makes each run a tenth as long.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a program, from any folder

import numpy as np

from benchmarks.chaos_programs import prepare, write_stream
from benchmarks.measuring import machine, print_table
from benchmarks.striking import MARK, marked_processes
from configs.arguments import positive_number
from utils.commandline import ProgramParser, run_program

_ROOT = Path(__file__).resolve().parents[1]
_EVERY = 0.5  # seconds
_PREDICTOR = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from engine.predictor import Predictor
predictor = Predictor.load(sys.argv[2], weights=sys.argv[3], engine="dygraph")
for number in range(int(sys.argv[4])):
    answers = list(predictor.predict([np.full((20, 48, 64, 3), number % 256, np.uint8), sys.argv[5]], top_k=2))
    assert len(answers) == 2 and not any(answer.error for answer in answers), answers
"""


def _train(data: Path, share: float) -> list[str]:
    command = [str(_ROOT / "train.py"), f"--config={data}/narrow.txt", "--save_dir=run", "--pretrain=none"]
    return [*command, f"--epoch={max(2, round(200 * share))}", "-oTRAIN.keep_last=2", "--log_interval=10"]


def _windows(data: Path, share: float) -> list[str]:
    seconds = max(2.0, 250 * share)
    write_stream(data / "long.mp4", num_frames=round(25 * seconds))
    command = [str(_ROOT / "infer.py"), f"--config={data}/narrow.txt", f"--weights={data}/w1.pdparams"]
    return [*command, "--window=0.4", "--stride=0.05", "--views=1x1", "--engine=dygraph", f"{data}/long.mp4"]


def _predictor(data: Path, share: float) -> list[str]:
    video = next((data / "videos").rglob("*.mp4"))
    return [
        "-c", _PREDICTOR, str(_ROOT), f"{data}/narrow.txt", f"{data}/w1.pdparams", str(round(1000 * share)), str(video)
    ]  # fmt: skip


def _stream(data: Path, share: float) -> list[str]:
    write_stream(data / "long.ts", num_frames=round(25 * 300 * share))
    command = [str(_ROOT / "infer.py"), f"--config={data}/narrow.txt", f"--weights={data}/w1.pdparams", "--stream=-"]
    return [*command, "--window=1", "--stride=0.5", "--views=1x1", "--engine=dygraph"]


def _clips(data: Path, share: float) -> list[str]:
    return [
        str(_ROOT / "benchmarks" / "reader_memory.py"), f"{data}/train.txt", "--clips", str(round(100_000 * share))
    ]  # fmt: skip


RUNS: dict[str, Callable[[Path, float], list[str]]] = {
    "100,000 clips, 2 readers": _clips,
    "200 epochs": _train,
    "5,000 windows": _windows,
    "1,000 Predictor calls": _predictor,
    "300 s of a stream": _stream,
}


def watched(command: list[str], folder: Path, source: Path | None) -> tuple[list[tuple[float, ...]], str]:
    """Run a program; return (seconds, MB, files, threads, processes) again and again, and what went wrong."""
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1", MARK: str(folder)}
    samples = []
    with open(source or os.devnull, "rb") as given, open(folder / "output.txt", "wb") as output:
        process = subprocess.Popen(
            [sys.executable, *command], cwd=folder, env=environment, stdin=given, stdout=output,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        started = time.monotonic()
        while process.poll() is None:
            pids = marked_processes(folder)
            facts = np.array([found for pid in pids if (found := _facts(pid)) is not None])
            if len(facts):
                samples.append((time.monotonic() - started, *facts.sum(axis=0), len(facts)))
            time.sleep(_EVERY)
    text = (folder / "output.txt").read_text(encoding="utf-8", errors="replace")
    return samples, "" if process.returncode == 0 else f"exit code {process.returncode}: {text[-1000:]}"


def _facts(pid: int) -> tuple[float, int, int] | None:
    """MB, open files and threads of a process."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
        lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        return int(lines["VmRSS"].split()[0]) * 1024 / 1e6, files, int(lines["Threads"])
    except (OSError, KeyError):  # it has just ended
        return None


def row_of(name: str, samples: Sequence[tuple[float, ...]], failed: str) -> dict[str, Any]:
    """Row of the table."""
    if failed or len(samples) < 8:
        return {"run": name, "seconds": failed or "too short to tell"}
    table = np.array(samples)
    quarter = len(table) // 4
    early, late = table[quarter : 2 * quarter].mean(axis=0), table[-quarter:].mean(axis=0)
    return {
        "run": name,
        "seconds": f"{table[-1, 0]:.0f}",
        "MB": f"{early[1]:.1f}, {late[1]:.1f}",
        "MB a minute": f"{60 * (late[1] - early[1]) / (late[0] - early[0]):+.2f}",
        **{
            title: f"{early[column]:.1f}, {late[column]:.1f}"
            for column, title in ((2, "open files"), (3, "threads"), (4, "processes"))
        },
    }


def main(arguments: Sequence[str]) -> int:
    parser = ProgramParser(description=__doc__)
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS), metavar="NAME", help="; ".join(RUNS))
    parser.add_argument("--share", type=positive_number, default=1.0, help="of the full length (%(default)s)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_args(arguments)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        data = prepare(Path(temporary) / "data")
        for number, name in enumerate(args.runs):
            (folder := Path(temporary) / str(number)).mkdir()
            command = RUNS[name](data, args.share)
            rows.append(row_of(name, *watched(command, folder, data / "long.ts" if "--stream=-" in command else None)))
            print(f"{name}: done", file=sys.stderr, flush=True)
    print(f"{machine()}\n")
    print_table(rows)
    return 1 if any(len(row) == 2 for row in rows) else 0


if __name__ == "__main__":
    sys.exit(run_program(main))
