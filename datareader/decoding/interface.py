"""What every decoder offers: the number of frames of a video, and wanted frames as RGB arrays."""

from typing import Protocol

import numpy as np


class FrameCountError(Exception):
    """Decoding showed another frame count than was known; the decoder's `num_frames` is right now."""


class VideoDecoder(Protocol):
    """An open video."""

    num_frames: int  # the number of frames that a full decode yields

    def get_frames(self, indices: np.ndarray) -> np.ndarray:
        """Decode the frames `indices` (sorted, unique, in [0, num_frames)) to uint8 (K, H, W, 3), RGB.

        Raises:
            FrameCountError: `num_frames` was corrected; choose the indices again.
            VideoError: the frames cannot be decoded.
        """

    def close(self) -> None:
        """Release the file."""
