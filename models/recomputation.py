"""Activation recomputation: less memory in training, for one more forward pass."""

import paddle
from paddle import nn
from paddle.distributed.fleet.utils import recompute

from models.normalisation import batch_norms, bn_momentum


def run_recomputing(stage: nn.Sequential, x: paddle.Tensor) -> paddle.Tensor:
    """``stage(x)``, keeping only the input of each block; the rest is computed again in the backward pass.

    A block is a layer made of other layers.
    """
    for layer in stage:
        # Below the first trained layer nothing asks for gradients; Paddle's `recompute` would cut off the layer's own.
        can_recompute = layer.sublayers() and not x.stop_gradient
        x = recompute(_TwicePassed(layer), x) if can_recompute else layer(x)  # with the same random numbers
    return x


class _TwicePassed:
    """A layer that is called twice: in the forward pass, and by Paddle in the backward pass.

    Only the first call lets BN update its running statistics.
    """

    def __init__(self, layer: nn.Layer) -> None:
        self._layer = layer
        self._is_done = False

    def __call__(self, x: paddle.Tensor) -> paddle.Tensor:
        if not self._is_done:
            self._is_done = True
            return self._layer(x)
        with bn_momentum(batch_norms(self._layer), 1.0):  # running = 1 * running + 0 * batch
            return self._layer(x)
