"""Test a trained network on labelled videos, 10 clips x 3 crops. `python test.py --help` shows the flags."""

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

from configs.arguments import (
    SetKeys,
    SetViews,
    add_common_arguments,
    report_meaningless_flags,
)
from engine.auto_config import scoring_config
from engine.scoring.runtimes import add_engine_arguments, add_measuring_arguments
from utils.commandline import ProgramParser, run_program
from utils.logging import setup_logging

_EXAMPLES = """examples:
  python test.py --weights checkpoints/best -o TEST.filelist=test.txt -o MODEL.num_classes=12
  python test.py --weights checkpoints/best --views 1x1
  python test.py --weights checkpoints/best --resume
  python test.py --weights checkpoints/best --engine openvino --precision bf16
  python test.py --weights checkpoints/best -o TEST.spatial=full -o TEST.temporal_sampling=linspace

Exit code 1: some videos could not be scored."""


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = ProgramParser(
        prog="test.py",
        description="Test a trained network on labelled videos: the probabilities of many views are averaged.",
        epilog=_EXAMPLES,
    )
    add_common_arguments(parser)
    add_measuring_arguments(add_engine_arguments(parser, also=("int8", "auto")))
    test = parser.add_argument_group("test")
    test.add_argument(
        "--weights",
        help="checkpoint (its folder, prefix or file, FOLDER/best), or weights of any known format, a URL too; "
        "without this flag the released network is fetched",
    )
    test.add_argument(
        "--filelist", action=SetKeys, keys=["TEST.filelist"], help="file list with labels (TEST.filelist)"
    )
    test.add_argument(
        "--resume", action="store_true", help="go on with the test that was stopped in the same --save_dir"
    )
    test.add_argument("--views", action=SetViews, section="TEST")
    test.add_argument(
        "--batch_size",
        action=SetKeys,
        keys=["TEST.batch_size"],
        help="views that go through the network at once; 0: as many as are fastest, by measurement (TEST.batch_size)",
    )
    test.add_argument(
        "--threshold",
        action=SetKeys,
        keys=["TEST.threshold"],
        help="probability from which on a video has a class (MODEL.multi_label), or is of the second of two "
        "(TEST.threshold)",
    )
    test.add_argument(
        "--save_dir", action=SetKeys, keys=["TEST.checkpoint_dir"], help="folder for the results (TEST.checkpoint_dir)"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    args = parse_arguments(argv)
    setup_logging()
    config = scoring_config(args)
    report_meaningless_flags(args)

    from datareader.building import build_test_dataset
    from engine.class_names import class_names_for_scoring
    from engine.distributed import LONG_WAIT_SECONDS
    from engine.run_folder import claimed_folder, open_run_folder
    from engine.scoring.calibration import calibration_of
    from engine.scoring.ready_network import start_scoring
    from engine.scoring.tester import run_test

    dataset = build_test_dataset(config)
    names = class_names_for_scoring(config, args.weights)
    ready, processes = start_scoring(
        config, config.TEST, args.weights,
        use_gpu=args.use_gpu, engine=args.engine, precision=args.precision,
        calibration=calibration_of(args.calibrate, config.TEST, dataset.videos), use_cache=not args.no_cache,
    )  # fmt: skip
    folder = Path(config.TEST.checkpoint_dir)
    with claimed_folder(folder) if processes.is_main else contextlib.nullcontext():
        open_run_folder(folder, config, "test", rank=processes.rank)
        evaluation = run_test(
            config,
            ready.scorer,
            dataset,
            weights_source=ready.source,
            parameters_sha256=ready.parameters_sha256,
            log_interval=args.log_interval,
            class_names=names,
            resume=args.resume,
            processes=processes,
        )
    processes.wait_for_all(wait_seconds=LONG_WAIT_SECONDS)  # the first one has written
    return 1 if evaluation.unscored and processes.is_main else 0


if __name__ == "__main__":
    sys.exit(run_program(main))
