"""Networks for inference alone: BN and affine layers multiplied into the convolutions before them.

Legend: N batch, C channels, T frames, H, W, K classes.
"""

import numpy as np
from paddle import nn

from models.layers import BATCH_NORMS, Affine
from models.nonlocal_block import NonLocalBlock
from models.nonlocal_model import NonLocalNetwork
from models.resnet_video import Bottleneck


def fold_normalisation(network: NonLocalNetwork) -> None:
    """Fold every BN (its running statistics) and affine layer of `network` into the convolution before it, in place.

    What comes out of the network in evaluation mode stays the same, to rounding. It cannot be trained or saved any
    more: a bias of the convolution stands in the place of what was folded.
    """
    network.eval()
    backbone = network.backbone
    backbone.bn_conv1 = _fold(backbone.conv1, backbone.bn_conv1)
    for layer in network.sublayers():
        if isinstance(layer, Bottleneck):
            layer.bn2a = _fold(layer.branch2a, layer.bn2a)
            layer.bn2b = _fold(layer.branch2b, layer.bn2b)
            layer.bn2c = _fold(layer.branch2c, layer.bn2c)
            if layer.has_projection:
                layer.bn1 = _fold(layer.branch1, layer.bn1)
        elif isinstance(layer, NonLocalBlock):
            layer.normalise = _fold(layer.out, layer.normalise)


def _fold(convolution: nn.Layer, norm: nn.Layer) -> nn.Layer:
    """Give `convolution` the scale and offset of `norm`, and return the layer that stands in the place of `norm`."""
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
