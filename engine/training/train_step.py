"""One update of the network: forward and backward over the parts of a batch, exchange of gradients, checks, step.

Legend: N clips of the batch that this process has, K classes.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import paddle

from configs.schema import TrainSection
from datareader.loader import Batch
from engine.distributed import Processes
from engine.training.finite_guard import FiniteGuard
from engine.training.losses import Losses
from engine.training.mixed_precision import MixedPrecision
from engine.training.mixing import Mixing
from engine.training.optimizer import trainable_parameters
from engine.training.phase_clock import PhaseClock
from models.network import VideoNetwork
from utils.seeding import step_seed


@dataclass
class StepResult:
    """The result of one update."""

    losses: np.ndarray  # float32 (N,), of each clip
    logits: np.ndarray  # float32 (N, K), before the update
    gradient_norm: float  # of all trained parameters together, over all processes, before clipping
    is_skipped: bool  # no parameter was changed, because a gradient was not finite


class TrainStep:
    """Updates `network` with `optimizer` as TRAIN says.

    Args:
        losses: of each clip.
        mixing: mixes the clips of each part of a batch.
    """

    def __init__(
        self,
        network: VideoNetwork,
        optimizer: paddle.optimizer.Momentum,
        section: TrainSection,
        *,
        losses: Losses,
        mixing: Mixing,
        precision: MixedPrecision,
        processes: Processes,
        guard: FiniteGuard,
        clock: PhaseClock,
    ) -> None:
        self.network = network
        self.optimizer = optimizer
        self.precision = precision
        self._parameters = trainable_parameters(network)
        self._section = section
        self._losses = losses
        self._mixing = mixing
        self._processes = processes
        self.guard = guard
        self._clock = clock
        self._pinned: list[paddle.Tensor] = []  # clips on their way to a GPU

    def run(self, batch: Batch, *, iteration: int, learning_rate: float) -> StepResult:
        """Make one update. Gradients are means over the clips of all processes.

        Raises:
            TrainingError: a loss or gradient is not finite; see `FiniteGuard`.
        """
        paddle.seed(step_seed(self._section.seed, iteration, self._processes.rank))  # the only randomness: dropout
        self.optimizer.set_lr(learning_rate)
        self._pinned.clear()  # the step before this one has waited for the device: all was copied
        before = self.guard.keep(self.network)
        size = len(batch.labels) // self._section.accumulate_steps
        parts = [
            self._add_gradients(batch, slice(at, at + size), iteration) for at in range(0, len(batch.labels), size)
        ]
        if self._processes.count > 1:
            with self._clock.phase("exchange"):
                self._processes.average_gradients(self._parameters.values())
        with self._clock.phase("update"):
            self.precision.unscale(self.optimizer)
            norm = gradient_norm(self._parameters.values())  # here the host waits for the device, once a step
            losses, logits = (np.concatenate([part.numpy() for part in values]) for values in zip(*parts, strict=True))
            self.guard.check_losses(batch, losses, logits, iteration=iteration)
            is_skipped = not np.isfinite(norm)
            if is_skipped and not self.precision.searches_scale:
                self.guard.gradients_not_finite(batch, self._parameters, losses, logits, iteration=iteration)
            self.precision.step(self.optimizer, is_skipped=is_skipped)
            self.optimizer.clear_grad()
        if is_skipped:
            self.guard.restore(self.network, before)
        self.guard.count(is_skipped)
        return StepResult(losses, logits, norm, is_skipped)

    def _add_gradients(self, batch: Batch, part: slice, iteration: int) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Add the gradients of a part of the batch to those of the parameters; return its losses and logits."""
        with self._clock.phase("copy"):
            clips = self._on_device(batch.clips[part, 0])  # uint8 (n, 3, T, S, S)
            labels = paddle.to_tensor(batch.labels[part])
            if self._mixing.is_on:
                key = (self._section.seed, iteration, self._processes.rank, part.start)
                clips, labels = self._mixing.mix(clips, labels, key=key)
        with self._clock.phase("forward"), self.precision.forward_pass():
            logits = self.network(clips)  # (n, K)
        with self._clock.phase("forward"):
            logits = logits.astype("float32")  # the loss is never computed in half precision
            losses = self._losses(logits, labels)
        with self._clock.phase("backward"):
            self.precision.backward(losses.mean() / self._section.accumulate_steps)
        return losses.detach(), logits.detach()

    def _on_device(self, clips: np.ndarray) -> paddle.Tensor:
        """Copy clips to the device, on a GPU from pinned memory and without waiting. Not run on a GPU."""
        if paddle.get_device() == "cpu":
            return paddle.to_tensor(clips)
        self._pinned.append(paddle.to_tensor(clips, place=paddle.CUDAPinnedPlace()))
        return self._pinned[-1].cuda(blocking=False)


def gradient_norm(parameters: Iterable[paddle.Tensor]) -> float:
    """Return the Euclidean norm of all gradients together."""
    squares = [(p.grad.astype("float32") ** 2).sum() for p in parameters if p.grad is not None]
    return float(paddle.stack(squares).sum().sqrt()) if squares else 0.0
