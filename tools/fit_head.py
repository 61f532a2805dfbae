"""Fit a classifier to your videos in minutes: the features of a trained network, and a new linear head on them.

Example: python tools/fit_head.py --config auto --weights WEIGHTS --train lists/trainlist.txt --out my_head
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a program, from any folder

from configs.arguments import SetViews, add_common_arguments, folder, positive_number, report_meaningless_flags
from engine.auto_config import scoring_config
from engine.scoring.runtimes import add_engine_arguments
from utils.commandline import ProgramParser, run_program
from utils.errors import ConfigError
from utils.logging import setup_logging

_VIEWS = ("INFER.num_test_clips=3", "INFER.use_multi_crop=0")


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = ProgramParser(
        prog="fit_head.py",
        description="Compute what the classifier of a trained network sees of every video, once, and fit a new linear "
        "classifier to it. The result is a checkpoint like those of train.py, with the accuracy on videos that it was "
        "not fitted to. Run again, it takes the features that are there.",
        epilog="example: python tools/fit_head.py --config auto --weights WEIGHTS --train lists/trainlist.txt --valid "
        "lists/vallist.txt --out my_head",
    )
    data = parser.add_argument_group("videos")
    data.add_argument(
        "--train",
        required=True,
        metavar="LIST",
        help="list of the videos to fit to, 'path label' a line; or 'path 3,17' where videos have several",
    )
    data.add_argument(
        "--valid",
        metavar="LIST",
        help="videos to judge by; without it each fifth of --train judges a fit to the rest",
    )
    data.add_argument(
        "--groups",
        default="",
        metavar="REGEX",
        help="videos whose paths agree in what it finds are in one fifth (takes of one person, say)",
    )
    data.add_argument("--views", action=SetViews, section="INFER", help="3x1 without this flag")
    network = parser.add_argument_group("network")
    network.add_argument("--weights", required=True, help="as for test.py")
    add_engine_arguments(parser)
    head = parser.add_argument_group("head")
    head.add_argument("--penalty", type=positive_number, help="of the squared weights; the best of 10 to 1e-4")
    head.add_argument(
        "--class_weights", default="none", choices=("none", "balanced"),
        help="balanced: every class counts the same, whatever its number of videos (%(default)s)",
    )  # fmt: skip
    results = parser.add_argument_group("results")
    results.add_argument("--out", type=folder, required=True, help="folder of the checkpoint")
    results.add_argument("--cache", type=folder, help="folder of the features (OUT/features)")
    add_common_arguments(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> None:
    args = parse_arguments(argv)
    setup_logging()
    try:
        re.compile(args.groups)
    except re.error as error:
        raise ConfigError(f"--groups {args.groups!r}: no regular expression ({error})") from error
    if args.groups and args.valid:
        raise ConfigError(
            "--groups says how --train is divided to judge the head; with --valid it is not: leave one away"
        )
    args.override = [*_VIEWS, *args.override]
    config = scoring_config(args)
    report_meaningless_flags(args)

    from engine.device import select_device
    from engine.training.head_fitting import HeadOptions
    from engine.training.head_run import run_head_fit

    select_device(args.use_gpu)
    lines = run_head_fit(
        config,
        weights=args.weights,
        train=args.train,
        valid=args.valid,
        out=args.out,
        cache=args.cache,
        options=HeadOptions(args.penalty, args.class_weights, args.groups),
        engine=args.engine,
        precision=args.precision,
        log_interval=args.log_interval,
    )
    print("\n".join(lines))


if __name__ == "__main__":
    sys.exit(run_program(main))
