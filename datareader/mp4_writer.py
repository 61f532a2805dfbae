"""Writes pictures as H.264 into an mp4 file: in BT.601 of limited range, with the tags that say so."""

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

_TICKS = 90_000  # of a second; whole numbers for the common frame rates
_LONGEST_STEP = 2**31 / _TICKS  # seconds from frame to frame that an mp4 file can state
_USUAL_RATE = 25
_SMPTE170M = 6  # BT.601 in ITU-T Rec. H.273


class Mp4Writer:
    """A file that is being written. A context manager.

    Args:
        size: (width, height), both even.
        frame_rate: frames a second on average; 0: not known.
        options: of x264. It has one thread, unless they say otherwise: what it writes depends on their number.
        comment: is written into the file.
        pixel_aspect: width of a pixel by its height, as it is to be shown.
        transfer_of: a decoder whose tags of transfer and primaries are kept.
    """

    def __init__(
        self,
        target: Path,
        size: tuple[int, int],
        *,
        frame_rate: float,
        options: Mapping[str, str],
        comment: str,
        pixel_aspect: Fraction = Fraction(1),
        transfer_of: av.VideoCodecContext | None = None,
    ) -> None:
        self._container = av.open(str(target), "w", format="mp4")
        self._container.metadata["comment"] = comment
        rate = Fraction(frame_rate or _USUAL_RATE).limit_denominator(1001)
        self._stream = self._container.add_stream("libx264", rate=rate, options={"threads": "1", **options})
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = "yuv420p"
        context = self._stream.codec_context
        context.sample_aspect_ratio = pixel_aspect
        context.time_base = Fraction(1, _TICKS)
        context.colorspace, context.color_range = _SMPTE170M, ColorRange.MPEG.value
        if transfer_of is not None:
            context.color_primaries, context.color_trc = transfer_of.color_primaries, transfer_of.color_trc
        self._reformatter = VideoReformatter()

    def __enter__(self) -> "Mp4Writer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if error is None:
                self._container.mux(self._stream.encode())
        finally:
            self._container.close()

    def write(self, picture: np.ndarray, tick: int) -> None:
        """Write a picture, uint8 (H, W, 3), RGB, that is shown from `tick` on: see `ticks`."""
        frame = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(picture, format="rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU601,
            dst_color_range=ColorRange.MPEG,
            threads=1,
        )
        frame.pts, frame.time_base = tick, Fraction(1, _TICKS)
        self._container.mux(self._stream.encode(frame))


def ticks(times_seconds: np.ndarray, frame_rate: float) -> np.ndarray:
    """Return when each frame is shown, in 1/90000 s, ascending, int64.

    Where a step is longer than an mp4 file can state, frames follow one another at `frame_rate`.
    """
    if (np.diff(times_seconds) > _LONGEST_STEP).any():
        times_seconds = np.arange(len(times_seconds)) / (frame_rate or _USUAL_RATE)
    numbers = np.arange(len(times_seconds))
    return np.maximum.accumulate(np.round(times_seconds * _TICKS).astype(np.int64) - numbers) + numbers


def usual_times(count: int) -> np.ndarray:
    """Return times of frames that nobody states, seconds."""
    return np.arange(count) / _USUAL_RATE
