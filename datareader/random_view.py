"""The view of a video in training: a random one, that follows from where in the run the sample stands."""

from dataclasses import dataclass

import numpy as np

from configs.schema import Sampling
from datareader import clip_sampling, transforms
from datareader.augmentation import NO_AUGMENTATION, Augmentation, Box, resized_crop_box
from datareader.views import FrameTimes, clips_by_time, uses_of_frames
from utils.seeding import generator

_FRAMES, _PIXELS, _AUGMENTATION = 0, 1, 2  # independent streams of a sample's randomness


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
            return clips_by_time(self, [(0.0, draw)], seconds)
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
        for frame, uses in zip(frames, uses_of_frames(order, len(frames)), strict=True):
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
        for picture, uses in zip(frames, uses_of_frames(order, len(frames)), strict=True):
            part = picture[box.top : box.top + box.height, box.left : box.left + box.width]
            transforms.resize(part, frame)
            planes = transforms.to_planes(augmented(frame[:, ::-1].copy() if mirror else frame))
            for _, time in uses:
                out[0, :, time] = planes
        return out

    def _draw_side(self, random: np.random.Generator) -> int:
        return int(random.integers(self.short_sides[0], self.short_sides[1], endpoint=True))
