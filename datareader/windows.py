"""Long videos in sliding windows: which frames each window holds, and a data set whose samples are windows."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datareader.dataset import ClipDataset
from datareader.decoding.interface import FrameCountError, VideoDecoder
from datareader.decoding.opening import decode, errors_of_video, open_video
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


def windows_of_video(
    path: Path, listed: str, is_alive: Callable[[], None] = lambda: None, *, window: float, stride: float
) -> list[Window]:
    """Return the windows of a file.

    Args:
        is_alive: called while the file is read.

    Raises:
        VideoError: it cannot be read, or does not say how long a frame is shown.
    """
    video = open_video(path)
    video.on_frame = is_alive
    try:
        with errors_of_video(listed):
            if video.frame_rate <= 0:
                raise VideoError(f"{listed}: states no frame rate, so it cannot be cut into windows of seconds")
            times = video.times_seconds
            frame_seconds = float(np.median(np.diff(times))) if len(times) > 1 else 1 / video.frame_rate
            return cut_windows(times, frame_seconds=frame_seconds, window=window, stride=stride)
    finally:
        video.close()


class WindowDataset(ClipDataset):
    """A data set of windows: sample k shows `windows[k]` of the k-th video of `parts`.

    The file stays open from one sample to the next. Where frames can only be reached by decoding all before them, the
    ones that later windows share with this one are kept, so that decoding only moves forward.
    """

    def __init__(self, parts: FileList, windows: list[Window], plan: ViewPlan) -> None:
        super().__init__(parts, plan)
        self.windows = windows
        self._kept: _OpenFile | None = None

    def file_of(self, index: int) -> int | str:
        return self.videos.paths[index]

    def leave_behind(self) -> None:
        self._kept = None  # not closed: the other thread is using it

    def close(self) -> None:
        """Release the file that is kept open."""
        if self._kept is not None:
            self._kept.video.close()
            self._kept = None

    def _decode(self, index: int, key: tuple[int, ...], is_alive: Callable[[], None]) -> tuple[np.ndarray, np.ndarray]:
        listed = self.videos.paths[index]
        if self._kept is None or self._kept.listed != listed:
            self.close()
            opened = open_video(self.videos.locate(listed))
            try:
                is_alive()  # ends here if it took so long that nobody waits any more
            except BaseException:
                opened.close()
                raise
            self._kept = _OpenFile(listed, opened, opened.reads_on)
        kept = self._kept
        kept.video.on_frame = is_alive
        clips = self._clips(index, key, kept.video)
        chosen, order = np.unique(clips, return_inverse=True)
        try:
            with errors_of_video(listed):
                if kept.reads_on:
                    self._read_on(kept, index, key)
                    frames = np.stack([kept.frames[frame] for frame in chosen.tolist()])
                else:
                    frames = decode(kept.video, chosen, self.plan.frame_side(key))
        except FrameCountError as error:
            self._close_after_error(kept)
            raise VideoError(f"{listed}: has changed, or decodes to another number of frames every time") from error
        except VideoError:
            self._close_after_error(kept)
            raise
        return frames, order.reshape(clips.shape)

    def _close_after_error(self, kept: "_OpenFile") -> None:
        if self._kept is kept:  # else it has been left behind
            self.close()

    def _clips(self, index: int, key: tuple[int, ...], video: VideoDecoder) -> np.ndarray:
        """The frames of a window's clips, as numbers in the video, int64 (V, T)."""
        window = self.windows[index]

        def seconds() -> np.ndarray:
            times = video.times_seconds[window.first_frame : window.first_frame + window.num_frames]
            return times - times[0]

        return window.first_frame + self.plan.frame_indices(window.num_frames, key, seconds)

    def _read_on(self, kept: "_OpenFile", index: int, key: tuple[int, ...]) -> None:
        """Have the frames of a window in `kept`, and those before its last one that later windows show."""
        wanted = set(self._clips(index, key, kept.video).ravel().tolist())
        last = max(wanted)
        for later in range(index + 1, len(self.windows)):
            if self.videos.paths[later] != kept.listed or self.windows[later].first_frame > last:
                break
            wanted.update(frame for frame in self._clips(later, key, kept.video).ravel().tolist() if frame <= last)
        kept.frames = {frame: picture for frame, picture in kept.frames.items() if frame in wanted}
        missing = np.array(sorted(wanted - kept.frames.keys()), np.int64)
        if len(missing):
            pictures = decode(kept.video, missing, self.plan.frame_side(key), go_on=True)
            kept.frames.update(zip(missing.tolist(), pictures, strict=True))


@dataclass
class _OpenFile:
    """The file that is kept open from one sample to the next."""

    listed: str
    video: VideoDecoder
    reads_on: bool
    frames: dict[int, np.ndarray] = field(default_factory=dict)  # in their final size
