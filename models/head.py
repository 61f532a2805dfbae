"""From the res5 map to class scores: a sliding average pool, dropout, and a classifier at each place.

Legend: N batch, C channels, T, H, W size of the res5 map; T', H', W' places (1x1x1 for a clip of training size);
K classes.
"""

import paddle
from paddle import nn
from paddle.nn import functional as F

from models.layers import Size3D, with_names


class SlidingHead(nn.Layer):
    """(N, C, T, H, W) to logits (N, T', H', W', K), fully convolutional.

    The pool's window is the res5 map of a training clip. A larger test crop therefore gives several places, each
    classified by the same weights (`pred` as a 1x1x1 convolution; here a product over the channel axis).

    Args:
        window: size of the pool, stride 1.
        dropout_rate: share of the pooled values zeroed in training, the rest scaled up.
        init_std: standard deviation of the classifier's initial weights.
    """

    def __init__(
        self, channels: int, num_classes: int, *, window: Size3D, dropout_rate: float, init_std: float
    ) -> None:
        super().__init__()
        self.window = window
        self.dropout_rate = dropout_rate
        normal = paddle.ParamAttr(initializer=nn.initializer.Normal(0.0, init_std))
        zero = paddle.ParamAttr(initializer=nn.initializer.Constant(0.0))
        classifier = nn.Linear(channels, num_classes, weight_attr=normal, bias_attr=zero)  # weight [in, out]
        self.pred = with_names(classifier, weight="pred_w", bias="pred_b")

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = F.avg_pool3d(x, kernel_size=self.window, stride=1)  # (N, C, T', H', W')
        x = F.dropout(x, self.dropout_rate, training=self.training)
        return self.pred(x.transpose([0, 2, 3, 4, 1]))  # (N, T', H', W', K)
