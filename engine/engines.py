"""The engines that run an exported network on the CPU, and how each of them is loaded.

Legend: N views, T frames, H, W, K classes.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import paddle

from engine.exporting import INPUT_NAME, Format
from utils.errors import DeviceError, VideoToolkitError
from utils.logging import get_logger
from utils.native_output import quiet
from utils.processor import computing_threads, has_amx

Precision = Literal["fp32", "bf16"]
Score = Callable[[np.ndarray], np.ndarray]  # uint8 (N, 3, T, H, W) to float32 (N, K)


def load_engine(name: str, files: list[Path], precision: Precision) -> Score:
    """Load exported files into an engine of `ENGINES`.

    Raises:
        DeviceError: it cannot run them.
    """
    load = ENGINES[name][2]
    try:
        score = load(files, precision)
    except VideoToolkitError:
        raise
    except Exception as error:
        raise DeviceError(f"{name} cannot load this network: {_one_line(error)}") from error

    def checked(views: np.ndarray) -> np.ndarray:
        try:
            return score(views)
        except Exception as error:
            raise DeviceError(f"{name} cannot run this network: {_one_line(error)}") from error

    return checked


def _load_openvino(files: list[Path], precision: Precision) -> Score:
    import openvino

    core = openvino.Core()
    if precision == "bf16":
        if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise DeviceError("--precision bf16: this processor cannot compute in bf16; use fp32")
        if not has_amx():
            get_logger().warning("bf16 without AMX, which this processor lacks, may be slower than fp32")
    settings = {
        "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
        "INFERENCE_NUM_THREADS": computing_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    model = core.compile_model(core.read_model(str(files[0])), "CPU", settings)
    return lambda views: model({INPUT_NAME: views})[0]


def _load_onnxruntime(files: list[Path], precision: Precision) -> Score:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = computing_threads()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(files[0].read_bytes(), options, providers=["CPUExecutionProvider"])
    return lambda views: session.run(None, {INPUT_NAME: views})[0]


def _load_paddle(files: list[Path], precision: Precision) -> Score:
    from paddle import inference

    settings = inference.Config(*map(str, files))
    device = paddle.get_device()
    if device == "cpu":
        settings.disable_gpu()
        if int(paddle.__version__.partition(".")[0]) >= 3:
            settings.enable_mkldnn()
            settings.set_mkldnn_cache_capacity(10)
        else:  # optimised, 2.6 gets a single small view wrong
            settings.switch_ir_optim(False)
        settings.set_cpu_math_library_num_threads(computing_threads())
    else:  # not run on a GPU
        settings.enable_use_gpu(100, int(device.partition(":")[2] or 0))  # MB at first; it grows
    settings.disable_glog_info()
    predictor = inference.create_predictor(settings)
    frames = predictor.get_input_handle(predictor.get_input_names()[0])
    probabilities = predictor.get_output_handle(predictor.get_output_names()[0])

    def score(views: np.ndarray) -> np.ndarray:
        frames.copy_from_cpu(views)
        predictor.run()
        return probabilities.copy_to_cpu()

    def first_score(views: np.ndarray) -> np.ndarray:
        nonlocal run
        run = score
        with quiet():  # it chooses its kernels, and prints how
            return score(views)

    run = first_score
    return lambda views: run(views)


# Name to (package, format, how it is loaded), in the order of preference of 'auto': the fastest first.
ENGINES: dict[str, tuple[str, Format, Callable[[list[Path], Precision], Score]]] = {
    "openvino": ("openvino", "onnx", _load_openvino),
    "onnxruntime": ("onnxruntime", "onnx", _load_onnxruntime),
    "paddle": ("paddle", "paddle", _load_paddle),
}


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
