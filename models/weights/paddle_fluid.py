"""Variables as Paddle 1.x saved them: one file for each, in a folder, named as the variable.

A file is: u32 version (0); u64 number of LoD levels, for each u64 its bytes and they; u32 tensor version (0); i32 size
of a TensorDesc protobuf (field 1 element type, field 2 dimensions); the elements, little-endian.
"""

import io
import math
import re
import struct
import tarfile
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np

from models.weights.names import RELEASED, some
from utils.errors import WeightsError

_ELEMENTS = {0: "?", 1: "<i2", 2: "<i4", 3: "<i8", 4: "<f2", 5: "<f4", 6: "<f8", 20: "u1", 21: "i1"}
_MAX_VARIABLE_BYTES = 1 << 30  # in an archive, where a few compressed bytes can stand for any number
_MAX_LOD_LEVELS = 16
_MAX_DESCRIPTION_BYTES = 1024


def is_wanted(name: str) -> bool:
    """Whether a variable of this name can belong to the network (else it need not be read)."""
    return RELEASED.neutral_name(name) is not None or not re.fullmatch(RELEASED.skipped, name)


def read_folder(folder: Path) -> dict[str, np.ndarray]:
    """Read every variable in `folder` but those of optimisers; other files are passed over.

    Raises:
        WeightsError: a file with a parameter's name is damaged.
    """
    arrays = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and is_wanted(path.name):
            with open(path, "rb") as handle:
                _add(arrays, path.name, handle, path.stat().st_size, str(path))
    return arrays


def read_archive(path: Path) -> dict[str, np.ndarray]:
    """Read every variable in a tar archive, compressed or not, without unpacking it.

    Raises:
        WeightsError: the archive or a variable in it is damaged.
    """
    arrays: dict[str, np.ndarray] = {}
    names = []
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = PurePosixPath(member.name).name
                names += [member.name] if member.isreg() else []
                if member.size > _MAX_VARIABLE_BYTES:
                    raise WeightsError(f"{path}: {member.name} would have {member.size} bytes")
                if member.isreg() and is_wanted(name):
                    _add(arrays, name, archive.extractfile(member), member.size, f"{path}: {member.name}")
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise WeightsError(f"{path}: not a readable archive ({error})") from error
    if not arrays:
        raise WeightsError(f"{path}: an archive without Paddle 1.x variables; unpack it and name one of: {some(names)}")
    return arrays


def read_variable(handle: BinaryIO, size: int, source: str) -> np.ndarray:
    """Read one variable of `size` bytes from `handle`.

    Raises:
        WeightsError: it is cut off, damaged or of an unknown element type.
    """
    try:
        return _read_variable(handle, size)
    except (struct.error, ValueError) as error:
        raise WeightsError(f"{source}: not a whole Paddle 1.x variable ({error})") from error


def _add(arrays: dict[str, np.ndarray], name: str, handle: BinaryIO, size: int, source: str) -> None:
    if RELEASED.neutral_name(name) is None:  # whatever else lies there: read it only if it looks like a variable
        head = handle.read(16)
        if len(head) < 16 or head[:4] != bytes(4) or head[12:16] != bytes(4):
            return
        handle = io.BytesIO(head + handle.read(size - 16))
    arrays[name] = read_variable(handle, size, source)


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
