"""The few layers that every network is made of, and the names under which their parameters are saved.

A layer answers for itself: ``cost(size)`` says what it costs, ``fold_normalisation()`` folds the normalisation in it.

Legend: N batch, C channels, T frames, H height, W width.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional as F

from models.complexity import LayerCost, MapSize
from models.normalisation import BATCH_NORMS
from utils.errors import ConfigError

Size3D = tuple[int, int, int]  # (T, H, W)


class NamedNetwork(nn.Layer):
    """A layer whose `state_dict` has the saved parameter names instead of attribute paths.

    The sublayers that own parameters carry the names (see `with_names`). So the layers of a network can be rearranged,
    and a network can be built twice in one process, without a change of names.
    """

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, paddle.Tensor]:
        """Return {saved name: tensor}, running statistics included, in the order of the network."""
        named = {}
        for layer in self.sublayers(include_self=True):
            for attribute, name in getattr(layer, "released_names", {}).items():
                if name in named:
                    raise ValueError(f"two layers of one network are named {name}")
                named[name] = getattr(layer, attribute)
        return named

    def set_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> tuple[list[str], list[str]]:
        """Copy values (tensors or arrays) by saved name; shapes must agree.

        Returns:
            (names of this network without a value, names of `state_dict` without a place).
        """
        own = self.state_dict()
        for name in own.keys() & state_dict.keys():
            if list(own[name].shape) != list(state_dict[name].shape):
                raise ValueError(f"{name} has shape {list(state_dict[name].shape)}, the network {own[name].shape}")
        for name in own.keys() & state_dict.keys():
            own[name].set_value(state_dict[name])
        return [name for name in own if name not in state_dict], [name for name in state_dict if name not in own]

    load_dict = set_dict = set_state_dict


def with_names(layer: nn.Layer, **released_names: str) -> nn.Layer:
    """Set the name under which each parameter of `layer` is saved (attribute=name), and return `layer`."""
    layer.released_names = released_names
    return layer


def sizes(x: paddle.Tensor) -> list[Any]:
    """Return the sizes of `x` along its axes, as `reshape` takes them.

    They are numbers. While a network is exported, sizes that the exported file leaves free are tensors.
    """
    if paddle.in_dynamic_mode():
        return x.shape
    free = paddle.shape(x)
    return [free[axis] if size < 0 else size for axis, size in enumerate(x.shape)]


@dataclass(frozen=True)
class Geometry:
    """Kernel, stride and padding of a convolution or pool, each (T, H, W)."""

    kernel: Size3D
    stride: Size3D
    padding: Size3D

    def output_size(self, size: Size3D) -> Size3D:
        """Frames, height and width of the output for an input of `size`.

        >>> Geometry((1, 7, 7), (1, 2, 2), (0, 3, 3)).output_size((8, 224, 224))
        (8, 112, 112)

        Raises:
            ConfigError: the input is smaller than the kernel.
        """
        sizes = zip(size, self.kernel, self.stride, self.padding, strict=True)
        t, h, w = ((n + 2 * p - k) // s + 1 for n, k, s, p in sizes)
        if min(t, h, w) < 1:
            raise ConfigError(f"the clip is too small: a kernel {self.kernel} does not fit into a map {size} (T, H, W)")
        return t, h, w


class Affine(nn.Layer):
    """Per-channel scale and offset: a BN whose statistics are fixed. (N, C, T, H, W) to the same."""

    def __init__(self, channels: int, *, trainable: bool) -> None:
        super().__init__()
        one, zero = nn.initializer.Constant(1.0), nn.initializer.Constant(0.0)
        self.scale = self.create_parameter([channels], default_initializer=one)
        self.offset = self.create_parameter([channels], default_initializer=zero)
        for parameter in (self.scale, self.offset):
            parameter.stop_gradient = not trainable

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return x * self.scale.reshape([1, -1, 1, 1, 1]) + self.offset.reshape([1, -1, 1, 1, 1])

    def cost(self, size: MapSize) -> LayerCost:
        """Return that nothing is counted."""
        return LayerCost(size)


# Layers that mixed precision leaves in float32: frozen ones have no float32 copy that could be saved.
NEVER_HALF = (Affine,)


class Convolution(nn.Conv3D):
    """Convolution without bias, saved as ``<name>_weights`` [out, in, t, h, w].

    Initialised as Paddle 1.x did (MSRA, uniform in +-sqrt(6 / fan_in)).
    """

    def __init__(
        self,
        name: str,
        in_channels: int,
        out_channels: int,
        kernel: Size3D,
        *,
        stride: Size3D = (1, 1, 1),
        padding: Size3D = (0, 0, 0),
        groups: int = 1,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel,
            stride=stride,
            padding=padding,
            groups=groups,
            weight_attr=paddle.ParamAttr(initializer=nn.initializer.KaimingUniform()),
            bias_attr=False,
        )
        self.geometry = Geometry(kernel, stride, padding)
        with_names(self, weight=f"{name}_weights")

    def cost(self, size: MapSize) -> LayerCost:
        """Return what it costs; its output is kept for the backward pass."""
        output = self.geometry.output_size(size[1:])
        numbers = self.weight.shape[0] * prod(output)
        return LayerCost((self.weight.shape[0], *output), macs=prod(self.weight.shape) * prod(output), kept=numbers)


class MaxPool(nn.MaxPool3D):
    """Max pooling; what does not fill a window at the end is left out."""

    def __init__(self, kernel: Size3D, *, stride: Size3D, padding: Size3D = (0, 0, 0)) -> None:
        super().__init__(kernel_size=kernel, stride=stride, padding=padding)
        self.geometry = Geometry(kernel, stride, padding)

    def cost(self, size: MapSize) -> LayerCost:
        """Return what it costs; its output is kept for the backward pass."""
        output = (size[0], *self.geometry.output_size(size[1:]))
        return LayerCost(output, kept=prod(output))


def batch_norm(
    name: str, channels: int, *, momentum: float = 0.9, epsilon: float = 1e-5, initial_scale: float = 1.0
) -> nn.Layer:
    """BN over (N, T, H, W), saved as ``<name>_scale``, ``_offset``, ``_mean`` and ``_variance``."""
    scale = paddle.ParamAttr(initializer=nn.initializer.Constant(initial_scale))
    layer = nn.BatchNorm3D(channels, momentum=momentum, epsilon=epsilon, weight_attr=scale)
    return with_names(
        layer,
        weight=f"{name}_scale",
        bias=f"{name}_offset",
        _mean=f"{name}_mean",
        _variance=f"{name}_variance",
    )


class ConvNormReLU(nn.Layer):
    """A convolution, its normalisation and a ReLU: (N, C, T, H, W) to (N, C', T', H', W')."""

    def __init__(self, convolution: Convolution, norm: nn.Layer) -> None:
        super().__init__()
        self.convolution = convolution
        self.norm = norm

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return F.relu_(self.norm(self.convolution(x)))

    def cost(self, size: MapSize) -> LayerCost:
        """Return what it costs: the outputs of the convolution and of the ReLU are kept for the backward pass."""
        cost = self.convolution.cost(size)
        return LayerCost(cost.output, macs=cost.macs, kept=2 * cost.kept, is_block=True)

    def fold_normalisation(self) -> None:
        """Fold the normalisation into the convolution."""
        self.norm = fold_into(self.convolution, self.norm)


def fold_into(convolution: nn.Layer, norm: nn.Layer) -> nn.Layer:
    """Give `convolution` the scale and offset of `norm`, a BN with running statistics or an affine layer.

    Returns:
        the layer to put in the place of `norm`: the identity, or `norm` itself if it is of another kind.
    """
    if isinstance(norm, BATCH_NORMS):
        scale = norm.weight.numpy().astype("float64") / np.sqrt(
            norm._variance.numpy().astype("float64") + norm._epsilon
        )
        offset = norm.bias.numpy() - norm._mean.numpy() * scale
    elif isinstance(norm, Affine):
        scale, offset = norm.scale.numpy().astype("float64"), norm.offset.numpy()
    else:
        return norm
    kernel = convolution.weight.numpy() * scale[:, None, None, None, None]  # [out, in, t, h, w]
    convolution.weight.set_value(kernel.astype("float32"))
    if convolution.bias is not None:
        offset = offset + convolution.bias.numpy() * scale
    zero = nn.initializer.Constant(0.0)
    convolution.bias = convolution.create_parameter([len(scale)], is_bias=True, default_initializer=zero)
    convolution.bias.set_value(offset.astype("float32"))
    return nn.Identity()
