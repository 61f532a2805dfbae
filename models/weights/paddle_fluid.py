"""Variables as Paddle 1.x saved them: one file for each, in a folder, named as the variable.

A file is: u32 version (0); u64 number of LoD levels, for each a u64 size and that many bytes; u32 tensor version (0);
i32 size of a TensorDesc protobuf (field 1 element type, field 2 dimensions); the elements, little-endian.
"""

import math
import struct
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np

from models.weights.dialects import Dialect, some
from utils.archives import tar_members
from utils.errors import WeightsError

_ELEMENTS = {0: "?", 1: "<i2", 2: "<i4", 3: "<i8", 4: "<f2", 5: "<f4", 6: "<f8", 20: "u1", 21: "i1"}
_MAX_LOD_LEVELS = 16
_MAX_DESCRIPTION_BYTES = 1024


def read_folder(folder: Path, dialects: Sequence[Dialect]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Read the variables in `folder` whose names are a parameter's in one of `dialects`.

    Returns:
        the arrays by name, and the names of other variables, optimiser state left out.

    Raises:
        WeightsError: a variable is damaged.
    """
    arrays, others = {}, []
    for path in sorted(folder.iterdir()):
        if path.is_file():
            with open(path, "rb") as handle:
                _read_or_note(path.name, handle, path.stat().st_size, str(path), dialects, arrays, others)
    return arrays, others


def read_archive(path: Path, dialects: Sequence[Dialect]) -> tuple[dict[str, np.ndarray], list[str]]:
    """As `read_folder`, from a tar archive, without unpacking it.

    Raises:
        WeightsError, ArchiveError: the archive or a variable in it is damaged, or there is none.
    """
    arrays: dict[str, np.ndarray] = {}
    others: list[str] = []
    names = []
    for member, content in tar_members(path):
        if content is not None:
            names.append(member.name)
            name = PurePosixPath(member.name).name
            _read_or_note(name, content, member.size, f"{path}: {member.name}", dialects, arrays, others)
    if not arrays and {"pickle", "storages", "tensors"} <= set(names):
        raise WeightsError(
            f"{path}: a PyTorch file in the form of before version 0.1.11; read it with PyTorch and save its "
            "state_dict() again"
        )
    if not arrays:
        raise WeightsError(f"{path}: an archive without Paddle 1.x variables; unpack it and name one of: {some(names)}")
    return arrays, others


def read_variable(handle: BinaryIO, size: int, source: str) -> np.ndarray:
    """Read one variable of `size` bytes from `handle`.

    Raises:
        WeightsError: it is cut off, damaged or of an unknown element type.
    """
    try:
        return _read_variable(handle, size)
    except (struct.error, ValueError) as error:
        raise WeightsError(f"{source}: not a whole Paddle 1.x variable ({error})") from error


def _read_or_note(
    name: str,
    handle: BinaryIO,
    size: int,
    source: str,
    dialects: Sequence[Dialect],
    arrays: dict[str, np.ndarray],
    others: list[str],
) -> None:
    if any(dialect.neutral_name(name) is not None for dialect in dialects):
        arrays[name] = read_variable(handle, size, source)
    elif not any(dialect.skips(name) for dialect in dialects):
        head = handle.read(20)  # version, no LoD levels, tensor version, size of the description
        if len(head) == 20 and head[:16] == bytes(16) and 0 < int.from_bytes(head[16:], "little") < 100:
            others.append(name)


def _read_variable(handle: BinaryIO, size: int) -> np.ndarray:
    (version, num_levels), used = struct.unpack("<IQ", handle.read(12)), 12
    if version != 0 or num_levels > _MAX_LOD_LEVELS:
        raise ValueError(f"version {version} with {num_levels} LoD levels")
    for _ in range(num_levels):
        (length,) = struct.unpack("<Q", handle.read(8))
        used += 8 + length
        if used > size:
            raise ValueError(f"a LoD level of {length} bytes in a file of {size}")
        handle.read(length)
    tensor_version, length = struct.unpack("<Ii", handle.read(8))
    used += 8 + length
    if tensor_version != 0 or not 0 < length <= _MAX_DESCRIPTION_BYTES:
        raise ValueError(f"tensor version {tensor_version} with a description of {length} bytes")
    element_type, shape = _read_description(handle.read(length))
    if element_type not in _ELEMENTS:
        raise ValueError(f"elements of type {element_type}")
    dtype = np.dtype(_ELEMENTS[element_type])
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != size - used:
        raise ValueError(f"shape {shape} and {size - used} bytes of elements")
    return np.frombuffer(handle.read(size - used), dtype).reshape(shape)


def _read_description(message: bytes) -> tuple[int, list[int]]:
    """Element type and dimensions of a TensorDesc, whose dimensions may be packed or not."""
    element_type, shape, position = -1, [], 0
    while position < len(message):
        key, position = _read_varint(message, position)
        if key == 0x08:
            element_type, position = _read_varint(message, position)
        elif key == 0x10:
            dimension, position = _read_varint(message, position)
            shape.append(dimension)
        elif key == 0x12:
            length, position = _read_varint(message, position)
            end = position + length
            while position < end:
                dimension, position = _read_varint(message, position)
                shape.append(dimension)
        else:
            raise ValueError(f"an unknown field {key >> 3} in its description")
    return element_type, shape


def _read_varint(message: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            raise ValueError("its description is cut off")
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value - (1 << 64) if value >> 63 else value, position
    raise ValueError("a number of more than 10 bytes in its description")
