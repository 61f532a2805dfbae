"""PyTorch files, without PyTorch: what `torch.save` writes (since 1.6 a zip archive, before that a row of pickles)."""

import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from utils.errors import WeightsError, one_line
from utils.inert_pickles import read_records
from utils.pickle_records import StorageIdentity
from utils.pickles import resolve_records

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_MAX_PICKLE_BYTES = 32 << 20  # names and shapes; the values lie beside it


def read_zip(path: Path) -> Any:
    """Return what was saved, its tensors as arrays mapped from the file (float32 copies where they are bfloat16).

    Raises:
        WeightsError: no PyTorch archive, damaged, compressed, or with something in it that is not data.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: info for info in archive.infolist()}
            pickles = [name for name in members if name == "data.pkl" or name.endswith("/data.pkl")]
            if len(pickles) != 1:
                raise WeightsError(f"{path}: a zip archive, but not one that torch.save wrote (no data.pkl in it)")
            folder = pickles[0].removesuffix("data.pkl")
            if f"{folder}constants.pkl" in members:
                raise WeightsError(f"{path}: a TorchScript program, not weights; save its state_dict() with torch.save")
            order = members.get(f"{folder}byteorder")
            for info in filter(None, (members[pickles[0]], order)):
                # torch.save compresses nothing; a few compressed bytes could stand for any number.
                if info.compress_type != zipfile.ZIP_STORED or info.file_size > _MAX_PICKLE_BYTES:
                    raise WeightsError(f"{path}: its part {info.filename} is compressed, or too large")
            if order and archive.read(order) != b"little":
                raise WeightsError(f"{path}: written on a big-endian machine")
            with archive.open(pickles[0]) as handle:
                records = read_records(handle, path)
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise WeightsError(f"{path}: not a readable zip archive ({one_line(error)})") from error

    content = np.memmap(path, np.uint8, "r")
    return resolve_records(
        records, path, lambda identity: _mapped(content, members.get(f"{folder}data/{identity.key}"), identity)
    )


def _mapped(content: np.ndarray, info: zipfile.ZipInfo | None, identity: StorageIdentity) -> np.ndarray:
    if info is None:
        raise ValueError(f"its storage {identity.key!r} is missing")
    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"its storage {identity.key!r} is compressed")
    # The local header repeats the name and may have other extra fields than the central one.
    header = content[info.header_offset : info.header_offset + 30].tobytes()
    if len(header) < 30:
        raise ValueError(f"its storage {identity.key!r} lies past its end")
    name_length, extra_length = struct.unpack("<HH", header[26:30])
    start = info.header_offset + 30 + name_length + extra_length
    return _elements(content[start : start + info.file_size], identity)


def _elements(data: np.ndarray, identity: StorageIdentity) -> np.ndarray:
    if data.size != identity.num_elements * identity.dtype.itemsize:
        raise ValueError(
            f"its storage {identity.key!r} has {data.size} bytes, not {identity.num_elements} elements "
            f"of {identity.dtype}"
        )
    return data.view(identity.dtype)


def is_legacy(head: bytes) -> bool:
    """Whether a file that begins with `head` was written by `torch.save` before PyTorch 1.6."""
    return any(head.startswith(pickle.dumps(LEGACY_MAGIC, protocol)) for protocol in range(6))


def read_legacy(path: Path) -> Any:
    """Return what was saved in the older format: four pickles, the list of storages, and their elements.

    Raises:
        WeightsError: damaged, or with something in it that is not data.
    """
    with open(path, "rb") as handle:
        for _ in ("magic number", "protocol version"):
            read_records(handle, path)
        system = resolve_records(read_records(handle, path), path)
        if isinstance(system, dict) and system.get("little_endian") is False:
            raise WeightsError(f"{path}: written on a big-endian machine")
        records = read_records(handle, path)
        keys = resolve_records(read_records(handle, path), path)
        position = handle.tell()
    content = np.memmap(path, np.uint8, "r")
    identities = {identity.key: identity for identity in records.storages}
    storages = {}
    # Storage by storage, in the order listed: u64 number of elements, then the elements.
    for key in map(_text, keys if isinstance(keys, list) else []):
        if key in identities:
            num_bytes = identities[key].num_elements * identities[key].dtype.itemsize
            stated = int.from_bytes(content[position : position + 8].tobytes(), "little")
            if stated != identities[key].num_elements:
                raise WeightsError(f"{path}: not a readable weights file (its storage {key!r} has {stated} elements)")
            storages[key] = content[position + 8 : position + 8 + num_bytes]
            position += 8 + num_bytes
    return resolve_records(records, path, lambda identity: _elements(storages[identity.key], identity))


def _text(value: Any) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)
