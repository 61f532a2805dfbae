"""Say what a network costs, without running it.

    python tools/model_info.py configs/nonlocal.txt [--frames 8] [--size 256 | --size 256x340] [-o SECTION.key=value]

prints parameters, multiply-adds (GMACs, the matrix products of the non-local blocks included), output shape and memory
of each stage for one clip; --json FILE writes the same. The default size is that of TEST's clips.
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a program, from any folder

from configs.arguments import positive_integer
from configs.loading import load_config
from utils.atomic_file import write_json
from utils.commandline import run_program
from utils.errors import ConfigError


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        description="Say what a network costs, without running it.",
        epilog="example: python tools/model_info.py configs/nonlocal.txt --frames 32 --size 224",
    )
    network = parser.add_argument_group("network")
    network.add_argument("config", help="config file")
    clip = parser.add_argument_group("clip")
    clip.add_argument("--frames", type=positive_integer, help="frames of the clip (default: TEST.video_length)")
    clip.add_argument("--size", help="pixels, SIDE or HEIGHTxWIDTH (default: TEST.crop_size)")
    clip.add_argument("--json", type=Path, metavar="FILE", help="write the table as JSON too")
    network.add_argument("-o", "--override", action="append", default=[], metavar="SECTION.key=value")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_args(argv)
    config = load_config(args.config, args.override)
    num_frames = args.frames or config.TEST.video_length
    height, width = _parse_size(args.size or str(config.TEST.crop_size))
    smallest = config.TRAIN.crop_size
    if num_frames < config.TRAIN.video_length or min(height, width) < smallest:
        raise ConfigError(
            f"a clip of {num_frames} x {height} x {width} must not be smaller than TRAIN's, "
            f"{config.TRAIN.video_length} x {smallest} x {smallest}: the head pools over it"
        )

    from models.complexity import measure_complexity

    stages = measure_complexity(config, num_frames=num_frames, height=height, width=width)
    rows = [dataclasses.asdict(stage) for stage in stages]
    total = {key: sum(row[key] for row in rows) for key in ("parameters", "macs", "nonlocal_macs")}
    print(f"{args.config}: one clip of {num_frames} x {height} x {width}")
    print(
        f"{'stage':8}{'output':>24}{'parameters':>14}{'GMACs':>10}{'non-local':>11}{'output MB':>11}{'affinity MB':>13}"
    )
    for row in rows:
        print(_line(row["name"], "x".join(map(str, row["output"])), row))
    print(_line("total", "", total))
    if args.json:
        write_json(args.json, {"clip": [num_frames, height, width], "stages": rows, "total": total})


def _line(name: str, output: str, row: dict) -> str:
    line = f"{name:8}{output:>24}{row['parameters']:>14,}{row['macs'] / 1e9:>10.3f}{row['nonlocal_macs'] / 1e9:>11.3f}"
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
