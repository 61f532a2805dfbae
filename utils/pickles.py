"""Pickles as data: plain containers and NumPy arrays load, anything that could run code does not."""

import collections
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from utils.errors import WeightsError

try:  # NumPy 2 moved its internals; pickles carry either name.
    from numpy._core import multiarray, numeric
except ImportError:  # NumPy 1
    from numpy.core import multiarray, numeric


def _latin1_bytes(text: str, encoding: str) -> bytes:
    # Protocol 2 pickles written by Python 3 spell bytes as _codecs.encode(text, "latin1").
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"encoding {encoding!r} is not expected in a data file")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("builtins", "tuple"): tuple,
    ("__builtin__", "tuple"): tuple,
    ("_codecs", "encode"): _latin1_bytes,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}
for _module in ("numpy.core", "numpy._core"):
    _ALLOWED[(f"{_module}.multiarray", "_reconstruct")] = multiarray._reconstruct
    _ALLOWED[(f"{_module}.multiarray", "scalar")] = multiarray.scalar
    _ALLOWED[(f"{_module}.numeric", "_frombuffer")] = numeric._frombuffer


class _DataUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[(module, name)]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not data") from None


def load_data_pickle(path: Path) -> Any:
    """Read a pickle that holds only plain containers, numbers, strings and NumPy arrays.

    Python 2 byte strings are read as latin-1 text. No code of the file is run.

    Raises:
        WeightsError: the file cannot be opened, is no pickle, is cut off, or asks for anything else.
    """
    try:
        with open(path, "rb") as handle:
            return _DataUnpickler(handle, encoding="latin1").load()
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror})") from error
    except (
        pickle.UnpicklingError,
        EOFError,
        AttributeError,
        ImportError,
        IndexError,
        KeyError,
        MemoryError,
        OverflowError,
        TypeError,
        ValueError,
    ) as error:  # whatever bytes that are no pickle can provoke inside the unpickler
        raise WeightsError(f"{path}: not a readable weights file ({error or type(error).__name__})") from error
