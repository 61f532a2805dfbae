"""Draw what the non-local blocks of a network look at in a video, as figure 3 of the paper does.

examples:
  python tools/show_attention.py clip.mp4 --weights checkpoints/best --out attention
  python tools/show_attention.py clip.mp4 --weights W --config CONFIG --query 3,120,80 --query 5,60,200
  python tools/show_attention.py clip.mp4 --weights W --strongest 3 --whole

The view is the middle clip of INFER's length and rate, its centre crop of INFER's size. For each block there is a
picture attention_<block>.png: red the position that asks, arrows to the positions it attends to most. attention.npz
holds the numbers: view uint8 (3, T, H, W); for each block <block>/queries int (Q, 3): frame, row and column;
<block>/weights float32 (Q, T', H", W"): the normalised affinity of each; <block>/strengths (T', H', W'): how much the
block adds where; with --whole <block>/affinity (T'H'W', T', H", W"). Computed in dygraph, from chunked blocks too.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a program, from any folder

from configs.arguments import add_config_arguments, positive_integer
from engine.auto_config import scoring_config
from utils.commandline import ProgramParser, run_program
from utils.errors import ConfigError
from utils.logging import setup_logging

if TYPE_CHECKING:
    import numpy as np

    from configs.schema import InferSection
    from engine.scoring.attention import BlockAttention

_MOST_ROWS = 50


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = ProgramParser(description=__doc__)
    network = parser.add_argument_group("network and video")
    network.add_argument("videos", nargs="*", metavar="VIDEO", help="the video")
    network.add_argument("--video", dest="video", help="the same as VIDEO")
    network.add_argument("--weights", help="as for infer.py; without it the released network is fetched")
    add_config_arguments(network)
    shown = parser.add_argument_group("what is shown")
    shown.add_argument(
        "--query", type=_query, action="append", default=[], metavar="FRAME,X,Y",
        help="a position that asks: frame of the clip from 0, pixels of the crop from its upper left; repeatable",
    )  # fmt: skip
    shown.add_argument(
        "--strongest", type=positive_integer, default=1,
        help="without --query: so many positions of each block, those to which it adds most (%(default)s)",
    )  # fmt: skip
    shown.add_argument("--top", type=positive_integer, default=20, help="arrows of each position (%(default)s)")
    output = parser.add_argument_group("what is written")
    output.add_argument("--out", type=Path, default=Path("attention"), help="folder (%(default)s)")
    output.add_argument("--whole", action="store_true", help="the whole affinity of every block into the .npz")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    args = parse_arguments(argv)
    setup_logging()

    from datareader.building import build_loader, build_middle_plan
    from datareader.dataset import ClipDataset
    from datareader.epoch_order import listed_order
    from datareader.filelist import unlabelled_videos
    from engine.class_names import class_names_for_scoring
    from engine.device import select_device
    from engine.network_loading import load_for_scoring, new_network
    from engine.scoring.attention import attention_of_blocks
    from utils.errors import VideoError

    config = scoring_config(args)
    section = config.INFER
    video, points = _named_video(args), _points(args, section)
    names = class_names_for_scoring(config, args.weights)
    select_device("auto")
    network = new_network(config)
    if not network.nonlocal_blocks:
        raise ConfigError("this network has no non-local blocks")
    load_for_scoring(network, config, args.weights)
    dataset = ClipDataset(unlabelled_videos([video]), build_middle_plan(section))
    with build_loader(dataset, section, batch_size=1) as loader:
        (batch,) = loader.batches(listed_order(1))
    if batch.bad_videos:
        raise VideoError(batch.bad_videos[0].reason)
    view = batch.clips[0, 0]
    blocks, probabilities = attention_of_blocks(
        network, view, points=points, strongest=args.strongest, whole=args.whole
    )
    best = int(probabilities.argmax())
    title = f"{Path(video).name}: {names[best] if names else f'class {best}'} ({100 * probabilities[best]:.1f} %)"
    _write(args.out, view, blocks, probabilities, top=args.top, title=title)
    print(f"{title}\n{len(blocks)} pictures and attention.npz in {args.out}")
    return 0


def _named_video(args: argparse.Namespace) -> str:
    named = [*args.videos, args.video] if args.video else args.videos
    if len(named) != 1:
        raise ConfigError(f"name one video; {len(named)} are named")
    return named[0]


def _points(args: argparse.Namespace, section: "InferSection") -> list[tuple[float, float, float]]:
    """The queries as fractions of the clip."""
    if max(args.strongest, len(args.query)) > _MOST_ROWS:
        raise ConfigError(
            f"--strongest, --query: at most {_MOST_ROWS} positions fit into a picture; --whole writes all"
        )
    length, size = section.video_length, section.crop_size
    for frame, x, y in args.query:
        if not (frame < length and x < size and y < size):
            raise ConfigError(f"--query {frame},{x},{y}: the clip has {length} frames of {size} x {size} pixels")
    return [(frame / length, y / size, x / size) for frame, x, y in args.query]


def _write(
    out: Path, view: "np.ndarray", blocks: "list[BlockAttention]", probabilities: "np.ndarray", *, top: int, title: str
) -> None:
    """Write a picture of each block, and attention.npz."""
    import numpy as np

    from engine.scoring.attention_picture import block_picture
    from utils.atomic_file import atomic_write
    from utils.logging import get_logger

    arrays = {"view": view, "probabilities": probabilities}
    for block in blocks:
        if not block.strengths.any():
            get_logger().warning("%s adds nothing: its last scale is 0, as in an untrained network", block.name)
        with atomic_write(out / f"attention_{block.name}.png") as handle:
            handle.write(block_picture(view, block, top=top, title=title))
        arrays[f"{block.name}/queries"] = np.array([(q.frame, q.row, q.column) for q in block.queries])
        arrays[f"{block.name}/weights"] = np.stack([query.weights for query in block.queries])
        arrays[f"{block.name}/strengths"] = block.strengths
        if block.affinity is not None:
            arrays[f"{block.name}/affinity"] = block.affinity
    with atomic_write(out / "attention.npz") as handle:
        np.savez_compressed(handle, **arrays)


def _query(text: str) -> tuple[int, int, int]:
    found = re.fullmatch(r"(\d+),(\d+),(\d+)", text.replace(" ", ""))
    if not found:
        raise argparse.ArgumentTypeError(f"{text} must be FRAME,X,Y, as 3,120,80")
    return int(found[1]), int(found[2]), int(found[3])


if __name__ == "__main__":
    sys.exit(run_program(main))
