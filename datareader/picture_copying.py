"""Smaller copies of the pictures of a folder, as jpg of the same names."""

from pathlib import Path

import cv2
import numpy as np

from datareader.copying import Copied, require_same_picture, target_size
from datareader.decoding.frame_folder import FrameFolder
from utils.errors import VideoError

_QUALITY = 95  # of jpg, as OpenCV has it


def write_picture_copies(
    folder: Path, target: Path, *, short_side: int, largest_difference: float | None = 6.0
) -> Copied:
    """Write copies of all pictures of `folder` into the folder `target`, which is made.

    A picture is turned as its EXIF tag says. One that cannot be read is an error, as it is for the reader: without it
    the frames after it would have other numbers.

    Args:
        short_side, largest_difference: see `write_copy`.

    Raises:
        VideoError: a picture cannot be read, two would have one name, or a copy is not the same.
        OSError: a copy cannot be written.
    """
    source = FrameFolder(folder)
    target.mkdir(parents=True)
    noted = {0, source.num_frames // 2, source.num_frames - 1}
    originals: dict[int, np.ndarray] = {}
    for number, picture in source.pictures(np.arange(source.num_frames)):
        size = target_size(picture.shape[1], picture.shape[0], short_side)
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        if number in noted:
            originals[number] = small
        bgr = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
        _, content = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        (target / f"{source.files[number].stem}.jpg").write_bytes(content.tobytes())
    if largest_difference is not None:
        copy = FrameFolder(target)
        if copy.num_frames != source.num_frames:
            raise VideoError(f"{folder}: its copy has {copy.num_frames} pictures instead of {source.num_frames}")
        numbers = np.array(sorted(originals))
        for place, picture in copy.pictures(numbers):
            number = int(numbers[place])
            require_same_picture(folder, number, picture, originals[number], largest_difference)
    return Copied(source.num_frames, 0)
