"""What computes the probabilities of views: Paddle's dygraph, or an engine that runs the exported network on the CPU.

Legend: N views, T frames, H, W, K classes.
"""

import contextlib
import importlib.util
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import paddle

from configs.schema import Config
from engine.engines import ENGINES, Precision, Score, load_engine
from engine.exporting import Format, export_network
from models.layers import NamedNetwork
from utils.errors import DeviceError, VideoToolkitError
from utils.logging import get_logger

_LARGEST_DIFFERENCE = {"fp32": 1e-3, "bf16": 0.2}  # of a probability, between an engine and dygraph


class ViewScorer(Protocol):
    """Scores views. Several threads may call it; they take turns."""

    engine: str
    precision: Precision

    def __call__(self, views: np.ndarray) -> np.ndarray:
        """Class probabilities, float32 (N, K), of uint8 views (N, 3, T, H, W), RGB."""


class DygraphScorer:
    """The network as it is, on the device that Paddle was set to; a network in training is in training afterwards."""

    engine = "dygraph"
    precision: Precision = "fp32"

    def __init__(self, network: NamedNetwork) -> None:
        self._network = network
        self._one_at_a_time = threading.Lock()

    def __call__(self, views: np.ndarray) -> np.ndarray:
        with self._one_at_a_time, _evaluation_mode(self._network):
            return self._network(paddle.to_tensor(views)).astype("float32").numpy()  # waits


class ExportedScorer:
    """An exported network in an engine of its own."""

    def __init__(self, engine: str, precision: Precision, score: Score) -> None:
        self.engine = engine
        self.precision = precision
        self._score = score
        self._one_at_a_time = threading.Lock()

    def __call__(self, views: np.ndarray) -> np.ndarray:
        with self._one_at_a_time:
            return np.asarray(self._score(np.ascontiguousarray(views)), np.float32)


def open_scorer(
    network: NamedNetwork, config: Config, engine: str = "auto", precision: Precision = "fp32", *, num_frames: int
) -> ViewScorer:
    """Make `network` ready for scoring views of `num_frames` frames.

    Every engine but dygraph gets a network that is exported anew, and is compared with dygraph on one view of noise.

    Args:
        engine: a key of `ENGINES`; 'dygraph'; or 'auto': on a GPU, and with NONLOCAL.chunk_size, to which an exported
            network does not keep, dygraph; else the first of `ENGINES` that is there and agrees with dygraph, which it
            is if none does.

    Raises:
        DeviceError: the engine is not installed, cannot run this network, or differs from dygraph; the precision is
            not to be had.
    """
    if engine not in (*ENGINES, "dygraph", "auto") or precision not in ("fp32", "bf16"):
        raise DeviceError(f"engine {engine} in {precision}: known are auto, dygraph, {', '.join(ENGINES)}; fp32, bf16")
    if precision == "bf16" and engine not in ("openvino", "auto"):
        raise DeviceError(f"--precision bf16 is OpenVINO's: it needs --engine openvino, not {engine}")
    if engine == "dygraph" or (engine == "auto" and precision == "fp32" and paddle.get_device() != "cpu"):
        return _announced(DygraphScorer(network), [])
    if engine != "auto" or precision == "bf16":
        return _announced(_open(network, config, "openvino" if engine == "auto" else engine, precision, num_frames), [])
    if config.NONLOCAL.chunk_size:
        return _announced(DygraphScorer(network), ["others would not keep to NONLOCAL.chunk_size"])
    missing = [name for name, (package, _, _) in ENGINES.items() if importlib.util.find_spec(package) is None]
    reasons = [f"not installed: {', '.join(missing)}; pip install -r requirements-engines.txt"] if missing else []
    for name in [name for name in ENGINES if name not in missing]:
        try:
            return _announced(_open(network, config, name, precision, num_frames), reasons)
        except VideoToolkitError as error:
            reasons.append(str(error))
    return _announced(DygraphScorer(network), reasons)


def _open(network: NamedNetwork, config: Config, name: str, precision: Precision, num_frames: int) -> ExportedScorer:
    package, format_, _ = ENGINES[name]
    size = config.TRAIN.crop_size  # the smallest that the head takes
    if importlib.util.find_spec(package) is None:
        raise DeviceError(f"{name} is not installed (pip install -r requirements-engines.txt)")
    if config.NONLOCAL.chunk_size:
        get_logger().warning("%s computes non-local blocks whole, whatever NONLOCAL.chunk_size says", name)
    started = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / ("network.onnx" if format_ == "onnx" else "network")
            files = export_network(network, config, path, format_, num_frames=num_frames)
            scorer = ExportedScorer(name, precision, load_engine(name, files, precision))
            difference = largest_difference(scorer, network, views_of_noise((1, 3, num_frames, size, size)))
    except OSError as error:
        raise DeviceError(f"{name} needs room in the temporary folder: {error.strerror or error}") from error
    _require_agreement(name, precision, difference)
    get_logger().debug("%s ready after %.1f s", name, time.perf_counter() - started)
    return scorer


def verify_files(
    files: list[Path], format_: Format, network: NamedNetwork, shapes: Sequence[tuple[int, ...]]
) -> dict[str, float]:
    """Run exported files beside `network` in every engine that is installed and reads them.

    Args:
        shapes: of the views (N, 3, T, H, W) to try.

    Returns:
        Largest change of a probability, by engine.

    Raises:
        DeviceError: an engine cannot run them, or a change is too large.
    """
    differences = {}
    for name, (package, reads, _) in ENGINES.items():
        if reads == format_ and importlib.util.find_spec(package) is not None:
            scorer = ExportedScorer(name, "fp32", load_engine(name, files, "fp32"))
            found = [largest_difference(scorer, network, views_of_noise(shape)) for shape in shapes]
            differences[name] = max(found)
            _require_agreement(name, "fp32", differences[name])
    return differences


def views_of_noise(shape: tuple[int, ...]) -> np.ndarray:
    """Views of slow noise, uint8 of `shape` (N, 3, T, H, W), the same every time."""
    *outer, height, width = shape
    coarse = np.random.default_rng(0).integers(0, 256, (*outer, -(-height // 16), -(-width // 16)), np.uint8)
    return coarse.repeat(16, axis=-2).repeat(16, axis=-1)[..., :height, :width]


def _require_agreement(name: str, precision: Precision, difference: float) -> None:
    if not difference < _LARGEST_DIFFERENCE[precision]:
        raise DeviceError(f"{name} computes other probabilities than dygraph, by up to {difference:.2g}")


def largest_difference(scorer: ViewScorer, network: NamedNetwork, views: np.ndarray) -> float:
    """Largest change of a probability of `views` between `scorer` and the network in dygraph; NaN if one is NaN."""
    return float(np.abs(scorer(views) - DygraphScorer(network)(views)).max())


def _announced(scorer: ViewScorer, reasons: list[str]) -> ViewScorer:
    because = f" ({'; '.join(reasons)})" if reasons else ""
    get_logger().info("engine: %s %s%s", scorer.engine, scorer.precision, because)
    return scorer


@contextlib.contextmanager
def _evaluation_mode(network: NamedNetwork) -> Iterator[None]:
    was_training = network.training
    network.eval()
    try:
        with paddle.no_grad():
            yield
    finally:
        if was_training:
            network.train()
