"""Mixed precision by Paddle's AMP: what it casts, the loss scale that float16 needs. Not run on a GPU."""

import contextlib
from contextlib import AbstractContextManager

import paddle

from configs.schema import TrainSection
from models.layers import Affine
from models.network import VideoNetwork
from utils.errors import DeviceError


class MixedPrecision:
    """The precision of a training run, ``TRAIN.amp`` and ``amp_dtype``; float32 unless they say otherwise.

    With O1 Paddle casts around each operation that is safe in half precision; with O2 the parameters themselves, but
    BN's, are in half precision, and the optimiser keeps them in float32 too.

    Args:
        loss_scale: of a run that is resumed.

    Raises:
        DeviceError: mixed precision without a GPU, where Paddle has none.
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
                excluded_layers=[Affine],  # frozen: there would be no float32 copy to save
            )

    @property
    def loss_scale(self) -> float | None:
        """What the loss is multiplied by now; None where it is not."""
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
        """Whether gradients that are not finite are to be expected: they say that the loss scale is too large."""
        return self._scaler is not None

    def step(self, optimizer: paddle.optimizer.Momentum, *, is_skipped: bool) -> None:
        """Update the parameters unless that is to be skipped, and the loss scale in any case."""
        if self._scaler is None:
            if not is_skipped:
                optimizer.step()
        else:
            self._scaler.step(optimizer)  # skips by itself
            self._scaler.update()
