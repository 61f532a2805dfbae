"""What happens if a loss or a gradient is not finite: the run stops, or the update is skipped and counted."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import paddle
from paddle import nn

from datareader.label_text import label_texts
from datareader.loader import Batch
from models.normalisation import running_statistics
from utils.atomic_file import write_json
from utils.errors import TrainingError
from utils.logging import get_logger

_LONGEST_ROW = 50  # so many skipped updates in a row are no accident: the run has diverged
_NAMED = 5


class FiniteGuard:
    """Watches losses and gradients.

    In both cases the files of the batch and statistics of its clips are written to ``nonfinite_<iteration>.json``.

    Args:
        skip: skip the update instead of stopping. The running statistics of BN are then restored.
        rank: of this process. Every process watches its own share of the batch.
    """

    def __init__(self, save_dir: Path, *, skip: bool, rank: int = 0) -> None:
        self._save_dir = save_dir
        self._skip = skip
        self._rank = rank
        self._in_a_row = 0
        self.num_skipped = 0

    def keep(self, network: nn.Layer) -> list[paddle.Tensor]:
        """Return copies of BN's running statistics for `restore`; an empty list if updates are not skipped."""
        return [value.clone() for value in _statistics(network)] if self._skip else []

    def restore(self, network: nn.Layer, kept: list[paddle.Tensor]) -> None:
        """Set the running statistics to what `keep` returned."""
        for value, before in zip(_statistics(network) if kept else (), kept, strict=True):
            value.set_value(before)

    def check_losses(self, batch: Batch, losses: np.ndarray, logits: np.ndarray, *, iteration: int) -> None:
        """Raise TrainingError if a loss is not finite and updates may not be skipped."""
        if not np.isfinite(losses).all() and not self._skip:
            worst = [path for path, loss in zip(batch.paths, losses, strict=True) if not np.isfinite(loss)]
            report = self._report(batch, losses, logits, iteration, [])
            raise TrainingError(
                f"the loss is {losses.mean()} at iteration {iteration}, that of {len(worst)} of {len(losses)} clips is "
                f"not finite: {_some(worst)}; the whole batch with statistics: {report}; lower TRAIN.learning_rate, or "
                "set TRAIN.on_nonfinite=skip"
            )

    def gradients_not_finite(
        self,
        batch: Batch,
        parameters: Mapping[str, paddle.Tensor],
        losses: np.ndarray,
        logits: np.ndarray,
        *,
        iteration: int,
    ) -> None:
        """Report gradients that are not finite; raise TrainingError if updates may not be skipped."""
        names = [name for name, p in parameters.items() if p.grad is not None and not np.isfinite(p.grad.numpy()).all()]
        report = self._report(batch, losses, logits, iteration, names)
        which = f"the gradients of {_some(names)} are" if names else "the norm of all gradients is"  # an overflow
        found = f"{which} not finite at iteration {iteration}; the batch: {report}"
        if not self._skip:
            raise TrainingError(f"{found}; lower TRAIN.learning_rate, or set TRAIN.on_nonfinite=skip")
        get_logger().warning("update skipped: %s", found)

    def count(self, is_skipped: bool) -> None:
        """Count an update.

        Raises:
            TrainingError: too many updates in a row were skipped.
        """
        self._in_a_row = self._in_a_row + 1 if is_skipped else 0
        self.num_skipped += is_skipped
        if self._in_a_row > _LONGEST_ROW:
            raise TrainingError(f"{self._in_a_row} updates in a row were skipped for gradients that are not finite")

    def _report(
        self, batch: Batch, losses: np.ndarray, logits: np.ndarray, iteration: int, parameters: list[str]
    ) -> Path:
        path = self._save_dir / f"nonfinite_{iteration}{f'.rank{self._rank}' if self._rank else ''}.json"
        clips = [
            {
                "path": path,
                "index": int(index),
                "label": label,
                "loss": str(loss),
                "logits_from_to": [str(row.min()), str(row.max())],
                "pixels_mean": float(clip.mean()),
                "pixels_from_to": [int(clip.min()), int(clip.max())],
            }
            for path, index, label, loss, row, clip in zip(
                batch.paths, batch.indices, label_texts(batch.labels), losses, logits, batch.clips, strict=True
            )
        ]
        write_json(path, {"iteration": iteration, "parameters_without_finite_gradient": parameters, "clips": clips})
        return path


def _statistics(network: nn.Layer) -> list[paddle.Tensor]:
    return [value for pair in running_statistics(network) for value in pair]


def _some(names: list[str]) -> str:
    rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + rest
