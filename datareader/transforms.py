"""Operations on pixels, uint8 RGB to uint8 RGB. Legend: K frames, T frames of a clip, S crop size, H, W."""

import cv2
import numpy as np


def resized_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Return (height, width) after a resize that makes the short side `short_side`; the other is rounded to nearest.

    >>> resized_size(256, 340, 256), resized_size(240, 320, 256), resized_size(1920, 1080, 300)
    ((256, 340), (256, 341), (533, 300))
    """
    if height <= width:
        return short_side, int(width * short_side / height + 0.5)
    return int(height * short_side / width + 0.5), short_side


def resize(picture: np.ndarray, out: np.ndarray) -> None:
    """Resize a picture (H, W, 3) bilinearly into `out`, which has the new height and width."""
    height, width = out.shape[:2]
    if picture.shape == out.shape:
        np.copyto(out, picture)
    else:
        cv2.resize(picture, (width, height), dst=out, interpolation=cv2.INTER_LINEAR)


def random_offset(length: int, size: int, draw: float) -> int:
    """Return an offset in [0, length - size], both ends included, from a `draw` that is uniform in [0, 1).

    >>> random_offset(256, 224, 0.0), random_offset(256, 224, 0.999), random_offset(224, 224, 0.7)
    (0, 32, 0)
    """
    return int(draw * (length - size + 1))


def centre_offsets(height: int, width: int, size: int) -> tuple[int, int]:
    """Return (top, left) of the centre crop, rounded down.

    >>> centre_offsets(256, 341, 256)
    (0, 42)
    """
    return (height - size) // 2, (width - size) // 2


def three_offsets(height: int, width: int, size: int) -> list[tuple[int, int]]:
    """Return (top, left) of three crops along the longer side: start, centre, end (twice the centre offset).

    Across the shorter side all three are centred.

    >>> three_offsets(256, 341, 256)
    [(0, 0), (0, 42), (0, 84)]
    >>> three_offsets(341, 256, 224)
    [(0, 16), (58, 16), (116, 16)]
    """
    top, left = centre_offsets(height, width, size)
    if height <= width:
        return [(top, 0), (top, left), (top, 2 * left)]
    return [(0, left), (top, left), (2 * top, left)]


def five_offsets(height: int, width: int, size: int) -> list[tuple[int, int]]:
    """Return (top, left) of the four corners and the centre, as MMAction2 and TSM have them: in steps of a quarter.

    >>> five_offsets(256, 341, 224)
    [(0, 0), (0, 116), (32, 0), (32, 116), (16, 58)]
    """
    down, right = (height - size) // 4, (width - size) // 4
    return [(down * y, right * x) for y, x in ((0, 0), (0, 4), (4, 0), (4, 4), (2, 2))]


def to_planes(frame: np.ndarray, *, mirror: bool = False) -> np.ndarray:
    """Turn (H, W, 3) into (3, H, W), mirrored left to right if `mirror` is set.

    Whole frames are split, not crops of them: OpenCV is twelve times as fast on rows without gaps, and a crop of a
    plane is then copied row by row.
    """
    planes = np.empty((3, *frame.shape[:2]), np.uint8)
    cv2.split(cv2.flip(frame, 1) if mirror else frame, list(planes))
    return planes


def crop(planes: np.ndarray, top: int, left: int, out: np.ndarray) -> None:
    """Copy the part of (3, H, W) that begins at (top, left) into `out` (3, height, width)."""
    height, width = out.shape[1:]
    out[:] = planes[:, top : top + height, left : left + width]
