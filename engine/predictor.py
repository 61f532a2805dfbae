"""Predictions for videos without labels: the network's answer per video, and the files that hold the answers."""

import pickle
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from configs.schema import Config
from datareader.building import build_loader
from datareader.dataset import BadVideo, ClipDataset
from datareader.epoch_order import listed_order
from datareader.loader import Batch
from engine.distributed import ALONE, LONG_WAIT_SECONDS, Processes
from engine.evaluator import score_views
from engine.progress import track
from metrics.topk import top_classes
from models.layers import NamedNetwork
from utils.atomic_file import atomic_write, write_json
from utils.errors import VideoError
from utils.logging import get_logger

_SHOWN_CLASSES = 5


@dataclass(frozen=True)
class Prediction:
    """The k best classes of one video, best first; probabilities are means over its views, in [0, 1]."""

    index: int  # in the list
    path: str  # as listed
    probabilities: list[float]
    classes: list[int]


def predict(
    network: NamedNetwork, batches: Iterable[Batch], *, views_at_once: int, top_k: int
) -> Iterator[Prediction | BadVideo]:
    """Yield, in the order of the list, a prediction for each video, or why there is none."""
    for scored in score_views(network, batches, views_at_once=views_at_once):
        yield from scored.batch.bad_videos
        means = scored.probabilities.astype("float64").mean(axis=1) if scored.batch.paths else ()  # (B, K)
        for index, path, row in zip(scored.batch.indices.tolist(), scored.batch.paths, means, strict=True):
            classes = top_classes(row, top_k)
            yield Prediction(index, path, row[classes].tolist(), classes.tolist())


def run_inference(
    config: Config,
    network: NamedNetwork,
    dataset: ClipDataset,
    *,
    save_dir: Path,
    top_k: int,
    class_names: Sequence[str],
    log_interval: int,
    processes: Processes = ALONE,
) -> list[BadVideo]:
    """Predict INFER's videos, print the best classes of each as it comes, and write the result files into `save_dir`.

    Several processes share the videos out; the first one prints and writes, when all are done.

    Returns:
        The videos that could not be read.

    Raises:
        VideoError: none could be read; nothing is written.
    """
    section = config.INFER
    predictions: list[Prediction] = []
    bad_videos: list[BadVideo] = []
    with build_loader(dataset, section, batch_size=1) as loader:
        order = listed_order(len(dataset), rank=processes.rank, num_ranks=processes.count)
        share = len(range(processes.rank, len(dataset), processes.count))
        batches = track(loader.batches(order), total=share, unit="video", log_interval=log_interval)
        items = predict(network, batches, views_at_once=section.batch_size, top_k=top_k)
        if processes.count > 1:
            shares = processes.gather(list(items), wait_seconds=LONG_WAIT_SECONDS)
            items = sorted((item for share in shares for item in share), key=lambda item: item.index)
        for item in items:
            if isinstance(item, BadVideo):
                bad_videos.append(item)
                get_logger().warning("cannot be read: %s", item.reason)
            else:
                predictions.append(item)
                if processes.is_main:
                    print(_describe(item, class_names), flush=True)
    if not predictions:
        raise VideoError(f"no video could be read; {bad_videos[0].reason}")
    if not processes.is_main:
        return bad_videos
    name = f"{config.MODEL.name.upper()}_infer_result"
    _write_predictions(save_dir / name, predictions, bad_videos, class_names)
    get_logger().info("%d predictions in %s and %s.json", len(predictions), save_dir / name, name)
    return bad_videos


def _describe(item: Prediction, class_names: Sequence[str]) -> str:
    lines = [item.path]
    for probability, class_ in list(zip(item.probabilities, item.classes, strict=True))[:_SHOWN_CLASSES]:
        lines.append(f"    {100 * probability:6.2f} %  {class_names[class_] if class_names else f'class {class_}'}")
    return "\n".join(lines)


def _write_predictions(
    path: Path, predictions: Sequence[Prediction], bad_videos: Sequence[BadVideo], names: Sequence[str]
) -> None:
    """Write `path` (a pickle, protocol 2: [(path, [probability, ...], [class, ...]), ...]) and `path`.json.

    Args:
        names: class names by index; empty where none are known.
    """
    rows = [(item.path, item.probabilities, item.classes) for item in predictions]
    with atomic_write(path) as handle:
        pickle.dump(rows, handle, protocol=2)
    described = [
        {
            "path": item.path,
            "predictions": [
                {"class": class_, "probability": probability} | ({"name": names[class_]} if names else {})
                for class_, probability in zip(item.classes, item.probabilities, strict=True)
            ],
        }
        for item in predictions
    ]
    unread = [{"path": bad.path, "reason": bad.reason} for bad in bad_videos]
    write_json(path.with_name(f"{path.name}.json"), {"videos": described, "unreadable": unread})
