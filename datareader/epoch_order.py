"""The order in which an epoch visits the videos. It depends on the seed and the epoch alone.

Several processes (ranks) that train together divide it: no two of them get the same position.
"""

from collections.abc import Iterator

import numpy as np

from datareader.label_text import videos_by_class
from datareader.processes.job import SampleRequest
from utils.seeding import generator


def shuffled_epoch(
    num_videos: int,
    *,
    seed: int,
    epoch: int,
    start: int = 0,
    stop: int | None = None,
    rank: int = 0,
    num_ranks: int = 1,
    balanced_labels: np.ndarray | None = None,
) -> Iterator[SampleRequest]:
    """Yield the requests of one rank for the positions `start` to `stop` of the epoch's random order of all videos.

    Of every `num_ranks` consecutive positions a rank takes one, so a batch of all ranks is made of one batch of each.

    Args:
        balanced_labels: those of the videos, int64 (N,) or uint8 (N, K); the order is then one of `balanced_order`.
    """
    random = generator(seed, epoch)
    order = random.permutation(num_videos) if balanced_labels is None else balanced_order(balanced_labels, random)
    for position in range(start + rank, num_videos if stop is None else stop, num_ranks):
        yield SampleRequest(epoch, position, int(order[position]))


def balanced_order(labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draw as many videos as the list holds, every class equally often. Labels (N,) or (N, K) to indices int64 (N,).

    Every K consecutive draws hold each of the K classes once, in random order. Within a class, every video is drawn
    once before one is drawn again. A video with several labels is drawn for each of them; videos without a label are a
    class of their own.
    """
    classes = videos_by_class(labels)
    rounds = -(-len(labels) // len(classes))
    columns = []
    for videos in classes:
        passes = [random.permutation(videos) for _ in range(-(-rounds // len(videos)))]
        columns.append(np.concatenate(passes)[:rounds])
    table = random.permuted(np.stack(columns, axis=1), axis=1)  # (rounds, K)
    return table.reshape(-1)[: len(labels)]


def listed_order(num_videos: int, *, rank: int = 0, num_ranks: int = 1) -> Iterator[SampleRequest]:
    """Yield the requests of one rank for its share of the videos, in the order of the list (all but training)."""
    for index in range(rank, num_videos, num_ranks):
        yield SampleRequest(0, index, index)
