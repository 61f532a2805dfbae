"""A video whose frames are in memory: uint8 (T, H, W, 3), RGB."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

_FRAME_RATE = 25.0  # frames a second, where nobody says


@dataclass(frozen=True)
class HeldFrames:
    """Frames that a program holds. It stands where a path does: `open_video` opens it.

    Args:
        name: for errors and results.
        frames: uint8 (T, H, W, 3), RGB; or T such pictures of one size.
        frame_rate: frames a second.
        times_seconds: when each frame is shown, ascending, float64 (T,). None: at `frame_rate`.
    """

    name: str
    frames: np.ndarray | Sequence[np.ndarray]
    frame_rate: float = _FRAME_RATE
    times_seconds: np.ndarray | None = None

    def __str__(self) -> str:
        return self.name


class HeldVideo:
    """The frames as a video. See `VideoDecoder`."""

    def __init__(self, held: HeldFrames) -> None:
        self._frames = held.frames
        self._times = held.times_seconds
        self.frame_rate = held.frame_rate
        self.on_frame: Callable[[], None] = lambda: None

    @property
    def num_frames(self) -> int:
        """The number of frames."""
        return len(self._frames)

    @property
    def first_size(self) -> tuple[int, int]:
        """(height, width)."""
        height, width, _ = self._frames[0].shape
        return height, width

    @property
    def pixel_aspect(self) -> Fraction:
        """1: nothing else is said."""
        return Fraction(1)

    @property
    def times_seconds(self) -> np.ndarray:
        """When each frame is shown: seconds from the first, float64 (num_frames,)."""
        if self._times is not None:
            return self._times - self._times[0]
        return np.arange(self.num_frames) / self.frame_rate

    @property
    def reads_on(self) -> bool:
        """False: any frame is as near as the next."""
        return False

    def pictures(self, indices: np.ndarray, *, go_on: bool = False) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (place in `indices`, picture): see `VideoDecoder`."""
        for place, index in enumerate(indices.tolist()):
            yield place, self._frames[index]

    def close(self) -> None:
        """Nothing is held between calls."""
