"""Draw the curves of one or several training runs from their metrics.jsonl into one picture.

examples:
    python tools/plot_run.py checkpoints
    python tools/plot_run.py checkpoints other_run --out curves.png
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from utils.commandline import ProgramParser, run_program
from utils.errors import ConfigError
from utils.logging import setup_logging
from utils.pictures import new_figure, picture_text, png_of

# (title, kind of row, keys of which a row has one, factor, logarithmic)
PANELS = (
    ("training loss", "train", ("loss",), 1, False),
    ("validation loss", "valid", ("loss",), 1, False),
    ("training top-1, %", "train", ("top1",), 100, False),
    ("validation top-1 or mAP, %", "valid", ("top1", "map"), 100, False),
    ("learning rate", "train", ("learning_rate",), 1, False),
    ("gradient norm", "train", ("gradient_norm",), 1, True),
    ("clips per second", "train", ("clips_per_second",), 1, False),
    ("share of time waiting for the reader, %", "train", ("reader_share",), 100, False),
)


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = ProgramParser(description=__doc__)
    files = parser.add_argument_group("files")
    files.add_argument("runs", nargs="+", type=Path, metavar="SAVE_DIR", help="folder of a run, or its metrics.jsonl")
    files.add_argument("--out", type=Path, help="picture to write (SAVE_DIR/curves.png of the first run)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> None:
    args = parse_arguments(argv)
    setup_logging()
    from engine.run_folder import METRICS_FILE
    from engine.training.metrics_log import read_metrics
    from engine.training.run_summary import number

    runs = {}
    for run in args.runs:
        file = run / METRICS_FILE if run.is_dir() else run
        rows = read_metrics(file)
        rows = [row for row in rows if number(row, "iteration") is not None]
        if not rows:
            raise ConfigError(f"{file}: no metrics there; train.py writes them into its --save_dir")
        runs[str(run)] = rows
    out = args.out or (args.runs[0] if args.runs[0].is_dir() else args.runs[0].parent) / "curves.png"
    if out.suffix.lower() != ".png":
        raise ConfigError(f"--out {out}: must end with .png")
    draw(runs, out)
    print(f"curves of {len(runs)} run{'s' if len(runs) > 1 else ''} in {out}")


def draw(runs: dict[str, list[dict[str, Any]]], out: Path) -> None:
    """Draw one panel a quantity, one line a run."""
    from engine.training.run_summary import number
    from utils.atomic_file import atomic_write

    columns = 2
    figure = new_figure(11, 12)
    axes = figure.subplots(-(-len(PANELS) // columns), columns)
    for axis, (title, kind, keys, factor, is_logarithmic) in zip(axes.flat, PANELS, strict=True):
        for name, rows in runs.items():
            name = picture_text(name)
            points = [
                (row["iteration"], factor * value)
                for row in rows
                for key in keys
                if row["kind"] == kind and (value := number(row, key)) is not None
            ]
            marker = "o" if len(points) < 30 else None
            axis.plot(*(zip(*points, strict=True) if points else ((), ())), label=name, marker=marker, markersize=3)
        if is_logarithmic and any(y > 0 for line in axis.lines for y in line.get_ydata()):
            axis.set_yscale("log")
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("iteration", fontsize=8)
        axis.grid(alpha=0.3)
        if not any(len(line.get_xdata()) for line in axis.lines):
            axis.set_xticks([], [])
            axis.set_yticks([], [])
            axis.text(0.5, 0.5, "none", transform=axis.transAxes, ha="center", color="grey")
    axes.flat[0].legend(fontsize=8)
    with atomic_write(out) as handle:
        handle.write(png_of(figure))


if __name__ == "__main__":
    sys.exit(run_program(main))
