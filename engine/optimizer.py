"""Momentum with weight decay by kind of parameter, and the learning rate as a function of the iteration."""

from collections.abc import Sequence

import numpy as np
import paddle

from configs.schema import TrainSection
from models.layers import NamedNetwork
from utils.errors import WeightsError

_NORMALISATION_SUFFIXES = ("_scale", "_offset", "_affine_s", "_affine_b")


def step_learning_rate(iteration: int, *, base: float, decay: float, step_sizes: Sequence[int]) -> float:
    """Learning rate of an iteration (counted from 0): `base` times `decay` for every step that is over.

    The last step goes on for ever.

    >>> rates = dict(base=0.01, decay=0.1, step_sizes=[150000, 150000, 100000])
    >>> [f"{step_learning_rate(i, **rates):.0e}" for i in (0, 149999, 150000, 300000, 400000)]
    ['1e-02', '1e-02', '1e-03', '1e-04', '1e-04']
    """
    ends = np.cumsum(step_sizes)[:-1]
    return base * decay ** int(np.sum(iteration >= ends))


def build_optimizer(network: NamedNetwork, section: TrainSection) -> paddle.optimizer.Momentum:
    """Momentum over the trainable parameters; L2 decay `weight_decay`, or `weight_decay_bn` on normalisation.

    The rate of each step is set from outside, with `set_lr`. Paddle's Momentum applies the rate outside its buffer, so
    that a change of the rate needs no rescaling of the buffer (the old key `scale_momentum`).
    """
    parameters = []
    for name, parameter in trainable_parameters(network).items():
        decay = section.weight_decay_bn if name.endswith(_NORMALISATION_SUFFIXES) else section.weight_decay
        parameter.regularizer = paddle.regularizer.L2Decay(decay)
        parameters.append(parameter)
    return paddle.optimizer.Momentum(
        learning_rate=section.learning_rate,
        momentum=section.momentum,
        parameters=parameters,
        use_nesterov=section.nesterov,
    )


def trainable_parameters(network: NamedNetwork) -> dict[str, paddle.Tensor]:
    """Released name -> parameter, those that the optimiser updates; running statistics are not among them."""
    return {name: value for name, value in network.state_dict().items() if not value.stop_gradient}


def optimizer_state(optimizer: paddle.optimizer.Momentum, network: NamedNetwork) -> dict[str, np.ndarray]:
    """Momentum buffers under the released names. Paddle's own keys count the layers of the process."""
    buffers = {
        key.rpartition("_velocity_")[0]: value for key, value in optimizer.state_dict().items() if "_velocity_" in key
    }
    return {
        name: np.asarray(buffers[parameter.name])
        for name, parameter in trainable_parameters(network).items()
        if parameter.name in buffers  # there is none before the first step
    }


def restore_optimizer(
    optimizer: paddle.optimizer.Momentum, network: NamedNetwork, state: dict[str, np.ndarray], source: str
) -> None:
    """Put back what `optimizer_state` returned, into a new optimiser that has made no step.

    Raises:
        WeightsError: the buffers are not those of this network's parameters.
    """
    parameters = trainable_parameters(network)
    if state and state.keys() != parameters.keys():
        differing = sorted(state.keys() ^ parameters.keys())
        raise WeightsError(f"{source}: holds the optimiser of another network; differing: {', '.join(differing[:5])}")
    for name, value in state.items():
        if (
            tuple(value.shape) != tuple(parameters[name].shape)
            or value.dtype.kind != "f"
            or not np.isfinite(value).all()
        ):
            raise WeightsError(
                f"{source}: the optimiser's {name} must be finite numbers of shape {parameters[name].shape}"
            )
    optimizer.set_state_dict(
        {f"{parameters[name].name}_velocity_0": paddle.to_tensor(value) for name, value in state.items()}
    )
