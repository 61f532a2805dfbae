"""A segment of a video as a video of its own: many samples of one long file, each reached by seeking."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from datareader.decoding.interface import VideoDecoder
from datareader.decoding.parts import Segment
from utils.errors import VideoError


class SegmentOfVideo:
    """The frames of a segment. See `VideoDecoder`; its frames count, and its times begin, with the segment.

    ==============================  ===========  =======
    25 frames a second, 10 s        segment      frames
    ==============================  ===========  =======
    a second of it                  2, 3         50 - 74
    it ends with the video          9, 12        225 - 249
    no frame begins in it           2.01, 2.02   50, which is shown then
    ==============================  ===========  =======

    Args:
        video: the whole one.
        path: of the segment, for errors.
    """

    def __init__(self, video: VideoDecoder, path: Path, segment: Segment) -> None:
        self._video = video
        self._path = path
        self._segment = segment

    @property
    def on_frame(self) -> Callable[[], None]:
        """Called for every frame that is decoded."""
        return self._video.on_frame

    @on_frame.setter
    def on_frame(self, call: Callable[[], None]) -> None:
        self._video.on_frame = call

    @property
    def num_frames(self) -> int:
        """The number of frames of the segment.

        Raises:
            VideoError: it has none.
        """
        first, stop = self._bounds()
        return stop - first

    @property
    def first_size(self) -> tuple[int, int]:
        """(height, width) of the first frame of the whole video."""
        return self._video.first_size

    @property
    def pixel_aspect(self) -> Fraction:
        """As of the whole video."""
        return self._video.pixel_aspect

    @property
    def frame_rate(self) -> float:
        """Frames a second of the whole video."""
        return self._video.frame_rate

    @property
    def times_seconds(self) -> np.ndarray:
        """When each frame is shown: seconds from the first of the segment, float64 (num_frames,)."""
        first, stop = self._bounds()
        times = self._video.times_seconds[first:stop]
        return times - times[0]

    @property
    def reads_on(self) -> bool:
        """As of the whole video."""
        return self._video.reads_on

    def pictures(self, indices: np.ndarray, *, go_on: bool = False) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (place in `indices`, picture)."""
        return self._video.pictures(indices + self._bounds()[0], go_on=go_on)

    def close(self) -> None:
        """Release the file."""
        self._video.close()

    def _bounds(self) -> tuple[int, int]:
        """The first frame, and the one after the last."""
        start, end = self._segment
        if start >= end:
            raise VideoError(f"{self._path}: a segment must end after it starts")
        if not self._video.num_frames:  # corrects the times, where it counts by decoding
            raise VideoError(f"{self._path}: no frame")
        times = self._video.times_seconds
        length = float(times[-1]) + self._frame_seconds(times)
        if start >= length:
            raise VideoError(f"{self._path}: starts behind the end of the video, which is {length:.2f} s long")
        nearly = min(self._frame_seconds(times), end - start) / 100  # containers round times
        first, stop = np.searchsorted(times, [start - nearly, end - nearly]).tolist()
        return (first, stop) if first < stop else (max(first - 1, 0), max(first, 1))

    def _frame_seconds(self, times: np.ndarray) -> float:
        return float(np.median(np.diff(times))) if len(times) > 1 else 1 / (self._video.frame_rate or 25.0)
