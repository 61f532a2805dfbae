"""The table of engines that run an exported network, and how each of them is loaded. To add one: one entry here.

Nothing heavy is imported before an engine is loaded: the programs read the table for their ``--engine``.

Legend: N views, T frames, H, W, K classes, C features.
"""

import argparse
import functools
import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from utils.errors import DeviceError, VideoToolkitError, one_line
from utils.native_output import quiet
from utils.processor import computing_threads

if TYPE_CHECKING:
    import numpy as np

Precision = Literal["fp32", "bf16", "int8"]
FileFormat = Literal["paddle", "onnx"]
INPUT_NAME, OUTPUT_NAMES = "frames", ("probabilities", "features")  # of an exported network; it may lack the second
# uint8 (N, 3, T, H, W) to the outputs, float32 (N, K) and (N, C).
Score = Callable[["np.ndarray"], Sequence["np.ndarray"]]


@dataclass(frozen=True)
class Runtime:
    """An engine that runs an exported network.

    Args:
        package: what must be installed for it.
        file_format: of the exported network that it reads.
        precisions: what it can compute in.
        devices: where it can run.
        loader: makes it ready, from exported files, a precision and a device as Paddle names it, 'cpu' or 'gpu:0'.
    """

    package: str
    file_format: FileFormat
    precisions: tuple[Precision, ...]
    devices: tuple[Literal["cpu", "gpu"], ...]
    loader: Callable[[list[Path], Precision, str], Score]

    @property
    def is_installed(self) -> bool:
        """Whether its package can be imported."""
        return importlib.util.find_spec(self.package) is not None


def add_engine_arguments(parser: argparse.ArgumentParser, *, also: Sequence[str] = ()) -> argparse._ArgumentGroup:
    """Add the flags that say what computes, for programs that do not train, and return their group.

    Args:
        also: values of --precision beside fp32 and bf16.
    """
    group = parser.add_argument_group("engine")
    group.add_argument(
        "--engine", default="auto", choices=("auto", "dygraph", *RUNTIMES),
        help=f"auto: on a GPU dygraph, on a CPU the first of {', '.join(RUNTIMES)} that is installed and agrees with "
        "dygraph; paddle is Paddle Inference (%(default)s)",
    )  # fmt: skip
    able = [name for name, runtime in RUNTIMES.items() if "bf16" in runtime.precisions]
    more = {
        "int8": "int8 is fitted to views of --calibrate, or of the videos that are scored",
        "auto": "auto measures what this machine offers and takes the fastest that agrees with fp32",
    }
    group.add_argument(
        "--precision", default="fp32", choices=("fp32", "bf16", *also),
        help="; ".join([f"bf16 and int8 need {' or '.join(able)}" if also else f"bf16 needs {' or '.join(able)}",
                        *(more[name] for name in also)]) + " (%(default)s)",
    )  # fmt: skip
    return group


def add_measuring_arguments(group: argparse._ArgumentGroup) -> None:
    """Add the flags of programs that know --precision int8 and auto, and keep what they made."""
    group.add_argument(
        "--calibrate", metavar="LIST", help="videos (a list, or a folder) for --precision int8 and auto (those scored)"
    )
    group.add_argument(
        "--no_cache",
        action="store_true",
        help="make the network of the engine anew, and keep nothing in ~/.cache/nonlocal_video (NETWORK_CACHE_HOME)",
    )


def load_runtime(name: str, files: list[Path], precision: Precision, device: str = "cpu") -> Score:
    """Load exported files into an engine of `RUNTIMES`.

    Args:
        device: one of the kinds that the engine runs on.

    Raises:
        DeviceError: it cannot run them.
    """
    try:
        score = RUNTIMES[name].loader(files, precision, device)
    except VideoToolkitError:
        raise
    except Exception as error:
        raise DeviceError(f"{name} cannot load this network: {one_line(error)}") from error

    def checked(views: "np.ndarray") -> "Sequence[np.ndarray]":
        try:
            return score(views)
        except Exception as error:
            raise DeviceError(f"{name} cannot run this network: {one_line(error)}") from error

    return checked


def _load_openvino(files: list[Path], precision: Precision, device: str) -> Score:
    core = _openvino_core()
    has_bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == "bf16" and not has_bf16:
        raise DeviceError("--precision bf16: this processor cannot compute in bf16; use fp32")
    settings = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision != "fp32" and has_bf16 else "f32",  # what is not int8 too
        "INFERENCE_NUM_THREADS": computing_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    model = core.compile_model(core.read_model(str(files[0])), "CPU", settings)

    def score(views: "np.ndarray") -> "Sequence[np.ndarray]":
        found = model({INPUT_NAME: views})
        return [found[index] for index in range(len(model.outputs))]

    return score


@functools.cache
def _openvino_core() -> Any:
    """The one of this process, never let go.

    OpenVINO gives the thread that makes a core a stack for signals, and takes it away with the core: of two cores, the
    one that ends last puts the other's back, and the next signal ends the process (2026.4).
    Without its package of telemetry, which does not ask, it tells nobody that it was imported.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # as if it was not installed: OpenVINO has a stub for that
    import openvino

    return openvino.Core()


def _load_onnxruntime(files: list[Path], precision: Precision, device: str) -> Score:
    import onnxruntime

    providers: list[Any] = ["CPUExecutionProvider"]
    if device != "cpu":  # not run on a GPU
        if precision != "fp32":
            raise DeviceError(f"--precision {precision} with --engine onnxruntime needs a CPU: add --use_gpu false")
        if (cuda := "CUDAExecutionProvider") not in onnxruntime.get_available_providers():
            raise DeviceError("the installed ONNX Runtime is a CPU build: pip install onnxruntime-gpu in its place")
        providers = [(cuda, {"device_id": int(device.partition(":")[2] or 0), "use_tf32": 0}), *providers]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = computing_threads()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(files[0].read_bytes(), options, providers=providers)
    if device != "cpu" and cuda not in session.get_providers():  # it goes on without what it cannot load
        raise DeviceError("ONNX Runtime cannot use the GPU: its CUDA and cuDNN are other ones than it was built for")
    return lambda views: session.run(None, {INPUT_NAME: views})


def _load_paddle(files: list[Path], precision: Precision, device: str) -> Score:
    import paddle
    from paddle import inference

    settings = inference.Config(*map(str, files))
    if device == "cpu":
        settings.disable_gpu()
        if int(paddle.__version__.partition(".")[0]) >= 3:
            settings.enable_mkldnn()
            settings.set_mkldnn_cache_capacity(10)
        else:  # with its optimisations on, Paddle 2.6 computes a single small view wrong
            settings.switch_ir_optim(False)
        settings.set_cpu_math_library_num_threads(computing_threads())
    else:  # not run on a GPU
        settings.enable_use_gpu(100, int(device.partition(":")[2] or 0))  # MB at first; it grows
    settings.disable_glog_info()
    predictor = inference.create_predictor(settings)
    frames = predictor.get_input_handle(predictor.get_input_names()[0])
    outputs = [predictor.get_output_handle(name) for name in predictor.get_output_names()]

    def score(views: "np.ndarray") -> "Sequence[np.ndarray]":
        frames.copy_from_cpu(views)
        predictor.run()
        return [output.copy_to_cpu() for output in outputs]

    def first_score(views: "np.ndarray") -> "Sequence[np.ndarray]":
        nonlocal run
        run = score
        with quiet():  # it chooses its kernels, and prints how
            return score(views)

    run = first_score
    return lambda views: run(views)


# In the order of preference of 'auto': the fastest first.
RUNTIMES: dict[str, Runtime] = {
    "openvino": Runtime("openvino", "onnx", ("fp32", "bf16", "int8"), ("cpu",), _load_openvino),
    "onnxruntime": Runtime("onnxruntime", "onnx", ("fp32", "int8"), ("cpu", "gpu"), _load_onnxruntime),
    "paddle": Runtime("paddle", "paddle", ("fp32",), ("cpu", "gpu"), _load_paddle),
}
