"""95 % confidence intervals: of shares, of means, and of anything by drawing the videos anew.

Where every draw gives one value, as when every video is right, drawing says nothing of what may happen with others: the
interval is then Wilson's, of a share of this value among as many videos.
"""

import math
from collections.abc import Callable

import numpy as np

_RESAMPLES = 1000
_QUANTILES = (0.025, 0.975)
Interval = tuple[float, float]


def wilson_interval(hits: int, count: int, z: float = 1.96) -> Interval:
    """Return Wilson's interval of a share, for a normal quantile `z`.

    >>> [round(bound, 3) for bound in wilson_interval(8, 10)]
    [0.49, 0.943]
    """
    share = hits / count
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def bootstrap_interval(values: np.ndarray, resamples: int = _RESAMPLES) -> Interval:
    """Return the percentile interval of the mean of `values` (n,), any numbers, drawn anew with replacement."""
    return _percentiles(_drawn(lambda counts: counts @ values / len(values), len(values), resamples))


def class_mean_interval(hits: np.ndarray, counts: np.ndarray, resamples: int = _RESAMPLES) -> Interval:
    """Return the percentile interval of the mean over classes of hits / counts; videos are drawn anew in their class.

    Args:
        hits, counts: of each class, int64 (K,), counts above 0.
    """
    random = np.random.default_rng(0)
    values = [float((random.binomial(counts, hits / counts) / counts).mean()) for _ in range(resamples)]
    return _or_wilson(_percentiles(values), int(counts.sum()))


def drawn_interval(
    statistic: Callable[[np.ndarray], float | None], num_videos: int, *, resamples: int = _RESAMPLES
) -> Interval | None:
    """Return the percentile interval of a statistic in [0, 1] of videos that are drawn anew with replacement.

    None if it is defined in no draw.

    Args:
        statistic: of how often each video was drawn, int64 (num_videos,); None where it is not defined.
    """
    values = _drawn(statistic, num_videos, resamples)
    return _or_wilson(_percentiles(values), num_videos) if values else None


def _drawn(statistic: Callable[[np.ndarray], float | None], num_videos: int, resamples: int) -> list[float]:
    random = np.random.default_rng(0)
    share = np.full(num_videos, 1 / num_videos)
    values = (statistic(random.multinomial(num_videos, share)) for _ in range(resamples))
    return [value for value in values if value is not None]


def _percentiles(values: list[float]) -> Interval:
    low, high = np.quantile(values, _QUANTILES)
    return float(low), float(high)


def _or_wilson(interval: Interval, num_videos: int) -> Interval:
    low, high = interval
    return wilson_interval(round(low * num_videos), num_videos) if low == high else interval
