"""Mixed precision by Paddle's AMP, and the loss scale that float16 needs. Not run on a GPU."""

import contextlib
from contextlib import AbstractContextManager

import paddle

from configs.schema import TrainSection
from models.layers import NEVER_HALF
from models.network import VideoNetwork
from utils.errors import DeviceError


class MixedPrecision:
    """The precision of a training run, by ``TRAIN.amp`` and ``TRAIN.amp_dtype``.

    O1: Paddle casts the inputs of each operation that is safe in half precision. O2: the parameters themselves are in
    half precision, except those of BN, and the optimiser keeps float32 copies of them.

    Args:
        loss_scale: the last loss scale of a run that is resumed.

    Raises:
        DeviceError: mixed precision is asked for on a CPU.
    """

    def __init__(
        self,
        section: TrainSection,
        network: VideoNetwork,
        optimizer: paddle.optimizer.Momentum,
        *,
        device: str,
        loss_scale: float | None,
    ) -> None:
        self._section = section
        self._scaler: paddle.amp.GradScaler | None = None
        if section.amp == "off":
            return
        if not device.startswith("gpu"):
            raise DeviceError(f"TRAIN.amp ({section.amp}) needs a GPU: Paddle has no mixed precision on {device}")
        if section.amp_dtype == "float16":
            self._scaler = paddle.amp.GradScaler(init_loss_scaling=loss_scale or 2.0**15)
        if section.amp == "O2":
            paddle.amp.decorate(
                network,
                optimizer,
                level="O2",
                dtype=section.amp_dtype,
                master_weight=True,
                excluded_layers=list(NEVER_HALF),
            )

    @property
    def loss_scale(self) -> float | None:
        """The factor of the loss; None if the loss is not scaled."""
        return None if self._scaler is None else float(self._scaler.state_dict()["scale"].item())

    def forward_pass(self) -> AbstractContextManager[None]:
        """Context of a forward pass."""
        if self._section.amp == "off":
            return contextlib.nullcontext()
        section = self._section
        return paddle.amp.auto_cast(level=section.amp, dtype=section.amp_dtype, custom_white_list={"conv3d"})

    def backward(self, loss: paddle.Tensor) -> None:
        """Add the gradients of `loss`, times the loss scale, to those of the parameters."""
        (loss if self._scaler is None else self._scaler.scale(loss)).backward()

    def unscale(self, optimizer: paddle.optimizer.Momentum) -> None:
        """Divide the gradients by the loss scale."""
        if self._scaler is not None:
            self._scaler.unscale_(optimizer)

    @property
    def searches_scale(self) -> bool:
        """Whether gradients that are not finite are normal: they mean that the loss scale is too large."""
        return self._scaler is not None

    def step(self, optimizer: paddle.optimizer.Momentum, *, is_skipped: bool) -> None:
        """Update the loss scale, and the parameters unless the update is skipped."""
        if self._scaler is None:
            if not is_skipped:
                optimizer.step()
        else:
            self._scaler.step(optimizer)  # skips by itself
            self._scaler.update()
