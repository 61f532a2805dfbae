"""A folder of pictures as a video: data sets that come as extracted frames (Something-Something, HMDB51, UCF101)."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from utils.errors import VideoError

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
_FRAME_RATE = 25.0  # frames a second; pictures do not state it


class FrameFolder:
    """The pictures of a folder in natural order: ``frame_2.jpg`` before ``frame_10.jpg``. See `VideoDecoder`.

    Raises:
        VideoError: no picture is in it, or pictures of several kinds (such as img_00001.jpg and flow_x_00001.jpg).
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.on_frame: Callable[[], None] = lambda: None
        self.files = sorted(
            (file for file in path.iterdir() if is_picture(file.name)), key=lambda file: _natural(file.name)
        )
        if not self.files:
            raise VideoError(f"{path}: a folder without pictures ({' '.join(PICTURE_SUFFIXES)})")
        kinds = sorted({re.sub(r"\d+", "", file.stem) for file in self.files})
        if len(kinds) > 1:
            raise VideoError(
                f"{path}: holds pictures of several kinds, {', '.join(kind or 'numbers alone' for kind in kinds[:4])}: "
                "which are its frames? Leave one kind in it"
            )

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
    def frame_rate(self) -> float:
        """25: pictures do not state it."""
        return _FRAME_RATE

    @property
    def times_seconds(self) -> np.ndarray:
        """When each picture is shown at 25 frames a second: seconds, float64 (num_frames,)."""
        return np.arange(self.num_frames) / _FRAME_RATE

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
        picture = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None  # turned as its EXIF tag says
        if picture is None:
            raise VideoError(f"{file}: not a picture that OpenCV can read")
        return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def is_picture(name: str) -> bool:
    """Whether a file of this name is a picture that is shown; hidden files are none."""
    return name.lower().endswith(PICTURE_SUFFIXES) and not name.startswith(".")


def _natural(name: str) -> list[int | str]:
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]
