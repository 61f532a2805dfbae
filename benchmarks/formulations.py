"""Other ways to compute the same network, to be measured beside the one that is used."""

import types
from collections.abc import Callable

import paddle
from paddle import nn
from paddle.nn import functional as F

from models.network import VideoNetwork
from models.resnet_video import Bottleneck


class PointwiseProduct(nn.Layer):
    """A 1x1x1 convolution as a matrix product over channels."""

    def __init__(self, convolution: nn.Layer) -> None:
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias
        self.stride = convolution.geometry.stride

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        if self.stride != (1, 1, 1):
            x = x[:, :, :: self.stride[0], :: self.stride[1], :: self.stride[2]]
        n, c, t, h, w = x.shape
        y = paddle.matmul(self.weight.reshape([-1, c]), x.reshape([n, c, t * h * w]))
        if self.bias is not None:
            y = y + self.bias.reshape([1, -1, 1])
        return y.reshape([n, -1, t, h, w])


class FoldedFrames(nn.Layer):
    """A convolution of one frame's extent as a 2D convolution, the frames being part of the batch."""

    def __init__(self, convolution: nn.Layer) -> None:
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias
        self.geometry = convolution.geometry

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        n, c, t, h, w = x.shape
        frames = x.transpose([0, 2, 1, 3, 4]).reshape([n * t, c, h, w])
        stride, padding = self.geometry.stride[1:], self.geometry.padding[1:]
        y = F.conv2d(frames, self.weight.squeeze(2), self.bias, stride=stride, padding=padding)
        return y.reshape([n, t, *y.shape[1:]]).transpose([0, 2, 1, 3, 4])


def pointwise_products(network: nn.Layer) -> None:
    """Every 1x1x1 convolution of the backbone becomes a matrix product."""
    _replace(network, lambda layer: PointwiseProduct(layer) if layer.geometry.kernel == (1, 1, 1) else layer)


def folded_frames(network: nn.Layer) -> None:
    """Every convolution of one frame's extent becomes a 2D convolution."""
    _replace(network, lambda layer: FoldedFrames(layer) if layer.geometry.kernel[0] == 1 else layer)


def copying_relu(network: nn.Layer) -> None:
    """The activations of the bottlenecks leave their input as it is."""

    def forward(self: Bottleneck, x: paddle.Tensor) -> paddle.Tensor:
        branch = F.relu(self.bn2a(self.branch2a(x)))
        branch = F.relu(self.bn2b(self.branch2b(branch)))
        branch = self.bn2c(self.branch2c(branch))
        shortcut = self.bn1(self.branch1(x)) if self.has_projection else x
        return F.relu(branch + shortcut)

    for layer in network.sublayers():
        if isinstance(layer, Bottleneck):
            layer.forward = types.MethodType(forward, layer)


FORMULATIONS: dict[str, tuple[list[Callable[..., None]], bool]] = {  # name -> (changes, trains)
    "as it is": ([], True),
    "ReLU that copies": ([copying_relu], True),
    "1x1x1 as products": ([pointwise_products], True),
    "frames folded": ([folded_frames], True),
    "BN folded": ([VideoNetwork.fold_normalisation], False),
    "BN and frames folded": ([VideoNetwork.fold_normalisation, folded_frames], False),
}


def apply_formulation(network: nn.Layer, name: str) -> bool:
    """Change `network` in place; return whether it can still be trained."""
    changes, trains = FORMULATIONS[name]
    for change in changes:
        change(network)
    return trains


def _replace(network: nn.Layer, make: Callable[[nn.Layer], nn.Layer]) -> None:
    for owner in network.sublayers():
        for name, layer in owner.named_children():
            if isinstance(layer, nn.Conv3D) and hasattr(layer, "geometry"):
                setattr(owner, name, make(layer))
