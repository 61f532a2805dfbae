"""Compare training runs in a table: what came of each, and the keys of their configs that differ.

examples:
    python tools/compare_runs.py runs/*
    python tools/compare_runs.py checkpoints other_run --csv runs.csv
"""

import argparse
import csv
import io
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a program, from any folder

from utils.commandline import ProgramParser, run_program
from utils.errors import ConfigError
from utils.logging import get_logger, setup_logging
from utils.printable import printable_line, table_cell

if TYPE_CHECKING:
    from configs.schema import Config
    from engine.training.run_summary import RunSummary

_CONFIG_FILE = "train_config.txt"


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = ProgramParser(description=__doc__)
    files = parser.add_argument_group("files")
    files.add_argument("runs", nargs="+", type=Path, metavar="SAVE_DIR", help="folder of a run")
    files.add_argument("--csv", type=Path, metavar="FILE", help="write the table into a CSV file too")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    args = parse_arguments(argv)
    setup_logging()
    from engine.run_folder import METRICS_FILE
    from engine.training.metrics_log import read_metrics
    from engine.training.run_summary import summarise

    summaries: dict[Path, RunSummary] = {}
    for folder in dict.fromkeys(args.runs):
        rows = read_metrics(folder / METRICS_FILE)
        if rows:
            summaries[folder] = summarise(rows)
        else:
            get_logger().warning("passed over: %s has no %s of a training run", folder, METRICS_FILE)
    if not summaries:
        raise ConfigError(
            "none of these folders holds a training run; train.py writes metrics.jsonl into its --save_dir"
        )
    header, table = table_of(summaries, {folder: _config_of(folder) for folder in summaries})
    print(as_text(header, table))
    if args.csv:
        from utils.atomic_file import write_text

        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows([map(table_cell, row) for row in (header, *table)])
        write_text(args.csv, text.getvalue())
    return 0 if len(summaries) == len(dict.fromkeys(args.runs)) else 1


def table_of(
    summaries: "dict[Path, RunSummary]", configs: "dict[Path, Config | None]"
) -> tuple[list[str], list[list[str]]]:
    """Return the header and a row for each run, the best first; then come the keys that not all runs share."""
    keys = differing_keys([config for config in configs.values() if config is not None])
    header = [
        "run",
        "best %",
        "of",
        "epoch",
        "last %",
        "train loss",
        "valid loss",
        "iterations",
        "hours",
        "clips/s",
        *keys,
    ]
    rows = []
    for folder, found in sorted(
        summaries.items(), key=lambda pair: -(pair[1].best if pair[1].best is not None else -1)
    ):
        config = configs[folder]
        rows.append(
            [
                str(folder), _cell(found.best, 100, 2), found.measure or "", _cell(found.best_epoch, 1, 0),
                _cell(found.last, 100, 2), _cell(found.train_loss, 1, 4), _cell(found.valid_loss, 1, 4),
                str(found.iterations), _cell(found.hours, 1, 2), _cell(found.clips_per_second, 1, 1),
                *("" if config is None else str(_value(config, key)) for key in keys),
            ]
        )  # fmt: skip
    return header, rows


def differing_keys(configs: "Sequence[Config]") -> list[str]:
    """Return the keys, as SECTION.key, for which the configs have more than one value, in the order of the sections."""
    if len(configs) < 2:
        return []
    names = [
        f"{section}.{field.name}" for section in configs[0].sections() for field in fields(getattr(configs[0], section))
    ]
    return [name for name in names if len({repr(_value(config, name)) for config in configs}) > 1]


def as_text(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in columns as wide as they need."""
    shown = [[printable_line(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in shown]
    return "\n".join(lines)


def _value(config: "Config", key: str) -> object:
    section, _, name = key.partition(".")
    return getattr(getattr(config, section), name)


def _cell(value: float | None, factor: float, digits: int) -> str:
    return "" if value is None else f"{factor * value:.{digits}f}"


def _config_of(folder: Path) -> "Config | None":
    """The config of a run; None, and a line, if it is not there or of another version."""
    from configs.loading import load_config
    from models.registry import NETWORKS

    try:
        return load_config(folder / _CONFIG_FILE, [], networks=NETWORKS)
    except ConfigError as error:
        get_logger().warning("the config of %s is not compared: %s", folder, error)
        return None


if __name__ == "__main__":
    sys.exit(run_program(main))
