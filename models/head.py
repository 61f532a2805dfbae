"""From the last feature map to class scores: an average pool, dropout, and a classifier at each place.

Legend: N batch, C channels, T, H, W size of the map; T', H', W' places (1x1x1 for a clip of training size); K classes.
"""

from math import prod

import paddle
from paddle import nn
from paddle.nn import functional as F

from models.complexity import LayerCost, MapSize
from models.layers import Geometry, Size3D, with_names
from utils.errors import ConfigError


class SlidingHead(nn.Layer):
    """(N, C, T, H, W) to logits (N, T', H', W', K), fully convolutional.

    The pool's window is the map of a training clip. A larger test crop therefore gives several places, each classified
    by the same weights (`pred` as a 1x1x1 convolution; here a product over the channel axis).

    Args:
        window: size of the pool, stride 1; None: the whole map, whatever its size, which gives one place.
        dropout_rate: share of the pooled values that are zeroed in training; the rest is scaled up.
        init_std: standard deviation of the classifier's initial weights.
        name: prefix of the saved parameter names.
    """

    def __init__(
        self,
        channels: int,
        num_classes: int,
        *,
        window: Size3D | None = None,
        dropout_rate: float = 0.0,
        init_std: float = 0.01,
        name: str = "pred",
    ) -> None:
        super().__init__()
        self.window = window
        self.dropout_rate = dropout_rate
        normal = paddle.ParamAttr(initializer=nn.initializer.Normal(0.0, init_std))
        zero = paddle.ParamAttr(initializer=nn.initializer.Constant(0.0))
        classifier = nn.Linear(channels, num_classes, weight_attr=normal, bias_attr=zero)  # weight [in, out]
        self.pred = with_names(classifier, weight=f"{name}_w", bias=f"{name}_b")

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.classified(self.pooled(x))

    def classified(self, pooled: paddle.Tensor) -> paddle.Tensor:
        """Return the logits (N, T', H', W', K) of what `pooled` gives."""
        x = F.dropout(pooled, self.dropout_rate, training=self.training)
        return self.pred(x.transpose([0, 2, 3, 4, 1]))

    def pooled(self, x: paddle.Tensor) -> paddle.Tensor:
        """Return the means that are classified, (N, C, T', H', W')."""
        if self.window is None:
            return x.mean(axis=[2, 3, 4], keepdim=True)
        return F.avg_pool3d(x, kernel_size=self.window, stride=1)

    def cost(self, size: MapSize) -> LayerCost:
        """Return what the classifier costs at all places."""
        _, *map_size = size
        places = (1, 1, 1)
        if self.window is not None:
            if any(length < wanted for length, wanted in zip(map_size, self.window, strict=True)):
                raise ConfigError(
                    f"the clip is too small: the last feature map is {_by(map_size)}, and the head pools over "
                    f"{_by(self.window)}, the map of a clip of TRAIN's size"
                )
            places = Geometry(self.window, (1, 1, 1), (0, 0, 0)).output_size(tuple(map_size))
        weights = self.pred.weight.shape  # [C, K]
        return LayerCost((weights[1], *places), macs=prod(places) * prod(weights))


def _by(size: tuple[int, ...] | list[int]) -> str:
    return " x ".join(map(str, size))
