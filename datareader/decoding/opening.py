"""Opens a video, and decodes wanted frames, each once and each brought to its final size as it comes."""

import contextlib
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from datareader.decoding.av_decoder import AvDecoder
from datareader.decoding.frame_folder import FrameFolder, is_frame_folder
from datareader.decoding.held_frames import HeldFrames, HeldVideo
from datareader.decoding.interface import FrameCountError, VideoDecoder
from datareader.decoding.parts import segment_of
from datareader.decoding.segment import SegmentOfVideo
from datareader.transforms import resize, resized_size
from utils.errors import VideoError, one_line


def open_video(path: Path | HeldFrames) -> VideoDecoder:
    """Open the video at `path`: a file, or a folder of pictures, or a part of one: see `parts`. Or frames in memory.

    Raises:
        VideoError: no regular file, no permission, no video stream, no decodable frame.
    """
    if isinstance(path, HeldFrames):
        return HeldVideo(path)
    if (part := segment_of(path)) is not None:
        return SegmentOfVideo(open_video(part[0]), path, part[1])
    is_folder = is_frame_folder(path)
    if not is_folder:
        require_regular_file(path)
    with errors_of_video(str(path)):
        return FrameFolder(path) if is_folder else AvDecoder(path)


@contextlib.contextmanager
def errors_of_video(name: str) -> Iterator[None]:
    """Turn whatever a decoder cannot cope with into a VideoError: it is the fault of its video, and stops no run."""
    try:
        yield
    except (VideoError, FrameCountError, MemoryError):
        raise
    except Exception as error:
        raise VideoError(f"{name}: cannot be decoded: {one_line(error)}") from error


def decode_frames(
    path: Path, choose_indices: Callable[[int], np.ndarray], *, short_side: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Open a video, decode the frames that `choose_indices(num_frames)` names, close it: see `choose_and_decode`."""
    video = open_video(path)
    try:
        return choose_and_decode(video, str(path), choose_indices, short_side=short_side)
    finally:
        video.close()


def choose_and_decode(
    video: VideoDecoder, name: str, choose_indices: Callable[[int], np.ndarray], *, short_side: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Decode, once each, the frames that `choose_indices(num_frames)` names.

    Args:
        short_side: pixels; the frames get the size that the first frame of the video has when its short side is this
            long. None: the size of the first frame.

    Returns:
        frames: the K unique frames in the order of time, uint8 (K, H, W, 3), RGB.
        order: the chosen indices as positions in `frames`, in the shape that `choose_indices` gave.
    """
    for _ in range(3):
        with errors_of_video(name):
            num_frames = video.num_frames
        indices = choose_indices(num_frames)
        unique, order = np.unique(indices, return_inverse=True)
        try:
            with errors_of_video(name):
                return decode(video, unique, short_side), order.reshape(indices.shape)
        except FrameCountError:
            continue
    raise VideoError(f"{name}: every attempt to decode it yields another number of frames")


def decode(
    video: VideoDecoder, indices: np.ndarray, short_side: int | None = None, *, go_on: bool = False
) -> np.ndarray:
    """Decode the frames `indices` (sorted, unique) to uint8 (K, H, W, 3): see `choose_and_decode`."""
    frames = None
    for place, picture in video.pictures(indices, go_on=go_on):
        if frames is None:
            size = video.first_size if short_side is None else resized_size(*video.first_size, short_side)
            frames = np.empty((len(indices), *size, 3), np.uint8)
        resize(picture, frames[place])
    return frames


def require_regular_file(path: Path) -> None:
    """Raise VideoError unless there is a regular file with something in it."""
    # Checked before a library opens it: opening a FIFO would wait for a writer for ever.
    try:
        status = path.stat()
    except OSError as error:
        raise VideoError(f"{path}: cannot be opened ({error.strerror})") from error
    if not stat.S_ISREG(status.st_mode):
        raise VideoError(f"{path}: not a regular file")
    if status.st_size == 0:
        raise VideoError(f"{path}: the file is empty")
