"""Activation recomputation: less memory in training, for one more forward pass."""

import paddle
from paddle import nn
from paddle.distributed.fleet.utils import recompute

from models.layers import batch_norms


def run_recomputing(stage: nn.Sequential, x: paddle.Tensor) -> paddle.Tensor:
    """``stage(x)``, keeping only the input of each block; the rest is computed again in the backward pass.

    A block is a layer made of other layers. Nothing in it may be random: no random state is kept for the second pass.
    """
    for layer in stage:
        # Below the first trained layer nothing asks for gradients; Paddle's `recompute` would cut off the layer's own.
        is_block = bool(layer.sublayers()) and not x.stop_gradient
        x = recompute(_TwicePassed(layer), x, preserve_rng_state=False) if is_block else layer(x)
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
        norms = batch_norms(self._layer)
        momenta = [norm._momentum for norm in norms]
        for norm in norms:
            norm._momentum = 1.0  # running = 1 * running + 0 * batch
        try:
            return self._layer(x)
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm._momentum = momentum
