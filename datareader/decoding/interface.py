"""What every decoder offers: the number of frames of a video, and wanted frames as RGB pictures."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Protocol

import numpy as np


class FrameCountError(Exception):
    """Decoding showed another frame count than was known; the decoder's `num_frames` is right now."""


class VideoDecoder(Protocol):
    """An open video.

    Attributes:
        on_frame: called for every frame that is decoded, where this may take long.
    """

    on_frame: Callable[[], None]

    @property
    def num_frames(self) -> int:
        """The number of frames that a full decode yields."""

    @property
    def first_size(self) -> tuple[int, int]:
        """(height, width) of the first frame as it is shown."""

    @property
    def pixel_aspect(self) -> Fraction:
        """Width of a pixel of the first frame by its height, as a player shows it. Clips are made as if it were 1."""

    @property
    def frame_rate(self) -> float:
        """Frames a second on average, 0 if the file does not say."""

    @property
    def times_seconds(self) -> np.ndarray:
        """When each frame is shown: seconds from the first, float64 (num_frames,)."""

    @property
    def reads_on(self) -> bool:
        """Whether callers that move forward should say so: `go_on` of `pictures`."""

    def pictures(self, indices: np.ndarray, *, go_on: bool = False) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the frames `indices` (sorted, unique), one at a time, so that none has to be kept.

        Args:
            go_on: decoding goes on behind the frames of the last call, if these frames come later.

        Yields:
            place in `indices`, and the picture in its own size: uint8 (H, W, 3), RGB. In any order; if a picture turns
            out to be wrong, its place comes once more.

        Raises:
            FrameCountError: `num_frames` was corrected; choose the indices again.
            VideoError: the frames cannot be decoded.
        """

    def close(self) -> None:
        """Release the file."""
