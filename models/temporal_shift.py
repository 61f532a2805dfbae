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
        parts = [moved[0](x[:, :first])] if first else []
        parts += [moved[1](x[:, first:second]), x[:, second:]]
        return paddle.concat(parts, axis=1)


# Zeros are made of a frame: in an export to ONNX by paddle2onnx 2.1, padding is whatever happens to be in memory.


def _next(x: paddle.Tensor) -> paddle.Tensor:
    zeros = x[:, :, :1] * 0
    return paddle.concat([x[:, :, 1:], zeros], axis=2) if x.shape[2] != 1 else zeros


def _previous(x: paddle.Tensor) -> paddle.Tensor:
    zeros = x[:, :, :1] * 0
    return paddle.concat([zeros, x[:, :, :-1]], axis=2) if x.shape[2] != 1 else zeros
