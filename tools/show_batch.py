"""Draw a batch as the network sees it in training: crops, mirrors, augmentation and mixed clips, with their labels.

examples:
  python tools/show_batch.py --config configs/nonlocal.txt -o TRAIN.filelist=train.txt --out batch.png
  python tools/show_batch.py --config C -o TRAIN.rand_augment_ops=2 -o TRAIN.mixup_alpha=0.2 --epoch 3 --batch 10
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a program, from any folder

from configs.arguments import add_config_arguments, config_from_arguments, non_negative_integer, positive_integer
from models.registry import NETWORKS
from utils.commandline import ProgramParser, run_program
from utils.errors import ConfigError
from utils.logging import get_logger, setup_logging

_GAP = 2  # pixels between frames
_WIDTH = 12  # inches
_NAMED = 3  # classes of a mixed clip


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = ProgramParser(description=__doc__)
    shown = parser.add_argument_group("what is shown")
    add_config_arguments(shown, also_auto=False)
    shown.add_argument("--epoch", type=non_negative_integer, default=0, help="from 0 on (%(default)s)")
    shown.add_argument("--batch", type=non_negative_integer, default=0, help="of the epoch, from 0 on (%(default)s)")
    shown.add_argument("--clips", type=positive_integer, default=8, help="at most so many of it (%(default)s)")
    output = parser.add_argument_group("what is written")
    output.add_argument("--out", type=Path, default=Path("batch.png"), help="picture (%(default)s)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    args = parse_arguments(argv)
    setup_logging()
    config = config_from_arguments(args, NETWORKS)
    if args.out.suffix.lower() != ".png":
        raise ConfigError(f"--out {args.out}: must end with .png")

    import numpy as np

    from datareader.building import build_loader, build_train_dataset
    from engine.class_names import class_names_for_training
    from engine.distributed import ALONE
    from engine.training.run import build_mixing, share_of_batch
    from engine.training.train_batches import TrainBatches
    from utils.atomic_file import atomic_write
    from utils.errors import VideoError

    section = config.TRAIN
    dataset = build_train_dataset(config)
    share = share_of_batch(config, dataset, ALONE)
    with build_loader(dataset, section, batch_size=share) as loader:
        batches = TrainBatches(loader, section, ALONE)
        if args.batch >= batches.per_epoch:
            raise ConfigError(f"--batch {args.batch}: an epoch has {batches.per_epoch}, counted from 0")
        (batch,) = batches.of_epoch(args.epoch, args.batch, args.batch + 1)
    for bad in batch.bad_videos:
        get_logger().warning("cannot be read: %s", bad.reason)
    if not len(batch.labels):
        raise VideoError("no video of this batch could be read")
    size = share // section.accumulate_steps
    clips, targets = batch.clips[:size, 0], batch.labels[:size]  # what is computed, and mixed, at once
    mixing = build_mixing(config)
    if mixing.is_on:
        import paddle

        iteration = args.epoch * batches.per_epoch + args.batch
        found = mixing.mix(
            paddle.to_tensor(clips), paddle.to_tensor(targets), key=(section.seed, iteration, ALONE.rank, 0)
        )
        clips, targets = (value.numpy() for value in found)
    names = class_names_for_training(config)
    paths = batch.paths[: args.clips]
    titles = [f"{Path(path).name}: {_label(target, names)}" for path, target in zip(paths, targets, strict=False)]
    with atomic_write(args.out) as handle:
        handle.write(_picture(np.asarray(clips[: args.clips]), titles))
    print(f"{len(titles)} of the {share} clips of batch {args.batch}, epoch {args.epoch}, in {args.out}")
    return 0


def _label(target: "object", names: Sequence[str]) -> str:
    """The classes of a clip; with their shares if it is mixed."""
    import numpy as np

    values = np.asarray(target)
    if values.ndim == 0:
        return names[int(values)] if names else f"class {int(values)}"
    classes = [int(k) for k in np.argsort(-values, kind="stable") if values[k] > 0]
    shown = [names[k] if names else f"class {k}" for k in classes[:_NAMED]]
    if values.dtype != np.uint8:
        shown = [f"{values[k]:.2f} {name}" for k, name in zip(classes, shown, strict=False)]
    return " + ".join(shown) + (" + ..." if len(classes) > _NAMED else "") or "no label"


def _picture(clips: "object", titles: Sequence[str]) -> bytes:
    """A row for each clip, its frames side by side; uint8 (n, 3, T, S, S)."""
    import numpy as np

    from utils.pictures import new_figure, picture_text, png_of

    num_clips, _, num_frames, height, width = clips.shape
    inches = _WIDTH * height / (width * num_frames) + 0.3
    figure = new_figure(_WIDTH, inches * num_clips)
    for axes, clip, title in zip(figure.subplots(num_clips, 1, squeeze=False)[:, 0], clips, titles, strict=True):
        strip = np.full((height, num_frames * (width + _GAP) - _GAP, 3), 255, np.uint8)
        for time in range(num_frames):
            strip[:, time * (width + _GAP) : time * (width + _GAP) + width] = clip[:, time].transpose(1, 2, 0)
        axes.imshow(strip, interpolation="nearest")
        axes.set_axis_off()
        axes.set_title(picture_text(title), fontsize=9, loc="left", pad=3)
    return png_of(figure)


if __name__ == "__main__":
    sys.exit(run_program(main))
