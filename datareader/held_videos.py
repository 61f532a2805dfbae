"""Videos that a program holds in memory, beside paths: arrays, pictures, tensors, the bytes of a file."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datareader.decoding.held_frames import HeldFrames
from datareader.filelist import FileList, named_videos
from datareader.label_text import NO_LABEL
from utils.errors import FileListError

_SHAPE = "uint8 (T, H, W, 3), RGB"
_LARGEST_SIDE = 16384  # pixels


class HeldVideos(FileList):
    """A list of videos of which some are in memory.

    Args:
        held: by their names in the list: the frames, or the file that bytes were written to.
    """

    def __init__(self, paths: list[str], held: dict[str, HeldFrames | Path]) -> None:
        super().__init__("", paths, np.full(len(paths), NO_LABEL, np.int64))
        self._held = held

    def locate(self, listed: str) -> Path | HeldFrames:
        """Return where a listed path is, or the frames of this name: `open_video` takes both."""
        return self._held.get(listed) or super().locate(listed)

    def unlabelled(self, paths: list[str]) -> FileList:
        """Return a list of some of its paths, in whatever order and number."""
        return HeldVideos(paths, self._held)

    def stamp(self, listed: str) -> list[int] | None:
        return None if listed in self._held else super().stamp(listed)


def videos_of(given: Any, *, folder: Path, frame_rate: float) -> FileList:
    """Return the list of what a caller gives as videos: one or several of

    - a path, of a file or of a folder;
    - frames, uint8 (T, H, W, 3), RGB: an array, or anything with ``__array__`` or ``__dlpack__`` (a tensor of Paddle or
      PyTorch in main memory);
    - a list of pictures, uint8 (H, W, 3) of one size: arrays, tensors, or those of Pillow;
    - the bytes of a video file, or such a file open for reading bytes.

    Args:
        folder: where the bytes are written for the decoder.
        frame_rate: frames a second of those that are in memory.

    Raises:
        FileListError: it is something else; or a folder holds no video.
    """
    if isinstance(given, FileList):
        return given
    items = given if _is_several(given) else [given]
    if all(isinstance(item, str | os.PathLike) for item in items):
        return named_videos([os.fspath(item) for item in items])
    paths: list[str] = []
    held: dict[str, HeldFrames | Path] = {}
    for number, item in enumerate(items):
        name = f"video {number}"
        if isinstance(item, str | os.PathLike):
            paths += named_videos([os.fspath(item)]).paths
            continue
        if isinstance(item, bytes | bytearray | memoryview) or hasattr(item, "read"):
            held[name] = _written(item, folder / f"video_{number}", name)
        else:
            held[name] = HeldFrames(name, _frames(item, name), frame_rate)
        paths.append(name)
    return HeldVideos(paths, held)


def _is_several(given: Any) -> bool:
    """Whether this is a sequence of videos, and not one video: a list of pictures is one."""
    if not isinstance(given, Sequence) or isinstance(given, str | bytes | bytearray | memoryview):
        return False
    return not given or not all(_is_picture(item) for item in given)


def _is_picture(item: Any) -> bool:
    return not isinstance(item, str | bytes | os.PathLike) and len(_shape(item)) in (2, 3)


def _shape(item: Any) -> tuple[int, ...]:
    """The shape of an array or tensor, or of a picture of Pillow; empty for anything else."""
    shape = getattr(item, "shape", None)
    if shape is None and hasattr(item, "__array_interface__"):  # Pillow
        shape = item.__array_interface__["shape"]
    try:
        return tuple(int(length) for length in shape)
    except (TypeError, ValueError):
        return ()


def _frames(item: Any, name: str) -> np.ndarray:
    if isinstance(item, Sequence):
        pictures = [_array(picture, name) for picture in item]
        sizes = sorted({picture.shape for picture in pictures})
        if len(sizes) != 1:
            raise FileListError(f"{name}: its pictures must have one size, and have {', '.join(map(str, sizes[:4]))}")
        array = np.stack(pictures)
    else:
        array = _array(item, name)
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[3] != 3 or 0 in array.shape:
        raise FileListError(f"{name}: is {array.dtype} {array.shape}, and must be {_SHAPE}")
    if max(array.shape[1:3]) > _LARGEST_SIDE:
        raise FileListError(f"{name}: frames of {array.shape[2]} x {array.shape[1]} pixels are too large")
    return array


def _array(item: Any, name: str) -> np.ndarray:
    """An array of what can become one, without a copy where this can be."""
    if not any(hasattr(item, attribute) for attribute in ("__array__", "__dlpack__", "__array_interface__")):
        kind = type(item).__name__
        raise FileListError(
            f"{name}: a {kind} is no video: give a path, {_SHAPE}, a list of pictures, or the bytes of a video file"
        )
    try:
        return (
            np.asarray(item)
            if hasattr(item, "__array__") or hasattr(item, "__array_interface__")
            else np.from_dlpack(item)
        )
    except Exception as error:  # whatever a tensor of another library says
        raise FileListError(f"{name}: cannot be read as an array ({error}): copy it to main memory first") from error


def _written(item: Any, path: Path, name: str) -> Path:
    """Write the bytes of a file where the decoder can open it; return the path."""
    content = item if isinstance(item, bytes | bytearray | memoryview) else item.read()
    if not isinstance(content, bytes | bytearray | memoryview):
        raise FileListError(f"{name}: an open file must give bytes; open it with 'rb'")
    path.write_bytes(content)
    return path
