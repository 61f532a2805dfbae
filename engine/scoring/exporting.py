"""Writes a network for inference alone: uint8 views in, class probabilities and features out, without this project.

Legend: N views, T frames, H, W, K classes, C features.
"""

import contextlib
import errno
import os
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import paddle
from paddle import nn

from configs.schema import Config
from engine.scoring.runtimes import INPUT_NAME, OUTPUT_NAMES, FileFormat
from models.network import VideoNetwork
from models.registry import build_model
from utils.atomic_file import atomic_write
from utils.errors import DeviceError, VideoToolkitError, WeightsError, one_line
from utils.json_text import parse_json
from utils.native_output import quiet
from utils.signals import signals_held
from utils.temporary_folder import temporary_folder

_ONNX_OPSET = 17
# While Paddle traces a network, the whole process is in static-graph mode.
_TRACING = threading.Lock()


def export_network(
    network: VideoNetwork,
    config: Config,
    path: Path,
    file_format: FileFormat,
    *,
    num_frames: int,
    batch_size: int | None = None,
    frame_size: tuple[int, int] | None = None,
    with_features: bool = True,
) -> list[Path]:
    """Write `network` for inference and return the files; `network` itself stays as it is.

    The input ``frames`` is uint8 (N, 3, T, H, W), RGB in [0, 255], normalised inside. The outputs (by these names in
    ONNX, in this order in Paddle) are ``probabilities``, float32 (N, K), averaged over the places of the map, and
    ``features``, float32 (N, C), what the classifier sees. BN is folded into the convolutions.

    Args:
        path: of the .onnx file; for Paddle, of the program and parameters less their suffixes (.json or, before
            Paddle 3, .pdmodel, and .pdiparams).
        num_frames: T, fixed.
        batch_size: N; None: any.
        frame_size: H, W; None: any that the head's window fits into.
        with_features: without them there is one output.

    Raises:
        DeviceError: for ONNX, paddle2onnx is not installed.
        WeightsError: it cannot be converted.
    """
    height, width = frame_size or (None, None)
    spec = paddle.static.InputSpec([batch_size, 3, num_frames, height, width], "uint8", INPUT_NAME)
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        signals_held(),
        _TRACING,
        _writable_home(),
        quiet(),
        warnings.catch_warnings(),
    ):  # Paddle's tracing swallows a Ctrl-C
        warnings.filterwarnings("ignore", message=r"In static graph mode, relu_\(\)")
        folded = _folded_copy(network, config, path)
        if file_format == "paddle":
            return _write_paddle(folded, spec, path, with_features)
        with temporary_folder() as folder:
            program, parameters = _write_paddle(folded, spec, folder / "network", with_features)
            _convert_to_onnx(program, parameters, path)
        return [path]


def _folded_copy(network: VideoNetwork, config: Config, path: Path) -> VideoNetwork:
    try:
        folded = build_model(config)
        folded.set_state_dict(network.state_dict())
        folded.fold_normalisation()
    except VideoToolkitError:
        raise
    except Exception as error:
        raise WeightsError(f"{path}: normalisation cannot be folded for the export: {one_line(error)}") from error
    return folded


class _Exported(nn.Layer):
    """What is exported: views to probabilities and, if they are asked for, features."""

    def __init__(self, network: VideoNetwork, with_features: bool) -> None:
        super().__init__()
        self.network = network
        self.with_features = with_features
        self.eval()

    def forward(self, frames: paddle.Tensor) -> tuple[paddle.Tensor, ...]:
        found = self.network.with_features(frames)
        return found if self.with_features else found[:1]


def _write_paddle(network: VideoNetwork, spec: paddle.static.InputSpec, path: Path, with_features: bool) -> list[Path]:
    try:
        exported = _Exported(network, with_features)
        traced = paddle.jit.to_static(exported, input_spec=[spec], full_graph=True)
        paddle.jit.save(traced, str(path))
    except OSError:
        raise
    except Exception as error:
        raise WeightsError(f"{path}: the network cannot be exported: {one_line(error)}") from error
    suffixes = (".json", ".pdmodel")  # Paddle 3; before it
    program = next(path.with_name(path.name + s) for s in suffixes if path.with_name(path.name + s).is_file())
    parameters = path.with_name(path.name + ".pdiparams")
    _require_whole(program, parameters, sum(4 * value.size for value in network.state_dict().values()))
    return [program, parameters]


def _require_whole(program: Path, parameters: Path, num_bytes: int) -> None:
    """Raise OSError where Paddle wrote half a file, which it does on a full disk without a word."""
    try:
        if program.suffix == ".json":
            parse_json(program.read_bytes())
        is_whole = program.stat().st_size > 0 and parameters.stat().st_size >= num_bytes
    except (ValueError, OSError):
        is_whole = False
    if not is_whole:
        raise OSError(errno.ENOSPC, "the network was not written whole: is the disk full?", str(program.parent))


@contextlib.contextmanager
def _writable_home() -> Iterator[None]:
    """Let Paddle's tracing write into a temporary HOME, if it cannot write into HOME/.cache/paddle."""
    cache = Path("~/.cache/paddle").expanduser()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        can_write = os.access(cache, os.W_OK)
    except OSError:
        can_write = False
    if can_write:
        yield
        return
    before = os.environ.get("HOME")
    with temporary_folder() as folder:
        os.environ["HOME"] = str(folder)
        try:
            yield
        finally:
            del os.environ["HOME"]
            if before is not None:
                os.environ["HOME"] = before


def _convert_to_onnx(program: Path, parameters: Path, path: Path) -> None:
    try:
        import paddle2onnx
    except ImportError as error:
        raise DeviceError("ONNX needs paddle2onnx: pip install -r requirements-engines.txt") from error
    try:
        # Its optimiser is left out: it would install packages by itself.
        content = paddle2onnx.export(str(program), str(parameters), opset_version=_ONNX_OPSET, optimize_tool="None")
    except Exception as error:
        raise WeightsError(f"{path}: the network cannot be converted to ONNX: {one_line(error)}") from error
    with atomic_write(path) as handle:
        handle.write(_tidied(content))


def _tidied(content: bytes) -> bytes:
    """Return the same network with names for its outputs and its free sizes, and without unused constants."""
    import onnx

    model = onnx.load_from_string(content)
    graph = model.graph
    names = {output.name: name for output, name in zip(graph.output, OUTPUT_NAMES, strict=False)}
    used = set(names).union(*(node.input for node in graph.node))
    for node in [node for node in graph.node if node.op_type == "Constant" and node.output[0] not in used]:
        graph.node.remove(node)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for output in graph.output:
        output.name = names[output.name]
    free = ((graph.input[0], ("batch", "", "", "height", "width")), *((output, ("batch",)) for output in graph.output))
    for value, sizes in free:
        for size, name in zip(value.type.tensor_type.shape.dim, sizes, strict=False):
            if size.dim_param:
                size.dim_param = name
    return model.SerializeToString()
