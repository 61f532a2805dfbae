"""The order in which an epoch visits the videos: a function of the seed and the epoch, nothing else."""

from collections.abc import Iterator

import numpy as np

from datareader.dataset import SampleRequest
from utils.seeding import generator


def shuffled_epoch(num_videos: int, *, seed: int, epoch: int, start: int = 0, stop: int | None = None) -> Iterator:
    """Requests for positions `start` to `stop` of the epoch's random order of all videos."""
    order = generator(seed, epoch).permutation(num_videos)
    for position in range(start, num_videos if stop is None else stop):
        yield SampleRequest(epoch, position, int(order[position]))


def listed_order(num_videos: int) -> Iterator[SampleRequest]:
    """Requests for every video once, in the order of the list (validation, test, inference)."""
    for index in np.arange(num_videos).tolist():
        yield SampleRequest(0, index, index)
