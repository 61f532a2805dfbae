"""From an exported network in float32 to one in int8: post-training quantisation by ONNX Runtime.

The inputs and the weights of the convolutions become int8, weights with a scale for each output channel. The products
of the non-local blocks, their softmax and the classifier stay in float32. The scales of the inputs follow from the
smallest and the largest value that a few views give.
"""

import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from engine.scoring.calibration import Calibration
from engine.scoring.runtimes import INPUT_NAME, RUNTIMES, load_runtime
from engine.scoring.view_scorer import ExportedScorer
from utils.errors import DeviceError, WeightsError, one_line
from utils.native_output import quiet
from utils.processor import has_vnni

_QUANTISED = ["Conv"]
_MOST_VIDEOS, _VIEWS_OF_EACH = 20, 5  # of a comparison


def quantise(source: Path, target: Path, views: Sequence[np.ndarray]) -> None:
    """Write the network of the ONNX file `source` to `target`, its convolutions in int8 (as QDQ: quantise, dequantise).

    Args:
        views: uint8 (3, T, H, W) each, to take the ranges from.

    Raises:
        DeviceError: ONNX Runtime's quantiser is not installed.
        WeightsError: it cannot quantise this network.
    """
    try:
        import onnxruntime
        from onnxruntime import quantization
    except ImportError as error:
        raise DeviceError(
            f"int8 needs ONNX Runtime and ml_dtypes ({error}): pip install -r requirements-engines.txt"
        ) from error

    class Views(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self._left: Iterator[np.ndarray] = iter(views)

        def get_next(self) -> dict[str, np.ndarray] | None:
            view = next(self._left, None)
            return None if view is None else {INPUT_NAME: view[None]}

    target.parent.mkdir(parents=True, exist_ok=True)
    plain = target.with_name(f"{target.name}.plain.onnx")
    try:
        with quiet():
            options = onnxruntime.SessionOptions()  # constants become weights, biases a part of their convolutions
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
            options.optimized_model_filepath = str(plain)
            options.log_severity_level = 3
            onnxruntime.InferenceSession(source.read_bytes(), options, providers=["CPUExecutionProvider"])
            quantization.quantize_static(
                str(plain),
                str(target),
                Views(),
                quant_format=quantization.QuantFormat.QDQ,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                per_channel=True,
                reduce_range=not has_vnni(),  # without these instructions sums of 8-bit products may overflow
                op_types_to_quantize=_QUANTISED,
            )
    except OSError:
        raise
    except Exception as error:
        raise WeightsError(f"{target}: the network cannot be quantised: {one_line(error)}") from error
    finally:
        plain.unlink(missing_ok=True)


def compare(plain: Path, quantised: Path, calibration: Calibration) -> list[str]:
    """Return lines that say how a quantised file differs from the one that it was made from, by engine.

    Both score views that the ranges were not taken from, in turns.

    Raises:
        DeviceError: an engine cannot run them.
        WeightsError: no view can be had.
    """
    lines = []
    for name, runtime in RUNTIMES.items():
        if "int8" not in runtime.precisions or not runtime.is_installed:
            continue
        scorers = [ExportedScorer(name, "fp32", load_runtime(name, [file], "fp32")) for file in (plain, quantised)]
        seconds: tuple[list[float], list[float]] = ([], [])
        same_views, same_videos, change, num_views = 0, 0, 0.0, 0
        num_videos = 0
        for views in calibration.others(most_videos=_MOST_VIDEOS, of_each=_VIEWS_OF_EACH):
            found = [np.concatenate([_timed(scorer, view, taken) for view in views])
                     for scorer, taken in zip(scorers, seconds, strict=True)]  # fmt: skip
            best = [rows.argmax(axis=1) for rows in found]
            same_views += int((best[0] == best[1]).sum())
            same_videos += int(found[0].mean(axis=0).argmax() == found[1].mean(axis=0).argmax())
            change = max(change, float(np.abs(found[0] - found[1]).max()))
            num_views += len(views)
            num_videos += 1
        if not num_views:
            raise WeightsError("no video of --calibrate can be read")
        times = [statistics.median(taken) for taken in seconds]
        lines.append(
            f"int8 in {name}: same best class in {same_views} of {num_views} views and {same_videos} of {num_videos} "
            f"videos; a probability changes by at most {change:.2g}; {1e3 * times[1]:.0f} ms a view, fp32 "
            f"{1e3 * times[0]:.0f} ms"
        )
    return lines


def _timed(scorer: ExportedScorer, view: np.ndarray, taken: list[float]) -> np.ndarray:
    started = time.perf_counter()
    found = scorer(view[None])
    taken.append(time.perf_counter() - started)
    return found
