"""Weights out: the released names, as a .pdparams pickle (what Paddle and this toolkit read) or as safetensors."""

import pickle
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from models.weights import safetensors_file
from models.weights.dialects import NamedWeights
from models.weights.nonlocal_dialects import released_names
from utils.atomic_file import atomic_write
from utils.errors import WeightsError


def released_values(weights: NamedWeights) -> dict[str, np.ndarray]:
    """The values of `weights` under the released names, a two-dimensional classifier as [channels, classes].

    Everything else keeps the shape of the file (for which network it is meant is not known here): 2D kernels stay 2D.

    Raises:
        WeightsError: a value is not made of floating-point numbers.
    """
    for neutral, value in weights.values.items():
        if value.dtype.kind != "f" or value.dtype.itemsize > 8:
            raise WeightsError(f"{weights.source}: {weights.file_names[neutral]} must be floating-point numbers")
    names = released_names(weights.values)
    values = {names[neutral]: value for neutral, value in weights.values.items()}
    if weights.head_is_out_in and "pred_w" in values and values["pred_w"].ndim == 2:
        values["pred_w"] = values["pred_w"].T
    return values


def write_weights(path: Path, values: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write `values` to `path`, atomically, in the format of its suffix.

    Safetensors carries `metadata` too, a .pdparams pickle only ``cfg`` of them: see `models/weights/settings.py`.

    Raises:
        WeightsError: the suffix is neither .pdparams nor .safetensors.
    """
    if path.suffix == ".safetensors":
        safetensors_file.write(path, values, metadata)
    elif path.suffix == ".pdparams":
        write_pickle(path, {**values, **{key: text for key, text in metadata.items() if key == "cfg"}})
    else:
        raise WeightsError(f"{path}: its suffix must be .pdparams or .safetensors")


def write_pickle(path: Path, values: Mapping[str, np.ndarray | str]) -> None:
    """Write {name: array} as Paddle 2 and 3 do, atomically; text stays text."""
    plain = {name: value if isinstance(value, str) else np.ascontiguousarray(value) for name, value in values.items()}
    with atomic_write(path) as handle:
        pickle.dump(plain, handle, protocol=4)
