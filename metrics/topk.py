"""Top-k: the k best classes, and whether the label is among them. Legend: N items, K classes."""

import numpy as np


def has_top5(num_classes: int) -> bool:
    """Whether top-5 says anything: with five classes or fewer every answer is right."""
    return num_classes > 5


def top_classes(scores: np.ndarray, k: int) -> np.ndarray:
    """Return the classes with the k highest scores, best first, (..., K) to int64 (..., min(k, K)).

    Of equal scores the lower class index comes first.
    """
    return np.argsort(-scores, axis=-1, kind="stable")[..., :k]


def answers(scores: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """Return the class that each item is given, (N, K) to int64 (N,): the best one.

    Args:
        threshold: of two classes the second is given where its score reaches it. At 0.5 the better one is given, and of
            equal ones the first.
    """
    if scores.shape[1] == 2 and threshold != 0.5:
        return (scores[:, 1] >= threshold).astype(np.int64)
    return top_classes(scores, 1)[:, 0]


def top_k_hits(scores: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """Return whether a label of each item is among its k best classes, scores (N, K) to bool (N,).

    Args:
        labels: int64 (N,), or uint8 (N, K) where an item has several labels, or none.
    """
    best = top_classes(scores, k)  # (N, k)
    if labels.ndim == 2:
        return np.take_along_axis(labels, best, axis=1).any(axis=1)
    return (best == labels[:, None]).any(axis=1)
