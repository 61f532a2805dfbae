"""Name the action in videos. `python infer.py --help` shows the flags."""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace

from configs.arguments import (
    SetKeys,
    SetViews,
    add_common_arguments,
    features_output,
    folder,
    positive_integer,
    positive_number,
    report_meaningless_flags,
)
from configs.schema import Config
from engine.auto_config import scoring_config
from engine.scoring.runtimes import add_engine_arguments, add_measuring_arguments
from utils.commandline import ProgramParser, run_program
from utils.errors import ConfigError
from utils.logging import setup_logging

_EXAMPLES = """examples:
  python infer.py --weights checkpoints/best clip.mp4 other.mp4 my_videos/
  python infer.py --weights checkpoints/best --filelist list.txt --views 10x1
  find . -name '*.mp4' | python infer.py --weights checkpoints/best --filelist - --format jsonl
  python infer.py --weights checkpoints/best --window 10 --stride 5 long.mp4
  python infer.py --weights checkpoints/best --features features.npz my_videos/
  python infer.py --weights checkpoints/best --window 4 --stride 2 --annotate annotated long.mp4
  python infer.py --weights checkpoints/best --stream rtsp://camera/live --window 4 --stride 2 --views 1x1

Exit code 1: some videos could not be read, or the stream was lost."""

_TOP_K = 20  # classes to keep for each video, where it has one label
_STREAM_WINDOW_SECONDS = 10.0  # the length of the videos of Kinetics
_STREAM_PATIENCE_SECONDS = 30.0


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = ProgramParser(
        prog="infer.py",
        description="Name the action in videos: the probabilities of many views of each are averaged.",
        epilog=_EXAMPLES,
    )
    inputs = parser.add_argument_group("what is seen")
    inputs.add_argument("videos", nargs="*", metavar="VIDEO", help="video, or folder: all videos in it and below")
    inputs.add_argument(
        "--filelist",
        action=SetKeys,
        keys=["INFER.filelist"],
        help="a path a line, a label after it is ignored; '-' reads standard input; not read if videos are named "
        "(INFER.filelist)",
    )
    inputs.add_argument(
        "--video_path", action=SetKeys, keys=["INFER.video_path"], help="one more video or folder (INFER.video_path)"
    )
    inputs.add_argument(
        "--window", type=positive_number, metavar="SECONDS", help="cut videos into windows of this length"
    )
    inputs.add_argument(
        "--stride", type=positive_number, metavar="SECONDS", help="from one window to the next (the window's length)"
    )
    inputs.add_argument(
        "--stream",
        metavar="SOURCE",
        help="watch a camera (/dev/video0, or 0), an address (rtsp://, http://, udp://, ...), a named pipe, or '-', "
        "standard input: an answer for a window of --window seconds (10), one every --stride seconds",
    )
    inputs.add_argument(
        "--patience",
        type=positive_number,
        metavar="SECONDS",
        help="how long a stream may give nothing before it is given up (30)",
    )
    inputs.add_argument("--views", action=SetViews, section="INFER")
    network = parser.add_argument_group("network")
    network.add_argument(
        "--weights",
        help="checkpoint (its folder, prefix or file, FOLDER/best), or weights of any known format, a URL too; "
        "without this flag the released network is fetched",
    )
    network.add_argument(
        "--batch_size",
        action=SetKeys,
        keys=["INFER.batch_size"],
        help="views that go through the network at once; 0: as many as are fastest, by measurement (INFER.batch_size)",
    )
    add_measuring_arguments(add_engine_arguments(parser, also=("int8", "auto")))
    results = parser.add_argument_group("results")
    results.add_argument(
        "--infer_topk", type=positive_integer, help="classes to keep for each video (20; all with MODEL.multi_label)"
    )
    results.add_argument(
        "--threshold",
        action=SetKeys,
        keys=["INFER.threshold"],
        help="probability from which on a video has a class (MODEL.multi_label), or is of the second of two "
        "(INFER.threshold)",
    )
    results.add_argument(
        "--class_names",
        action=SetKeys,
        keys=["INFER.kinetics_labels"],
        help="JSON, CSV or text; those in the checkpoint (INFER.kinetics_labels)",
    )
    results.add_argument(
        "--features",
        type=features_output,
        metavar="OUT",
        help="write what the classifier sees too: OUT.npz, or a folder with a .npy file for each video",
    )
    results.add_argument(
        "--feature_views",
        choices=("mean", "all"),
        help="features are means over the views of a video, or those of all its views (mean)",
    )
    results.add_argument(
        "--annotate",
        type=folder,
        metavar="OUT",
        help="folder for copies of the videos (mp4, without sound) with their best classes drawn on them",
    )
    results.add_argument("--format", default="text", choices=("text", "jsonl"), help="of what is printed (%(default)s)")
    results.add_argument("--resume", action="store_true", help="go on with a run that was stopped")
    results.add_argument("--save_dir", type=folder, default="./", help="folder for the results (%(default)s)")
    add_common_arguments(parser)
    return parser.parse_intermixed_args(argv)


def main(argv: Sequence[str]) -> int:
    args = parse_arguments(argv)
    setup_logging()
    config = scoring_config(args)
    report_meaningless_flags(args)
    if args.stream is not None:
        return _watch(args, config)
    if args.patience:
        raise ConfigError("--patience says how long --stream is waited for: give both")
    if args.stride and not args.window:
        raise ConfigError("--stride says how far --window moves: give both")
    if args.feature_views and not args.features:
        raise ConfigError("--feature_views says which features --features writes: give both")
    if config.INFER.filelist == "-" and int(os.environ.get("PADDLE_TRAINERS_NUM", "1")) > 1:
        raise ConfigError("--filelist -: several processes cannot share standard input; write the list into a file")

    from datareader.building import infer_videos
    from engine.class_names import class_names_for_scoring
    from engine.distributed import LONG_WAIT_SECONDS
    from engine.network_identity import network_sha256
    from engine.run_folder import open_run_folder
    from engine.scoring.calibration import calibration_of
    from engine.scoring.inference import run_inference
    from engine.scoring.predictor import Predictor
    from engine.scoring.ready_network import start_scoring

    videos = infer_videos(config.INFER, named=args.videos, results=args.annotate)
    names = class_names_for_scoring(config, args.weights)
    ready, processes = start_scoring(
        config, config.INFER, args.weights,
        use_gpu=args.use_gpu, engine=args.engine, precision=args.precision,
        calibration=calibration_of(args.calibrate, config.INFER, videos), use_cache=not args.no_cache,
    )  # fmt: skip
    open_run_folder(args.save_dir, config, "infer", rank=processes.rank)
    unread = run_inference(
        Predictor(ready.scorer, config.INFER, class_names=names, multi_label=config.MODEL.multi_label),
        videos,
        network_name=config.MODEL.name,
        network_sha256=network_sha256(ready.parameters_sha256, config),
        save_dir=args.save_dir,
        top_k=_top_k(args, config),
        log_interval=args.log_interval,
        window=args.window,
        stride=args.stride,
        features_out=args.features,
        feature_views=args.feature_views or "mean",
        annotated_out=args.annotate,
        screen=args.format,
        resume=args.resume,
        processes=processes,
    )
    processes.wait_for_all(wait_seconds=LONG_WAIT_SECONDS)  # the first one has written
    return 1 if unread and processes.is_main else 0


def _watch(args: argparse.Namespace, config: Config) -> int:
    """Answer for the windows of a stream."""
    files = {
        "VIDEO": args.videos, "--features": args.features, "--feature_views": args.feature_views,
        "--annotate": args.annotate, "--resume": args.resume,
        "--filelist": any(key.startswith("INFER.filelist=") for key in args.override),
        "--video_path": any(key.startswith("INFER.video_path=") for key in args.override),
    }  # fmt: skip
    for name in (name for name, value in files.items() if value):
        raise ConfigError(f"--stream and {name} do not go together: {name} is for files")
    if int(os.environ.get("PADDLE_TRAINERS_NUM", "1")) > 1:
        raise ConfigError("--stream is watched by one process")
    config = replace(config, INFER=replace(config.INFER, num_reader_threads=0))

    from datareader.streaming.source import named_source
    from engine.class_names import class_names_for_scoring
    from engine.run_folder import open_run_folder
    from engine.scoring.calibration import calibration_of
    from engine.scoring.predictor import Predictor
    from engine.scoring.ready_network import start_scoring
    from engine.scoring.stream_inference import run_stream

    source = named_source(args.stream)
    names = class_names_for_scoring(config, args.weights)
    ready, _ = start_scoring(
        config, config.INFER, args.weights,
        use_gpu=args.use_gpu, engine=args.engine, precision=args.precision,
        calibration=calibration_of(args.calibrate, config.INFER, None), use_cache=not args.no_cache,
    )  # fmt: skip
    open_run_folder(args.save_dir, config, "infer", rank=0)
    window = args.window or _STREAM_WINDOW_SECONDS
    is_whole = run_stream(
        Predictor(ready.scorer, config.INFER, class_names=names, multi_label=config.MODEL.multi_label),
        source,
        window=window,
        stride=args.stride or window,
        patience_seconds=args.patience or _STREAM_PATIENCE_SECONDS,
        network_name=config.MODEL.name,
        save_dir=args.save_dir,
        top_k=_top_k(args, config),
        screen=args.format,
    )
    return 0 if is_whole else 1


def _top_k(args: argparse.Namespace, config: Config) -> int:
    return args.infer_topk or (config.MODEL.num_classes if config.MODEL.multi_label else _TOP_K)


if __name__ == "__main__":
    sys.exit(run_program(main))
