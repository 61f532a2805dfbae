"""The test: every view of every listed video through the network."""

import contextlib
import importlib.metadata
import platform
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from configs.loading import dump_config
from configs.schema import Config
from datareader.building import build_loader, remarks_on_data, videos_at_once
from datareader.dataset import ClipDataset
from datareader.epoch_order import listed_order
from datareader.loader import number_of_videos
from engine.device import paddle_version
from engine.distributed import ALONE, Processes
from engine.progress import track
from engine.scoring.result_files import write_results
from engine.scoring.runtimes import RUNTIMES
from engine.scoring.score_file import Origin, ScoreFiles
from engine.scoring.video_scores import Evaluation, evaluate
from engine.scoring.view_scorer import ViewScorer, arithmetic_of
from engine.scoring.views_at_once import ViewsAtOnce
from utils.errors import ReaderError
from utils.logging import get_logger


def run_test(
    config: Config,
    scorer: ViewScorer,
    dataset: ClipDataset,
    *,
    weights_source: str,
    parameters_sha256: str,
    log_interval: int,
    class_names: Sequence[str] = (),
    resume: bool = False,
    processes: Processes = ALONE,
) -> Evaluation:
    """Test a network on TEST's list and write the results into TEST.checkpoint_dir.

    Several processes divide the videos. Each returns the evaluation of all of them; the first one writes the files.

    Args:
        scorer: what computes the probabilities.
        weights_source: where the weights came from.
        parameters_sha256: of the network. It says whether earlier scores belong to it.
        class_names: by class, for the report.
        resume: continue with the scores that are in the folder.

    Raises:
        ConfigError: see `ScoreFiles`.
        ReaderError: no video of the list could be read; nothing is written.
    """
    section = config.TEST
    _compare_dataset_size(section.dataset_size, len(dataset))
    if processes.is_main:
        for line in remarks_on_data(config, {"TEST": dataset.videos}):
            get_logger().warning("%s", line)
    started = time.perf_counter()
    origin = Origin(dump_config(config), parameters_sha256, dataset.videos.sha256(), arithmetic_of(scorer))
    evaluation, num_videos = _evaluate_what_is_left(
        config, dataset, scorer, origin, resume=resume, log_interval=log_interval, processes=processes
    )
    if evaluation.measures.num_scored == 0:
        first = evaluation.unscored[0]
        raise ReaderError(
            f"none of the {len(dataset)} videos of {section.filelist} could be read; first: {first.reason}"
        )
    seconds = time.perf_counter() - started
    engines = sorted(set(processes.gather(scorer.engine)))
    if processes.is_main:
        _show(evaluation)
        facts = {
            "weights": weights_source,
            "parameters_sha256": origin.parameters_sha256,
            "file_list": dataset.videos.source,
            "list_sha256": origin.list_sha256,
            "engine": ", ".join(engines),
            "precision": scorer.precision,
            "scored_before": len(dataset) - num_videos,  # by earlier parts of a resumed test
            "seconds": round(seconds, 3),  # of this part
            "views_per_second": round(num_videos * section.num_views / seconds, 3),
            **_circumstances(config, scorer),
        }
        folder = Path(section.checkpoint_dir)
        write_results(
            folder,
            evaluation,
            dataset.videos,
            facts,
            class_names=class_names,
            decode_timeout=section.decode_timeout,
            num_workers=section.num_reader_threads,
        )
        print(f"results in      {folder}", flush=True)
    return evaluation


def _evaluate_what_is_left(
    config: Config,
    dataset: ClipDataset,
    scorer: ViewScorer,
    origin: Origin,
    *,
    resume: bool,
    log_interval: int,
    processes: Processes,
) -> tuple[Evaluation, int]:
    """Score the videos that have no scores yet; each process scores its share.

    Returns:
        the evaluation of the whole list, and how many videos had no scores yet.
    """
    section, num_classes = config.TEST, config.MODEL.num_classes
    scores = ScoreFiles(
        Path(section.checkpoint_dir),
        origin,
        videos=dataset.videos,
        num_views=section.num_views,
        num_classes=num_classes,
        resume=resume,
        processes=processes,
    )
    left = [request for request in listed_order(len(dataset)) if request.index not in scores.done]
    share = left[processes.rank :: processes.count]
    with (
        contextlib.closing(scores),
        build_loader(dataset, section, batch_size=videos_at_once(section)) as loader,
    ):
        batches = loader.batches(share)
        evaluation = evaluate(
            scorer,
            dataset.videos,
            track(batches, total=len(share), unit="video", log_interval=log_interval, size=number_of_videos),
            views_per_video=section.num_views,
            views_at_once=ViewsAtOnce(section.batch_size),
            num_classes=num_classes,
            ensemble=section.ensemble,
            threshold=section.threshold,
            with_intervals=True,
            processes=processes,
            earlier=scores.done.values(),
            on_scored=scores.add,
        )
    return evaluation, len(left)


def _circumstances(config: Config, scorer: ViewScorer) -> dict[str, Any]:
    """Return the command, the versions and the config of this test."""
    return {"command": shlex.join(sys.argv), "versions": _versions(scorer), "config": dump_config(config)}


def _versions(scorer: ViewScorer) -> dict[str, str]:
    """Return the versions of everything that may change a probability."""
    versions = {"paddle": paddle_version(), "numpy": np.__version__, "opencv": cv2.__version__, "av": av.__version__}
    package = RUNTIMES[scorer.engine].package if scorer.engine in RUNTIMES else "paddle"
    if package != "paddle":
        versions[package] = importlib.metadata.version(package)
    return versions | {"python": platform.python_version()}


def _compare_dataset_size(stated: int, listed: int) -> None:
    if stated and stated != listed:
        get_logger().warning("the list holds %d videos, TEST.dataset_size says %d; the list decides", listed, stated)


def _show(evaluation: Evaluation) -> None:
    for bad in evaluation.unscored:
        get_logger().warning("not scored: %s", bad.reason)
    print("\n".join(evaluation.measures.lines()), flush=True)
