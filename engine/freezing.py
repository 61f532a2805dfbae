"""What stays as it is in training: the first stages of the network, and the running statistics of BN."""

from paddle import nn

from configs.schema import TrainSection
from models.layers import BATCH_NORMS
from models.nonlocal_model import NonLocalNetwork


def freeze_stages(network: NonLocalNetwork, section: TrainSection) -> None:
    """Take the parameters of the first TRAIN.freeze_stages stages out of training. Call it before the optimiser is
    built.
    """
    for layer in _frozen_layers(network, section):
        for parameter in layer.parameters():
            parameter.stop_gradient = True


def training_mode(network: NonLocalNetwork, section: TrainSection) -> None:
    """Put the network into training mode, but BN of frozen stages, or with TRAIN.freeze_bn all BN, into evaluation
    mode: it normalises with its running statistics and leaves them alone.
    """
    network.train()
    for layer in [network] if section.freeze_bn else _frozen_layers(network, section):
        for norm in batch_norms(layer):
            norm.eval()


def batch_norms(layer: nn.Layer) -> list[nn.BatchNorm3D]:
    """All BN layers of `layer`, in order."""
    return [norm for norm in layer.sublayers(include_self=True) if isinstance(norm, BATCH_NORMS)]


def _frozen_layers(network: NonLocalNetwork, section: TrainSection) -> list[nn.Layer]:
    return [layer for stage in network.stages[: section.freeze_stages] for layer in stage]
