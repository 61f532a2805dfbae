"""Precise BN: statistics measured with the present weights, instead of running means over earlier ones."""

from collections.abc import Iterable

import numpy as np
import paddle

from datareader.loader import Batch
from engine.distributed import Processes
from engine.training.mixed_precision import MixedPrecision
from models.network import VideoNetwork
from models.normalisation import batch_norms, bn_momentum, running_statistics


def measure_statistics(
    network: VideoNetwork,
    batches: Iterable[Batch],
    processes: Processes,
    precision: MixedPrecision,
    *,
    parts: int = 1,
) -> None:
    """Set the running statistics of every BN layer that is in training mode to those of `batches`.

    With the mean m and variance v of a layer's input in each batch, the mean is the mean of m, and the variance the
    mean of v + m^2, minus the square of the mean (Wu and Johnson, arXiv 2105.07576, section 3). Parameters stay.

    Args:
        parts: the number of equal parts that a batch is computed in. For BN each part is a batch.
    """
    norms = [norm for norm in batch_norms(network) if norm.training]
    statistics = [pair for norm in norms for pair in running_statistics(norm)]
    sums = [np.zeros((2, mean.shape[0])) for mean, _ in statistics]  # of m, and of v + m^2
    before = [(mean.clone(), variance.clone()) for mean, variance in statistics]
    count = 0
    try:
        with paddle.no_grad(), bn_momentum(norms, 0.0):  # running statistics = those of the batch
            for clips in (part for batch in batches for part in np.split(batch.clips[:, 0], parts)):
                with precision.forward_pass():
                    network(paddle.to_tensor(clips))
                for (mean, variance), total in zip(statistics, sums, strict=True):
                    m, v = mean.numpy().astype(np.float64), variance.numpy()
                    total += np.stack([m, v + m**2])
                count += 1
    except BaseException:
        for (mean, variance), (old_mean, old_variance) in zip(statistics, before, strict=True):
            mean.set_value(old_mean)
            variance.set_value(old_variance)
        raise
    for (mean, variance), total in zip(statistics, sums, strict=True):
        m, square = processes.sum(total) / (count * processes.count)
        mean.set_value(m.astype(np.float32))
        variance.set_value((square - m**2).astype(np.float32))
