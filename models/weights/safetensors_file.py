"""Files in the safetensors format: a JSON header and raw little-endian arrays. The library checks the header."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from utils.atomic_file import atomic_path
from utils.errors import WeightsError, one_line
from utils.pickles import bfloat16_to_float32

_ELEMENTS = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U8": "u1", "BOOL": "?",
}  # fmt: skip


def read(path: Path) -> dict[str, Any]:
    """Return the arrays of a file, mapped from it (float32 copies where they are bfloat16), under ``state_dict``.

    What its metadata say stands beside it.

    Raises:
        WeightsError: damaged.
    """
    try:
        with safe_open(path, framework="numpy"):
            pass  # the header is whole, and its arrays lie side by side within the file
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: not a readable safetensors file ({one_line(error)})") from error
    with open(path, "rb") as handle:
        (length,) = struct.unpack("<Q", handle.read(8))
        header = json.loads(handle.read(length))
    content = np.memmap(path, np.uint8, "r", offset=0)[8 + length :]
    arrays = {}
    for name, entry in header.items():
        if name == "__metadata__" or entry["dtype"] not in _ELEMENTS:
            continue  # no weight of this network has another type
        begin, end = entry["data_offsets"]
        values = np.frombuffer(content[begin:end], _ELEMENTS[entry["dtype"]]).reshape(entry["shape"])
        arrays[name] = bfloat16_to_float32(values) if entry["dtype"] == "BF16" else values
    return {**(header.get("__metadata__") or {}), "state_dict": arrays}


def write(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write `arrays` to `path`, atomically."""
    # A path may hold bytes that are no UTF-8, which JSON cannot.
    text = {key: value.encode("utf-8", "backslashreplace").decode() for key, value in metadata.items()}
    with atomic_path(path) as temporary:
        temporary.touch()
        usual = temporary.stat().st_mode  # what the user's umask says; the library makes its files 0600
        try:
            save_file({name: np.ascontiguousarray(value) for name, value in arrays.items()}, temporary, text)
        except SafetensorError as error:
            raise WeightsError(f"{path}: cannot be written ({one_line(error)})") from error
        temporary.chmod(usual)
