"""Long videos in sliding windows: which frames each window holds, and a data set whose samples are windows."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from configs.schema import Decoder
from datareader.dataset import ClipDataset
from datareader.decoding.av_decoder import AvDecoder
from datareader.decoding.interface import VideoDecoder
from datareader.decoding.opening import choose_and_decode, open_video, require_regular_file
from datareader.filelist import FileList
from datareader.views import ViewPlan
from utils.errors import VideoError


class Window(NamedTuple):
    """A part of a video: the frames shown at or after `start_seconds` and before `end_seconds`."""

    start_seconds: float
    end_seconds: float
    first_frame: int
    num_frames: int


def cut_windows(times: np.ndarray, *, frame_seconds: float, window: float, stride: float) -> list[Window]:
    """Return windows of `window` seconds, one every `stride` seconds, up to the first that reaches the end.

    The last window ends with the video. A window without frames (a gap in the video) is left out.

    ==============  ======  ======  ==============================
    duration        window  stride  windows, seconds
    ==============  ======  ======  ==============================
    12              10      5       0-10, 5-12
    20              10      5       0-10, 5-15, 10-20
    8               10      5       0-8
    12              4       6       0-4, 6-10
    ==============  ======  ======  ==============================

    Args:
        times: when each frame is shown, seconds from the first, ascending, float64 (n,).
        frame_seconds: how long the last frame is shown.
    """
    duration = float(times[-1]) + frame_seconds
    nearly = min(frame_seconds / 2, window / 4, stride / 4)  # containers round times
    windows: list[Window] = []
    number = 0
    while number == 0 or max(windows[-1].end_seconds, number * stride) < duration - nearly:
        start = number * stride
        end = start + window if start + window < duration - nearly else duration
        first, stop = np.searchsorted(times, [start - nearly / 2, end - nearly / 2]).tolist()
        if first == len(times):
            break
        if first == stop:  # a gap: on to the first window in which something is shown
            number = max(number + 1, int((times[first] - window) / stride) + 1)
            continue
        windows.append(Window(start, end, first, stop - first))
        number += 1
    return windows


def windows_of_video(path: Path, listed: str, *, window: float, stride: float) -> list[Window]:
    """Return the windows of a file.

    Raises:
        VideoError: it cannot be read, or does not say how long a frame is shown.
    """
    require_regular_file(path)
    video = AvDecoder(path)
    try:
        if video.frame_rate <= 0:
            raise VideoError(f"{listed}: states no frame rate, so it cannot be cut into windows of seconds")
        times = video.times_seconds
        frame_seconds = float(np.median(np.diff(times))) if len(times) > 1 else 1 / video.frame_rate
        return cut_windows(times, frame_seconds=frame_seconds, window=window, stride=stride)
    finally:
        video.close()


class WindowDataset(ClipDataset):
    """A data set of windows: sample k shows `windows[k]` of the k-th video of `parts`.

    The file stays open from one sample to the next, because opening a long video takes longer than reading a window.
    """

    def __init__(self, parts: FileList, windows: list[Window], plan: ViewPlan, *, decoder: Decoder = "av") -> None:
        super().__init__(parts, plan, decoder=decoder)
        self.windows = windows
        self._kept: tuple[str, VideoDecoder] | None = None

    def file_of(self, index: int) -> int | str:
        return self.videos.paths[index]

    def _decode(self, index: int, key: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        listed, window = self.videos.paths[index], self.windows[index]

        def choose(num_frames: int) -> np.ndarray:
            inside = self.plan.frame_indices(window.num_frames, key)
            return np.minimum(window.first_frame + inside, num_frames - 1)

        if self._kept is None or self._kept[0] != listed:
            self.close()
            self._kept = listed, open_video(self.videos.locate(listed), self.decoder)
        try:
            return choose_and_decode(self._kept[1], listed, choose)
        except VideoError:
            self.close()
            raise

    def close(self) -> None:
        """Release the file that is kept open."""
        if self._kept is not None:
            self._kept[1].close()
            self._kept = None
