"""Opens a video with the decoder that was chosen, and decodes wanted frames, each once."""

import contextlib
import importlib
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from configs.schema import Decoder
from datareader.decoding.interface import FrameCountError, VideoDecoder
from utils.errors import VideoError, one_line

# Module and class of each; imported on first use.
DECODERS: dict[Decoder, tuple[str, str]] = {
    "av": ("av_decoder", "AvDecoder"),
    "decord": ("decord_decoder", "DecordDecoder"),
    "opencv": ("opencv_decoder", "OpenCVDecoder"),
}


def open_video(path: Path, decoder: Decoder = "av") -> VideoDecoder:
    """Open the video at `path` with the chosen decoder.

    Raises:
        VideoError: no regular file, no permission, no video stream, no decodable frame, or the decoder is not
            installed.
    """
    require_regular_file(path)
    module, name = DECODERS[decoder]
    with _errors_of_video(str(path)):
        return getattr(importlib.import_module(f"datareader.decoding.{module}"), name)(path)


@contextlib.contextmanager
def _errors_of_video(name: str) -> Iterator[None]:
    """Whatever a decoder cannot cope with is the fault of its video: it must not stop a run."""
    try:
        yield
    except (VideoError, FrameCountError, MemoryError):
        raise
    except Exception as error:
        raise VideoError(f"{name}: cannot be decoded: {one_line(error)}") from error


def decode_frames(
    path: Path, decoder: Decoder, choose_indices: Callable[[int], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Open a video, decode the frames that `choose_indices(num_frames)` names, close it: see `choose_and_decode`."""
    video = open_video(path, decoder)
    try:
        return choose_and_decode(video, str(path), choose_indices)
    finally:
        video.close()


def choose_and_decode(
    video: VideoDecoder, name: str, choose_indices: Callable[[int], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Decode, once each, the frames that `choose_indices(num_frames)` names.

    Returns:
        frames: the K unique frames in the order of time, uint8 (K, H, W, 3), RGB.
        order: the chosen indices as positions in `frames`, in the shape that `choose_indices` gave.
    """
    for _ in range(3):
        indices = choose_indices(video.num_frames)
        unique, order = np.unique(indices, return_inverse=True)
        try:
            with _errors_of_video(name):
                return video.get_frames(unique), order.reshape(indices.shape)
        except FrameCountError:
            continue
    raise VideoError(f"{name}: every attempt to decode it yields another number of frames")


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
