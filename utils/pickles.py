"""Pickles as data: numbers, text, plain containers, NumPy arrays and PyTorch tensors load; nothing in a file runs."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from utils.errors import WeightsError
from utils.inert_pickles import (
    ArrayRecord,
    BufferRecord,
    BytesRecord,
    DtypeRecord,
    ParameterRecord,
    PickleRecords,
    Record,
    ScalarRecord,
    StorageIdentity,
    TensorRecord,
    read_records,
    text_of_key,
)

_MAX_DEPTH = 50  # containers within containers
_DTYPE_CODE = re.compile(r"[<>|=]?([biufc](1|2|4|8|16)|[SU][0-9]{1,6})")

StorageReader = Callable[[StorageIdentity], np.ndarray]  # to its elements, flat


def load_data_pickle(path: Path) -> Any:
    """Read a pickle that holds only plain containers, numbers, text and NumPy arrays.

    Keys that are Python 2 byte strings become text. No code of the file is run.

    Raises:
        WeightsError: the file cannot be opened, is no pickle, is cut off, or asks for anything else.
    """
    try:
        with open(path, "rb") as handle:
            return resolve_records(read_records(handle, path), path)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror})") from error


def resolve_records(records: PickleRecords, source: object, read_storage: StorageReader | None = None) -> Any:
    """Make plain containers and arrays of what `read_records` returned.

    Args:
        read_storage: gives the elements of what lies outside of the pickle (the storages of PyTorch).

    Raises:
        WeightsError: sizes that do not agree, or nesting beyond reason.
    """
    try:
        return _Resolver(read_storage).resolve(records.root, 0)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, OverflowError) as error:
        raise WeightsError(f"{source}: not a readable weights file ({error})") from error


class _Resolver:
    def __init__(self, read_storage: StorageReader | None) -> None:
        self._read_storage = read_storage
        self._storages: dict[str, np.ndarray] = {}
        self._done: dict[int, Any] = {}  # by id: what a pickle uses twice is made once

    def resolve(self, value: Any, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise ValueError("containers are nested too deeply")
        if isinstance(value, StorageIdentity):
            return self._storage(value)
        if not isinstance(value, (dict, list, tuple, set, frozenset, Record)):
            return value if isinstance(value, (int, float, complex, str, bytes, bytearray, type(None))) else None
        if id(value) not in self._done:
            self._done[id(value)] = self._make(value, depth + 1)
        return self._done[id(value)]

    def _make(self, value: Any, depth: int) -> Any:
        if isinstance(value, dict):
            return {text_of_key(key): self.resolve(item, depth) for key, item in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return type(value)([self.resolve(item, depth) for item in value])
        if isinstance(value, ArrayRecord) and value.state is not None:
            _, shape, dtype, fortran, data = self.resolve(value.state, depth)
            return _array(data, dtype, shape, "F" if fortran else "C")
        arguments = [self.resolve(argument, depth) for argument in value.arguments] if _is_known(value) else []
        if isinstance(value, BufferRecord):
            buffer, dtype, shape, order = arguments
            return _array(buffer, dtype, shape, "F" if order == "F" else "C")
        if isinstance(value, ScalarRecord):
            return _array(arguments[1], arguments[0], (), "C").item()
        if isinstance(value, DtypeRecord):
            return _dtype(arguments[0], value.state)
        if isinstance(value, BytesRecord):
            return arguments[0].encode("latin1")
        if isinstance(value, TensorRecord):
            return _strided(*arguments[:4])
        if isinstance(value, ParameterRecord):
            return arguments[0]
        return None

    def _storage(self, identity: StorageIdentity) -> np.ndarray:
        if self._read_storage is None:
            raise ValueError("it refers to something outside of itself")
        if identity.key not in self._storages:
            elements = self._read_storage(identity)
            is_bfloat16 = identity.torch_name == "BFloat16Storage"
            self._storages[identity.key] = bfloat16_to_float32(elements) if is_bfloat16 else elements
        return self._storages[identity.key]


def bfloat16_to_float32(bits: np.ndarray) -> np.ndarray:
    """Values of bfloat16 numbers given as their bits (uint16, any shape)."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _is_known(value: Record) -> bool:
    return isinstance(value, (BufferRecord, ScalarRecord, DtypeRecord, BytesRecord, TensorRecord, ParameterRecord))


def _dtype(code: Any, state: Any) -> np.dtype:
    code = code.decode("latin1") if isinstance(code, bytes) else code
    if not isinstance(code, str) or not _DTYPE_CODE.fullmatch(code):
        raise ValueError(f"an array of type {code!r}, which is no plain number or text")
    order = state[1] if isinstance(state, tuple) and len(state) > 1 else "="
    order = order.decode("latin1") if isinstance(order, bytes) else order
    dtype = np.dtype(code)
    return dtype.newbyteorder(order) if order in ("<", ">") else dtype


def _array(data: Any, dtype: Any, shape: Any, order: str) -> np.ndarray:
    if not isinstance(data, (bytes, bytearray)) or not isinstance(dtype, np.dtype):
        raise ValueError("an array without plain content")
    shape = tuple(shape)
    if not all(isinstance(size, int) and size >= 0 for size in shape) or dtype.itemsize == 0:
        raise ValueError(f"an array of shape {shape}")
    if math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f"an array of shape {shape} and type {dtype} with {len(data)} bytes")
    return np.frombuffer(data, dtype).reshape(shape, order=order)


def _strided(storage: Any, offset: int, size: Any, stride: Any) -> np.ndarray:
    size, stride = tuple(size), tuple(stride)
    numbers = (offset, *size, *stride)
    if not isinstance(storage, np.ndarray) or len(size) != len(stride):
        raise ValueError("a tensor without a storage")
    if not all(isinstance(number, int) and number >= 0 for number in numbers):
        raise ValueError(f"a tensor of size {size} and stride {stride}")
    if 0 in size:
        return np.empty(size, storage.dtype)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if last >= storage.size or math.prod(size) > storage.size:
        raise ValueError(f"a tensor of size {size} reaches past its storage of {storage.size} elements")
    steps = tuple(step * storage.itemsize for step in stride)
    return np.lib.stride_tricks.as_strided(storage[offset:], size, steps, writeable=False)
