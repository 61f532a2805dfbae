"""Which frames make a clip: pure index arithmetic, int64 (V, T) for V clips of T frames.

`num_frames` is n, the number of frames that a full decode yields. Indices past the end wrap around.
"""

import numpy as np


def _clips_from(starts: list[int], num_frames: int, video_length: int, sample_rate: int) -> np.ndarray:
    offsets = np.arange(video_length, dtype=np.int64) * sample_rate
    return (np.array(starts, np.int64)[:, None] + offsets) % num_frames


def random_clip(num_frames: int, *, video_length: int, sample_rate: int, draw: float) -> np.ndarray:
    """Return one clip (1, T) that starts at random in [0, n - T * rate], or at 0 if the video is too short.

    Args:
        draw: uniform in [0, 1).

    ==  ==========  ============  ====  =====
    n   T and rate  starts from   draw  start
    ==  ==========  ============  ====  =====
    70  8, 8        0 to 6        0.0   0
    70  8, 8        0 to 6        0.99  6
    64  8, 8        0             0.99  0
    10  8, 8        0 (wraps)     0.5   0
    ==  ==========  ============  ====  =====
    """
    last_start = max(num_frames - video_length * sample_rate, 0)
    return _clips_from([int(draw * (last_start + 1))], num_frames, video_length, sample_rate)


def middle_clip(num_frames: int, *, video_length: int, sample_rate: int) -> np.ndarray:
    """Return one clip (1, T) from the middle: it starts at half of the last possible start, rounded down."""
    last_start = max(num_frames - video_length * sample_rate, 0)
    return _clips_from([last_start // 2], num_frames, video_length, sample_rate)


def spread_clips(num_frames: int, *, num_clips: int, video_length: int, sample_rate: int) -> np.ndarray:
    """Return clips (num_clips, T): clip j starts at int(n / num_clips * j), as in the released code.

    ===  =========  ==========================
    n    num_clips  starts
    ===  =========  ==========================
    300  10         0, 30, 60, ..., 270
    303  10         0, 30, 60, 90, ..., 272
    5    10         0, 0, 1, 1, 2, 2, 3, 3, 4, 4
    ===  =========  ==========================
    """
    starts = [int(num_frames / num_clips * j) for j in range(num_clips)]
    return _clips_from(starts, num_frames, video_length, sample_rate)


def linspace_clips(num_frames: int, *, num_clips: int, video_length: int, sample_rate: int) -> np.ndarray:
    """Return clips (num_clips, T) that start evenly from 0 to the last start at which the frames of a clip fit.

    Clip j starts at int(last * j / (num_clips - 1)) with last = n - (T - 1) * rate - 1, as in PyTorch code bases. A
    single clip starts at half of `last`.

    ===  ==========  =========  =====================================
    n    T and rate  num_clips  starts
    ===  ==========  =========  =====================================
    300  8, 8        10         0, 27, 54, 81, 108, 135, ..., 243
    300  8, 8        1          121
    57   8, 8        3          0, 0, 0
    40   8, 8        3          0, 0, 0 (wraps)
    ===  ==========  =========  =====================================
    """
    last = max(num_frames - (video_length - 1) * sample_rate - 1, 0)
    starts = [last * j // (num_clips - 1) for j in range(num_clips)] if num_clips > 1 else [last // 2]
    return _clips_from(starts, num_frames, video_length, sample_rate)
