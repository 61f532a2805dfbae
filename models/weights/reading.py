"""What a weights file is, told from its content, and the arrays in it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.weights import paddle_fluid, pytorch, safetensors_file
from models.weights.dialects import KNOWN_FORMATS, Dialect, FileArrays, some
from models.weights.settings import settings_of
from utils.errors import WeightsError
from utils.pickles import load_data_pickle

# The keys under which files with other content keep the weights.
_INNER_KEYS = ("blobs", "model_state", "state_dict", "model_state_dict", "model")
_WEIGHT_SUFFIXES = (".pdparams", ".pkl", ".pth", ".pt", ".pyth", ".safetensors")


def read_weights(path: Path, dialects: Sequence[Dialect]) -> FileArrays:
    """Read the weights file, folder of Paddle 1.x variables, or archive of one, at `path`.

    Args:
        dialects: of a folder of variables those are read that a dialect knows; other files are read whole.

    Raises:
        WeightsError: it is damaged, or of no known format.
    """
    if path.is_dir():
        return _read_folder(path, dialects)
    try:
        with open(path, "rb") as handle:
            head = handle.read(512)
        if _is_archive(head):
            return FileArrays(str(path), "archive of Paddle 1.x variables", *paddle_fluid.read_archive(path, dialects))
        container, content = _read_content(path, head)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror})") from error
    return FileArrays(str(path), container, _arrays(content, path, container), settings=settings_of(content))


def _is_archive(head: bytes) -> bool:
    return head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ")) or head[257:262] == b"ustar"


def _read_folder(folder: Path, dialects: Sequence[Dialect]) -> FileArrays:
    arrays, others = paddle_fluid.read_folder(folder, dialects)
    if arrays:
        return FileArrays(str(folder), "Paddle 1.x folder", arrays, others)
    files = [file for file in sorted(folder.iterdir()) if file.suffix in _WEIGHT_SUFFIXES and file.is_file()]
    if len(files) == 1:
        return read_weights(files[0], dialects)
    found = some(file.name for file in sorted(folder.iterdir()))
    raise WeightsError(
        f"{folder}: this folder holds no checkpoint of this toolkit (no file 'latest'), no Paddle 1.x variables, and "
        f"{len(files)} weights files where one would do; found: {found}. Name a file of it. Known: {KNOWN_FORMATS}"
    )


def _read_content(path: Path, head: bytes) -> tuple[str, Any]:
    if not head:
        raise WeightsError(f"{path}: is empty")
    if head.startswith(b"PK\x03\x04"):
        return "PyTorch file", pytorch.read_zip(path)
    if pytorch.is_legacy(head):
        return "PyTorch file", pytorch.read_legacy(path)
    # Its first 8 bytes are the size of the JSON header; those of a pickle would be a size beyond any file.
    if path.suffix == ".safetensors" or (
        head[8:9] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size
    ):
        return "safetensors file", safetensors_file.read(path)
    if head.lstrip()[:1] == b"<":
        raise WeightsError(f"{path}: an HTML or XML page, not weights; the download brought an error page")
    if head.startswith(b"version https://git-lfs"):
        raise WeightsError(f"{path}: a Git LFS pointer, not the file itself; run 'git lfs pull'")
    if head.startswith(b"\x89HDF"):
        raise WeightsError(f"{path}: an HDF5 file. Known: {KNOWN_FORMATS}")
    if head[:4] == bytes(4) and path.stat().st_size >= 20:
        raise WeightsError(f"{path}: looks like one variable of Paddle 1.x; name the folder of all variables instead")
    return "pickle", load_data_pickle(path)


def _arrays(content: Any, path: Path, container: str) -> dict[str, np.ndarray]:
    while isinstance(content, dict):
        inner = next((content[key] for key in _INNER_KEYS if isinstance(content.get(key), dict)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: holds a {type(content).__name__}, not parameters by name")
    # Paddle saves tensors that lie deeper than one level as (name, array).
    pairs = {name: value[1] if _is_named(value) else value for name, value in content.items()}
    arrays = {str(name): value for name, value in pairs.items() if isinstance(value, np.ndarray)}
    if not arrays:
        raise WeightsError(
            f"{path}: a {container} with {some(content)}; none of its {len(content)} entries is an array"
        )
    return arrays


def _is_named(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], np.ndarray)
