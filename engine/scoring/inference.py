"""Inference from the command line: predictions on the screen and in a file as they come, and as results at the end."""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Literal

from datareader.epoch_order import listed_order
from datareader.filelist import FileList
from datareader.loader import number_of_videos
from engine.distributed import ALONE, LONG_WAIT_SECONDS, Processes
from engine.progress import track
from engine.scoring.annotated_copies import make_folder, write_annotated
from engine.scoring.feature_files import FeatureRows, rows_file, write_features
from engine.scoring.prediction_files import as_json, as_text, write_predictions
from engine.scoring.prediction_journal import PredictionJournal
from engine.scoring.predictor import FeatureViews, Prediction, Predictor
from engine.scoring.timelines import write_timelines
from utils.errors import VideoError
from utils.logging import get_logger


def run_inference(
    predictor: Predictor,
    videos: FileList,
    *,
    network_name: str,
    network_sha256: str,
    save_dir: Path,
    top_k: int,
    log_interval: int,
    window: float | None = None,
    stride: float | None = None,
    features_out: Path | None = None,
    feature_views: FeatureViews = "mean",
    annotated_out: Path | None = None,
    screen: Literal["text", "jsonl"] = "text",
    resume: bool = False,
    processes: Processes = ALONE,
) -> list[Prediction]:
    """Predict `videos`, or windows of them, print each prediction as it comes, and write the files into `save_dir`.

    Every prediction is in a file as soon as it is made; the result files are made from these at the end. Several
    processes divide the work; the first one prints and writes when all are done.

    Args:
        network_name: the first part of the names of the result files.
        network_sha256: of the weights and settings of the network.
        features_out: write features too: see `write_features`.
        annotated_out: write copies with the classes drawn on them too: see `write_annotated`.
        resume: go on with a run that was stopped.

    Returns:
        the predictions that are errors, for what could not be read or copied.

    Raises:
        VideoError: nothing could be read; no file is written.
        ConfigError: see `PredictionJournal`.
    """
    features = feature_views if features_out else None
    if annotated_out is not None:
        make_folder(annotated_out, {path: videos.locate_or_guess(path) for path in videos.paths})
    dataset, unread = predictor.samples(videos, window=window, stride=stride, processes=processes)
    origin = {
        "weights": network_sha256, "views": repr(dataset.plan), "list": videos.sha256(), "window": window,
        "stride": stride, "infer_topk": top_k, "ensemble": predictor.ensemble,
        "threshold": predictor.threshold, "precision": predictor.precision,
        "features": features,
    }  # fmt: skip
    result = save_dir / f"{network_name}_infer_result"
    stamps = {listed: videos.stamp(listed) for listed in videos.paths}
    with (
        PredictionJournal(result, origin, stamps, resume=resume, processes=processes) as journal,
        contextlib.ExitStack() as opened,
    ):
        rows = None
        if features_out is not None:
            processes.gather(None)
            rows = opened.enter_context(_open_rows(result, resume=bool(journal.earlier), processes=processes))
        if journal.earlier and processes.is_main:
            get_logger().info("%d of %d were predicted before", len(journal.earlier), len(dataset))
        left = [request for request in listed_order(len(dataset)) if request.index not in journal.earlier]
        share = left[processes.rank :: processes.count]
        shown = partial(
            track,
            total=len(share),
            unit="video" if window is None else "window",
            log_interval=log_interval,
            size=number_of_videos,
        )
        samples = predictor.predict_samples(dataset, share, top_k=top_k, features=features, track=shown)
        found = _noted(journal, rows, samples)
        if processes.count > 1:
            shares = processes.gather(list(found), wait_seconds=LONG_WAIT_SECONDS)
            found = sorted((item for share in shares for item in share), key=lambda item: item.index)
        new = list(_reported(chain(unread, found), screen=screen if processes.is_main else None))
        items = [*unread, *sorted([*journal.earlier.values(), *new[len(unread) :]], key=lambda item: item.index)]
        bad = [item for item in items if item.error]
        if len(bad) == len(items):
            _remove(journal, result)
            raise VideoError(f"no video could be read; {bad[0].error}")
        if processes.is_main:
            write_predictions(result, items)
            get_logger().info("%d predictions in %s and %s.jsonl", len(items) - len(bad), result, result.name)
            if window is not None:
                table, *pictures = write_timelines(save_dir, items)
                get_logger().info("timelines in %s and %d pictures beside it", table, len(pictures))
            if rows is not None and features_out is not None:
                write_features(features_out, items, rows, videos)
            if annotated_out is not None:
                bad += write_annotated(
                    annotated_out,
                    items,
                    videos,
                    num_workers=predictor.reader_processes,
                    timeout_seconds=predictor.decode_timeout,
                )
        processes.gather(None, wait_seconds=LONG_WAIT_SECONDS)  # the first one has written
        _remove(journal, result)
    return bad


def _open_rows(result: Path, *, resume: bool, processes: Processes) -> FeatureRows:
    """The file of the features so far; the first process begins it anew if there is nothing to go on with."""
    path = rows_file(result)
    if processes.is_main:
        rows = FeatureRows(path, resume=resume)
    processes.gather(None)
    return rows if processes.is_main else FeatureRows(path, resume=True)


def _remove(journal: PredictionJournal, result: Path) -> None:
    journal.remove()
    rows_file(result).unlink(missing_ok=True)


def _noted(journal: PredictionJournal, rows: FeatureRows | None, items: Iterable[Prediction]) -> Iterator[Prediction]:
    for item in items:
        if rows is not None and item.features is not None:  # before the line that says they are there
            rows.put(item.index, item.features)
            item = replace(item, features=None)
        journal.add(item)
        yield item


def _reported(items: Iterable[Prediction], *, screen: Literal["text", "jsonl"] | None) -> Iterator[Prediction]:
    """Print each prediction, and log each reason why something cannot be read once. None: nothing is printed."""
    reported: set[str] = set()
    for item in items:
        if item.error and item.error not in reported:  # once for all windows of a video
            reported.add(item.error)
            get_logger().warning("cannot be read: %s", item.error)
        if screen is not None and (screen == "jsonl" or not item.error):
            print(as_json(item) if screen == "jsonl" else as_text(item), flush=True)
        yield item
