"""Train a video classification network. `python train.py --help` shows the flags."""

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

from configs.arguments import (
    SetKeys,
    add_common_arguments,
    config_from_arguments,
    open_run_folder,
    report_meaningless_flags,
)
from utils.commandline import run_program
from utils.logging import setup_logging


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="train.py",
        description="Train a video classification network.",
        epilog="example: python train.py --config configs/nonlocal.txt --save_dir checkpoints --pretrain none "
        "-o TRAIN.filelist=train.txt -o VALID.filelist=val.txt -o MODEL.num_classes=12. Exit code 75: stopped by "
        "SIGTERM or Ctrl-C after saving; the same command with --resume auto goes on.",
        allow_abbrev=False,
    )
    add_common_arguments(parser)
    start = parser.add_argument_group("where to start")
    start.add_argument(
        "--pretrain",
        help="weights to start from, of any known format, a URL too; 'none' = random; without this flag the "
        "released ImageNet weights are fetched",
    )
    start.add_argument(
        "--resume",
        help="checkpoint of a run to continue (a folder means its latest), 'auto' (the newest whole one of --save_dir, "
        "a new run if there is none), or weights to fine-tune that fit whole",
    )
    run = parser.add_argument_group("training")
    run.add_argument("--save_dir", default="checkpoints", help="folder for checkpoints and the log (%(default)s)")
    run.add_argument(
        "--batch_size",
        action=SetKeys,
        keys=["TRAIN.batch_size", "VALID.batch_size"],
        help="clips in a batch, over all devices (TRAIN and VALID)",
    )
    run.add_argument(
        "--learning_rate", action=SetKeys, keys=["TRAIN.learning_rate"], help="learning rate of the first step"
    )
    run.add_argument("--epoch", "--epoch_num", action=SetKeys, keys=["TRAIN.epoch"], help="epochs to train")
    run.add_argument(
        "--valid_interval", type=int, default=1, help="epochs between validations, 0 = never (%(default)s)"
    )
    run.add_argument(
        "--seed", action=SetKeys, keys=["TRAIN.seed"], help="all randomness of the run follows from it (TRAIN.seed)"
    )
    run.add_argument("--fix_random_seed", nargs="?", const="true", help=argparse.SUPPRESS)  # every run is seeded
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    args = parse_arguments(argv)
    setup_logging()
    config = config_from_arguments(args)
    report_meaningless_flags(args)

    from datareader.building import build_loader, build_train_dataset, build_valid_dataset
    from engine.device import select_device
    from engine.optimizer import build_optimizer
    from engine.starting import new_network, start_training
    from engine.stopping import EXIT_RESUMABLE
    from engine.trainer import Trainer

    train_set = build_train_dataset(config)
    valid_set = build_valid_dataset(config) if args.valid_interval else None
    select_device(args.use_gpu)
    network = new_network(config)
    optimizer = build_optimizer(network, config.TRAIN)
    progress = start_training(
        network,
        optimizer,
        config,
        pretrain=args.pretrain or config.MODEL.pretrain,
        resume=args.resume,
        save_dir=Path(args.save_dir),
    )
    with contextlib.ExitStack() as stack:
        trainer = Trainer(
            config,
            network,
            optimizer,
            train_loader=stack.enter_context(build_loader(train_set, config.TRAIN, batch_size=config.TRAIN.batch_size)),
            valid_loader=valid_set
            and stack.enter_context(build_loader(valid_set, config.VALID, batch_size=config.VALID.batch_size)),
            save_dir=Path(args.save_dir),
            log_interval=args.log_interval,
            valid_interval=args.valid_interval,
            progress=progress,
        )
        open_run_folder(args.save_dir, config, "train")
        return 0 if trainer.run() else EXIT_RESUMABLE


if __name__ == "__main__":
    sys.exit(run_program(main))
