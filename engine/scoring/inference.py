"""Inference from the command line: predictions on the screen as they come, and in files at the end."""

from functools import partial
from pathlib import Path
from typing import Literal

from datareader.epoch_order import listed_order
from datareader.filelist import FileList
from datareader.loader import number_of_videos
from engine.distributed import ALONE, LONG_WAIT_SECONDS, Processes
from engine.progress import track
from engine.scoring.prediction_files import as_json, as_text, write_predictions, write_timelines
from engine.scoring.predictor import Prediction, Predictor
from utils.errors import VideoError
from utils.logging import get_logger


def run_inference(
    predictor: Predictor,
    videos: FileList,
    *,
    network_name: str,
    save_dir: Path,
    top_k: int,
    log_interval: int,
    window: float | None = None,
    stride: float | None = None,
    screen: Literal["text", "jsonl"] = "text",
    processes: Processes = ALONE,
) -> list[Prediction]:
    """Predict `videos`, or windows of them, print each prediction as it comes, and write the files into `save_dir`.

    Several processes divide the work; the first one prints and writes when all are done.

    Args:
        network_name: the first part of the names of the result files.

    Returns:
        the predictions that are errors, for what could not be read.

    Raises:
        VideoError: nothing could be read; no file is written.
    """
    dataset, unread = predictor.samples(videos, window=window, stride=stride, processes=processes)
    share = list(listed_order(len(dataset), rank=processes.rank, num_ranks=processes.count))
    shown = partial(
        track,
        total=len(share),
        unit="video" if window is None else "window",
        log_interval=log_interval,
        size=number_of_videos,
    )
    found = predictor.predict_samples(dataset, share, top_k=top_k, track=shown)
    if processes.count > 1:
        shares = processes.gather(list(found), wait_seconds=LONG_WAIT_SECONDS)
        found = sorted((item for share in shares for item in share), key=lambda item: item.index)
    items: list[Prediction] = []
    reported: set[str] = set()
    for item in (item for part in (unread, found) for item in part):
        items.append(item)
        if item.error and item.error not in reported:  # once for all windows of a video
            reported.add(item.error)
            get_logger().warning("cannot be read: %s", item.error)
        if processes.is_main and (screen == "jsonl" or not item.error):
            print(as_json(item) if screen == "jsonl" else as_text(item), flush=True)
    bad = [item for item in items if item.error]
    if len(bad) == len(items):
        raise VideoError(f"no video could be read; {bad[0].error}")
    if processes.is_main:
        name = f"{network_name}_infer_result"
        write_predictions(save_dir / name, items)
        get_logger().info("%d predictions in %s and %s.jsonl", len(items) - len(bad), save_dir / name, name)
        if window is not None:
            table, *pictures = write_timelines(save_dir, items)
            get_logger().info("timelines in %s and %d pictures beside it", table, len(pictures))
    return bad
