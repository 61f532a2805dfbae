"""Precise BN: statistics measured with the present weights, instead of running means over earlier ones."""

from collections.abc import Iterable

import numpy as np
import paddle

from datareader.loader import Batch
from engine.distributed import Processes
from engine.training.mixed_precision import MixedPrecision
from models.layers import batch_norms
from models.network import VideoNetwork


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
    momenta = [norm._momentum for norm in norms]
    sums = [np.zeros((2, norm._mean.shape[0])) for norm in norms]  # of m, and of v + m^2
    before = [(norm._mean.clone(), norm._variance.clone()) for norm in norms]
    count = 0
    for norm in norms:
        norm._momentum = 0.0  # running statistics = those of the batch
    try:
        with paddle.no_grad():
            for clips in (part for batch in batches for part in np.split(batch.clips[:, 0], parts)):
                with precision.forward_pass():
                    network(paddle.to_tensor(clips))
                for norm, total in zip(norms, sums, strict=True):
                    mean, variance = norm._mean.numpy().astype(np.float64), norm._variance.numpy()
                    total += np.stack([mean, variance + mean**2])
                count += 1
    except BaseException:
        for norm, (mean, variance) in zip(norms, before, strict=True):
            norm._mean.set_value(mean)
            norm._variance.set_value(variance)
        raise
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm._momentum = momentum
    for norm, total in zip(norms, sums, strict=True):
        mean, square = processes.sum(total) / (count * processes.count)
        norm._mean.set_value(mean.astype(np.float32))
        norm._variance.set_value((square - mean**2).astype(np.float32))
