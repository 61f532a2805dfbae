"""The loss of each clip: cross-entropy with one label, binary cross-entropies with several.

Legend: N clips, K classes.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import paddle
from paddle.nn import functional as F

from configs.schema import Config

Losses = Callable[[paddle.Tensor, paddle.Tensor], paddle.Tensor]  # logits (N, K) and labels to (N,)


def build_losses(config: Config, labels: np.ndarray) -> Losses:
    """Return the loss that MODEL and TRAIN ask for.

    Args:
        labels: those of the training list.
    """
    if not config.MODEL.multi_label:
        balance = class_weights(labels, config.MODEL.num_classes) if config.TRAIN.class_weights == "balanced" else None
        return partial(
            classification_losses,
            smoothing=config.TRAIN.label_smoothing,
            weights=None if balance is None else paddle.to_tensor(balance),
        )
    weights = positive_weights(labels) if config.TRAIN.pos_weight == "balanced" else None
    return partial(multi_label_losses, pos_weight=None if weights is None else paddle.to_tensor(weights))


def classification_losses(
    logits: paddle.Tensor, labels: paddle.Tensor, *, smoothing: float, weights: paddle.Tensor | None = None
) -> paddle.Tensor:
    """Return the cross entropy of each clip, (N, K) and int64 (N,) to (N,).

    Args:
        labels: or targets, float32 (N, K), where clips are mixed.
        smoothing: share of the target that is spread equally over all K classes (Szegedy et al., arXiv 1512.00567,
            section 7).
        weights: (K,), what the part of each class in the loss counts.
    """
    if labels.ndim == 1 and not smoothing and weights is None:
        return F.cross_entropy(logits, labels, reduction="none").flatten()
    targets = F.one_hot(labels, logits.shape[1]) if labels.ndim == 1 else labels
    if smoothing:
        targets = F.label_smooth(targets, epsilon=smoothing)
    if weights is not None:
        targets = targets * weights
    return -(targets * F.log_softmax(logits)).sum(axis=1)


def multi_label_losses(
    logits: paddle.Tensor, labels: paddle.Tensor, *, pos_weight: paddle.Tensor | None = None
) -> paddle.Tensor:
    """Return the mean over the classes of the binary cross-entropies of each clip, (N, K) and uint8 (N, K) to (N,).

    The paper's section 5.2 trains Charades with it ("a per-category sigmoid output").

    Args:
        pos_weight: (K,), what the loss of a class counts where the class is present.
    """
    # Written out: with pos_weight, binary_cross_entropy_with_logits of Paddle 2.6 gives another number.
    targets = labels.astype("float32")
    of_present, of_absent = -F.log_sigmoid(logits), -F.log_sigmoid(-logits)
    if pos_weight is not None:
        of_present = of_present * pos_weight
    return (targets * of_present + (1 - targets) * of_absent).mean(axis=1)


def class_weights(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Return a weight for each class, int64 (n,) to float32 (K,): n / (classes that occur * videos of the class).

    All classes that occur then weigh the same, and the mean over the videos is 1. A class without videos has 1.
    """
    counts = np.bincount(labels, minlength=num_classes)
    return np.where(counts, len(labels) / np.maximum(counts, 1) / np.count_nonzero(counts), 1).astype(np.float32)


def positive_weights(labels: np.ndarray) -> np.ndarray:
    """Return for each class the number of videos without it per video with it, uint8 (n, K) to float32 (K,).

    Both kinds of videos then weigh the same. It is 1 for a class that no video has, or all have.
    """
    present = labels.sum(axis=0, dtype=np.int64)
    absent = len(labels) - present
    return np.where((present > 0) & (absent > 0), absent / np.maximum(present, 1), 1).astype(np.float32)
