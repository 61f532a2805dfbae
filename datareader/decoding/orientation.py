"""Turns and mirrors a picture as the display matrix of its file asks for, so that it is seen as a player shows it."""

from collections.abc import Sequence

import av
import numpy as np
from av.sidedata.sidedata import Type
from av.video.reformatter import VideoReformatter

_DEGENERATE = 0.01  # a matrix that squeezes the picture to less than this is no orientation


class Orientation:
    """How the pictures of one video are to be turned and mirrored."""

    def __init__(self) -> None:
        self._rotation: float | None = None  # degrees, of the frame that the matrix was read from
        self._matrix: list[int] | None = None

    def upright(self, picture: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
        """Return the picture of a frame as it is to be shown: (H, W, C), or (W, H, C) after a quarter turn."""
        if frame.rotation != self._rotation:
            self._rotation, self._matrix = frame.rotation, _matrix_of(frame)
        return picture if self._matrix is None else np.ascontiguousarray(turned(picture, self._matrix))

    @property
    def changes_places(self) -> bool:
        """Whether rows and columns of the last picture changed places."""
        if self._matrix is None:
            return False
        height, width, _ = turned(np.empty((1, 2, 0), np.uint8), self._matrix).shape
        return height > width

    def shown_size(self, frame: av.VideoFrame) -> tuple[int, int]:
        """(height, width) of a frame as it is to be shown."""
        height, width, _ = self.upright(np.empty((frame.height, frame.width, 0), np.uint8), frame).shape
        return height, width


def _matrix_of(frame: av.VideoFrame) -> list[int] | None:
    # Looking at its side data keeps a frame in memory until the next garbage collection: so of a tiny copy of it.
    tiny = VideoReformatter().reformat(frame, 16, 16, "rgb24", threads=1)
    matrix = tiny.side_data.get(Type.DISPLAYMATRIX)
    return None if matrix is None else np.frombuffer(matrix, np.int32).tolist()


def turned(picture: np.ndarray, matrix: Sequence[int]) -> np.ndarray:
    """Apply the nearest of the eight orientations to a picture (H, W, C); a view of it comes back.

    A point (x, y) of the picture is shown at (a x + c y, b x + d y), as ISO/IEC 14496-12, 6.2.2 says. Nothing is done
    if the matrix is zero or squeezes the picture into a line.

    ========  ========  ========  ========  =============================
    a         b         c         d         what is done
    ========  ========  ========  ========  =============================
    1         0         0         1         nothing
    -1        0         0         1         mirrored left to right
    1         0         0         -1        mirrored top to bottom
    -1        0         0         -1        half a turn
    0         1         -1        0         a quarter turn clockwise
    0         -1        1         0         a quarter turn anticlockwise
    0         1         1         0         rows and columns change places
    0         -1        -1        0         the same and half a turn
    ========  ========  ========  ========  =============================

    Args:
        matrix: a, b, u, c, d, v, x, y, w, as files hold them.
    """
    a, b, _, c, d = matrix[:5]
    if abs(a * d - b * c) <= _DEGENERATE * (a * a + b * b + c * c + d * d):
        return picture
    if abs(a * d) >= abs(b * c):
        right, down = a, d
    else:
        picture, right, down = picture.swapaxes(0, 1), c, b
    return picture[:: 1 if down > 0 else -1, :: 1 if right > 0 else -1]
