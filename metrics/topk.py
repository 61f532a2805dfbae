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


def top_k_hits(scores: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """Return whether each label is among the k best classes, scores (N, K) and labels (N,) to bool (N,)."""
    return (top_classes(scores, k) == labels[:, None]).any(axis=1)
