"""The optimiser: momentum, with weight decay and learning rate by kind of parameter."""

import numpy as np
import paddle

from configs.schema import TrainSection
from models.network import Part, VideoNetwork
from utils.errors import WeightsError


def build_optimizer(network: VideoNetwork, section: TrainSection) -> paddle.optimizer.Momentum:
    """Return an optimiser of the trainable parameters: momentum and L2 decay.

    The decay is `weight_decay`, or `weight_decay_bn` for scales and offsets of normalisation. The learning rate of each
    step is set from outside, with `set_lr`; `head_lr_factor` and `nonlocal_lr_factor` multiply it for the classifier
    and the non-local blocks. Gradients are clipped by their common norm, before the decay is added. Paddle's Momentum
    applies the rate outside its buffer, so the buffer need not be rescaled when the rate changes (old key
    `scale_momentum`).
    """
    rate_factors: dict[Part, float] = {
        "backbone": 1.0,
        "nonlocal": section.nonlocal_lr_factor,
        "head": section.head_lr_factor,
    }
    parameters = []
    for name, parameter in trainable_parameters(network).items():
        part, is_normalisation = network.parameter_kind(name)
        decay = section.weight_decay_bn if is_normalisation else section.weight_decay
        parameter.regularizer = paddle.regularizer.L2Decay(decay)
        parameter.optimize_attr["learning_rate"] = rate_factors[part]
        parameters.append(parameter)
    return paddle.optimizer.Momentum(
        learning_rate=section.learning_rate,
        momentum=section.momentum,
        parameters=parameters,
        use_nesterov=section.nesterov,
        grad_clip=paddle.nn.ClipGradByGlobalNorm(section.clip_gradient_norm) if section.clip_gradient_norm else None,
    )


def trainable_parameters(network: VideoNetwork) -> dict[str, paddle.Tensor]:
    """Return the parameters that the optimiser updates, by saved name. Running statistics are not among them."""
    return {name: value for name, value in network.state_dict().items() if not value.stop_gradient}


_MASTER = "_fp32_master_0"  # how Paddle names the float32 copy of a parameter in half precision


def full_precision_state(network: VideoNetwork, optimizer: paddle.optimizer.Momentum) -> dict[str, np.ndarray]:
    """Return parameters and running statistics by saved name; for one in half precision, its float32 copy."""
    masters = optimizer.state_dict().get("master_weights", {})
    full = {}
    for name, value in network.state_dict().items():
        is_half = value.dtype != paddle.float32
        full[name] = np.asarray(masters.get(value.name, value).astype("float32") if is_half else value)
    return full


def optimizer_state(optimizer: paddle.optimizer.Momentum, network: VideoNetwork) -> dict[str, np.ndarray]:
    """Return the momentum buffers by saved name. (Paddle's own keys depend on the other layers of the process.)"""
    buffers = {}
    for key, value in optimizer.state_dict().items():
        parameter, is_velocity, _ = key.rpartition("_velocity_")
        if is_velocity:
            buffers[parameter.removesuffix(_MASTER)] = value
    return {
        name: np.asarray(buffers[parameter.name])
        for name, parameter in trainable_parameters(network).items()
        if parameter.name in buffers  # there are no buffers before the first step
    }


def restore_optimizer(
    optimizer: paddle.optimizer.Momentum,
    network: VideoNetwork,
    state: dict[str, np.ndarray],
    source: str,
    *,
    half_precision: bool = False,
) -> None:
    """Load what `optimizer_state` returned into a new optimiser that has made no step.

    Args:
        half_precision: the parameters, float32 now, will be cast afterwards (TRAIN.amp=O2; not run on a GPU).

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
    restored = {f"{parameters[name].name}_velocity_0": paddle.to_tensor(value) for name, value in state.items()}
    if half_precision:  # Paddle will look for float32 copies, and for their buffers
        restored |= {f"{parameters[n].name}{_MASTER}_velocity_0": paddle.to_tensor(v) for n, v in state.items()}
        restored["master_weights"] = {p.name: _master_weight(p) for p in parameters.values()}
    optimizer.set_state_dict(restored)


def _master_weight(parameter: paddle.Tensor) -> paddle.Tensor:
    master = parameter.detach().clone()
    master.name = parameter.name + _MASTER
    return master
