"""Train a video classification network. `python train.py --help` shows the flags."""

import argparse
import sys
from collections.abc import Sequence

from configs.arguments import (
    SetKeys,
    add_common_arguments,
    config_from_arguments,
    folder,
    non_negative_integer,
    positive_integer,
    report_meaningless_flags,
)
from models.registry import NETWORKS
from utils.commandline import ProgramParser, run_program
from utils.logging import setup_logging

_EXAMPLES = """examples:
  python train.py --config configs/nonlocal.txt --save_dir checkpoints
  python train.py --save_dir my_run --pretrain none -o TRAIN.filelist=train.txt -o VALID.filelist=val.txt \\
      -o MODEL.num_classes=12
  python train.py --save_dir my_run --resume auto
  python -m paddle.distributed.launch --gpus 0,1,2,3 train.py --save_dir my_run

Exit code 75: stopped by SIGTERM or Ctrl-C after saving; the same command with --resume auto goes on."""


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = ProgramParser(
        prog="train.py",
        description="Train a video classification network.",
        epilog=_EXAMPLES,
    )
    add_common_arguments(parser, also_auto=False)
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
    start.add_argument(
        "--allow_other_list",
        action="store_true",
        help="let --resume continue a run on another training list than it began with",
    )
    run = parser.add_argument_group("training")
    run.add_argument(
        "--save_dir", type=folder, default="checkpoints", help="folder for checkpoints and the log (%(default)s)"
    )
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
        "--valid_interval",
        type=non_negative_integer,
        default=1,
        help="epochs between validations, 0 = never (%(default)s)",
    )
    run.add_argument(
        "--seed", action=SetKeys, keys=["TRAIN.seed"], help="all randomness of the run follows from it (TRAIN.seed)"
    )
    run.add_argument(
        "--profile",
        type=positive_integer,
        default=0,
        metavar="N",
        help="measure N iterations, print where their time goes, and end; nothing is saved",
    )
    run.add_argument(
        "--log_to",
        choices=("visualdl", "tensorboard"),
        help="write the numbers of the log for one of these too, into the folder of its name in --save_dir",
    )
    run.add_argument("--visualdl", dest="log_to", action="store_const", const="visualdl", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    args = parse_arguments(argv)
    setup_logging()
    config = config_from_arguments(args, NETWORKS)
    report_meaningless_flags(args)

    from datareader.building import build_train_dataset, build_valid_dataset
    from engine.distributed import is_first_of_host
    from engine.stopping import EXIT_RESUMABLE
    from engine.training.run import run_training
    from engine.training.trainer import RunOptions

    is_finished = run_training(
        config,
        train_set=build_train_dataset(config),
        valid_set=build_valid_dataset(config) if args.valid_interval else None,
        save_dir=args.save_dir,
        use_gpu=args.use_gpu,
        pretrain=args.pretrain or config.MODEL.pretrain,
        resume=args.resume,
        allow_other_list=args.allow_other_list,
        options=RunOptions(args.log_interval, args.valid_interval, args.profile, args.log_to),
    )
    return 0 if is_finished or not is_first_of_host() else EXIT_RESUMABLE


if __name__ == "__main__":
    sys.exit(run_program(main))
