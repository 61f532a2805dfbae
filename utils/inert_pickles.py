"""Reads pickles without running anything that they name.

A pickle can name functions to be called. Here each name is looked up in a short list of those that data files need, and
stands for a record that only keeps its arguments and state. `utils.pickles` makes arrays of the records afterwards.
The unpickler is the one written in Python: the one in C allocates as much memory as a hostile file asks for.
"""

import io
import pickle
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

from utils.errors import WeightsError
from utils.pickle_records import RECORDS, Record, StorageIdentity, StorageRecord, StorageType


@dataclass
class PickleRecords:
    """A pickle that was read, its arrays not yet made, and the storages it refers to."""

    root: Any
    storages: list[StorageIdentity]


_MAX_STEPS = 3_000_000  # a checkpoint of a large network with its optimiser has a tenth of it
_KEY_TYPES = (str, bytes, int, float, bool, type(None))


class _InertUnpickler(pickle._Unpickler):
    """Makes records, lists, tuples and dictionaries with plain keys.

    Only plain keys are ever hashed, since hashing a deep tuple crashes the interpreter and hashing a shared one may
    take for ever. So sets become lists, and items with other keys are dropped.
    """

    def __init__(self, handle: Any) -> None:
        super().__init__(handle, encoding="bytes")
        self.storages: list[StorageIdentity] = []
        self._steps = 0

    def find_class(self, module: str, name: str) -> Any:
        try:
            return RECORDS[(module, name)]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it asks for {module[:100]}.{name[:100]}, which is not data; of a whole network, save the "
                "state_dict() instead"
            ) from None

    def persistent_load(self, identity: Any) -> Any:
        """Note a storage: ('storage', type, key, device, number of elements), and in older files a sixth, None."""
        kind, storage_type, key, _, num_elements, *rest = identity
        is_type = isinstance(storage_type, type) and issubclass(storage_type, StorageType)
        is_size = type(num_elements) is int and 0 <= num_elements < 1 << 48
        if text_of_key(kind) != "storage" or not is_type or not is_size or any(rest):
            raise pickle.UnpicklingError("it refers to something outside of itself that is no tensor's storage")
        self.storages.append(StorageIdentity(str(text_of_key(key)), storage_type.torch_name, num_elements))
        return StorageRecord(self.storages[-1])

    def count_step(self) -> None:
        self._steps += 1
        if self._steps > _MAX_STEPS:
            raise pickle.UnpicklingError(f"more than {_MAX_STEPS} steps")

    def _load_bytearray(self) -> None:
        # Python's own sets aside (and clears) as many bytes as are announced before it reads them.
        (size,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(size)))

    def _load_dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._set_items(items)

    def _load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items([key, value])

    def _load_setitems(self) -> None:
        self._set_items(self.pop_mark())

    def _set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, (dict, Record)):
            raise pickle.UnpicklingError("items for something that is no dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if isinstance(target, dict) and type(key) in _KEY_TYPES:
                target[key] = value

    def _load_list_as_set(self) -> None:
        self.append([])

    def _load_additems(self) -> None:
        items = self.pop_mark()
        if not isinstance(self.stack[-1], list):
            raise pickle.UnpicklingError("members for something that is no set")
        self.stack[-1].extend(items)

    def _load_frozenset(self) -> None:
        members = self.pop_mark()  # before `self.append` is looked up: it changes with the stack
        self.append(members)


def _counted(step: Callable[[Any], None]) -> Callable[[Any], None]:
    def run(unpickler: _InertUnpickler) -> None:
        unpickler.count_step()
        step(unpickler)

    return run


_InertUnpickler.dispatch = {
    operation: _counted(step)
    for operation, step in {
        **pickle._Unpickler.dispatch,
        pickle.BYTEARRAY8[0]: _InertUnpickler._load_bytearray,
        pickle.DICT[0]: _InertUnpickler._load_dict,
        pickle.SETITEM[0]: _InertUnpickler._load_setitem,
        pickle.SETITEMS[0]: _InertUnpickler._load_setitems,
        pickle.EMPTY_SET[0]: _InertUnpickler._load_list_as_set,
        pickle.ADDITEMS[0]: _InertUnpickler._load_additems,
        pickle.FROZENSET[0]: _InertUnpickler._load_frozenset,
    }.items()
}


class _BoundedReader:
    """A file that refuses to read past its end, so that a made-up length costs nothing."""

    def __init__(self, handle: BinaryIO) -> None:
        self._handle = handle
        start = handle.tell()
        self._left = handle.seek(0, io.SEEK_END) - start
        handle.seek(start)

    def read(self, size: int) -> bytes:
        if not 0 <= size <= self._left:
            raise EOFError(f"it is cut off: {size} bytes announced, {self._left} there")
        self._left -= size
        return self._handle.read(size)

    def readinto(self, buffer: Any) -> int:
        content = self.read(len(buffer))
        buffer[:] = content
        return len(content)

    def readline(self) -> bytes:
        line = self._handle.readline()
        self._left -= len(line)
        return line


def read_records(handle: BinaryIO, source: object) -> PickleRecords:
    """Read one pickle from `handle`, which then stands behind it.

    Raises:
        WeightsError: as `load_data_pickle`; `source` names the file.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # odd escapes in the text of a damaged file
            unpickler = _InertUnpickler(_BoundedReader(handle))
            return PickleRecords(unpickler.load(), unpickler.storages)
    except (
        pickle.UnpicklingError,
        EOFError,
        AttributeError,
        ImportError,
        IndexError,
        KeyError,
        MemoryError,
        OverflowError,
        RecursionError,
        struct.error,
        TypeError,
        ValueError,
    ) as error:  # whatever bytes that are no pickle can provoke inside the unpickler
        reason = str(error) if not isinstance(error, KeyError) else "not a pickle"
        raise WeightsError(f"{source}: not a readable weights file ({reason or type(error).__name__})") from error


def text_of_key(key: Any) -> Any:
    """A key of a dictionary as text; whole numbers stay what they are."""
    if isinstance(key, bytes):
        return key.decode("latin1")
    if type(key) is int and abs(key) < 1 << 63:
        return key
    return key if type(key) is str else type(key).__name__
