"""Print the table of the published files in docs/weights.md, from models/weights/published.json.

Example: python tools/weights_table.py
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a program, from any folder

from models.weights.published import config_of, overrides_of, published_rows
from utils.commandline import ProgramParser, run_program
from utils.logging import setup_logging


def weights_table() -> str:
    """Return the table as Markdown."""
    lines = [
        "| network, lineage | file | format | frames x rate | published, % | views | `--config` |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in published_rows():
        frames, rate = row["clip"]
        clip = f"{frames}x{rate}" if rate else f"{frames} segments"
        keys = overrides_of(row)
        told = [f"`{key}`" for key in keys if key.startswith(("MODEL", "NONLOCAL", "SLOWFAST"))]
        told += ["the clip"] if len(keys) > len(told) else []
        top5 = "-" if row["top5"] is None else row["top5"]
        shown = ", ".join([f"`{config_of(row).removeprefix('configs/')}`", *told])
        name = row["url"].rpartition("/")[2].partition("-rgb_")[0]
        lines.append(
            f"| {row['network']}, {row['lineage']} | [{name}]({row['url']}) | {row['format']} | {clip} | "
            f"{row['top1']} / {top5} | {row['views']} | {shown} |"
        )
    return "\n".join(lines)


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    return ProgramParser(description=__doc__).parse_args(argv)


def main(argv: Sequence[str]) -> None:
    parse_arguments(argv)
    setup_logging()
    print(weights_table())


if __name__ == "__main__":
    sys.exit(run_program(main))
