"""A linear classifier fitted to features: multinomial logistic regression; with several labels one for each class.

Legend: n rows, C features, K classes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

_MOST_STEPS = 500
_GRADIENT = 1e-6  # largest part of it where the fit ends
_SMALLEST_SPREAD = 1e-6  # of a feature, as a share of the largest spread and mean: below it, it says nothing


@dataclass(frozen=True)
class LinearHead:
    """Features (n, C) to logits (n, K): features @ weight + bias."""

    weight: np.ndarray  # float32 (C, K)
    bias: np.ndarray  # float32 (K,)
    multi_label: bool = False  # a sigmoid for each class, in place of a softmax

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Return class probabilities, float64 (..., K), of features (..., C)."""
        logits = features.astype(np.float64) @ self.weight + self.bias
        if self.multi_label:
            return expit(logits)
        scores = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return scores / scores.sum(axis=-1, keepdims=True)


def fit_linear_heads(
    features: np.ndarray, labels: np.ndarray, weights: np.ndarray, *, num_classes: int, penalties: Sequence[float]
) -> Iterator[LinearHead]:
    """Yield for each penalty the head with the smallest loss, by L-BFGS, each begun from the one before.

    The loss is the weighted mean of the cross-entropy (with several labels: of the sum over the classes of the binary
    ones) plus penalty / 2 times the sum of the squared weights of the standardised features (mean 0, standard deviation
    1); biases are free. The heads take features as they are.

    Args:
        features: float32 (n, C).
        labels: int64 (n,); or, with several labels, uint8 (n, K).
        weights: of the rows, float64 (n,); or, with several labels, of the rows in each class, (n, K).
    """
    multi_label = labels.ndim == 2
    shares = weights / weights.sum(axis=0)  # (n,) or (n, K)
    share = shares.mean(axis=1) if multi_label else shares
    mean = share @ features
    spread = np.sqrt(share @ np.square(features - mean))
    spread = np.where(spread > _SMALLEST_SPREAD * max(spread.max(), np.abs(mean).max()), spread, np.inf)
    # Turned to the directions in which the rows differ: as many as rows at most, with the same penalty.
    rows, turn = _turned((features - mean) / spread)
    loss_of = (
        partial(_binary_loss, labels=labels, shares=shares)
        if multi_label
        else partial(_multinomial_loss, labels=labels, share=share)
    )
    found = np.zeros((rows.shape[1] + 1) * num_classes)  # weights and, last, biases
    for penalty in penalties:

        def loss(values: np.ndarray, penalty: float = penalty) -> tuple[float, np.ndarray]:
            weight, bias = _parts(values, num_classes)
            value, error = loss_of(rows @ weight + bias)
            value += penalty / 2 * np.square(weight).sum()
            return value, np.concatenate([(rows.T @ error + penalty * weight).ravel(), error.sum(axis=0)])

        options = {"maxiter": _MOST_STEPS, "gtol": _GRADIENT, "ftol": 0.0}
        found = minimize(loss, found, jac=True, method="L-BFGS-B", options=options).x
        weight, bias = _parts(found, num_classes)
        unscaled = (turn @ weight) / spread[:, None]
        bias = (bias - mean @ unscaled).astype(np.float32)
        yield LinearHead(unscaled.astype(np.float32), bias, multi_label)


def _multinomial_loss(logits: np.ndarray, *, labels: np.ndarray, share: np.ndarray) -> tuple[float, np.ndarray]:
    """The loss of logits (n, K), and its gradient."""
    logits = logits - logits.max(axis=1, keepdims=True)
    logarithms = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))  # of probabilities
    error = np.exp(logarithms)
    error[np.arange(len(labels)), labels] -= 1
    return -float(share @ logarithms[np.arange(len(labels)), labels]), share[:, None] * error


def _binary_loss(logits: np.ndarray, *, labels: np.ndarray, shares: np.ndarray) -> tuple[float, np.ndarray]:
    """The loss of logits (n, K), and its gradient."""
    losses = np.logaddexp(0, logits) - logits * labels  # -log of the probability of what is true
    return float((shares * losses).sum()), shares * (expit(logits) - labels)


def _parts(values: np.ndarray, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights (r, K) and biases (K,)."""
    return values[:-num_classes].reshape(-1, num_classes), values[-num_classes:]


def _turned(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rows (n, r) and an orthogonal turn (C, r), r = min(n, C), whose product with it is `rows` (n, C)."""
    if len(rows) >= rows.shape[1]:
        return rows, np.eye(rows.shape[1])
    turn, triangle = np.linalg.qr(rows.T)  # (C, n), (n, n)
    return triangle.T, turn
