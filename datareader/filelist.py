"""File lists: from lines of text to video records. No video is opened here.

Two formats: ``path label``, and the old test list ``path video_index clip_index crop_index`` with 30 lines a video.
"""

import hashlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datareader.video_folder import VIDEO_SUFFIXES, find_videos
from utils.errors import FileListError, VideoError
from utils.logging import get_logger

NO_LABEL = -1


class VideoRecord(NamedTuple):
    """One video of a list. `index` identifies it in all results. `label` is `NO_LABEL` if it is not known."""

    index: int
    path: str
    label: int


class FileList:
    """The videos of a list, in its order: an array of paths and an array of labels."""

    def __init__(self, source: str, paths: list[str], labels: np.ndarray, *, data_root: str = "") -> None:
        self.source = source
        self.paths = paths
        self.labels = labels  # int64 (len(paths),)
        self.data_root = data_root

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> VideoRecord:
        return VideoRecord(index, self.paths[index], int(self.labels[index]))

    def line(self, index: int, path: str | None = None) -> str:
        """Return the line of a video, with another path if one is given."""
        label = int(self.labels[index])
        return (path or self.paths[index]) + ("" if label == NO_LABEL else f" {label}")

    def sha256(self) -> str:
        """Return the SHA-256 of the paths and labels, in their order."""
        digest = hashlib.sha256()
        for path, label in zip(self.paths, self.labels.tolist(), strict=True):
            digest.update(f"{path}\t{label}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def names_sha256(self) -> str:
        """Return the SHA-256 of the base names and labels, in their order. Moving the videos does not change it."""
        digest = hashlib.sha256()
        for path, label in zip(self.paths, self.labels.tolist(), strict=True):
            digest.update(f"{os.path.basename(path)}\t{label}\n".encode("utf-8", "surrogateescape"))  # noqa: PTH119
        return digest.hexdigest()

    def stamp(self, listed: str) -> list[int] | None:
        """Return size and modification time (ns) of a listed file, None if there is no such file."""
        try:
            status = self.locate(listed).stat()
        except (VideoError, OSError):
            return None
        return [status.st_size, status.st_mtime_ns]

    def locate_or_guess(self, listed: str) -> Path:
        """Return where a listed path is; if it is nowhere, the first place where it is looked for."""
        try:
            return self.locate(listed)
        except VideoError:
            return Path(self.data_root) / listed

    def locate(self, listed: str) -> Path:
        """Return where a listed path is.

        A relative path starts from `data_root` if that is set, otherwise from the working directory or, if the file is
        not there, from the list's folder.

        Raises:
            VideoError: there is no such file; the message names the places that were tried.
        """
        if Path(listed).is_absolute():
            candidates = [Path(listed)]
        elif self.data_root:
            candidates = [Path(self.data_root) / listed]
        else:
            candidates = [Path(listed), Path(self.source).parent / listed]
        for candidate in candidates:
            try:
                if candidate.exists() or candidate.is_symlink():
                    return candidate
            except (OSError, ValueError) as error:  # a name too long, or with a NUL byte
                raise VideoError(f"{listed[:200]}: no file can have this name ({error})") from error
        tried = "" if Path(listed).is_absolute() else ", ".join(dict.fromkeys(str(c.absolute()) for c in candidates))
        raise VideoError(f"{listed}: no such file{tried and '; tried '}{tried}")


def read_labelled_list(path: str, *, num_classes: int, data_root: str = "") -> FileList:
    """Read a list of ``path label`` lines. The path may hold blanks: the label stands after the last one.

    Raises:
        FileListError: missing, empty, or a line without a label in [0, num_classes); names ``file:line``.
    """
    paths, labels = [], []
    for number, line in _lines(path):
        listed, label = _split_label(line, f"{path}:{number}")
        if not 0 <= label < num_classes:
            raise FileListError(f"{path}:{number}: label ({label}) must be in [0, {num_classes})")
        paths.append(listed)
        labels.append(label)
    return FileList(path, paths, np.array(labels, np.int64), data_root=data_root)


def read_test_list(path: str, *, num_classes: int, labels_file: str, data_root: str = "") -> FileList:
    """Read a test list in either format. In the old one labels come from `labels_file`, by video index."""
    if not _is_view_list(path):
        return read_labelled_list(path, num_classes=num_classes, data_root=data_root)
    videos = _read_view_list(path)
    truth = read_labelled_list(labels_file, num_classes=num_classes)
    for video_index, (listed, number) in videos.items():
        if not 0 <= video_index < len(truth):
            raise FileListError(
                f"{path}:{number}: video index ({video_index}) of {listed} must be in [0, {len(truth)}), "
                f"the lines of {labels_file}"
            )
    paths = [listed for listed, _ in videos.values()]
    return FileList(path, paths, truth.labels[list(videos)], data_root=data_root)


def read_path_list(path: str, *, data_root: str = "") -> FileList:
    """Read a list for inference, a path in each line. A label after it, or the old list's three numbers, is ignored.

    Args:
        path: '-' reads standard input.
    """
    if path != "-" and _is_view_list(path):
        paths = [listed for listed, _ in _read_view_list(path).values()]
    else:
        paths = []
        for _, line in _lines(path, standard_input=path == "-"):
            listed, _, label = line.rpartition(" ")
            paths.append(listed.rstrip() if listed and _is_integer(label) else line)
    return unlabelled_videos(paths, source=path, data_root=data_root)


def read_any_list(path: str, *, data_root: str = "") -> FileList:
    """Read a list of any kind, for tools: with labels if every line has one, otherwise without.

    Raises:
        FileListError: missing or empty.
    """
    if not _is_view_list(path) and all(_has_label(line) for _, line in _lines(path)):
        return read_labelled_list(path, num_classes=1 << 31, data_root=data_root)
    return read_path_list(path, data_root=data_root)


def named_videos(names: Iterable[str]) -> FileList:
    """Make a list of named videos, without labels. A folder stands for all videos in it and below it, sorted.

    Raises:
        FileListError: a folder holds no video.
    """
    paths: list[str] = []
    for name in names:
        if Path(name).is_dir():
            found = find_videos(Path(name))
            remarks = found.remarks()
            if not found.paths:
                raise FileListError(
                    f"{name}: holds no video ({' '.join(VIDEO_SUFFIXES)}){''.join(f'; {line}' for line in remarks)}"
                )
            for line in remarks:
                get_logger().info("%s", line)
            paths += found.paths
        else:
            paths.append(name)
    return unlabelled_videos(paths)


def unlabelled_videos(paths: list[str], *, source: str = "", data_root: str = "") -> FileList:
    """Make a list of videos without labels."""
    return FileList(source, paths, np.full(len(paths), NO_LABEL, np.int64), data_root=data_root)


def _lines(path: str, *, standard_input: bool = False) -> list[tuple[int, str]]:
    """Return (line number, stripped line) of every line that is not blank.

    Raises:
        FileListError: the file cannot be read, or has no such line.
    """
    try:
        # A descriptor of its own for standard input: it takes any bytes of file names, and stays open.
        file = os.dup(sys.stdin.fileno()) if standard_input else path
        with open(file, encoding="utf-8-sig", errors="surrogateescape") as handle:
            lines = [(number, line.strip()) for number, line in enumerate(handle, start=1) if line.strip()]
    except OSError as error:
        raise FileListError(f"file list {path!r} cannot be read: {error.strerror}") from error
    if not lines:
        raise FileListError(f"file list {path!r} is empty: it must name one video a line")
    return [(number, line.replace("\t", " ")) for number, line in lines]


def _split_label(line: str, place: str) -> tuple[str, int]:
    listed, _, label = line.rpartition(" ")
    if not listed or not _is_integer(label):
        raise FileListError(f"{place}: {line!r} must be a path, a blank and a label")
    return listed.rstrip(), int(label)


def _has_label(line: str) -> bool:
    listed, _, label = line.rpartition(" ")
    return bool(listed) and label.isdecimal()


def _is_integer(text: str) -> bool:
    return text.removeprefix("-").isdecimal()


def _is_view_list(path: str) -> bool:
    _, first = _lines(path)[0]
    fields = first.rsplit(maxsplit=3)
    return len(fields) == 4 and all(map(_is_integer, fields[1:]))


def _read_view_list(path: str) -> dict[int, tuple[str, int]]:
    """Return (path, first line number) by video index, sorted. The numbers of the views are not used."""
    videos: dict[int, tuple[str, int]] = {}
    for number, line in _lines(path):
        fields = line.rsplit(maxsplit=3)
        if len(fields) != 4 or not all(map(_is_integer, fields[1:])):
            raise FileListError(f"{path}:{number}: {line!r} must be a path, video index, clip index and crop index")
        listed, video_index = fields[0], int(fields[1])
        known, _ = videos.setdefault(video_index, (listed, number))
        if known != listed:
            raise FileListError(f"{path}:{number}: video index {video_index} is {known} above, {listed} here")
    return dict(sorted(videos.items()))
