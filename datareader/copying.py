"""A small copy of a video, in H.264 and mp4, in which the reader sees what it sees in the original.

- Frames, stream, orientation and mirroring are those that a player shows: they come from the reader itself.
- Colours are the reader's, 8 bits each, written in BT.601 of limited range, with the tags that say so. HDR is not
  tone-mapped, because the reader does not do it either; the tags of its transfer and its primaries are kept.
- Times count from the first frame on. Where a file states none, or none that ascend, frames follow at its mean rate.
- Damaged packets are passed over, as the reader does, and counted.
"""

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np

from datareader.decoding.av_decoder import AvDecoder
from datareader.decoding.opening import decode, open_video
from datareader.mp4_writer import Mp4Writer, ticks, usual_times
from utils.errors import VideoError

_OUTPUT_FAILURES = {errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EFBIG}
_CELLS = 16  # parts of a picture in each direction, by which pictures are compared


class Copied(NamedTuple):
    """What went into a copy."""

    num_frames: int
    num_damaged: int  # packets of the original that cannot be decoded


def target_size(width: int, height: int, short_side: int) -> tuple[int, int]:
    """Return (width, height) of the copy, both even: the short side is `short_side`, or as it is if it is smaller.

    >>> target_size(1920, 1080, 256), target_size(340, 256, 256), target_size(101, 200, 256)
    ((456, 256), (340, 256), (100, 200))
    """
    scale = min(short_side / min(width, height), 1.0)
    width, height = (max(2, 2 * round(side * scale / 2 - 1e-9)) for side in (width, height))
    return width, height


def write_copy(
    path: Path,
    target: Path,
    *,
    short_side: int,
    options: Mapping[str, str],
    comment: str,
    largest_difference: float | None = 6.0,
) -> Copied:
    """Write a copy of the video at `path` to `target`, without sound.

    Args:
        short_side: of the copy, pixels; a smaller video keeps its size.
        options: of x264.
        comment: is written into the file.
        largest_difference: the copy is read afterwards. It must have the same number of frames, and the means of
            16 x 16 parts of its first, middle and last picture may differ from the original's by this much on average
            (of 255). None: it is not read.

    Raises:
        VideoError: the video cannot be read, or the copy is not the same.
        OSError: the copy cannot be written.
    """
    source = AvDecoder(path)
    try:
        copy = _Copy(source, short_side)
        copy.write(target, options, comment)
    except (av.FFmpegError, ValueError) as error:
        if getattr(error, "errno", None) in _OUTPUT_FAILURES:
            raise OSError(error.errno, error.strerror) from error
        raise VideoError(f"{path}: cannot be copied ({getattr(error, 'strerror', None) or error})") from error
    finally:
        source.close()
    if largest_difference is not None:
        copy.verify(target, path, largest_difference)
    return Copied(copy.num_frames, copy.num_damaged)


def require_same_picture(
    path: Path, number: int, copy: np.ndarray, original: np.ndarray, largest_difference: float
) -> None:
    """Raise VideoError if two pictures differ by more than `largest_difference`: see `write_copy`."""
    difference = float(np.abs(_cells(copy) - _cells(original)).mean())
    if difference > largest_difference:
        raise VideoError(
            f"{path}: frame {number} of its copy is another picture: it differs by {difference:.1f} of 255, more than "
            f"{largest_difference:g}"
        )


class _Copy:
    """What is known of a copy while it is written."""

    def __init__(self, source: AvDecoder, short_side: int) -> None:
        self.num_frames = 0
        self.num_damaged = 0
        self._source = source
        self._size = target_size(*source.first_size[::-1], short_side)
        times = source.times_seconds if source.frame_rate else usual_times(source.num_frames)
        self._times = ticks(times, source.frame_rate)
        self._noted = {0, source.num_frames // 2, source.num_frames - 1}
        self._pictures: dict[int, np.ndarray] = {}  # of the original, by the number of the frame

    def write(self, target: Path, options: Mapping[str, str], comment: str) -> None:
        """Write all frames."""
        writer = Mp4Writer(
            target,
            self._size,
            frame_rate=self._source.frame_rate,
            options=options,
            comment=comment,
            pixel_aspect=self._source.pixel_aspect,
            transfer_of=self._source.codec_context,
        )
        with writer:
            for number, frame in enumerate(self._source.all_frames(on_damage=self._count_damaged)):
                picture = cv2.resize(self._source.to_rgb(frame), self._size, interpolation=cv2.INTER_AREA)
                if number in self._noted:
                    self._pictures[number] = picture
                last = len(self._times) - 1  # more frames than there are times follow tick by tick
                writer.write(picture, int(self._times[min(number, last)]) + max(number - last, 0))
                self.num_frames += 1
            if not self.num_frames:
                raise ValueError("no frame can be decoded")

    def verify(self, target: Path, path: Path, largest_difference: float) -> None:
        """Compare the copy with the original.

        Raises:
            VideoError: it is not the same.
        """
        video = open_video(target)
        try:
            if video.num_frames != self.num_frames:
                raise VideoError(f"{path}: its copy has {video.num_frames} frames instead of {self.num_frames}")
            numbers = np.array(sorted(self._pictures))
            for number, picture in zip(numbers.tolist(), decode(video, numbers), strict=True):
                require_same_picture(path, number, picture, self._pictures[number], largest_difference)
        finally:
            video.close()

    def _count_damaged(self) -> None:
        self.num_damaged += 1


def _cells(picture: np.ndarray) -> np.ndarray:
    """The mean colours of the parts of a picture, float32."""
    size = min(_CELLS, picture.shape[1]), min(_CELLS, picture.shape[0])
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.float32)
