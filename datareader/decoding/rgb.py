"""From a decoded frame to the picture that a player shows."""

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from datareader.decoding.orientation import Orientation


class RgbConverter:
    """Converts the frames of one video."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()  # one for all frames: making one takes longer than using it
        self._orientation = Orientation()

    def to_rgb(self, frame: av.VideoFrame) -> np.ndarray:
        """Return a frame as it is shown, in its own size: uint8 (H, W, 3)."""
        picture = self._reformatter.reformat(frame, frame.width, frame.height, "rgb24", threads=1).to_ndarray()
        return self._orientation.upright(picture, frame)

    @property
    def changes_places(self) -> bool:
        """Whether rows and columns of the last picture changed places."""
        return self._orientation.changes_places

    def shown_size(self, frame: av.VideoFrame) -> tuple[int, int]:
        """(height, width) of a frame as it is shown."""
        return self._orientation.shown_size(frame)
