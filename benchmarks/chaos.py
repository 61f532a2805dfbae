"""Kills every program at random moments, lets it go on by its own command, and compares with an undisturbed run.

    python benchmarks/chaos.py [--programs NAME ...] [--runs 3] [--kills 4] [--seed 0] [--keep FOLDER]

For each program, on small generated videos: two undisturbed runs, which must agree; then `--runs` runs, each struck up
to `--kills` times (SIGKILL, SIGTERM or SIGINT, to the program, or to one of its other processes) and started again
until it is done. What it leaves must equal what the undisturbed run left, byte for byte but for times and durations;
and no process, shared memory, temporary file or half a file may be left. Exit code 1 if anything was.

With `--failing_writes N` nobody is killed: N of the writes of each program, spread over its run, fail with EIO, and N
with ENOSPC (see failing_disk.py); each time one line and exit code 2 (or none, where it goes on), and the same command
then does the rest.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a program, from any folder

import numpy as np

from benchmarks.chaos_programs import SUBJECTS, prepare
from benchmarks.measuring import print_table
from benchmarks.striking import Arena
from configs.arguments import non_negative_integer, positive_integer
from utils.commandline import ProgramParser, run_program
from utils.seeding import generator


def main(arguments: Sequence[str]) -> int:
    names = [subject.name for subject in SUBJECTS]
    parser = ProgramParser(description=__doc__)
    parser.add_argument("--programs", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--runs", type=positive_integer, default=3, help="of each program (%(default)s)")
    parser.add_argument("--kills", type=positive_integer, default=4, help="at most, in a run (%(default)s)")
    parser.add_argument(
        "--failing_writes", type=non_negative_integer, default=0, metavar="N", help="instead of kills; 0: kills"
    )
    parser.add_argument("--seed", type=non_negative_integer, default=0, help="of moments and signals (%(default)s)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="an empty folder; what was written stays there")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = (args.keep or Path(temporary)).resolve()
        data = prepare(folder / "data")
        rows = []
        for subject in [subject for subject in SUBJECTS if subject.name in args.programs]:
            arena = Arena(folder, subject, data)
            faults = arena.undisturbed()
            if args.failing_writes:
                if arena.writes_itself:
                    rows.append(_fail_writes(arena, subject.name, args.failing_writes, faults))
                continue
            kills = 0
            for run in range(args.runs):
                key = (args.seed, names.index(subject.name), run)
                struck, found = arena.disturbed(generator(*key), most_kills=args.kills, label=f"run{run}")
                kills += struck
                faults += [f"run {run} of seed {args.seed}: {fault}" for fault in found]
            for fault in faults:
                print(f"{subject.name}: {fault}", file=sys.stderr, flush=True)
            rows.append({"program": subject.name, "runs": args.runs, "kills": kills, "faults": len(faults)})
            print(f"{subject.name}: {kills} kills, {len(faults)} faults", file=sys.stderr, flush=True)
    print_table(rows)
    return 1 if any(row["faults"] for row in rows) else 0


def _fail_writes(arena: Arena, name: str, most: int, faults: list[str]) -> dict[str, Any]:
    """Let writes of a program fail; return the row of the table."""
    count = arena.count_writes()
    numbers = sorted({round(number) for number in np.linspace(1, count, min(most, count))})
    for error in ("EIO", "ENOSPC"):
        for number in numbers:
            faults += arena.on_failing_disk(number, error, label=f"{error}{number}")
    for fault in faults:
        print(f"{name}: {fault}", file=sys.stderr, flush=True)
    print(f"{name}: {count} writes, {len(faults)} faults", file=sys.stderr, flush=True)
    return {"program": name, "writes": count, "failed": 2 * len(numbers), "faults": len(faults)}


if __name__ == "__main__":
    sys.exit(run_program(main))
