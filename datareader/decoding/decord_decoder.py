"""decord as a decoder. It has had no maintainer since 2022 and may never return from a damaged file: prefer PyAV."""

from pathlib import Path

import numpy as np

from datareader.decoding.av_decoder import AvDecoder
from datareader.decoding.interface import FrameCountError
from utils.errors import VideoError, one_line


class DecordDecoder:
    """A video opened with decord. See `VideoDecoder` for the interface."""

    def __init__(self, path: Path) -> None:
        try:
            import decord
        except ImportError as error:
            raise VideoError(f"{path}: decoder='decord' needs the package decord, which is not installed") from error
        # decord knows only the count that the container states; ours is that of a full decode.
        counter = AvDecoder(path)
        self.num_frames = counter.num_frames
        counter.close()
        self._path = path
        self._error = decord.DECORDError
        try:
            self._reader = decord.VideoReader(str(path), num_threads=1)
        except (decord.DECORDError, RuntimeError) as error:
            raise VideoError(f"{path}: not a video that decord can open ({one_line(error)})") from error

    def get_frames(self, indices: np.ndarray) -> np.ndarray:
        try:
            return self._reader.get_batch(indices.tolist()).asnumpy()
        except (self._error, IndexError, RuntimeError) as error:
            self._correct_count()
            raise VideoError(f"{self._path}: decord cannot decode it ({one_line(error)})") from error

    def _correct_count(self) -> None:
        counter = AvDecoder(self._path)
        counted = counter.count_by_decoding()
        counter.close()
        if 0 < counted < self.num_frames:
            self.num_frames = counted
            raise FrameCountError

    def close(self) -> None:
        self._reader = None
