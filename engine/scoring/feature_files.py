"""Features on disk: rows while infer.py runs; at the end .npz files, or a .npy file for each video.

Legend: n samples (videos or windows), V views, C features.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from datareader.decoding.parts import without_part
from datareader.filelist import FileList
from engine.scoring.predictor import Prediction
from engine.scoring.timelines import by_video
from utils.atomic_file import atomic_write
from utils.errors import ConfigError
from utils.logging import get_logger

_HEADER = np.dtype("<i8"), 2  # V (0: the mean over the views) and C
_HEADER_BYTES = _HEADER[0].itemsize * _HEADER[1]
_LARGEST_BYTES = 1 << 30  # of the features in a .npz file


class FeatureRows:
    """The features of all samples of a run, in a file: no list is too long for the memory. A context manager.

    Processes of one run write their rows into the same file. It stays, so that a run can go on.

    Args:
        resume: keep the rows that are there.

    Raises:
        ConfigError: the file cannot be written, or rows that should be there are not.
    """

    def __init__(self, path: Path, *, resume: bool) -> None:
        self.path = path
        if resume and not path.is_file():
            raise ConfigError(f"--resume: {path} with the features so far is gone; start anew without --resume")
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | (0 if resume else os.O_TRUNC), 0o666)
        except OSError as error:
            raise ConfigError(f"{path} cannot be written: {error.strerror}") from error

    def __enter__(self) -> "FeatureRows":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def put(self, index: int, features: np.ndarray) -> None:
        """Write the features, float32 (C,) or (V, C), of the sample with this index."""
        content = np.ascontiguousarray(features, "<f4").tobytes()
        header = [len(features) if features.ndim == 2 else 0, features.shape[-1]]
        os.pwrite(self._file, np.array(header, *_HEADER[:1]).tobytes(), 0)
        _write_whole(self._file, content, _HEADER_BYTES + index * len(content))

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """Return the features of samples, float32 (n, C) or (n, V, C).

        Raises:
            ConfigError: the file is damaged.
        """
        header = np.frombuffer(os.pread(self._file, _HEADER_BYTES, 0), _HEADER[0])
        if len(header) != _HEADER[1] or header[1] < 1:
            raise ConfigError(f"{self.path} holds no features: start anew without --resume")
        shape = [int(size) for size in header if size]
        size = 4 * int(np.prod(shape))
        found = np.empty((len(indices), *shape), np.float32)
        for row, index in zip(found, indices, strict=True):
            content = os.pread(self._file, size, _HEADER_BYTES + index * size)
            if len(content) != size:
                raise ConfigError(f"{self.path} is cut short: start anew without --resume")
            row[...] = np.frombuffer(content, "<f4").reshape(shape)
        return found


def rows_file(result: Path) -> Path:
    """Return where the features of a run are kept while it goes on."""
    return result.with_name(f"{result.name}.partial.features")


def _write_whole(file: int, content: bytes, offset: int) -> None:
    while content:
        written = os.pwrite(file, content, offset)
        content, offset = content[written:], offset + written


def write_features(out: Path, items: Sequence[Prediction], rows: FeatureRows, videos: FileList) -> list[Path]:
    """Write the features of the samples that could be read, and return the files.

    A name that ends in .npz: one file with ``features`` float32 (n, C) or (n, V, C), ``paths``, and for windows
    ``start_seconds`` and ``end_seconds``. What is more than 1 GiB goes into NAME_00000-of-00003.npz and so on.
    Another name: a folder with a .npy file for each video, (C,) or (V, C), for its windows (n, C) or (n, V, C).
    """
    good = [item for item in items if not item.error]
    files = _write_archives(out, good, rows) if out.suffix == ".npz" else _write_folder(out, items, rows, videos)
    more = f" and {len(files) - 1} files beside it" if len(files) > 1 else ""
    get_logger().info("features of %d samples in %s%s", len(good), files[0], more)
    return files


def _write_archives(out: Path, items: Sequence[Prediction], rows: FeatureRows) -> list[Path]:
    per_file = max(1, _LARGEST_BYTES // rows.read([items[0].index]).nbytes)
    parts = [items[start : start + per_file] for start in range(0, len(items), per_file)]
    files = [out.with_name(f"{out.stem}_{k:05d}-of-{len(parts):05d}.npz") for k in range(len(parts))]
    if len(parts) == 1:
        files = [out]
    elif out.exists():
        get_logger().warning("%s is of an earlier run: this one has %d files", out, len(parts))
    for file, part in zip(files, parts, strict=True):
        arrays = {"features": rows.read([item.index for item in part]), "paths": np.array([i.path for i in part])}
        if part[0].start_seconds is not None:
            arrays["start_seconds"] = np.array([item.start_seconds for item in part])
            arrays["end_seconds"] = np.array([item.end_seconds for item in part])
        with atomic_write(file) as handle:
            np.savez(handle, **arrays)
    return files


def _write_folder(out: Path, items: Sequence[Prediction], rows: FeatureRows, videos: FileList) -> list[Path]:
    names = names_of_files({item.path: videos.locate_or_guess(item.path) for item in items})
    good = [item for item in items if not item.error]
    for path in {item.path for item in items} - {item.path for item in good}:
        (out / names[path]).unlink(missing_ok=True)  # of an earlier run, when the video could be read
    are_windows = good[0].start_seconds is not None
    groups = by_video(good) if are_windows else [[item] for item in good]
    files: dict[Path, None] = {}
    for of_video in groups:
        file = out / names[of_video[0].path]
        if file in files:
            continue  # listed twice
        files[file] = None
        found = rows.read([item.index for item in of_video])
        with atomic_write(file) as handle:
            np.save(handle, found if are_windows else found[0])
    return list(files)


def names_of_files(places: Mapping[str, Path]) -> dict[str, str]:
    """Return a name for the file of each video: its path below the folder that all of them share, ending in .npy.

    The suffix of the video is kept where two names would be the same.

    Args:
        places: where each listed video is.

    >>> names_of_files({path: Path(path) for path in ["a/x.mp4", "a/b/x.mp4", "a/y.avi", "a/y.mp4"]})
    {'a/x.mp4': 'x.npy', 'a/b/x.mp4': 'b/x.npy', 'a/y.avi': 'y.avi.npy', 'a/y.mp4': 'y.mp4.npy'}
    >>> names_of_files({path: Path(path) for path in ["x.mp4#t=0.5,1.25", "v|1|40|12.5"]})
    {'x.mp4#t=0.5,1.25': 'x#t=0.5,1.25.npy', 'v|1|40|12.5': 'v|1|40|12.5.npy'}
    """
    whole = {path: Path(os.path.normpath(place.absolute())) for path, place in places.items()}
    shared = os.path.commonpath([place.parent for place in whole.values()])
    below = {path: place.relative_to(shared) for path, place in whole.items()}
    shown = {name: _without_suffix(name) for name in below.values()}
    while twice := {name for name, count in Counter(shown.values()).items() if count > 1}:
        shown = {name: name if short in twice else short for name, short in shown.items()}
    return {path: f"{shown[name]}.npy" for path, name in below.items()}


def _without_suffix(path: Path) -> Path:
    """The path without the suffix of the file; what names a part of the file stays."""
    name = without_part(path.name)
    return path.with_name(f"{Path(name).stem if name else ''}{path.name[len(name) :]}")
