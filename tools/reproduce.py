"""Test the published networks on your copy of Kinetics-400, and write what was measured beside what was published.

Example: python tools/reproduce.py --list k400_val.txt --videos 500
"""

import argparse
import hashlib
import html
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a program, from any folder

import numpy as np

from configs.arguments import non_negative_integer, positive_integer
from metrics.intervals import wilson_interval
from models.weights.published import config_of, overrides_of, published_rows, views_of
from utils.atomic_file import write_json, write_text
from utils.commandline import ProgramParser, run_program
from utils.errors import ConfigError, VideoToolkitError
from utils.hashing import sha256
from utils.logging import get_logger, setup_logging
from utils.seeding import generator

_ROOT = Path(__file__).resolve().parents[1]
_DONE = "reproduced_by.txt"  # in the folder of a test that is complete: its command
_LONGEST_REASON = 500  # characters


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = ProgramParser(
        prog="reproduce.py",
        description="Test each row of models/weights/published.json with its own clips and views: fetch its weights "
        "(or take them from --weights_dir), run test.py, and write reproduced.txt, .json and .html into "
        "--out. Run again, it goes on where it was. Rows that fail are named with the reason; exit code 1 then.",
        epilog="example: python tools/reproduce.py --list k400_val.txt --rows 'I3D-NL' --videos 500",
    )
    data = parser.add_argument_group("data")
    data.add_argument("--list", required=True, help="file list of the validation videos, 'path label' a line")
    data.add_argument(
        "--videos", type=positive_integer, metavar="N", help="a quick look: N of them, every class by its share"
    )
    data.add_argument("--seed", type=non_negative_integer, default=0, help="of this choice (%(default)s)")
    rows = parser.add_argument_group("rows")
    rows.add_argument("--rows", metavar="REGEX", default="", help="only rows whose network, lineage or file matches")
    rows.add_argument("--weights_dir", type=Path, help="folder of the files, by their names; nothing is fetched")
    work = parser.add_argument_group("work")
    work.add_argument("--out", type=Path, default=Path("reproduced"), help="folder of the results (%(default)s)")
    work.add_argument("--launch", default="", metavar="COMMAND", help="a launcher that starts test.py")
    work.add_argument(
        "-o", "--override", action="append", default=[], metavar="SECTION.key=value", help="set a key of every test"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_args(argv)


def chosen_videos(labels: np.ndarray, count: int, seed: int) -> list[int]:
    """Return `count` indices in ascending order, every class by its share, and which ones by the seed.

    >>> chosen_videos(np.array([0, 0, 0, 0, 1, 1]), 3, seed=0)
    [2, 3, 4]
    """
    order = generator(seed).permutation(len(labels))
    ranks = np.empty(len(labels))
    for class_ in np.unique(labels):
        members = [index for index in order if labels[index] == class_]
        # The k-th of a class of n stands at (k + 1/2) / n: the first ones of all classes together are its share.
        ranks[members] = (np.arange(len(members)) + 0.5) / len(members)
    return sorted(int(index) for index in sorted(order, key=lambda index: ranks[index])[:count])


def write_list(source: str, out: Path, count: int | None, seed: int) -> Path:
    """Write the list that is tested, with absolute paths; return its path."""
    from datareader.list_lines import quoted
    from datareader.list_reading import read_any_list

    videos = read_any_list(source)
    if (videos.labels < 0).any():
        raise ConfigError(f"--list {source}: every line must have a label")
    if videos.has_label_sets:
        raise ConfigError(f"--list {source}: has lines with several labels; the published networks have one")
    indices = range(len(videos)) if count is None else chosen_videos(videos.labels, count, seed)
    lines = [f"{quoted(str(videos.locate_or_guess(videos.paths[i]).absolute()))} {videos.labels[i]}\n" for i in indices]
    write_text(out / "list.txt", "".join(lines))
    return out / "list.txt"


def weights_of(row: dict[str, Any], folder: Path | None) -> Path:
    """Return the weights file of a row.

    Raises:
        ConfigError, DownloadError: it is not there, or cannot be fetched.
    """
    from models.weights.released import fetch_url

    if folder is None:
        return fetch_url(row["url"])
    path = folder / row["url"].rpartition("/")[2]
    if not path.is_file():
        raise ConfigError(f"{path}: no such file")
    return path


def run_row(row: dict[str, Any], args: argparse.Namespace, listing: Path) -> dict[str, Any]:
    """Test a row if it is not done; return what was measured, or why it failed."""
    views, crop = views_of(row)
    try:
        weights = weights_of(row, args.weights_dir)
    except VideoToolkitError as error:
        return {"error": str(error)}
    keys = [*overrides_of(row), *crop, *args.override]
    config = _ROOT / config_of(row) if "config" in row else config_of(row)
    what = ["--filelist", str(listing), "--views", views, *(word for key in keys for word in ("-o", key))]
    # Another list, another config or other keys are another test, in a folder of its own.
    told = [*what, sha256(listing), sha256(config) if isinstance(config, Path) else config]
    identity = hashlib.sha256("\0".join(told).encode("utf-8", "surrogateescape")).hexdigest()[:8]
    folder = args.out / f"{re.sub(r'[^A-Za-z0-9]+', '_', row['url'].rpartition('/')[2])}_{identity}"
    if not (folder / _DONE).is_file():
        program = [*(shlex.split(args.launch) or [sys.executable]), str(_ROOT / "test.py"), "--config", str(config)]
        command = [*program, "--weights", str(weights), "--save_dir", str(folder), "--resume", *what]
        finished = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if finished.returncode not in (0, 1) or not (folder / "results.json").is_file():
            lines = finished.stderr.strip().splitlines() or ["it ended without a word"]
            errors = [line for line in lines if "error" in line.lower()]
            return {"error": (errors or lines)[-1][-_LONGEST_REASON:]}
        write_text(folder / _DONE, shlex.join(command) + "\n")
    found = json.loads((folder / "results.json").read_text(encoding="utf-8"))["metrics"]
    if not found["num_scored"]:
        return {"error": "no video could be read"}
    bounds = wilson_interval(round(found["top1"] * found["num_scored"]), found["num_scored"])
    return {
        "top1": 100 * found["top1"],
        "top5": None if found["top5"] is None else 100 * found["top5"],
        "interval": [100 * bound for bound in bounds],
        "videos": found["num_scored"],
        "unscored": found["num_videos"] - found["num_scored"],
        "views": views,
    }


def table(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Return the cells of the results, a header first."""
    cells = [["network", "file", "published", "measured", "95 % interval", "videos", "views"]]
    for row in rows:
        found = row["measured"]
        cells.append([
            f"{row['network']}, {row['lineage']}", row["url"].rpartition("/")[2], _accuracies(row["top1"], row["top5"]),
            *([f"failed: {found['error']}", "", "", ""] if "error" in found else _measured(found)),
        ])  # fmt: skip
    return cells


def _measured(found: dict[str, Any]) -> list[str]:
    unread = f" ({found['unscored']} unread)" if found["unscored"] else ""
    interval = "{:.1f} to {:.1f}".format(*found["interval"])
    return [_accuracies(found["top1"], found["top5"]), interval, f"{found['videos']}{unread}", found["views"]]


def _accuracies(top1: float, top5: float | None) -> str:
    return f"{top1:.1f} / {'-' if top5 is None else f'{top5:.1f}'}"


def write_reports(out: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write reproduced.txt, reproduced.json and reproduced.html."""
    cells = table(rows)
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    write_text(out / "reproduced.txt", "\n".join(text) + "\n")
    write_json(out / "reproduced.json", list(rows))
    marks = ["th", *["td"] * (len(cells) - 1)]
    lines = [
        f"<tr>{''.join(f'<{mark}>{html.escape(cell)}</{mark}>' for cell in line)}</tr>"
        for mark, line in zip(marks, cells, strict=True)
    ]
    style = (
        "body{font-family:sans-serif;margin:2em}td,th{padding:.3em .8em;text-align:left;border-bottom:1px solid #ccc}"
    )
    write_text(
        out / "reproduced.html",
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Published and measured</title>'
        f"<style>{style}</style></head><body><h1>Published and measured</h1><p>Top-1 / top-5 on Kinetics-400, %. "
        f"Published by the toolkits themselves.</p><table>{''.join(lines)}</table></body></html>\n",
    )


def main(argv: Sequence[str]) -> int:
    args = parse_arguments(argv)
    setup_logging()
    try:
        wanted = re.compile(args.rows)
    except re.error as error:
        raise ConfigError(f"--rows {args.rows!r}: no regular expression ({error})") from error
    rows = [row for row in published_rows() if wanted.search(f"{row['network']} {row['lineage']} {row['url']}")]
    if not rows:
        raise ConfigError(f"--rows {args.rows}: fits no row of models/weights/published.json")
    args.out.mkdir(parents=True, exist_ok=True)
    listing = write_list(args.list, args.out, args.videos, args.seed)
    results: list[dict[str, Any]] = []
    for number, row in enumerate(rows, start=1):
        get_logger().info("%d of %d: %s, %s", number, len(rows), row["network"], row["url"].rpartition("/")[2])
        results.append({**row, "measured": run_row(row, args, listing)})
        write_reports(args.out, results)
    print((args.out / "reproduced.txt").read_text(encoding="utf-8"), end="")
    return 1 if any("error" in row["measured"] for row in results) else 0


if __name__ == "__main__":
    sys.exit(run_program(main))
