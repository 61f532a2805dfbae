"""Mixup and CutMix: clips of a batch are mixed in pairs on the device, and their targets in the same shares.

Legend: N clips, T frames, H, W; K classes.
"""

import numpy as np
import paddle

from utils.seeding import generator

_MIXING = 7  # the stream of a step's randomness that mixing draws from


class Mixing:
    """Mixes batches.

    Args:
        mixup_alpha: mixup (Zhang et al., arXiv 1710.09412): each clip becomes l times itself plus (1 - l) times another
            clip, l from Beta(alpha, alpha), one for all clips. 0: not done.
        cutmix_alpha: CutMix (Yun et al., arXiv 1905.04899): a box of all frames comes from the other clip; 1 - l is its
            share of the area. 0: not done. With both, either has half of the batches.
        multi_label: labels are (N, K).
    """

    def __init__(self, *, mixup_alpha: float, cutmix_alpha: float, num_classes: int, multi_label: bool) -> None:
        self.is_on = bool(mixup_alpha or cutmix_alpha)
        self._alphas = (mixup_alpha, cutmix_alpha)
        self._num_classes = num_classes
        self._multi_label = multi_label

    def mix(
        self, clips: paddle.Tensor, labels: paddle.Tensor, *, key: tuple[int, ...]
    ) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Return mixed clips, uint8 (N, 3, T, H, W), and targets, float32 (N, K).

        Args:
            labels: int64 (N,), or uint8 (N, K).
            key: non-negative integers that say where in the run the batch stands. All randomness follows from them.
        """
        random = generator(*key, _MIXING)
        mixup_alpha, cutmix_alpha = self._alphas
        is_mixup = bool(mixup_alpha) and (not cutmix_alpha or random.random() < 0.5)
        share = float(random.beta(*[mixup_alpha if is_mixup else cutmix_alpha] * 2))
        others = paddle.to_tensor(random.permutation(len(clips)))
        if self._multi_label:
            targets = labels.astype("float32")
        else:
            targets = paddle.nn.functional.one_hot(labels, self._num_classes)
        height, width = clips.shape[3:]
        own = np.full((height, width), share, np.float32)  # how much of each pixel is the clip's own
        if not is_mixup:
            own = 1 - cut_box(height, width, 1 - share, random)
            share = float(own.mean())
        pixels, weights = clips.astype("float32"), paddle.to_tensor(own)
        mixed = pixels * weights + paddle.index_select(pixels, others) * (1 - weights)
        targets = targets * share + paddle.index_select(targets, others) * (1 - share)
        return mixed.round().astype("uint8"), targets


def cut_box(height: int, width: int, area: float, random: np.random.Generator) -> np.ndarray:
    """Return float32 (H, W): 1 in a box of this share of the area around a random point, cut off at the edges."""
    box_height, box_width = round(height * area**0.5), round(width * area**0.5)
    top = int(random.integers(height)) - box_height // 2
    left = int(random.integers(width)) - box_width // 2
    box = np.zeros((height, width), np.float32)
    box[max(top, 0) : max(top + box_height, 0), max(left, 0) : max(left + box_width, 0)] = 1
    return box
