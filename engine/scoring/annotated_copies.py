"""Copies of videos with the best classes drawn on them, at the time of each window."""

import contextlib
import hashlib
import json
import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np

from datareader.decoding.frame_folder import stamp_of_folder
from datareader.decoding.interface import FrameCountError, VideoDecoder
from datareader.decoding.opening import errors_of_video, open_video
from datareader.decoding.parts import whole_of
from datareader.filelist import FileList
from datareader.marked_copies import NO_ROOM
from datareader.mp4_writer import Mp4Writer, ticks, usual_times
from datareader.processes.per_video import for_each_video
from engine.progress import track
from engine.scoring.caption import Caption, draw_caption, warn_of_lost_names
from engine.scoring.feature_files import names_of_files
from engine.scoring.predictor import Prediction
from engine.scoring.timelines import by_video, edges
from utils.atomic_file import atomic_path
from utils.errors import ConfigError, ReaderError, VideoError
from utils.json_text import parse_json
from utils.logging import get_logger

_SHOWN_CLASSES = 3
_ATTEMPTS = 3  # to decode a video that is not as it promises
_OPTIONS = {"crf": "20", "preset": "veryfast"}
_ROUNDING = 1e-6  # seconds
_MAKER = "classes drawn by infer.py"


class Scene(NamedTuple):
    """What is drawn from one time to another."""

    start_seconds: float
    end_seconds: float
    caption: Caption


def write_annotated(
    out: Path, items: Sequence[Prediction], videos: FileList, *, num_workers: int, timeout_seconds: float
) -> list[Prediction]:
    """Write a copy of every video that could be read into the folder `out`, in the tree of the videos, without sound.

    A copy that an earlier run made of the same video and the same predictions is kept.

    Args:
        items: of videos or of windows. Overlapping windows divide the time between their middles.
        num_workers, timeout_seconds: see `for_each_video`; the limit is from one frame to the next.

    Returns:
        errors for the copies that could not be made.

    Raises:
        ConfigError: a copy would take the place of a video.
    """
    good = [item for item in items if not item.error]
    groups = by_video(good) if good[0].start_seconds is not None else [[item] for item in good]
    scenes = {of_video[0].path: scenes_of(of_video) for of_video in reversed(groups)}  # of the first if listed twice
    warn_of_lost_names([item for item in good if item.names], _SHOWN_CLASSES)
    targets = targets_of(out, {path: videos.locate_or_guess(path) for path in videos.paths})
    listed = [index for index, path in enumerate(videos.paths) if path in scenes]
    once = sorted({videos.paths[index]: index for index in reversed(listed)}.values())
    work = partial(annotate, scenes=scenes, targets=targets)
    outcomes = for_each_video(
        videos, work, once,
        num_workers=num_workers, timeout_seconds=timeout_seconds, limit_name="decode_timeout", limit_per_step=True,
    )  # fmt: skip
    found = list(track(outcomes, total=len(once), unit="video", log_interval=100))
    failed = [Prediction(outcome.index, outcome.path, error=outcome.reason) for outcome in found if outcome.reason]
    for item in failed:
        get_logger().warning("no copy: %s", item.error)
    get_logger().info("%d copies with their classes in %s", len(found) - len(failed), out)
    return failed


def make_folder(out: Path, places: Mapping[str, Path]) -> None:
    """Make the folder of the copies.

    Args:
        places: where each listed video is.

    Raises:
        ConfigError: it cannot be written, or a copy would take the place of a video.
    """
    targets_of(out, places)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--annotate {out}: cannot be made ({error.strerror}); name another folder") from error
    if not os.access(out, os.W_OK):
        raise ConfigError(f"--annotate {out}: cannot be written; name another folder")


def targets_of(out: Path, places: Mapping[str, Path]) -> dict[str, Path]:
    """Return where the copy of each video goes.

    Raises:
        ConfigError: it would take the place of one of the videos.
    """
    targets = {path: out / f"{name.removesuffix('.npy')}.mp4" for path, name in names_of_files(places).items()}
    originals = {os.path.realpath(place) for place in places.values()}
    for path, target in targets.items():
        if os.path.realpath(target) in originals:
            raise ConfigError(
                f"--annotate {out}: the copy of {path} would take the place of a video; name another folder"
            )
    return targets


def scenes_of(items: Sequence[Prediction]) -> list[Scene]:
    """Return what is drawn when, in order: one scene for a whole video, one for each window of it."""
    if items[0].start_seconds is None:
        return [Scene(0.0, float("inf"), _caption(items[0]))]
    return [Scene(start, end, _caption(item)) for start, end, item in zip(*edges(items), items, strict=True)]


def _caption(item: Prediction) -> Caption:
    rows = zip(item.classes, item.names, item.probabilities, strict=True)
    return tuple(
        (name, class_, probability, item.labels is not None and class_ in item.labels)
        for class_, name, probability in list(rows)[:_SHOWN_CLASSES]
    )


def annotate(
    path: Path,
    listed: str,
    is_alive: Callable[[], None] = lambda: None,
    *,
    scenes: Mapping[str, Sequence[Scene]],
    targets: Mapping[str, Path],
) -> None:
    """Write the annotated copy of one video, unless it is there.

    Raises:
        VideoError: the video cannot be read, or something else is in the place of its copy.
        ReaderError: there is no room for copies.
    """
    target = targets[listed]
    mark = {"made": _MAKER, "path": str(path.absolute()), "stamp": _stamp(path), "scenes": _digest(scenes[listed])}
    known = _mark_of(target)
    if known == mark:
        return
    if os.path.lexists(target) and not known:
        raise VideoError(f"{listed}: {target} is there, and was not made by this program; name another folder")
    if known and known.get("path") != mark["path"]:
        raise VideoError(f"{listed}: {target} is the copy of {known.get('path')}; name another folder")
    video = open_video(path)
    video.on_frame = is_alive
    try:
        for _ in range(_ATTEMPTS):
            with contextlib.suppress(FrameCountError), atomic_path(target) as temporary:
                _write(video, listed, temporary, scenes[listed], json.dumps(mark), is_alive)
                return
        raise VideoError(f"{listed}: every attempt to decode it yields another number of frames")
    except OSError as error:
        kind = ReaderError if error.errno in NO_ROOM else VideoError  # ReaderError: every other copy would fail too
        raise kind(f"{target}: cannot be written ({error.strerror or error})") from error
    finally:
        video.close()


def _write(
    video: VideoDecoder,
    listed: str,
    target: Path,
    scenes: Sequence[Scene],
    mark: str,
    is_alive: Callable[[], None],
) -> None:
    """Write a copy once.

    Raises:
        FrameCountError: the video showed other frames than it promised; the next attempt knows them.
        VideoError: it cannot be read.
        OSError: the copy cannot be written.
    """
    with errors_of_video(listed):
        count, (height, width) = video.num_frames, video.first_size
        times = video.times_seconds if video.frame_rate else usual_times(count)
        aspect = video.pixel_aspect
    size = max(2, width // 2 * 2), max(2, height // 2 * 2)
    shown_at = ticks(times, video.frame_rate)
    starts = [scene.start_seconds for scene in scenes]
    written = Mp4Writer(target, size, frame_rate=video.frame_rate, options=_OPTIONS, comment=mark, pixel_aspect=aspect)
    with written as writer:
        for number, picture in enumerate(_pictures(video, listed, count)):
            fitted = picture if picture.shape[1::-1] == size else cv2.resize(picture, size)
            scene = scenes[max(0, bisect_right(starts, times[number] + _ROUNDING) - 1)]
            if scene.start_seconds <= times[number] + _ROUNDING < scene.end_seconds + _ROUNDING:
                fitted = draw_caption(fitted, scene.caption)
            writer.write(fitted, int(shown_at[number]))
            is_alive()


def _pictures(video: VideoDecoder, listed: str, count: int) -> Iterator[np.ndarray]:
    """Yield all pictures in order; FrameCountError if the decoder begins anew, because it was wrong before."""
    pictures = video.pictures(np.arange(count))
    for number in range(count):
        with errors_of_video(listed):
            place, picture = next(pictures)
        if place != number:
            raise FrameCountError
        yield picture


def _digest(scenes: Sequence[Scene]) -> str:
    return hashlib.sha256(repr(list(scenes)).encode("utf-8", "surrogateescape")).hexdigest()


def _stamp(path: Path) -> list[int]:
    """What changes when the video does; of a folder, when one of its pictures does."""
    place = whole_of(path)
    if place.is_dir():
        return stamp_of_folder(place)
    status = place.stat()
    return [status.st_size, status.st_mtime_ns]


def _mark_of(target: Path) -> dict[str, Any]:
    """What this program wrote into a copy; empty if there is none, or it is something else."""
    try:
        with av.open(str(target), metadata_errors="replace") as copy:
            mark = parse_json(copy.metadata.get("comment", ""))
    except (av.FFmpegError, ValueError):
        return {}
    return mark if isinstance(mark, dict) and mark.get("made") == _MAKER else {}
