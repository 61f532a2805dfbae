"""Write a network for inference: uint8 frames in, probabilities out, BN folded, without this project.

examples:
  python tools/export.py --weights checkpoints/best --format onnx --out nonlocal.onnx
  python tools/export.py --config CONFIG --weights checkpoints/best --format paddle --out exported/nonlocal
  python tools/export.py --config CONFIG --weights W --format onnx --out fixed.onnx --batch_size 1 --frame_size 256x256
  python tools/export.py --weights W --format onnx --out int8.onnx --precision int8 --calibrate videos/

The input `frames` is uint8 (N, 3, T, H, W), RGB in [0, 255], T as INFER.video_length says; the output `probabilities`
is float32 (N, classes). With --features there is a second one, `features`, what the classifier sees, float32 (N, C).
What was written is then run beside the network on views like those of videos, and the largest difference of the
logarithm of a probability is printed; exit code 2 if it is above 0.01. An int8 network is compared with the one in fp32
on views of --calibrate that it was not fitted to: how many have the same best class, the largest change of a
probability, and the times.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a program, from any folder

from configs.arguments import add_config_arguments, positive_integer
from engine.auto_config import scoring_config
from engine.scoring.runtimes import FileFormat
from utils.commandline import ProgramParser, run_program
from utils.errors import ConfigError
from utils.logging import get_logger, setup_logging
from utils.temporary_folder import temporary_folder

if TYPE_CHECKING:
    from engine.scoring.calibration import Calibration

_LARGEST = 10000


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = ProgramParser(description=__doc__)
    network = parser.add_argument_group("network")
    add_config_arguments(network, also_positional=True)
    network.add_argument("--weights", help="as for test.py; without it the released network is fetched")
    output = parser.add_argument_group("what is written")
    output.add_argument("--format", required=True, choices=get_args(FileFormat), help="of the files")
    output.add_argument(
        "--precision",
        default="fp32",
        choices=("fp32", "int8"),
        help="int8: for onnx, fitted to --calibrate (%(default)s)",
    )
    output.add_argument("--calibrate", metavar="LIST", help="videos that int8 is fitted to: a list, or a folder")
    output.add_argument(
        "--out", required=True, type=Path, help="the .onnx file; for paddle, the files less .json and .pdiparams"
    )
    output.add_argument("--features", action="store_true", help="a second output: what the classifier sees")
    output.add_argument(
        "--batch_size", type=positive_integer, metavar="N", help="views at a time, fixed (default: free)"
    )
    output.add_argument("--frame_size", type=_size, metavar="HxW", help="pixels, fixed (default: free)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    args = parse_arguments(argv)
    setup_logging()
    if args.format == "onnx" and args.out.suffix != ".onnx":
        raise ConfigError(f"--out {args.out}: the name of an ONNX file must end in .onnx")

    if args.precision == "int8" and (args.format != "onnx" or not args.calibrate):
        raise ConfigError("--precision int8 is for --format onnx, and takes its ranges from videos: --calibrate LIST")
    if args.precision == "int8" and (args.batch_size or args.frame_size):
        raise ConfigError("--precision int8 leaves the sizes free: it goes without --batch_size and --frame_size")
    if args.calibrate and args.precision != "int8":
        raise ConfigError("--calibrate is for --precision int8: give both")

    from engine.device import select_device
    from engine.network_loading import load_for_scoring, new_network
    from engine.scoring.calibration import calibration_of
    from engine.scoring.exporting import export_network
    from engine.scoring.scorers import verify_files
    from utils.hashing import sha256

    config = scoring_config(args)
    if args.out.with_name(f"{args.out.name}.pdparams").exists():
        raise ConfigError(f"--out {args.out}: a checkpoint has this name, and would lose its description")
    if not args.out.name or args.out.name == "..":
        raise ConfigError(f"--out {args.out}: must name a file")
    if (args.batch_size or 1) > _LARGEST or max(args.frame_size or (1,)) > _LARGEST:
        raise ConfigError(f"--batch_size and --frame_size must be at most {_LARGEST}")
    select_device("false")
    network = new_network(config)
    num_frames, height, width = config.INFER.view_size
    sizes = [args.frame_size] if args.frame_size else [(height, width), (height, width + 48)]
    for size in sizes:
        network.costs((num_frames, *size))  # refuses what is too small for the network
    source = load_for_scoring(network, config, args.weights)
    shapes = [(args.batch_size or 2, 3, num_frames, *size) for size in sizes]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(args.out.parent, name=f"{args.out.name}.export") as folder:
        written = export_network(
            network,
            config,
            folder / args.out.name,
            args.format,
            num_frames=num_frames,
            batch_size=args.batch_size,
            frame_size=args.frame_size,
            with_features=args.features,
        )
        differences = verify_files(written, args.format, network, shapes, with_features=args.features)
        lines = []
        if args.precision == "int8":
            written, lines = _in_int8(written[0], calibration_of(args.calibrate, config.INFER, None))
        files = [file.replace(args.out.parent / file.name) for file in reversed(written)]  # the program last
    for file in files:
        print(f"{file}  {file.stat().st_size / 1e6:.1f} MB, SHA-256 {sha256(file)}")
    print(f"weights: {source}")
    for engine, difference in differences.items():
        print(f"largest difference to dygraph in {engine}: {difference:.2g} of the logarithm of a probability")
    for line in lines:
        print(line)
    if not differences:
        get_logger().warning("not verified: no engine that reads it is installed (requirements-engines.txt)")
    return 0


def _in_int8(file: Path, calibration: "Calibration") -> tuple[list[Path], list[str]]:
    """Quantise an exported network; return the new file of the same name, and what came of the comparison."""
    from engine.scoring.quantising import compare, quantise

    target = file.parent / "int8" / file.name
    quantise(file, target, calibration.views())
    return [target], compare(file, target, calibration)


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)x(\d+)", text.lower())
    if not found:
        raise argparse.ArgumentTypeError(f"{text} must be HEIGHTxWIDTH, as 256x256")
    return int(found[1]), int(found[2])


if __name__ == "__main__":
    sys.exit(run_program(main))
