"""Records that stand for the names in a pickle. They keep their arguments and state, and do nothing else."""

from dataclasses import dataclass
from typing import Any

import numpy as np

# What `torch.save` calls the element types of its storages. NumPy has no bfloat16, so its bits are read as uint16.
TORCH_STORAGES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "uint16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool", "UntypedStorage": "uint8", "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
}  # fmt: skip


@dataclass(frozen=True)
class StorageIdentity:
    """Elements that lie outside of the pickle: one storage of PyTorch."""

    key: str
    torch_name: str  # a key of TORCH_STORAGES
    num_elements: int

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(TORCH_STORAGES[self.torch_name])


class Record:
    """What a name of the pickle stands for: keeps what it is called with and what state it is given."""

    def __new__(cls, *arguments: Any, **_: Any) -> "Record":
        record = super().__new__(cls)
        record.arguments, record.state = arguments, None
        return record

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state


class ArrayRecord(Record):  # numpy.core.multiarray._reconstruct; what matters comes as state
    pass


class BufferRecord(Record):  # numpy.core.numeric._frombuffer(buffer, dtype, shape, order)
    pass


class ScalarRecord(Record):  # numpy.core.multiarray.scalar(dtype, bytes)
    pass


class DtypeRecord(Record):  # numpy.dtype(code, align, copy), byte order as state
    pass


class TensorRecord(Record):  # torch._utils._rebuild_tensor_v2(storage, offset, size, stride, ...)
    pass


class ParameterRecord(Record):  # torch._utils._rebuild_parameter(tensor, ...)
    pass


class BytesRecord(Record):  # _codecs.encode(text, "latin1"), or bytes(): bytes in protocol 2, as Python 3 writes them
    pass


class ListRecord(Record):  # tuple(...), set(...) or frozenset(...) of a list
    pass


class StorageRecord(Record):  # a persistent id
    pass


class _IgnoredRecord(Record):  # known to be harmless and of no use here; becomes None
    def append(self, item: Any) -> None:
        """Forget an item, of a deque for example."""

    extend = append


class _Dict(dict):  # collections.OrderedDict; PyTorch gives it a state, which is dropped
    def __init__(self, *_: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        pass


class StorageType(Record):
    torch_name = ""


_PATHS = ("Path", "PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath")
# Found in training checkpoints beside the weights, and of no use here: they become None.
_HARMLESS = {
    "argparse": ("Namespace",),
    "builtins": (
        "bytearray", "complex", "slice", "range", "object", "list", "dict", "int", "float", "str", "bool", "getattr",
    ),
    "collections": ("Counter", "defaultdict", "deque"),
    "mmengine.logging.history_buffer": ("HistoryBuffer", "HistoryBuffer.min", "HistoryBuffer.max",
        "HistoryBuffer.mean", "HistoryBuffer.current"),
    "datetime": ("date", "datetime", "time", "timedelta"),
    "pathlib": _PATHS,
    "pathlib._local": _PATHS,  # so Python 3.13 names them
    "torch": (
        "Size", "device", "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8",
        "bool",
    ),
    "torch._utils": ("_rebuild_tensor_v3", "_rebuild_parameter_with_state"),
    "torch._tensor": ("_rebuild_from_type_v2",),
}  # fmt: skip
RECORDS: dict[tuple[str, str], type] = {
    **{(module, name): _IgnoredRecord for module, names in _HARMLESS.items() for name in names},
    **{("__builtin__", name): _IgnoredRecord for name in _HARMLESS["builtins"]},
    ("collections", "OrderedDict"): _Dict,
    **{
        (module, plain): ListRecord for module in ("builtins", "__builtin__") for plain in ("tuple", "set", "frozenset")
    },
    ("_codecs", "encode"): BytesRecord,
    ("__builtin__", "bytes"): BytesRecord,
    ("builtins", "bytes"): BytesRecord,
    ("numpy", "ndarray"): _IgnoredRecord,
    ("numpy", "dtype"): DtypeRecord,
    ("torch._utils", "_rebuild_tensor"): TensorRecord,
    ("torch._utils", "_rebuild_tensor_v2"): TensorRecord,
    ("torch._utils", "_rebuild_parameter"): ParameterRecord,
    ("torch.nn.parameter", "Parameter"): ParameterRecord,
}
for _module in ("numpy.core", "numpy._core"):
    RECORDS[(f"{_module}.multiarray", "_reconstruct")] = ArrayRecord
    RECORDS[(f"{_module}.multiarray", "scalar")] = ScalarRecord
    RECORDS[(f"{_module}.numeric", "_frombuffer")] = BufferRecord
for _name in TORCH_STORAGES:
    RECORDS[("torch", _name)] = type(_name, (StorageType,), {"torch_name": _name})
RECORDS[("torch.storage", "UntypedStorage")] = RECORDS[("torch", "UntypedStorage")]
