"""Which frames make a clip: pure index arithmetic, int64 (V, T) for V clips of T frames.

`num_frames` is n, the number of frames that a full decode yields. Indices past the end wrap around. There are three
ways: every sample_rate-th frame; frames at a rate in time (`clips_by_time`); and one frame of each of T equal parts of
the video (`clips_of_segments`).
"""

import numpy as np

from configs.schema import TemporalSampling


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


def start_shares(num_clips: int, temporal_sampling: TemporalSampling) -> list[tuple[float, float]]:
    """Return where the clips of a test start, as shares of the duration and of the last possible start.

    >>> start_shares(2, "wrap"), start_shares(3, "linspace"), start_shares(1, "linspace")
    ([(0.0, 0.0), (0.5, 0.0)], [(0.0, 0.0), (0.0, 0.5), (0.0, 1.0)], [(0.0, 0.5)])
    """
    if temporal_sampling == "wrap":
        return [(clip / num_clips, 0.0) for clip in range(num_clips)]
    return [(0.0, clip / (num_clips - 1) if num_clips > 1 else 0.5) for clip in range(num_clips)]


def clips_by_time(
    times: np.ndarray, starts: list[tuple[float, float]], *, video_length: int, sample_fps: float
) -> np.ndarray:
    """Return clips of the frames that are nearest to start + k / sample_fps, k = 0 to T - 1, by their own times.

    Moments past the end wrap around. Of two frames that are equally near the earlier one is taken. Copies of a video at
    other frame rates give the same moments.

    ==========================  ==========  ==========  ======  ==============
    times                       T           sample_fps  start   frames
    ==========================  ==========  ==========  ======  ==============
    0, 0.1, 0.2, ..., 0.9       3           5           0       0, 2, 4
    0, 0.2, 0.4, 0.6, 0.8       3           5           0       0, 1, 2
    0, 0.1, 0.5, 0.6            3           5           0       0, 1, 2
    0, 0.1, 0.2, ..., 0.9       3           2           0.2     2, 7, 2 (wraps)
    ==========================  ==========  ==========  ======  ==============

    Args:
        times: when each frame is shown, seconds from the first, ascending, float64 (n,).
        starts: of the clips, each a share of the duration plus a share of the last start from which a clip fits.
    """
    frame_seconds = float(np.median(np.diff(times))) if len(times) > 1 else 1 / sample_fps
    duration = float(times[-1]) + frame_seconds
    last = max(duration - video_length / sample_fps, 0.0)
    first = np.array([of_all * duration + of_last * last for of_all, of_last in starts])
    moments = (first[:, None] + np.arange(video_length) / sample_fps) % duration  # (V, T)
    after = np.clip(np.searchsorted(times, moments), 1, max(len(times) - 1, 1))
    if len(times) == 1:
        return np.zeros(moments.shape, np.int64)
    tolerance = 1e-9  # of sums of fractions
    is_nearer = times[after] - moments < moments - times[after - 1] - tolerance
    return np.where(is_nearer, after, after - 1).astype(np.int64)


def clips_of_segments(num_frames: int, places: np.ndarray, *, video_length: int) -> np.ndarray:
    """Return clips of one frame from each of T equal parts of the video, as TSN (Wang et al., ECCV 2016) takes them.

    Frame k of a clip is int((k + place) * n / T).

    ===  ==  =================  ===============
    n    T   places             frames
    ===  ==  =================  ===============
    80   4   0.5, 0.5, ...      10, 30, 50, 70
    80   4   0, 0.9, 0.5, 0.25  0, 38, 50, 65
    3    4   0.5, 0.5, ...      0, 1, 1, 2
    ===  ==  =================  ===============

    Args:
        places: in the parts, in [0, 1), float64 (V, T).
    """
    return ((np.arange(video_length) + places) * num_frames / video_length).astype(np.int64)
