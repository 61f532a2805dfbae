"""What computes the probabilities of views: Paddle's dygraph, or an engine that runs the exported network.

Legend: N views, T frames, H, W, K classes, C features.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import paddle

from configs.schema import Config, MultiViewSection
from engine.network_loading import load_for_scoring, new_network
from engine.scoring.agreement import require_agreement, video_like_views
from engine.scoring.calibration import NUM_VIEWS, Calibration
from engine.scoring.exporting import export_network
from engine.scoring.precision_choice import as_line, choose
from engine.scoring.quantising import quantise
from engine.scoring.runtimes import RUNTIMES, FileFormat, Precision, load_runtime
from engine.scoring.view_scorer import ExportedScorer, ViewScorer
from models.network import VideoNetwork
from utils.errors import DeviceError, VideoToolkitError, one_line
from utils.logging import get_logger
from utils.processor import has_vnni
from utils.temporary_folder import temporary_folder

_VIEWS_TO_MEASURE = 4
# How libraries say that memory, address space or threads are out.
_SHORTAGES = (
    "bad_alloc", "Cannot allocate memory", "Failed to allocate", "ResourceExhausted", "can't alloc",
    "failed to map segment", "Resource temporarily unavailable", "can't start new thread",
)  # fmt: skip
OnExport = Callable[[ViewScorer, list[Path]], None]


class DygraphScorer:
    """The network as it is, on the device that Paddle was set to; a network in training is in training afterwards."""

    engine = "dygraph"
    precision = "fp32"

    def __init__(self, network: VideoNetwork) -> None:
        self._network = network
        self._one_at_a_time = threading.Lock()

    def __call__(self, views: np.ndarray) -> np.ndarray:
        with self._one_at_a_time, _evaluation_mode(self._network):
            return self._network(paddle.to_tensor(views)).astype("float32").numpy()  # waits

    def with_features(self, views: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with self._one_at_a_time, _evaluation_mode(self._network):
            probabilities, features = self._network.with_features(paddle.to_tensor(views))
            return probabilities.astype("float32").numpy(), features.astype("float32").numpy()


def load_scorer(
    config: Config, section: MultiViewSection, weights: str | None, *, engine: str, precision: Precision
) -> tuple[VideoNetwork, ViewScorer, str]:
    """Build the config's network, fill it with `weights`, and make it ready to score the views of `section`.

    Args:
        weights: see `load_for_scoring`.
        engine, precision: see `open_scorer`.

    Returns:
        the network, what scores its views, and where the weights came from.
    """
    network = new_network(config)
    source = load_for_scoring(network, config, weights)
    return network, open_scorer(network, config, section, engine, precision), source


def open_scorer(
    network: VideoNetwork,
    config: Config,
    section: MultiViewSection,
    engine: str = "auto",
    precision: Precision | Literal["auto"] = "fp32",
    *,
    calibration: Calibration | None = None,
    on_export: OnExport | None = None,
) -> ViewScorer:
    """Make `network` ready for scoring the views of `section`.

    An engine other than dygraph is given a network that is exported anew. It is compared with dygraph on one view.

    Args:
        config: what `network` was built from.
        engine: a key of `RUNTIMES`; 'dygraph'; or 'auto': dygraph on a GPU, and where an exported network would not do
            what a setting asks for; otherwise the first of `RUNTIMES` that is there and agrees with dygraph, and
            dygraph if none does.
        precision: 'auto' measures those of the engine: see `precision_choice`.
        calibration: what int8 takes its ranges from, and 'auto' measures on. Without it there is no int8.
        on_export: is given the scorer and the exported files that it was made from, which are removed afterwards.

    Raises:
        DeviceError: the engine is not installed, cannot run this network, or differs from dygraph; the precision is
            not to be had.
    """
    if engine not in (*RUNTIMES, "dygraph", "auto") or precision not in (*get_args(Precision), "auto"):
        known = f"auto, dygraph, {', '.join(RUNTIMES)}; {', '.join(get_args(Precision))}, auto"
        raise DeviceError(f"engine {engine} in {precision}: known are {known}")
    able = [name for name, runtime in RUNTIMES.items() if precision in runtime.precisions]
    if precision not in ("fp32", "auto") and engine not in (*able, "auto"):
        raise DeviceError(f"--precision {precision} needs --engine {' or '.join(able)}, not {engine}")
    if engine == "auto" and precision not in ("fp32", "auto"):
        engine = next((name for name in able if RUNTIMES[name].is_installed), able[0])
    if engine == "dygraph":
        return _announced(DygraphScorer(network), [])
    if engine != "auto":
        return _announced(_open(network, config, section, engine, precision, calibration, on_export), [])
    return _first_that_agrees(network, config, section, precision, calibration, on_export)


def _first_that_agrees(
    network: VideoNetwork,
    config: Config,
    section: MultiViewSection,
    precision: str,
    calibration: Calibration | None,
    on_export: OnExport | None,
) -> ViewScorer:
    """What 'auto' means. Whatever keeps an engine from running this network, dygraph is left."""
    if paddle.get_device() != "cpu":
        return _announced(DygraphScorer(network), [])
    if network.lost_in_export:
        return _announced(DygraphScorer(network), [f"in an exported network {network.lost_in_export}"])
    candidates = {name: runtime for name, runtime in RUNTIMES.items() if "cpu" in runtime.devices}
    missing = [name for name, runtime in candidates.items() if not runtime.is_installed]
    reasons = [f"not installed: {', '.join(missing)}; pip install -r requirements-engines.txt"] if missing else []
    for name in [name for name in candidates if name not in missing]:
        try:
            return _announced(_open(network, config, section, name, precision, calibration, on_export), reasons)
        except Exception as error:  # noqa: BLE001 - dygraph is left, and the line says why
            reasons.append(one_line(error))
            if _is_shortage(error):
                break  # the next would be short of it too, and Paddle Inference then waits for a thread for ever
    return _announced(DygraphScorer(network), reasons)


def _is_shortage(error: BaseException | None) -> bool:
    while error is not None:  # what a library raised is the cause of what is raised here
        if isinstance(error, MemoryError) or any(text in str(error) for text in _SHORTAGES):
            return True
        error = error.__cause__
    return False


def _open(
    network: VideoNetwork,
    config: Config,
    section: MultiViewSection,
    name: str,
    precision: str,
    calibration: Calibration | None,
    on_export: OnExport | None,
) -> ViewScorer:
    runtime = RUNTIMES[name]
    if not runtime.is_installed:
        raise DeviceError(f"{name} is not installed (pip install -r requirements-engines.txt)")
    device = paddle.get_device().partition(":")[0]
    if device not in runtime.devices:
        raise DeviceError(f"{name} does not run on a {device}: add --use_gpu {'false' if device == 'gpu' else 'true'}")
    if network.lost_in_export:
        get_logger().warning("%s: %s", name, network.lost_in_export)
    started = time.perf_counter()
    num_frames, height, width = section.view_size
    try:
        with temporary_folder() as folder:
            path = folder / ("network.onnx" if runtime.file_format == "onnx" else "network")
            files = export_network(network, config, path, runtime.file_format, num_frames=num_frames)
            shape = (1, 3, num_frames, height, width)
            first = "fp32" if precision == "auto" else precision
            scorer, files = _in_precision(name, files, first, calibration)
            require_agreement(name, first, scorer, DygraphScorer(network), shape)
            if precision == "auto":
                scorer, files = _fastest(scorer, files, calibration, shape)
            if on_export is not None:
                on_export(scorer, files)
    except OSError as error:
        place = error.filename or "the temporary folder"
        raise DeviceError(f"{name} needs room for its files in {place}: {error.strerror or error}") from error
    get_logger().debug("%s ready after %.1f s", name, time.perf_counter() - started)
    return scorer


def _in_precision(
    name: str, files: list[Path], precision: Precision, calibration: Calibration | None
) -> tuple[ExportedScorer, list[Path]]:
    """Load an exported network in a precision; return the files that were loaded too."""
    label = precision
    if precision == "int8":
        if calibration is None:
            raise DeviceError("--precision int8 takes its ranges from videos: name a list of some with --calibrate")
        get_logger().info("int8: its ranges are taken from %d views", NUM_VIEWS)
        if not has_vnni():
            get_logger().info("int8: this processor has no instructions for it; fp32 may be as fast, and is more exact")
        target = files[0].parent / "int8" / files[0].name
        quantise(files[0], target, calibration.views())
        files, label = [target], f"int8-{calibration.label}"
    return ExportedScorer(name, label, load_runtime(name, files, precision, paddle.get_device())), files


def _fastest(
    scorer: ExportedScorer, files: list[Path], calibration: Calibration | None, shape: tuple[int, ...]
) -> tuple[ViewScorer, list[Path]]:
    """Choose among the precisions of an engine that was loaded in fp32, and say what was measured."""
    get_logger().info("precision auto: measuring what %s offers", scorer.engine)
    files_of: dict[str, list[Path]] = {scorer.precision: files}
    scorers, refused = [scorer], {}
    views = list(video_like_views((_VIEWS_TO_MEASURE, *shape[1:])))
    if calibration is not None:
        try:
            views = calibration.views()[:: max(1, NUM_VIEWS // _VIEWS_TO_MEASURE)]
        except DeviceError as error:
            calibration, refused["int8"] = None, one_line(error)
    for precision in RUNTIMES[scorer.engine].precisions:
        if precision == "fp32" or (precision == "int8" and calibration is None):
            continue
        try:
            other, others_files = _in_precision(scorer.engine, files, precision, calibration)
            other(video_like_views(shape))
        except VideoToolkitError as error:
            refused[precision] = one_line(error)
            continue
        scorers.append(other)
        files_of[other.precision] = others_files
    best, measured = choose(scorers, views)
    get_logger().info("%s", as_line(best.precision, measured, refused))
    return best, files_of[best.precision]


def verify_files(
    files: list[Path],
    file_format: FileFormat,
    network: VideoNetwork,
    shapes: list[tuple[int, ...]],
    *,
    with_features: bool,
) -> dict[str, float]:
    """Run exported files beside `network` in every engine that is installed and reads them.

    Args:
        shapes: of the views (N, 3, T, H, W) to try.
        with_features: whether they are among the outputs.

    Returns:
        by engine, the largest difference of the logarithm of a probability.

    Raises:
        DeviceError: an engine cannot run them, or a difference is too large.
    """
    differences = {}
    for name, runtime in RUNTIMES.items():
        if runtime.file_format == file_format and runtime.is_installed:
            device = paddle.get_device()
            score = load_runtime(name, files, "fp32", device if device.partition(":")[0] in runtime.devices else "cpu")
            scorer = ExportedScorer(name, "fp32", score)
            differences[name] = max(
                require_agreement(name, "fp32", scorer, DygraphScorer(network), shape, with_features=with_features)
                for shape in shapes
            )
    return differences


def _announced(scorer: ViewScorer, reasons: list[str]) -> ViewScorer:
    because = f" ({'; '.join(reasons)})" if reasons else ""
    get_logger().info("engine: %s %s%s", scorer.engine, scorer.precision, because)
    return scorer


@contextlib.contextmanager
def _evaluation_mode(network: VideoNetwork) -> Iterator[None]:
    was_training = network.training
    network.eval()
    try:
        with paddle.no_grad():
            yield
    finally:
        if was_training:
            network.train()
