"""Name the action in videos. `python infer.py --help` shows the flags."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from configs.arguments import (
    SetKeys,
    SetViews,
    add_common_arguments,
    config_from_arguments,
    open_run_folder,
    positive_integer,
    report_meaningless_flags,
)
from utils.commandline import run_program
from utils.logging import setup_logging


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="infer.py",
        description="Name the action in videos: the probabilities of many views of each are averaged.",
        epilog="example: python infer.py --weights checkpoints/best --video_path clip.mp4. "
        "Exit code 1: some videos could not be read.",
        allow_abbrev=False,
    )
    add_common_arguments(parser)
    infer = parser.add_argument_group("inference")
    infer.add_argument(
        "--weights",
        help="checkpoint (its folder, prefix or file, FOLDER/best), or weights of any known format, a URL too; "
        "without this flag the released network is fetched",
    )
    infer.add_argument(
        "--filelist",
        action=SetKeys,
        keys=["INFER.filelist"],
        help="a path a line; a label after it is ignored (INFER.filelist)",
    )
    infer.add_argument(
        "--video_path",
        action=SetKeys,
        keys=["INFER.video_path"],
        help="one video, instead of the list (INFER.video_path)",
    )
    infer.add_argument("--views", action=SetViews, section="INFER")
    infer.add_argument(
        "--batch_size",
        action=SetKeys,
        keys=["INFER.batch_size"],
        help="views that go through the network at once (INFER.batch_size)",
    )
    infer.add_argument(
        "--infer_topk", type=positive_integer, default=20, help="classes to keep for each video (%(default)s)"
    )
    infer.add_argument("--save_dir", default="./", help="folder for the results (%(default)s)")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    args = parse_arguments(argv)
    setup_logging()
    config = config_from_arguments(args)
    report_meaningless_flags(args)

    from datareader.building import build_infer_dataset
    from engine.class_names import read_class_names
    from engine.device import select_device
    from engine.distributed import join_processes
    from engine.predictor import run_inference
    from engine.starting import load_for_scoring, new_network

    dataset = build_infer_dataset(config)
    names = read_class_names(config.INFER.kinetics_labels, config.MODEL.num_classes)
    processes = join_processes(select_device(args.use_gpu))
    network = new_network(config)
    load_for_scoring(network, config, args.weights)
    open_run_folder(args.save_dir, config, "infer", rank=processes.rank)
    unread = run_inference(
        config,
        network,
        dataset,
        save_dir=Path(args.save_dir),
        top_k=args.infer_topk,
        class_names=names,
        log_interval=args.log_interval,
        processes=processes,
    )
    processes.wait_for_all()  # the first one has written
    return 1 if unread and processes.is_main else 0


if __name__ == "__main__":
    sys.exit(run_program(main))
