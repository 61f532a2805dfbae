"""The few layers that everything is made of, and the names under which their parameters are saved.

Legend: N batch, C channels, T frames, H height, W width.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import paddle
from paddle import nn

Size3D = tuple[int, int, int]  # (T, H, W)
BATCH_NORMS = (nn.BatchNorm3D, nn.SyncBatchNorm)  # Paddle has no common class of theirs alone


class NamedNetwork(nn.Layer):
    """A layer whose `state_dict` has the released parameter names instead of attribute paths.

    The sublayers that own parameters carry the names (see `with_names`), so a network can be arranged freely,
    and twice in one process, without touching the names.
    """

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, paddle.Tensor]:
        """Return {released name: tensor}, running statistics included, in the order of the network."""
        named = {}
        for layer in self.sublayers(include_self=True):
            for attribute, name in getattr(layer, "released_names", {}).items():
                if name in named:
                    raise ValueError(f"two layers of one network are named {name}")
                named[name] = getattr(layer, attribute)
        return named

    def set_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> tuple[list[str], list[str]]:
        """Copy values (tensors or arrays) by released name; shapes must agree.

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
    """Return `layer`, having noted under which name each of its parameters (attribute=name) is saved."""
    layer.released_names = released_names
    return layer


def sizes(x: paddle.Tensor) -> list[Any]:
    """Sizes of `x` along its axes, as `reshape` takes them: numbers; while a network is exported, tensors for sizes
    that its file leaves free.
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
        """
        sizes = zip(size, self.kernel, self.stride, self.padding, strict=True)
        t, h, w = ((n + 2 * p - k) // s + 1 for n, k, s, p in sizes)
        return t, h, w


class Affine(nn.Layer):
    """Per-channel scale and offset: what stays of a BN whose statistics are fixed. (N, C, T, H, W) to the same."""

    def __init__(self, channels: int, *, trainable: bool) -> None:
        super().__init__()
        one, zero = nn.initializer.Constant(1.0), nn.initializer.Constant(0.0)
        self.scale = self.create_parameter([channels], default_initializer=one)
        self.offset = self.create_parameter([channels], default_initializer=zero)
        for parameter in (self.scale, self.offset):
            parameter.stop_gradient = not trainable

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return x * self.scale.reshape([1, -1, 1, 1, 1]) + self.offset.reshape([1, -1, 1, 1, 1])


def batch_norm(name: str, channels: int, *, momentum: float, epsilon: float, initial_scale: float) -> nn.Layer:
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


def convolution(
    name: str,
    in_channels: int,
    out_channels: int,
    kernel: Size3D,
    *,
    stride: Size3D = (1, 1, 1),
    padding: Size3D = (0, 0, 0),
    groups: int = 1,
) -> nn.Layer:
    """Convolution without bias, saved as ``<name>_weights`` [out, in, t, h, w].

    Initialised as Paddle 1.x did (MSRA, uniform in +-sqrt(6 / fan_in)).
    """
    layer = nn.Conv3D(
        in_channels,
        out_channels,
        kernel,
        stride=stride,
        padding=padding,
        groups=groups,
        weight_attr=paddle.ParamAttr(initializer=nn.initializer.KaimingUniform()),
        bias_attr=False,
    )
    layer.geometry = Geometry(kernel, stride, padding)
    return with_names(layer, weight=f"{name}_weights")


def max_pool(kernel: Size3D, *, stride: Size3D, padding: Size3D = (0, 0, 0)) -> nn.Layer:
    """Max pooling; what does not fill a window at the end is left out."""
    layer = nn.MaxPool3D(kernel_size=kernel, stride=stride, padding=padding)
    layer.geometry = Geometry(kernel, stride, padding)
    return layer
