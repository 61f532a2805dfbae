"""One interface to the video decoders: the number of frames, and wanted frames as RGB arrays."""

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from utils.errors import VideoError

Backend = Literal["av", "decord", "opencv"]


class FrameCountError(Exception):
    """Decoding showed another frame count than was known; the decoder's `num_frames` is right now."""


class VideoDecoder(Protocol):
    """An open video."""

    num_frames: int  # the number of frames that a full decode yields

    def get_frames(self, indices: np.ndarray) -> np.ndarray:
        """Decode the frames `indices` (sorted, unique, in [0, num_frames)) to uint8 (K, H, W, 3), RGB.

        Raises:
            FrameCountError: `num_frames` was corrected; choose indices anew.
            VideoError: the frames cannot be decoded.
        """

    def close(self) -> None:
        """Release the file."""


def open_video(path: Path, backend: Backend = "av") -> VideoDecoder:
    """Open the video at `path` with the chosen decoder (imported here, on first use).

    Raises:
        VideoError: no regular file, no permission, no video stream, no decodable frame, or the decoder is not
            installed.
    """
    require_regular_file(path)
    if backend == "av":
        from datareader.decoder_av import AvDecoder

        return AvDecoder(path)
    if backend == "decord":
        from datareader.decoder_decord import DecordDecoder

        return DecordDecoder(path)
    from datareader.decoder_opencv import OpenCVDecoder

    return OpenCVDecoder(path)


def decode_frames(
    path: Path, backend: Backend, choose_indices: Callable[[int], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Open a video, decode the frames that `choose_indices(num_frames)` names, close it: see `choose_and_decode`."""
    video = open_video(path, backend)
    try:
        return choose_and_decode(video, str(path), choose_indices)
    finally:
        video.close()


def choose_and_decode(
    video: VideoDecoder, name: str, choose_indices: Callable[[int], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Decode, once each, the frames that `choose_indices(num_frames)` names.

    Returns:
        frames: uint8 (K, H, W, 3), RGB, the K unique frames in the order of time.
        order: the chosen indices as positions in `frames`, same shape as `choose_indices` gave.
    """
    for _ in range(3):
        indices = choose_indices(video.num_frames)
        unique, order = np.unique(indices, return_inverse=True)
        try:
            return video.get_frames(unique), order.reshape(indices.shape)
        except FrameCountError:
            continue
    raise VideoError(f"{name}: every attempt to decode it yields another number of frames")


def require_regular_file(path: Path) -> None:
    """Raise VideoError unless there is a regular file with something in it."""
    # Checked before any library opens it: opening a FIFO would wait for a writer for ever.
    try:
        status = path.stat()
    except OSError as error:
        raise VideoError(f"{path}: cannot be opened ({error.strerror})") from error
    if not stat.S_ISREG(status.st_mode):
        raise VideoError(f"{path}: not a regular file")
    if status.st_size == 0:
        raise VideoError(f"{path}: the file is empty")
