"""Weight files of other systems, written byte by byte after the descriptions of their formats.

Nothing here uses the code under test, NumPy's own pickling, PyTorch or safetensors.
"""

import json
import struct
import zipfile

import numpy as np

# --- Paddle 1.x: one file per variable ---------------------------------------------------------------------------


def varint(number):
    number &= (1 << 64) - 1
    out = b""
    while True:
        out += bytes([number & 0x7F | (0x80 if number > 0x7F else 0)])
        number >>= 7
        if not number:
            return out


def fluid_variable(array, *, packed=False, lod=(), element_type=5):
    dims = b"".join(varint(size) for size in array.shape)
    apart = b"".join(b"\x10" + varint(size) for size in array.shape)
    dims = b"\x12" + varint(len(dims)) + dims if packed else apart
    description = b"\x08" + varint(element_type) + dims
    levels = b"".join(struct.pack("<Q", 8 * len(level)) + struct.pack(f"<{len(level)}Q", *level) for level in lod)
    head = struct.pack("<IQ", 0, len(lod)) + levels + struct.pack("<Ii", 0, len(description)) + description
    return head + np.ascontiguousarray(array).tobytes()


def write_fluid_folder(folder, arrays, **options):
    folder.mkdir(parents=True)
    for name, array in arrays.items():
        (folder / name).write_bytes(fluid_variable(array, **options))
    return folder


# --- Pickles, as Python 2 with NumPy 1 wrote them ----------------------------------------------------------------


def _string2(data):  # BINSTRING: a byte string of Python 2
    return b"U" + bytes([len(data)]) + data if len(data) < 256 else b"T" + struct.pack("<i", len(data)) + data


def _integer2(number):
    return b"K" + bytes([number]) if number < 256 else b"J" + struct.pack("<i", number)


def _tuple2(*items):
    return b"(" + b"".join(items) + b"t"


_CODES = {"float32": (b"f4", b"<"), "float64": (b"f8", b"<"), "int64": (b"i8", b"<"), "int32": (b"i4", b"<")}


def _array2(array):
    code, order = _CODES[array.dtype.name]
    dtype = b"cnumpy\ndtype\n" + _tuple2(_string2(code), _integer2(0), _integer2(1)) + b"R"
    minus = b"J" + struct.pack("<i", -1)
    dtype += _tuple2(_integer2(3), _string2(order), b"N", b"N", b"N", minus, minus, _integer2(0)) + b"b"
    shell = b"cnumpy.core.multiarray\n_reconstruct\n" + _tuple2(
        b"cnumpy\nndarray\n", _tuple2(_integer2(0)), _string2(b"b")
    )
    shape = _tuple2(*(_integer2(size) for size in array.shape))
    state = _tuple2(_integer2(1), shape, dtype, b"\x89", _string2(np.ascontiguousarray(array).tobytes()))
    return shell + b"R" + state + b"b"


def _value2(value):
    if isinstance(value, dict):
        items = b"".join(_string2(key.encode()) + _value2(item) for key, item in value.items())
        return b"}(" + items + b"u"
    if isinstance(value, np.ndarray):
        return _array2(value)
    if isinstance(value, str):
        return _string2(value.encode())
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    return _integer2(value)


def python2_pickle(value):
    """Protocol 2."""
    return b"\x80\x02" + _value2(value) + b"."


def _string0(data):
    return b"S" + repr(data)[1:].encode() + b"\n"  # repr of a Python 2 string: that of bytes without its b


def _value0(value):
    if isinstance(value, dict):
        return b"(d" + b"".join(_string0(key.encode()) + _value0(item) + b"s" for key, item in value.items())
    if isinstance(value, float):
        return b"F" + repr(value).encode() + b"\n"
    if isinstance(value, int):
        return b"I" + str(value).encode() + b"\n"
    code, order = _CODES[value.dtype.name]
    dtype = b"cnumpy\ndtype\n(" + _string0(code) + b"I0\nI1\ntR"
    dtype += b"(I3\n" + _string0(order) + b"NNNI-1\nI-1\nI0\ntb"
    shape = b"(" + b"".join(b"I%d\n" % size for size in value.shape) + b"t"
    shell = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\nt" + _string0(b"b") + b"tR"
    return shell + b"(I1\n" + shape + dtype + b"I00\n" + _string0(np.ascontiguousarray(value).tobytes()) + b"tb"


def python2_pickle_protocol_0(value):
    return _value0(value) + b"."


# --- PyTorch -----------------------------------------------------------------------------------------------------

STORAGES = {
    "float32": "FloatStorage", "float64": "DoubleStorage", "float16": "HalfStorage", "int64": "LongStorage",
    "uint16": "BFloat16Storage",  # the bits
}  # fmt: skip


def _text3(text):
    return b"X" + struct.pack("<I", len(text.encode())) + text.encode()


def _integer3(number):
    return b"K" + bytes([number]) if 0 <= number < 256 else b"J" + struct.pack("<i", number)


def _tuple3(*items):
    return b"(" + b"".join(items) + b"t"


def _tensor3(array, key, legacy):
    strides = [int(np.prod(array.shape[axis + 1 :])) for axis in range(array.ndim)]
    view = [b"N"] if legacy else []
    storage = _tuple3(
        _text3("storage"), f"ctorch\n{STORAGES[array.dtype.name]}\n".encode(), _text3(key), _text3("cuda:0"),
        _integer3(array.size), *view,
    ) + b"Q"  # fmt: skip
    arguments = _tuple3(
        storage, _integer3(0), _tuple3(*map(_integer3, array.shape)), _tuple3(*map(_integer3, strides)), b"\x89",
        b"ccollections\nOrderedDict\n" + _tuple3() + b"R",
    )  # fmt: skip
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"R"


def _state_dict3(content, storages, legacy):
    """An OrderedDict with the `_metadata` that PyTorch hangs on; nested dictionaries plain."""
    out = b"ccollections\nOrderedDict\n" + _tuple3() + b"R("
    for name, value in content.items():
        out += _text3(name)
        if isinstance(value, dict):
            out += _state_dict3(value, storages, legacy)
        elif isinstance(value, np.ndarray):
            storages.append(value)
            out += _tensor3(value, str(len(storages) - 1), legacy)
        elif isinstance(value, str):
            out += _text3(value)
        elif isinstance(value, bytes):  # as it stands in a pickle
            out += value
        else:
            out += _integer3(value)
    metadata = b"ccollections\nOrderedDict\n" + _tuple3() + b"R"
    return out + b"u" + b"}(" + _text3("_metadata") + metadata + b"u" + b"b"


def write_torch_zip(path, content, *, folder="archive", compression=zipfile.ZIP_STORED):
    storages = []
    pickled = b"\x80\x02" + _state_dict3(content, storages, False) + b"."
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr(f"{folder}/data.pkl", pickled)
        archive.writestr(f"{folder}/byteorder", "little")
        for number, array in enumerate(storages):
            archive.writestr(f"{folder}/data/{number}", np.ascontiguousarray(array).tobytes())
        archive.writestr(f"{folder}/version", "3\n")
    return path


def write_torch_legacy(path, content):
    storages = []
    pickled = b"\x80\x02" + _state_dict3(content, storages, True) + b"."
    magic = b"\x80\x02\x8a\x0a" + (0x1950A86A20F9469CFC6C).to_bytes(10, "little") + b"."
    protocol = b"\x80\x02M" + struct.pack("<H", 1001) + b"."
    system = b"\x80\x02}(" + _text3("little_endian") + b"\x88" + _text3("protocol_version") + _integer3(1001) + b"u."
    keys = b"\x80\x02](" + b"".join(_text3(str(number)) for number in range(len(storages))) + b"e."
    elements = b"".join(struct.pack("<q", array.size) + np.ascontiguousarray(array).tobytes() for array in storages)
    path.write_bytes(magic + protocol + system + pickled + keys + elements)
    return path


# --- safetensors -------------------------------------------------------------------------------------------------


def safetensors_bytes(arrays, dtypes=None, *, header_multiple=8):
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, array in arrays.items():
        raw = np.ascontiguousarray(array).tobytes()
        dtype = (dtypes or {}).get(name, {"float32": "F32", "float16": "F16", "int64": "I64"}.get(array.dtype.name))
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % header_multiple)
    return struct.pack("<Q", len(text)) + text + data
