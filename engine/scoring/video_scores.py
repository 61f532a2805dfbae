"""Scores of videos: the pass over a loader that validation, test and inference share, and its evaluation.

Legend: B videos, V views of each, K classes, C features.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from configs.schema import Ensemble
from datareader.dataset import BadVideo
from datareader.filelist import FileList
from datareader.loader import Batch
from engine.distributed import ALONE, LONG_WAIT_SECONDS, Processes
from engine.scoring.view_scorer import ViewScorer
from engine.scoring.views_at_once import ViewsAtOnce
from metrics.measures import Measures, mean_loss, measure
from metrics.multi_view import MultiViewScores, VideoScores, with_sum_of_1
from metrics.topk import top_k_hits
from utils.errors import WeightsError


@dataclass
class ScoredBatch:
    """A batch, and of its views the class probabilities, float32 (B, V, K), and the features (B, V, C) if asked for."""

    batch: Batch
    probabilities: np.ndarray
    features: np.ndarray | None = None


def score_views(
    scorer: ViewScorer, batches: Iterable[Batch], *, views_at_once: ViewsAtOnce, with_features: bool = False
) -> Iterator[ScoredBatch]:
    """Score all views, `views_at_once` at a time. This affects memory and speed, but no result.

    Raises:
        WeightsError: an output is not finite.
    """
    for batch in batches:
        if not len(batch.labels):
            yield ScoredBatch(batch, np.empty((0, 0, 0), np.float32))
            continue
        num_videos, num_views = batch.clips.shape[:2]
        views = batch.clips.reshape(-1, *batch.clips.shape[2:])  # (B * V, 3, T, H, W)
        outputs = [
            scorer.with_features(portion) if with_features else (scorer(portion),)
            for portion in views_at_once.portions(views)
        ]
        found = [np.concatenate(parts).reshape(num_videos, num_views, -1) for parts in zip(*outputs, strict=True)]
        if not all(np.isfinite(values).all() for values in found):
            raise WeightsError(
                f"the network's output is not finite for a video of {', '.join(batch.paths)}: its weights are "
                "damaged, or come from a training run that diverged"
            )
        yield ScoredBatch(batch, *found)


@dataclass
class Evaluation:
    """The result of a pass over a labelled list."""

    measures: Measures
    loss: float | None  # see `mean_loss`
    probabilities: np.ndarray  # float64 (number of videos, K), NaN rows for unscored videos
    unscored: list[BadVideo]


def evaluate(
    scorer: ViewScorer,
    videos: FileList,
    batches: Iterable[Batch],
    *,
    views_per_video: int,
    views_at_once: ViewsAtOnce,
    num_classes: int,
    ensemble: Ensemble = "sum",
    threshold: float = 0.5,
    with_intervals: bool = False,
    processes: Processes = ALONE,
    earlier: Iterable[VideoScores] = (),
    on_scored: Callable[[VideoScores], None] | None = None,
) -> Evaluation:
    """Score every video of a labelled list: probabilities over all its views, measures, unreadable videos.

    Args:
        ensemble: how the probabilities of the views are combined.
        threshold, with_intervals: see `measure`.
        batches: this process's share of the list. Every process returns the evaluation of the whole list.
        earlier: scores of videos that are not among the batches, because they were scored before.
        on_scored: called with each video as soon as it is scored.
    """
    scores = MultiViewScores(len(videos), views_per_video, num_classes, ensemble=ensemble)
    hits = np.zeros(len(videos), np.int64)  # views of each video whose best class is a label of it
    bad_videos: list[BadVideo] = []
    for row in earlier:
        scores.put(row)
        hits[row.video] = row.hits
    for scored in score_views(scorer, batches, views_at_once=views_at_once):
        bad_videos.extend(scored.batch.bad_videos)
        for video, views in zip(scored.batch.indices.tolist(), scored.probabilities, strict=True):
            scores.add(video, views)
            hits[video] = top_k_hits(views, videos.labels[[video] * len(views)], 1).sum()
            if on_scored is not None:
                on_scored(VideoScores(video, scores.combined[video], int(hits[video])))
    unscored: list[BadVideo] = []
    for rows, hits_of_share, bad_of_share in processes.gather(
        (scores.shown(), hits, bad_videos), wait_seconds=LONG_WAIT_SECONDS
    ):
        scores.add_shown(rows)
        hits = np.maximum(hits, hits_of_share)
        unscored += bad_of_share
    unscored.sort(key=lambda bad: bad.index)
    probabilities = scores.compute(unreadable=[video.index for video in unscored])
    if ensemble == "max" and not videos.has_label_sets:
        probabilities = with_sum_of_1(probabilities)
    measures = measure(
        probabilities,
        videos.labels,
        view_hits=hits,
        views_per_video=views_per_video,
        threshold=threshold,
        with_intervals=with_intervals,
    )
    return Evaluation(measures, mean_loss(probabilities, videos.labels), probabilities, unscored)
