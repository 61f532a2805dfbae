"""Kills every program at random moments, lets it go on by its own command, and compares with an undisturbed run.

    python benchmarks/chaos.py [--programs NAME ...] [--runs 3] [--kills 4] [--seed 0] [--keep FOLDER]

For each program, on small generated videos: two undisturbed runs, which must agree; then `--runs` runs, each struck up
to `--kills` times (SIGKILL, SIGTERM or SIGINT, to the program, or to one of its other processes) and started again
until it is done. What it leaves must equal what the undisturbed run left, byte for byte but for times and durations;
and no process, shared memory, temporary file or half a file may be left. Exit code 1 if anything was.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a program, from any folder

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


if __name__ == "__main__":
    sys.exit(run_program(main))
