"""A network written for inference alone: uint8 views in, class probabilities out, no Paddle code needed to run it.

Legend: N views, T frames, H, W, K classes.
"""

import tempfile
import threading
import warnings
from pathlib import Path
from typing import Literal

import paddle

from configs.schema import Config
from models.folding import fold_normalisation
from models.layers import NamedNetwork
from models.registry import build_model
from utils.atomic_file import atomic_write
from utils.errors import DeviceError, WeightsError
from utils.native_output import stdout_to_stderr

Format = Literal["paddle", "onnx"]
INPUT_NAME = "frames"
_ONNX_OPSET = 17
# Paddle switches the whole process to static graphs while it traces one.
_TRACING = threading.Lock()


def export_network(
    network: NamedNetwork,
    config: Config,
    path: Path,
    format_: Format,
    *,
    num_frames: int,
    batch_size: int | None = None,
    frame_size: tuple[int, int] | None = None,
) -> list[Path]:
    """Write `network` for inference and return the files; `network` itself stays as it is.

    The input ``frames`` is uint8 (N, 3, T, H, W), RGB in [0, 255], normalised inside; the output is float32 (N, K),
    class probabilities averaged over the places of the map. BN is folded into the convolutions.

    Args:
        path: of the .onnx file; for Paddle, of the program and parameters less their suffixes (.json or, before
            Paddle 3, .pdmodel, and .pdiparams).
        num_frames: T, fixed.
        batch_size: N; None: any.
        frame_size: H, W; None: any that the head's window fits into.

    Raises:
        DeviceError: for ONNX, paddle2onnx is not installed.
        WeightsError: it cannot be converted.
    """
    height, width = frame_size or (None, None)
    spec = paddle.static.InputSpec([batch_size, 3, num_frames, height, width], "uint8", INPUT_NAME)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _TRACING, stdout_to_stderr(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"In static graph mode, relu_\(\)")
        folded = build_model(config)
        folded.set_state_dict(network.state_dict())
        fold_normalisation(folded)
        if format_ == "paddle":
            return _write_paddle(folded, spec, path)
        with tempfile.TemporaryDirectory() as folder:
            program, parameters = _write_paddle(folded, spec, Path(folder) / "network")
            _convert_to_onnx(program, parameters, path)
        return [path]


def _write_paddle(network: NamedNetwork, spec: paddle.static.InputSpec, path: Path) -> list[Path]:
    try:
        traced = paddle.jit.to_static(network, input_spec=[spec], full_graph=True)
        paddle.jit.save(traced, str(path))
    except OSError:
        raise
    except Exception as error:
        raise WeightsError(f"{path}: the network cannot be exported: {' '.join(str(error).split())[:300]}") from error
    suffixes = (".json", ".pdmodel")  # Paddle 3; before it
    program = next(path.with_name(path.name + s) for s in suffixes if path.with_name(path.name + s).is_file())
    return [program, path.with_name(path.name + ".pdiparams")]


def _convert_to_onnx(program: Path, parameters: Path, path: Path) -> None:
    try:
        import paddle2onnx
    except ImportError as error:
        raise DeviceError("ONNX needs paddle2onnx: pip install -r requirements-engines.txt") from error
    try:
        # Its optimiser is left out: it would install packages by itself.
        content = paddle2onnx.export(str(program), str(parameters), opset_version=_ONNX_OPSET, optimize_tool="None")
    except Exception as error:
        raise WeightsError(f"{path}: the network cannot be converted to ONNX: {error}") from error
    with atomic_write(path) as handle:
        handle.write(content)
