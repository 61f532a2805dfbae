"""Which views are taken of a video: a random one in training, the middle one in validation, clips x crops in a test.

A plan says which frames it needs, given the number of frames, and turns the decoded frames into views. All randomness
comes from `key`: integers that say where in the run the sample stands.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from configs.schema import Sampling, TemporalSampling
from datareader import clip_sampling, transforms
from datareader.augmentation import NO_AUGMENTATION, Augmentation, Box, resized_crop_box
from datareader.processes.shared_ring import beginning
from utils.errors import VideoError
from utils.seeding import generator

FrameTimes = Callable[[], np.ndarray]  # returns when each frame is shown, seconds from the first, float64 (n,)

_FRAMES, _PIXELS, _AUGMENTATION = 0, 1, 2  # independent streams of a sample's randomness
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
class RandomView:
    """Training: random start, random short side for the whole clip, random crop, mirrored with probability 1/2."""

    video_length: int
    sample_rate: int
    crop_size: int
    short_sides: tuple[int, int]  # smallest and largest, both included
    mirror: bool
    sample_fps: float = 0.0
    sampling: Sampling = "dense"
    resized_crop_area: float = 0.0  # smallest share of a frame in place of a crop of a random short side; 0: no
    augmentation: Augmentation = NO_AUGMENTATION

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        return 1, 3, self.video_length, self.crop_size, self.crop_size

    def frame_indices(self, num_frames: int, key: tuple[int, ...], seconds: FrameTimes | None = None) -> np.ndarray:
        random = generator(*key, _FRAMES)
        if self.sampling == "segments":
            places = random.random((1, self.video_length))
            return clip_sampling.clips_of_segments(num_frames, places, video_length=self.video_length)
        draw = random.random()
        if self.sample_fps:
            return _by_time(self, [(0.0, draw)], seconds)
        return clip_sampling.random_clip(
            num_frames, video_length=self.video_length, sample_rate=self.sample_rate, draw=draw
        )

    def frame_side(self, key: tuple[int, ...]) -> int:
        if self.resized_crop_area:
            return self.short_sides[1]
        return self._draw_side(generator(*key, _PIXELS))

    def make_views(self, frames: np.ndarray, order: np.ndarray, key: tuple[int, ...], out: np.ndarray) -> np.ndarray:
        if self.resized_crop_area or self.augmentation.is_on:
            return self._make_augmented_views(frames, order, key, out)
        random = generator(*key, _PIXELS)
        self._draw_side(random)
        draw_top, draw_left, draw_mirror = random.random(3)
        top = transforms.random_offset(frames.shape[1], self.crop_size, draw_top)
        left = transforms.random_offset(frames.shape[2], self.crop_size, draw_left)
        mirror = self.mirror and draw_mirror < 0.5
        if mirror:
            left = frames.shape[2] - self.crop_size - left  # the same square, seen in the mirror
        for frame, uses in zip(frames, _uses(order, len(frames)), strict=True):
            planes = transforms.to_planes(frame, mirror=mirror)
            for _, time in uses:
                transforms.crop(planes, top, left, out[0, :, time])
        return out

    def _make_augmented_views(
        self, frames: np.ndarray, order: np.ndarray, key: tuple[int, ...], out: np.ndarray
    ) -> np.ndarray:
        """The same crop and mirror, or a random-resized crop; then what `augmentation` does."""
        random = generator(*key, _PIXELS)
        self._draw_side(random)
        draw_top, draw_left, draw_mirror = random.random(3)
        random = generator(*key, _AUGMENTATION)
        height, width = frames.shape[1:3]
        size = self.crop_size
        if self.resized_crop_area:
            box = resized_crop_box(height, width, self.resized_crop_area, random)
        else:
            top = transforms.random_offset(height, size, draw_top)
            left = transforms.random_offset(width, size, draw_left)
            box = Box(top, left, size, size)
        mirror = self.mirror and draw_mirror < 0.5
        augmented = self.augmentation.of_clip(size, random)
        frame = np.empty((size, size, 3), np.uint8)
        for picture, uses in zip(frames, _uses(order, len(frames)), strict=True):
            part = picture[box.top : box.top + box.height, box.left : box.left + box.width]
            transforms.resize(part, frame)
            planes = transforms.to_planes(augmented(frame[:, ::-1].copy() if mirror else frame))
            for _, time in uses:
                out[0, :, time] = planes
        return out

    def _draw_side(self, random: np.random.Generator) -> int:
        return int(random.integers(self.short_sides[0], self.short_sides[1], endpoint=True))


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
            return _by_time(self, [(0.0, 0.5)], seconds)
        return clip_sampling.middle_clip(num_frames, video_length=self.video_length, sample_rate=self.sample_rate)

    def frame_side(self, key: tuple[int, ...]) -> int:
        return self.short_side

    def make_views(self, frames: np.ndarray, order: np.ndarray, key: tuple[int, ...], out: np.ndarray) -> np.ndarray:
        top, left = transforms.centre_offsets(frames.shape[1], frames.shape[2], self.crop_size)
        for frame, uses in zip(frames, _uses(order, len(frames)), strict=True):
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
        for frame, uses in zip(frames, _uses(order, len(frames)), strict=True):
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
        for frame, uses in zip(frames, _uses(order, len(frames)), strict=True):
            for number in range(2 if self.mirrored else 1):
                planes = transforms.to_planes(frame, mirror=number == 1)
                for clip, time in uses:
                    views[clip * (2 if self.mirrored else 1) + number, :, time] = planes
        return views


def _uses(order: np.ndarray, num_frames: int) -> list[list[tuple[int, int]]]:
    """Where each of the frames stands in the clips `order` (clips, T): (clip, time), time counted in frames."""
    uses: list[list[tuple[int, int]]] = [[] for _ in range(num_frames)]
    for clip, positions in enumerate(order.tolist()):
        for time, position in enumerate(positions):
            uses[position].append((clip, time))
    return uses


def _many_clips(plan: MultiView | FullFrameView, num_frames: int, seconds: FrameTimes | None) -> np.ndarray:
    if plan.sampling == "segments":
        return _of_segments(plan, num_frames, num_clips=plan.num_clips)
    if plan.sample_fps:
        return _by_time(plan, clip_sampling.start_shares(plan.num_clips, plan.temporal_sampling), seconds)
    clips = {"wrap": clip_sampling.spread_clips, "linspace": clip_sampling.linspace_clips}[plan.temporal_sampling]
    return clips(num_frames, num_clips=plan.num_clips, video_length=plan.video_length, sample_rate=plan.sample_rate)


def _by_time(plan: ViewPlan, starts: list[tuple[float, float]], seconds: FrameTimes | None) -> np.ndarray:
    return clip_sampling.clips_by_time(seconds(), starts, video_length=plan.video_length, sample_fps=plan.sample_fps)


def _of_segments(plan: ViewPlan, num_frames: int, *, num_clips: int) -> np.ndarray:
    """Clips of the same place in each part: a single clip of the middles, several evenly spread."""
    places = np.broadcast_to((np.arange(num_clips)[:, None] + 0.5) / num_clips, (num_clips, plan.video_length))
    return clip_sampling.clips_of_segments(num_frames, places, video_length=plan.video_length)
