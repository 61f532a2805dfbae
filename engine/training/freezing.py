"""What stays as it is in training: the first stages of the network, and the running statistics of BN."""

from paddle import nn

from configs.schema import TrainSection
from models.network import VideoNetwork
from models.normalisation import batch_norms
from utils.errors import ConfigError


def freeze_stages(network: VideoNetwork, section: TrainSection) -> None:
    """Take the parameters of the first TRAIN.freeze_stages stages out of training. Call it before the optimiser is
    built.

    Raises:
        ConfigError: the network has fewer stages.
    """
    names = list(network.stages)
    if section.freeze_stages > len(names):
        raise ConfigError(
            f"TRAIN.freeze_stages: freeze_stages ({section.freeze_stages}) must be at most {len(names)}, the stages of "
            f"this network: {', '.join(names)}"
        )
    for stage in _frozen_stages(network, section):
        for parameter in stage.parameters():
            parameter.stop_gradient = True


def training_mode(network: VideoNetwork, section: TrainSection) -> None:
    """Put the network into training mode, but BN of frozen stages, or with TRAIN.freeze_bn all BN, into evaluation
    mode: it normalises with its running statistics and leaves them alone.
    """
    network.train()
    for layer in [network] if section.freeze_bn else _frozen_stages(network, section):
        for norm in batch_norms(layer):
            norm.eval()


def _frozen_stages(network: VideoNetwork, section: TrainSection) -> list[nn.Layer]:
    return list(network.stages.values())[: section.freeze_stages]
