"""Which views are taken of a video: the middle one in validation, clips x crops in a test; `random_view`: in training.

A plan says which frames it needs, given the number of frames, and turns the decoded frames into views. All randomness
comes from `key`: integers that say where in the run the sample stands.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from configs.schema import Sampling, TemporalSampling
from datareader import clip_sampling, transforms
from datareader.processes.shared_ring import beginning
from utils.errors import VideoError

FrameTimes = Callable[[], np.ndarray]  # returns when each frame is shown, seconds from the first, float64 (n,)

_LARGEST_ASPECT = 3  # long side by short side of a frame that is seen whole


class ViewPlan(Protocol):
    """What a data set asks of a plan."""

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """Shape (V, 3, T, S, S) of a video's views; if it depends on the video, the largest possible shape."""

    def frame_indices(self, num_frames: int, key: tuple[int, ...], seconds: FrameTimes | None = None) -> np.ndarray:
        """Frame indices of the clips, int64 (number of clips, T).

        Args:
            seconds: returns when each frame is shown, seconds from the first; needed where frames are taken by time.
        """

    def frame_side(self, key: tuple[int, ...]) -> int:
        """Short side of the frames that the views are made from, pixels."""

    def make_views(self, frames: np.ndarray, order: np.ndarray, key: tuple[int, ...], out: np.ndarray) -> np.ndarray:
        """Write the views into `out`, an array of `shape`.

        Args:
            frames: the unique frames, uint8 (K, H, W, 3), of the short side `frame_side`.
            order: the clips, as positions in `frames`.

        Returns:
            `out`; if the shape depends on the video, the beginning of it in the shape of the views.
        """


@dataclass(frozen=True)
class MiddleView:
    """Validation: middle clip, fixed short side, centre crop; nothing random."""

    video_length: int
    sample_rate: int
    crop_size: int
    short_side: int
    sample_fps: float = 0.0
    sampling: Sampling = "dense"

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        return 1, 3, self.video_length, self.crop_size, self.crop_size

    def frame_indices(self, num_frames: int, key: tuple[int, ...], seconds: FrameTimes | None = None) -> np.ndarray:
        if self.sampling == "segments":
            return _of_segments(self, num_frames, num_clips=1)
        if self.sample_fps:
            return clips_by_time(self, [(0.0, 0.5)], seconds)
        return clip_sampling.middle_clip(num_frames, video_length=self.video_length, sample_rate=self.sample_rate)

    def frame_side(self, key: tuple[int, ...]) -> int:
        return self.short_side

    def make_views(self, frames: np.ndarray, order: np.ndarray, key: tuple[int, ...], out: np.ndarray) -> np.ndarray:
        top, left = transforms.centre_offsets(frames.shape[1], frames.shape[2], self.crop_size)
        for frame, uses in zip(frames, uses_of_frames(order, len(frames)), strict=True):
            planes = transforms.to_planes(frame)
            for _, time in uses:
                transforms.crop(planes, top, left, out[0, :, time])
        return out


@dataclass(frozen=True)
class MultiView:
    """Test: `num_clips` clips spread over the video, each in 1, 3, 6 or 10 crops. View = clip * num_crops + crop."""

    video_length: int
    sample_rate: int
    crop_size: int
    short_side: int
    num_clips: int
    num_crops: int  # 1 centre; 3 along the longer side, 6 mirrored too; 10 corners and centre, mirrored too
    temporal_sampling: TemporalSampling = "wrap"  # see `clip_sampling`: spread_clips, linspace_clips
    sample_fps: float = 0.0
    sampling: Sampling = "dense"

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        return self.num_clips * self.num_crops, 3, self.video_length, self.crop_size, self.crop_size

    def frame_indices(self, num_frames: int, key: tuple[int, ...], seconds: FrameTimes | None = None) -> np.ndarray:
        return _many_clips(self, num_frames, seconds)

    def frame_side(self, key: tuple[int, ...]) -> int:
        return self.short_side

    def make_views(self, frames: np.ndarray, order: np.ndarray, key: tuple[int, ...], out: np.ndarray) -> np.ndarray:
        height, width = frames.shape[1:3]
        if self.num_crops == 1:
            offsets = [transforms.centre_offsets(height, width, self.crop_size)]
        elif self.num_crops == 10:
            offsets = transforms.five_offsets(height, width, self.crop_size)
        else:
            offsets = transforms.three_offsets(height, width, self.crop_size)
        is_mirrored = self.num_crops > len(offsets)
        views = out.reshape(len(order), self.num_crops, *out.shape[1:])  # (clips, crops, 3, T, S, S)
        for frame, uses in zip(frames, uses_of_frames(order, len(frames)), strict=True):
            planes = transforms.to_planes(frame)  # (3, H, W)
            mirrored = transforms.to_planes(frame, mirror=True) if is_mirrored else planes
            for clip, time in uses:
                for number in range(self.num_crops):
                    top, left = offsets[number % len(offsets)]
                    if number < len(offsets):
                        transforms.crop(planes, top, left, views[clip, number, :, time])
                    else:
                        left = width - self.crop_size - left  # the same square, seen in the mirror
                        transforms.crop(mirrored, top, left, views[clip, number, :, time])
        return out


@dataclass(frozen=True)
class FullFrameView:
    """Test: `num_clips` clips spread over the video, each the whole frame, as the paper tests (section 4.1: "spatially
    fully-convolutional inference on videos whose shorter side is rescaled to 256"); mirrored too if asked.
    """

    video_length: int
    sample_rate: int
    short_side: int
    num_clips: int
    mirrored: bool
    temporal_sampling: TemporalSampling = "wrap"
    sample_fps: float = 0.0
    sampling: Sampling = "dense"

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        views = self.num_clips * (2 if self.mirrored else 1)
        return views, 3, self.video_length, self.short_side, _LARGEST_ASPECT * self.short_side

    def frame_indices(self, num_frames: int, key: tuple[int, ...], seconds: FrameTimes | None = None) -> np.ndarray:
        return _many_clips(self, num_frames, seconds)

    def frame_side(self, key: tuple[int, ...]) -> int:
        return self.short_side

    def make_views(self, frames: np.ndarray, order: np.ndarray, key: tuple[int, ...], out: np.ndarray) -> np.ndarray:
        height, width = frames.shape[1:3]
        if max(height, width) > _LARGEST_ASPECT * min(height, width):
            raise VideoError(
                f"a frame of {width} x {height} pixels is longer than {_LARGEST_ASPECT} times its short side: too long "
                "to be seen whole (spatial=full)"
            )
        views = beginning(out, (*out.shape[:3], *frames.shape[1:3]))  # (V, 3, T, H, W)
        for frame, uses in zip(frames, uses_of_frames(order, len(frames)), strict=True):
            for number in range(2 if self.mirrored else 1):
                planes = transforms.to_planes(frame, mirror=number == 1)
                for clip, time in uses:
                    views[clip * (2 if self.mirrored else 1) + number, :, time] = planes
        return views


def uses_of_frames(order: np.ndarray, num_frames: int) -> list[list[tuple[int, int]]]:
    """Return where each of the frames stands in the clips `order` (clips, T): (clip, time), time counted in frames."""
    uses: list[list[tuple[int, int]]] = [[] for _ in range(num_frames)]
    for clip, positions in enumerate(order.tolist()):
        for time, position in enumerate(positions):
            uses[position].append((clip, time))
    return uses


def _many_clips(plan: MultiView | FullFrameView, num_frames: int, seconds: FrameTimes | None) -> np.ndarray:
    if plan.sampling == "segments":
        return _of_segments(plan, num_frames, num_clips=plan.num_clips)
    if plan.sample_fps:
        return clips_by_time(plan, clip_sampling.start_shares(plan.num_clips, plan.temporal_sampling), seconds)
    clips = {"wrap": clip_sampling.spread_clips, "linspace": clip_sampling.linspace_clips}[plan.temporal_sampling]
    return clips(num_frames, num_clips=plan.num_clips, video_length=plan.video_length, sample_rate=plan.sample_rate)


def clips_by_time(plan: ViewPlan, starts: list[tuple[float, float]], seconds: FrameTimes | None) -> np.ndarray:
    """Return clips of frames at the plan's rate in time: see `clip_sampling.clips_by_time`."""
    return clip_sampling.clips_by_time(seconds(), starts, video_length=plan.video_length, sample_fps=plan.sample_fps)


def _of_segments(plan: ViewPlan, num_frames: int, *, num_clips: int) -> np.ndarray:
    """Clips of the same place in each part: a single clip of the middles, several evenly spread."""
    places = np.broadcast_to((np.arange(num_clips)[:, None] + 0.5) / num_clips, (num_clips, plan.video_length))
    return clip_sampling.clips_of_segments(num_frames, places, video_length=plan.video_length)
