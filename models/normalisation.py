"""What must be known of BN outside of a network's own layers: its running statistics, its momentum, its variants."""

import contextlib
from collections.abc import Iterator

import paddle
from paddle import nn

BATCH_NORMS = (nn.BatchNorm3D, nn.SyncBatchNorm)  # they have no common base class of their own


def batch_norms(layer: nn.Layer) -> list[nn.BatchNorm3D]:
    """Return all BN layers of `layer`, itself included, in order."""
    return [norm for norm in layer.sublayers(include_self=True) if isinstance(norm, BATCH_NORMS)]


def running_statistics(layer: nn.Layer) -> list[tuple[paddle.Tensor, paddle.Tensor]]:
    """Return the running mean and variance of every BN layer in `layer`, in order. Paddle counts them as parameters."""
    return [(norm._mean, norm._variance) for norm in batch_norms(layer)]


@contextlib.contextmanager
def bn_momentum(layers: list[nn.BatchNorm3D], momentum: float) -> Iterator[None]:
    """Let BN layers have another momentum in the block: running = momentum * running + (1 - momentum) * batch."""
    before = [norm._momentum for norm in layers]
    for norm in layers:
        norm._momentum = momentum
    try:
        yield
    finally:
        for norm, own in zip(layers, before, strict=True):
            norm._momentum = own


def synchronised(network: nn.Layer) -> nn.Layer:
    """Let all BN layers use the statistics of the batch over all GPUs. Saved names stay the same. Not run on a GPU."""
    names = {path: getattr(layer, "released_names", None) for path, layer in network.named_sublayers()}
    network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    for path, layer in network.named_sublayers():
        if names[path] is not None:
            layer.released_names = names[path]
    return network
