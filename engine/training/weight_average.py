"""The moving average of the weights of a run: what is validated and saved where TRAIN.ema_decay is set."""

import contextlib
from collections.abc import Iterator, Mapping

import numpy as np
import paddle

from engine.checkpoint import Save
from models.network import VideoNetwork
from utils.errors import WeightsError

_RAW = "raw/"  # before the names of the weights themselves, in the optimiser's file


class WeightAverage:
    """The exponential moving average of the parameters and running statistics of a network.

    After update number n (from 1): average = d * average + (1 - d) * weights, with d = min(decay, n / (9 + n)), so that
    a short run is no average of its random beginning (TensorFlow's ExponentialMovingAverage with num_updates).
    """

    def __init__(self, network: VideoNetwork, decay: float) -> None:
        self._network = network
        self._decay = decay
        self._values = {name: value.detach().clone() for name, value in network.state_dict().items()}

    @paddle.no_grad()
    def update(self, number: int) -> None:
        """Take in the weights after update `number` of the run, counted from 1."""
        decay = min(self._decay, number / (9 + number))
        for name, value in self._network.state_dict().items():
            average = self._values[name]
            average.set_value(average * decay + value * (1 - decay))

    @contextlib.contextmanager
    def in_network(self) -> Iterator[None]:
        """While the block runs, the network has the averages for its weights."""
        state = self._network.state_dict()
        weights = {name: value.detach().clone() for name, value in state.items()}
        try:
            _set(state, self._values)
            yield
        finally:
            _set(state, weights)

    def values(self) -> dict[str, np.ndarray]:
        """Return the averages by saved name."""
        return {name: np.asarray(value) for name, value in self._values.items()}


def start_average(network: VideoNetwork, decay: float, resumed: Save | None) -> WeightAverage | None:
    """Return the average of a run that begins or goes on; None without a decay.

    Args:
        network: of a run that goes on: with the averages that its save holds. It gets the weights themselves.

    Raises:
        WeightsError: the save does not hold the weights of this network.
    """
    if not decay:
        return None
    average = WeightAverage(network, decay)
    if resumed is not None:
        state = network.state_dict()
        raw = {name.removeprefix(_RAW): value for name, value in resumed.optimizer.items() if name.startswith(_RAW)}
        if {name: value.shape for name, value in raw.items()} != {n: tuple(v.shape) for n, v in state.items()}:
            raise WeightsError(f"{resumed.prefix}: does not hold the weights beside their average (TRAIN.ema_decay)")
        if not all(value.dtype == np.float32 and np.isfinite(value).all() for value in raw.values()):
            raise WeightsError(f"{resumed.prefix}: the weights beside their average must be finite, float32")
        _set(state, {name: paddle.to_tensor(value) for name, value in raw.items()})
    return average


def as_raw(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return weights under the names that they have in the optimiser's file."""
    return {f"{_RAW}{name}": value for name, value in weights.items()}


def without_raw(optimizer: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return what an optimiser's file holds of the optimiser."""
    return {name: value for name, value in optimizer.items() if not name.startswith(_RAW)}


@paddle.no_grad()
def _set(state: Mapping[str, paddle.Tensor], values: Mapping[str, paddle.Tensor]) -> None:
    for name, value in state.items():
        value.set_value(values[name])
