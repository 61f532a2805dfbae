"""File lists: from lines of text to video records. No video is opened here.

Three formats: ``path label``, or ``path 3,17,42`` where videos have several labels; csv with a header, columns path
and perhaps label; and the old test list ``path video_index clip_index crop_index`` with 30 lines a video.
"""

import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datareader.decoding.frame_folder import is_picture, stamp_of_folder
from datareader.decoding.parts import is_there, segment_in, whole_of
from datareader.label_text import (
    NO_LABEL,
    classes_present,
    is_integer,
    is_set,
    label_matrix,
    label_texts,
    labels_of,
    parse_label,
    parse_label_set,
)
from datareader.list_lines import hint, quoted, read_lines, split_label
from datareader.old_test_list import is_view_list, read_view_list
from datareader.video_folder import VIDEO_SUFFIXES, find_videos
from utils.errors import FileListError, VideoError
from utils.logging import get_logger

_MOST_CLASSES = 20_000  # of a list with several labels, where nobody says how many there are
_LONGEST_SURE = 18  # digits of a label that is no mistake
_MORE_LABELS = re.compile(r"(\s-?\d+|[,;]\s*)$")  # in front of the last labels of a line: a path is not meant so
_LONGEST_SHOWN = 200  # characters of a line that an error quotes
_PATHS_TRIED = 1000  # of a list, to find the folder that its relative paths start from


class VideoRecord(NamedTuple):
    """One video of a list. `index` identifies it in all results. `labels` is empty if there are none, or none known."""

    index: int
    path: str
    labels: tuple[int, ...]


class FileList:
    """The videos of a list, in its order: an array of paths and an array of labels.

    Args:
        labels: int64 (N,), `NO_LABEL` where it is not known; or, where videos have several labels, uint8 (N, K).
    """

    def __init__(self, source: str, paths: list[str], labels: np.ndarray, *, data_root: str = "") -> None:
        self.source = source
        self.paths = paths
        self.labels = labels
        self.data_root = data_root
        self._base = self._choose_base()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> VideoRecord:
        return VideoRecord(index, self.paths[index], labels_of(self.labels[index]))

    @property
    def is_labelled(self) -> bool:
        """Whether the labels of all videos are known; several labels may be none."""
        return len(self) > 0 and (self.has_label_sets or NO_LABEL not in self.labels)

    @property
    def has_label_sets(self) -> bool:
        """Whether its videos have several labels, or none, each."""
        return self.labels.ndim == 2

    @property
    def classes(self) -> list[int]:
        """The classes that a video of the list has, ascending."""
        return classes_present(self.labels).tolist()

    def line(self, index: int, path: str | None = None) -> str:
        """Return the line of a video, with another path if one is given."""
        return f"{quoted(path or self.paths[index])} {self.label_text(index)}".rstrip(" ")

    def add_classes(self, num_classes: int) -> None:
        """Let the label sets be of `num_classes` classes at least; no video has those that are added."""
        missing = num_classes - self.labels.shape[1]
        self.labels = np.pad(self.labels, [(0, 0), (0, max(missing, 0))])

    def label_text(self, index: int) -> str:
        """Return the label or labels of a video as they stand in a line; empty if they are not known."""
        return next(label_texts(self.labels[index : index + 1]))

    def sha256(self) -> str:
        """Return the SHA-256 of the paths and labels, in their order."""
        return self._sha256_with(self.paths)

    def names_sha256(self) -> str:
        """Return the SHA-256 of the base names and labels, in their order. Moving the videos does not change it."""
        return self._sha256_with(map(os.path.basename, self.paths))

    def _sha256_with(self, names: Iterable[str]) -> str:
        digest = hashlib.sha256()
        labels = label_texts(self.labels) if self.has_label_sets else self.labels.tolist()
        for name, label in zip(names, labels, strict=True):
            digest.update(f"{name}\t{label}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def stamp(self, listed: str) -> list[int] | None:
        """Return size and modification time (ns) of a listed file, None if there is no such file.

        Those of a folder are the ones of its pictures: see `stamp_of_folder`.
        """
        try:
            path = whole_of(self.locate(listed))
            if path.is_dir():
                return stamp_of_folder(path)
            status = path.stat()
        except (VideoError, OSError):
            return None
        return [status.st_size, status.st_mtime_ns]

    def locate_or_guess(self, listed: str) -> Path:
        """Return where a listed path is; if it is nowhere, the first place where it is looked for."""
        try:
            return self.locate(listed)
        except VideoError:
            return self.base / listed

    def locate(self, listed: str) -> Path:
        """Return where a listed path is.

        A relative path starts from `data_root` if that is set. Otherwise it starts from the list's folder or from the
        working directory: the one in which the first files of the list are.

        Raises:
            VideoError: there is no such file; the message names the places that were tried.
        """
        candidates = [Path(listed)] if Path(listed).is_absolute() else [base / listed for base in self._bases()]
        for candidate in candidates:
            try:
                if is_there(candidate):
                    return candidate
            except (OSError, ValueError) as error:  # a name too long, or with a NUL byte
                raise VideoError(f"{listed[:200]}: no file can have this name ({error})") from error
        tried = "" if Path(listed).is_absolute() else ", ".join(dict.fromkeys(str(c.absolute()) for c in candidates))
        raise VideoError(f"{listed}: no such file{tried and '; tried '}{tried}")

    @property
    def base(self) -> Path:
        """The folder that relative paths start from; the working directory if none of the files is there."""
        return Path(self.data_root) if self.data_root else self._base or Path()

    @property
    def starts_from_its_folder(self) -> bool:
        """Whether relative paths start from the list's own folder, and this is not the working directory."""
        return self._base is not None and self._base != Path()

    def _bases(self) -> list[Path]:
        """The folders that relative paths may start from."""
        if self.data_root:
            return [Path(self.data_root)]
        return [Path(), Path(self.source).parent] if self._base is None else [self._base]

    def _choose_base(self) -> Path | None:
        """Choose the folder of all relative paths of the list; None if none of its first files is anywhere.

        Raises:
            FileListError: the first file that is there is in both folders, and these are two files.
        """
        folder = Path(self.source).parent
        if self.data_root or not self.source or folder.absolute() == Path.cwd():
            return None
        for listed in self.paths[:_PATHS_TRIED]:
            if Path(listed).is_absolute():
                continue
            here, there = _file(Path(listed)), _file(folder / listed)
            if here and there and not here.samefile(there):
                raise FileListError(
                    f"{self.source}: {listed} is in the working directory ({Path.cwd()}) and in the list's folder "
                    f"({folder.absolute()}), and these are two files; say with data_root which is meant"
                )
            if here or there:
                return folder if there else Path()
        return None


def _file(path: Path) -> Path | None:
    try:
        whole = whole_of(path)
        return whole if whole.exists() else None
    except (OSError, ValueError):
        return None


def read_labelled_list(path: str, *, num_classes: int, data_root: str = "", multi_label: bool = False) -> FileList:
    """Read a list of ``path label`` lines, or a csv list with the columns path and label.

    The path may hold blanks: the label stands after the last one.

    Args:
        multi_label: a video has a set of labels, ``3,17,42``, or ``-`` for none.

    Raises:
        FileListError: missing, empty, or a line without labels in [0, num_classes); names ``file:line``.
    """
    lines = _labelled_lines(path, multi_label=multi_label)
    for number, _, labels in lines:
        for label in labels:
            if not 0 <= label < num_classes:
                least = min((label for _, _, others in lines for label in others), default=0)
                begins_at_one = label == num_classes and least == 1
                advice = "; the labels of this list begin at 1: subtract 1 from each" if begins_at_one else ""
                raise FileListError(f"{path}:{number}: label ({label}) must be in [0, {num_classes}){advice}")
    sets = [labels for _, _, labels in lines]
    array = label_matrix(sets, num_classes) if multi_label else np.array(sets, np.int64).reshape(len(sets))
    return FileList(path, [listed for _, listed, _ in lines], array, data_root=data_root)


def _labelled_lines(path: str, *, multi_label: bool) -> list[tuple[int, str, tuple[int, ...]]]:
    """Line number, path and labels of each line: one of each, but for `multi_label`."""
    lines, is_table = read_lines(path)
    found = []
    for number, text, label in lines:
        listed = text
        if not is_table:
            listed, label = split_label(text)
        if "#t=" in listed:
            _require_segment(f"{path}:{number}", listed)
        if label and label.isdecimal() and len(label) < _LONGEST_SURE and not multi_label:
            found.append((number, listed, (int(label),)))
            continue
        try:
            if multi_label and not is_table and _MORE_LABELS.search(text.rpartition(" ")[0]):
                raise ValueError("has blanks between its labels, which stand between commas alone: 3,17,42")
            labels = _labels_in(label, is_table=is_table, multi_label=multi_label)
        except ValueError as error:
            shown = f"{text!r} " if len(text) <= _LONGEST_SHOWN else ""
            raise FileListError(f"{path}:{number}: {shown}{error}{'' if label else hint(text)}") from error
        found.append((number, listed, labels))
    return found


def _require_segment(place: str, listed: str) -> None:
    """Raise FileListError if a path names a segment that ends before it starts. No look at the disk."""
    if (segment := segment_in(listed)) and segment.start_seconds >= segment.end_seconds:
        raise FileListError(f"{place}: {listed!r} names a segment that does not end after it starts")


def _labels_in(text: str | None, *, is_table: bool, multi_label: bool) -> tuple[int, ...]:
    """The labels in what stands behind a path; of a table, in the column, None if there is no such column.

    Raises:
        ValueError: they are not what they must be.
    """
    if not text:
        none = "; '-' stands for none" if multi_label else ""
        raise ValueError(f"must {'have' if is_table else 'be a path, a blank and'} a label{none}")
    if multi_label:
        return parse_label_set(text)
    if is_set(text):
        raise ValueError(f"has a set of labels ({text}), and one is wanted: for several set MODEL.multi_label=True")
    if not is_integer(text):
        raise ValueError("must have a label, a whole number")
    return (parse_label(text),)


def read_test_list(
    path: str, *, num_classes: int, labels_file: str, data_root: str = "", multi_label: bool = False
) -> FileList:
    """Read a test list in either format. In the old one labels come from `labels_file`, by video index."""
    if not is_view_list(path):
        return read_labelled_list(path, num_classes=num_classes, data_root=data_root, multi_label=multi_label)
    videos = read_view_list(path)
    truth = read_labelled_list(labels_file, num_classes=num_classes, multi_label=multi_label)
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
    if path != "-" and is_view_list(path):
        paths = [listed for listed, _ in read_view_list(path).values()]
    else:
        lines, is_table = read_lines(path, standard_input=path == "-")
        paths = [text if is_table else split_label(text)[0] for _, text, _ in lines]
        for (number, _, _), listed in zip(lines, paths, strict=True):
            if "#t=" in listed:
                _require_segment(f"{path}:{number}", listed)
    return unlabelled_videos(paths, source=path, data_root=data_root)


def read_any_list(path: str, *, data_root: str = "") -> FileList:
    """Read a list of any kind, for tools: with labels if every line has one, otherwise without.

    Its videos have several labels each if one of them has another number of labels than one.

    Raises:
        FileListError: missing or empty, or a label is no class number.
    """
    lines, is_table = read_lines(path)
    labels = [label if is_table else split_label(text)[1] for _, text, label in lines]
    unlabelled = sum(not label for label in labels)
    if 0 < unlabelled < len(labels):
        get_logger().warning("%s: %d of %d lines have no label: read without labels", path, unlabelled, len(labels))
    if is_view_list(path) or unlabelled:
        return read_path_list(path, data_root=data_root)
    if has_label_sets(path):
        return read_labelled_list(path, num_classes=classes_of_sets([path]), data_root=data_root, multi_label=True)
    return read_labelled_list(path, num_classes=1 << 31, data_root=data_root)


def has_label_sets(path: str) -> bool:
    """Whether a line of a list has several labels, or '-' for none."""
    lines, is_table = read_lines(path)
    labels = [label if is_table else split_label(text)[1] for _, text, label in lines]
    return any(is_set(label) for label in labels if label)


def classes_of_sets(paths: Iterable[str]) -> int:
    """Return how many classes the labels of lists with several labels ask for: the largest, and 1.

    Raises:
        FileListError: see `read_labelled_list`; or there would be more than 20,000.
    """
    largest = 0
    for path in paths:
        for number, _, labels in _labelled_lines(path, multi_label=True):
            largest = max((largest, *labels))
            if largest >= _MOST_CLASSES:
                raise FileListError(
                    f"{path}:{number}: label ({largest}): of lists with several labels this program reads "
                    f"{_MOST_CLASSES} classes at most"
                )
    return largest + 1


def named_videos(names: Iterable[str]) -> FileList:
    """Make a list of named videos, without labels. A folder stands for all videos in it and below it, sorted; one that
    holds pictures and no video is a video itself.

    Raises:
        FileListError: a folder holds no video.
    """
    paths: list[str] = []
    for name in names:
        if Path(name).is_dir():
            found = find_videos(Path(name))
            remarks = found.remarks()
            if not found.paths and any(map(is_picture, os.listdir(name))):  # noqa: PTH208 - names are enough
                paths.append(name)  # its pictures are the frames of one video
                continue
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
