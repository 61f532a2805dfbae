"""A folder of pictures as a video: data sets that come as extracted frames (Something-Something, HMDB51, UCF101)."""

import itertools
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from datareader.decoding.parts import pictures_of
from utils.errors import VideoError

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
_FRAME_RATE = 25.0  # frames a second; pictures do not state it


class FrameFolder:
    """The pictures of a folder in natural order: ``frame_2.jpg`` before ``frame_10.jpg``. See `VideoDecoder`.

    Args:
        path: of a folder, or of a part of one.

    Raises:
        VideoError: no picture is in it, or pictures of several kinds (such as img_00001.jpg and flow_x_00001.jpg), or
            two with one number, or not those that are named.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.on_frame: Callable[[], None] = lambda: None
        self.folder, first, last, self.frame_rate = _parsed(path)
        self.files = _pictures_of(self.folder)
        if first is not None or last is not None:
            self.files = _between(self.folder, self.files, first, last)

    @property
    def num_frames(self) -> int:
        """The number of pictures."""
        return len(self.files)

    @property
    def first_size(self) -> tuple[int, int]:
        """(height, width) of the first picture."""
        height, width, _ = self._read(0).shape
        return height, width

    @property
    def pixel_aspect(self) -> Fraction:
        """1: pictures have square pixels."""
        return Fraction(1)

    @property
    def times_seconds(self) -> np.ndarray:
        """When each picture is shown at `frame_rate`: seconds, float64 (num_frames,)."""
        return np.arange(self.num_frames) / self.frame_rate

    @property
    def reads_on(self) -> bool:
        """False: any picture is as near as the next."""
        return False

    def pictures(self, indices: np.ndarray, *, go_on: bool = False) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (place in `indices`, picture): see `VideoDecoder`."""
        for place, index in enumerate(indices.tolist()):
            self.on_frame()
            yield place, self._read(index)

    def close(self) -> None:
        """Nothing is held between calls."""

    def _read(self, index: int) -> np.ndarray:
        file = self.files[index]
        try:
            content = np.frombuffer(file.read_bytes(), np.uint8)
        except OSError as error:
            raise VideoError(f"{file}: cannot be read ({error.strerror})") from error
        try:
            picture = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None  # turned as its EXIF tag says
        except cv2.error:  # larger than it takes
            picture = None
        if picture is None:
            raise VideoError(f"{file}: not a picture that OpenCV can read")
        return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def is_picture(name: str) -> bool:
    """Whether a file of this name is a picture that is shown; hidden files are none."""
    return name.lower().endswith(PICTURE_SUFFIXES) and not name.startswith(".")


def is_frame_folder(path: Path) -> bool:
    """Whether a path names a folder, or some of the pictures of something that is there."""
    part = pictures_of(path)
    return path.is_dir() or (part is not None and part[0].exists())


def stamp_of_folder(folder: Path) -> list[int]:
    """Return the size of all pictures together and the latest time (ns) at which one of them, or `folder`, changed."""
    states = [file.stat() for file in folder.iterdir() if is_picture(file.name)]
    return [
        sum(state.st_size for state in states),
        max(folder.stat().st_mtime_ns, *(state.st_mtime_ns for state in states), 0),
    ]


def _parsed(path: Path) -> tuple[Path, int | None, int | None, float]:
    """Folder, first, last, frames a second."""
    part = pictures_of(path)
    if part is None:
        return path, None, None, _FRAME_RATE
    folder, (first, last, rate) = part
    if not folder.is_dir():
        raise VideoError(f"{path}: first, last and fps are for folders of pictures, and {folder.name} is a file")
    if rate and not float(rate):
        raise VideoError(f"{path}: fps ({rate}) must be a positive number")
    return folder, int(first) if first else None, int(last) if last else None, float(rate or _FRAME_RATE)


def _pictures_of(folder: Path) -> list[Path]:
    files = sorted((file for file in folder.iterdir() if is_picture(file.name)), key=lambda file: _natural(file.stem))
    if not files:
        raise VideoError(f"{folder}: a folder without pictures ({' '.join(PICTURE_SUFFIXES)})")
    kinds = sorted({re.sub(r"\d+", "", file.stem) for file in files})
    if len(kinds) > 1:
        raise VideoError(
            f"{folder}: holds pictures of several kinds, {', '.join(kind or 'numbers alone' for kind in kinds[:4])}: "
            "which are its frames? Leave one kind in it"
        )
    for file, following in itertools.pairwise(files):
        if _natural(file.stem) == _natural(following.stem):
            raise VideoError(f"{folder}: {file.name} and {following.name} have one number: which is the frame?")
    return files


def _between(folder: Path, files: list[Path], first: int | None, last: int | None) -> list[Path]:
    """The pictures from number `first` to number `last`, which must be there."""
    numbers = [_number(file) for file in files]
    if None in numbers or sorted(set(numbers)) != numbers:
        raise VideoError(
            f"{folder}: the last numbers in the names of its pictures do not ascend: first and last need that"
        )
    for name, wanted in (("first", first), ("last", last)):
        if wanted is not None and wanted not in numbers:
            raise VideoError(
                f"{folder}: has no picture with the number {wanted} ({name}); its {len(files)} pictures are "
                f"{files[0].name} to {files[-1].name}"
            )
    start = 0 if first is None else numbers.index(first)
    stop = len(files) if last is None else numbers.index(last) + 1
    if stop <= start:
        raise VideoError(f"{folder}: last ({last}) is before first ({first})")
    return files[start:stop]


def _number(file: Path) -> int | None:
    found = re.findall(r"\d+", file.stem)
    return int(found[-1]) if found else None


def _natural(stem: str) -> list[float | str]:
    if re.fullmatch(r"\d+\.\d+", stem):  # a time
        return ["", float(stem), ""]
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", stem)]
