"""Say what a network costs, without running it.

    python tools/model_info.py [--config configs/nonlocal.txt] [--frames 8] [--size 256x340] [-o SECTION.key=value]

prints trained and frozen parameters, multiply-adds (GMACs, matrix products of the non-local blocks included), output
shape and memory of each stage for one clip; --json FILE writes the same. The default size is that of TEST's clips.
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a program, from any folder

from configs.arguments import add_config_arguments, config_from_arguments, positive_integer
from models.registry import NETWORKS, network_costs
from utils.atomic_file import write_json
from utils.commandline import ProgramParser, run_program
from utils.errors import ConfigError
from utils.logging import setup_logging


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = ProgramParser(
        description="Say what a network costs, without running it.",
        epilog="example: python tools/model_info.py --config configs/nonlocal.txt --frames 32 --size 224",
    )
    network = parser.add_argument_group("network")
    add_config_arguments(network, also_positional=True, also_auto=False)
    clip = parser.add_argument_group("clip")
    clip.add_argument("--frames", type=positive_integer, help="frames of the clip (default: TEST.video_length)")
    clip.add_argument("--size", help="pixels, SIDE or HEIGHTxWIDTH (default: TEST.crop_size)")
    clip.add_argument("--json", type=Path, metavar="FILE", help="write the table as JSON too")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> None:
    args = parse_arguments(argv)
    setup_logging()
    config = config_from_arguments(args, NETWORKS)
    num_frames = args.frames or config.TEST.video_length
    height, width = _parse_size(args.size or str(config.TEST.crop_size))
    stages = network_costs(config, (num_frames, height, width))
    rows = [dataclasses.asdict(stage) for stage in stages]
    total = {key: sum(row[key] for row in rows) for key in ("parameters", "frozen", "macs", "nonlocal_macs")}
    print(f"{config.MODEL.name}: one clip of {num_frames} x {height} x {width}")
    print(
        f"{'stage':8}{'output':>24}{'trained':>14}{'frozen':>10}{'GMACs':>10}{'non-local':>11}{'output MB':>11}"
        f"{'affinity MB':>13}"
    )
    for row in rows:
        print(_line(row["name"], "x".join(map(str, row["output"])), row))
    print(_line("total", "", total))
    print(f"{total['parameters'] + total['frozen']:,} parameters in all, {total['parameters']:,} of them trained")
    if args.json:
        write_json(args.json, {"clip": [num_frames, height, width], "stages": rows, "total": total})


def _line(name: str, output: str, row: dict) -> str:
    line = f"{name:8}{output:>24}{row['parameters']:>14,}{row['frozen']:>10,}"
    line += f"{row['macs'] / 1e9:>10.3f}{row['nonlocal_macs'] / 1e9:>11.3f}"
    if "output_bytes" in row:
        line += f"{row['output_bytes'] / 1e6:>11.2f}{row['affinity_bytes'] / 1e6:>13.2f}"
    return line


def _parse_size(text: str) -> tuple[int, int]:
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() and int(side) > 0 for side in sides):
        raise ConfigError(f"--size {text!r} must be SIDE or HEIGHTxWIDTH, in pixels")
    return int(sides[0]), int(sides[-1])


if __name__ == "__main__":
    sys.exit(run_program(main))
