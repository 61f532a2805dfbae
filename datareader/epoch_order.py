"""The order in which an epoch visits the videos: a function of the seed and the epoch, nothing else.

Several processes (ranks) that train together share it out: the shares are disjoint, and together they are the order.
"""

from collections.abc import Iterator

from datareader.dataset import SampleRequest
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
) -> Iterator[SampleRequest]:
    """Requests for a rank's share of the positions `start` to `stop` of the epoch's random order of all videos.

    Of every `num_ranks` positions in a row a rank takes one, so a batch of the whole is a batch of each.
    """
    order = generator(seed, epoch).permutation(num_videos)
    for position in range(start + rank, num_videos if stop is None else stop, num_ranks):
        yield SampleRequest(epoch, position, int(order[position]))


def listed_order(num_videos: int, *, rank: int = 0, num_ranks: int = 1) -> Iterator[SampleRequest]:
    """Requests for a rank's share of the videos, in the order of the list (validation, test, inference)."""
    for index in range(rank, num_videos, num_ranks):
        yield SampleRequest(0, index, index)
