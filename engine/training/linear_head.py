"""A linear classifier fitted to features: multinomial logistic regression. Legend: n rows, C features, K classes."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import paddle
from paddle.nn import functional as F

_MOST_STEPS = 100
_GRADIENT = 1e-5  # largest part of it where the fit ends
_SMALLEST_SPREAD = 1e-6  # of a feature, as a share of the largest: below it the feature says nothing


@dataclass(frozen=True)
class LinearHead:
    """Features (n, C) to logits (n, K): features @ weight + bias."""

    weight: np.ndarray  # float32 (C, K)
    bias: np.ndarray  # float32 (K,)

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Return class probabilities, float64 (..., K), of features (..., C)."""
        logits = features.astype(np.float64) @ self.weight + self.bias
        scores = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return scores / scores.sum(axis=-1, keepdims=True)


def fit_linear_heads(
    features: np.ndarray, labels: np.ndarray, weights: np.ndarray, *, num_classes: int, penalties: Sequence[float]
) -> Iterator[LinearHead]:
    """Yield for each penalty the head with the smallest loss, by L-BFGS in float64, each begun from the one before.

    The loss is the weighted mean of the cross-entropy plus penalty / 2 times the sum of the squared weights of the
    standardised features (mean 0, standard deviation 1); biases are free. The heads take features as they are.

    Args:
        features: float32 (n, C).
        labels: int64 (n,).
        weights: of the rows, float64 (n,).
    """
    share = weights / weights.sum()
    mean = share @ features
    spread = np.sqrt(share @ np.square(features - mean))
    spread = np.where(spread > _SMALLEST_SPREAD * spread.max(), spread, np.inf)
    # Turned to the directions in which the rows differ: as many as rows at most, with the same penalty.
    turned, turn = _turned((features - mean) / spread)
    x, y, w = paddle.to_tensor(turned), paddle.to_tensor(labels), paddle.to_tensor(share)
    weight = _free([turned.shape[1], num_classes])
    bias = _free([num_classes])
    for penalty in penalties:
        optimizer = paddle.optimizer.LBFGS(
            learning_rate=1.0, max_iter=_MOST_STEPS, tolerance_grad=_GRADIENT, tolerance_change=0.0,
            line_search_fn="strong_wolfe", parameters=[weight, bias],
        )  # fmt: skip

        def loss(penalty: float = penalty, optimizer: paddle.optimizer.LBFGS = optimizer) -> paddle.Tensor:
            optimizer.clear_grad()
            rows = F.cross_entropy(x @ weight + bias, y, reduction="none").reshape([-1])
            value = (w * rows).sum() + penalty / 2 * weight.square().sum()
            value.backward()
            return value

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="To copy construct from a tensor")  # inside of Paddle
            optimizer.step(loss)
        unscaled = (turn @ weight.numpy()) / spread[:, None]
        yield LinearHead(unscaled.astype(np.float32), (bias.numpy() - mean @ unscaled).astype(np.float32))


def _free(shape: list[int]) -> paddle.Tensor:
    value = paddle.zeros(shape, "float64")
    value.stop_gradient = False
    return value


def _turned(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rows (n, r) and an orthogonal turn (C, r), r = min(n, C), whose product with it is `rows` (n, C)."""
    if len(rows) >= rows.shape[1]:
        return rows, np.eye(rows.shape[1])
    turn, triangle = np.linalg.qr(rows.T)  # (C, n), (n, n)
    return triangle.T, turn
