"""The temporal shift: a quarter of the channels show the frame after, or before, their own.

Source: Lin et al., "TSM: Temporal Shift Module for Efficient Video Understanding", ICCV 2019, section 3 (residual
shift).
"""

from typing import Literal

import paddle
from paddle import nn


class TemporalShift(nn.Layer):
    """(N, C, T, H, W) to the same; what would come from beyond the clip is 0.

    Args:
        channels: C.
        direction: 'next_previous': channels [0, C // 8) are those of the next frame, [C // 8, 2 (C // 8)) those of the
            previous one, as the authors have it. 'previous_next': [0, C // 8) are of the previous frame, and
            [C // 8, C // 4) of the next one, as PaddleVideo has it.
    """

    def __init__(self, channels: int, direction: Literal["next_previous", "previous_next"]) -> None:
        super().__init__()
        self.direction = direction
        eighth = channels // 8
        self.bounds = (eighth, 2 * eighth if direction == "next_previous" else channels // 4)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        first, second = self.bounds
        if not second:  # fewer than 4 channels
            return x
        moved = (_next, _previous) if self.direction == "next_previous" else (_previous, _next)
        if not first:
            return paddle.concat([moved[1](x[:, :second]), x[:, second:]], axis=1)
        parts = paddle.split(x, [first, second - first, x.shape[1] - second], axis=1)
        return paddle.concat([moved[0](parts[0]), moved[1](parts[1]), parts[2]], axis=1)


# Zeros are made of a frame: in an export to ONNX by paddle2onnx 2.1, padding is whatever happens to be in memory.
# Split, not sliced: on a CPU the gradient of a slice takes longer than that of a convolution.


def _next(x: paddle.Tensor) -> paddle.Tensor:
    if x.shape[2] == 1:
        return x * 0
    first, others = paddle.split(x, [1, x.shape[2] - 1], axis=2)
    return paddle.concat([others, first * 0], axis=2)


def _previous(x: paddle.Tensor) -> paddle.Tensor:
    if x.shape[2] == 1:
        return x * 0
    others, last = paddle.split(x, [x.shape[2] - 1, 1], axis=2)
    return paddle.concat([last * 0, others], axis=2)
