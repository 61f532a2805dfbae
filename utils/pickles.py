"""Loads pickles as data: numbers, text, plain containers, NumPy arrays and PyTorch tensors. No code of a file runs."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from utils.errors import WeightsError
from utils.inert_pickles import PickleRecords, read_records, text_of_key
from utils.pickle_records import (
    ArrayRecord,
    BufferRecord,
    BytesRecord,
    DtypeRecord,
    ListRecord,
    ParameterRecord,
    Record,
    ScalarRecord,
    StorageIdentity,
    StorageRecord,
    TensorRecord,
)

_MAX_DEPTH = 50  # containers within containers
_DTYPE_CODE = re.compile(r"[<>|=]?[biufc](1|2|4|8|16)")
_MAX_DIMENSIONS = 32
_WITH_ARGUMENTS = (BufferRecord, ScalarRecord, DtypeRecord, BytesRecord, ListRecord, TensorRecord, ParameterRecord)

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
        self._encoded: dict[int, bytes] = {}
        self._done: dict[int, Any] = {}  # by id: what a pickle uses twice is made once

    def resolve(self, value: Any, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise ValueError("containers are nested too deeply")
        if not isinstance(value, (dict, list, tuple, Record)):
            return value if isinstance(value, (int, float, complex, str, bytes, bytearray, type(None))) else None
        if id(value) not in self._done:
            self._done[id(value)] = self._make(value, depth + 1)
        return self._done[id(value)]

    def _make(self, value: Any, depth: int) -> Any:
        if isinstance(value, dict):
            return {text_of_key(key): self.resolve(item, depth) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)([self.resolve(item, depth) for item in value])
        if isinstance(value, StorageRecord):
            return self._storage(value.arguments[0])
        if isinstance(value, ArrayRecord) and value.state is not None:
            _, shape, dtype, fortran, data = self.resolve(value.state, depth)
            return _array(data, dtype, shape, "F" if fortran else "C")
        is_known = isinstance(value, _WITH_ARGUMENTS)
        arguments = [self.resolve(argument, depth) for argument in value.arguments] if is_known else []
        if isinstance(value, BufferRecord):
            buffer, dtype, shape, order = arguments
            return _array(buffer, dtype, shape, "F" if order == "F" else "C")
        if isinstance(value, ScalarRecord):
            scalar = _array(arguments[1], arguments[0], (), "C")
            return None if scalar is None else scalar.item()
        if isinstance(value, DtypeRecord):
            return _dtype(arguments[0], value.state)
        if isinstance(value, ListRecord):
            return tuple(arguments[0]) if arguments and isinstance(arguments[0], (list, tuple)) else ()
        if isinstance(value, BytesRecord):
            return self._bytes(arguments[0]) if arguments else b""
        if isinstance(value, TensorRecord):
            return _strided(*arguments[:4])
        if isinstance(value, ParameterRecord):
            return arguments[0]
        return None

    def _bytes(self, text: Any) -> bytes:
        if not isinstance(text, str):
            raise ValueError("bytes made of something that is no text")
        if id(text) not in self._encoded:  # a text that is used often is encoded once
            self._encoded[id(text)] = text.encode("latin1")
        return self._encoded[id(text)]

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


def _dtype(code: Any, state: Any) -> np.dtype | None:
    """The type of an array's elements, None if they are no plain numbers."""
    code = code.decode("latin1") if isinstance(code, bytes) else code
    if not isinstance(code, str) or not _DTYPE_CODE.fullmatch(code):
        return None
    order = state[1] if isinstance(state, tuple) and len(state) > 1 else "="
    order = order.decode("latin1") if isinstance(order, bytes) else order
    dtype = np.dtype(code)
    return dtype.newbyteorder(order) if order in ("<", ">") else dtype


def _array(data: Any, dtype: Any, shape: Any, order: str) -> np.ndarray | None:
    """The array, None if its elements are no plain numbers (then it is of no use here)."""
    if dtype is None:
        return None
    if not isinstance(data, (bytes, bytearray)) or not isinstance(dtype, np.dtype):
        raise ValueError("an array without plain content")
    shape = _sizes(shape)
    if math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f"an array of shape {shape} and type {dtype} with {len(data)} bytes")
    return np.frombuffer(data, dtype).reshape(shape, order=order)


def _sizes(values: Any) -> tuple[int, ...]:
    """`values` as a tuple of sizes; checked before any of it is computed with or shown."""
    if not isinstance(values, (tuple, list)) or len(values) > _MAX_DIMENSIONS:
        raise ValueError("an array whose shape is no short list of sizes")
    if not all(type(value) is int and 0 <= value < 1 << 48 for value in values):
        raise ValueError("an array with a size that is no size")
    return tuple(values)


def _strided(storage: Any, offset: int, size: Any, stride: Any) -> np.ndarray:
    size, stride, (offset,) = _sizes(size), _sizes(stride), _sizes([offset])
    if not isinstance(storage, np.ndarray) or len(size) != len(stride):
        raise ValueError("a tensor without a storage")
    if 0 in size:
        return np.empty(size, storage.dtype)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if last >= storage.size or math.prod(size) > storage.size:
        raise ValueError(f"a tensor of size {size} reaches past its storage of {storage.size} elements")
    steps = tuple(step * storage.itemsize for step in stride)
    return np.lib.stride_tricks.as_strided(storage[offset:], size, steps, writeable=False)
