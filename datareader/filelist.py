"""File lists: from lines of text to video records. No video is opened here.

Three formats: ``path label``; csv with a header, columns path and perhaps label; and the old test list
``path video_index clip_index crop_index`` with 30 lines a video.
"""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datareader.decoding.frame_folder import folder_of_part, is_picture, stamp_of_folder
from datareader.list_lines import hint, is_integer, quoted, read_lines, split_label
from datareader.old_test_list import is_view_list, read_view_list
from datareader.video_folder import VIDEO_SUFFIXES, find_videos
from utils.errors import FileListError, VideoError
from utils.logging import get_logger

NO_LABEL = -1
_LONGEST_LABEL = 18  # digits
_PATHS_TRIED = 1000  # of a list, to find the folder that its relative paths start from


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
        self._base = self._choose_base()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> VideoRecord:
        return VideoRecord(index, self.paths[index], int(self.labels[index]))

    def line(self, index: int, path: str | None = None) -> str:
        """Return the line of a video, with another path if one is given."""
        label = int(self.labels[index])
        return quoted(path or self.paths[index]) + ("" if label == NO_LABEL else f" {label}")

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
        """Return size and modification time (ns) of a listed file, None if there is no such file.

        Those of a folder are the ones of its pictures: see `stamp_of_folder`.
        """
        try:
            path = self.locate(listed)
            path = folder_of_part(path) or path
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
                if candidate.exists() or candidate.is_symlink() or folder_of_part(candidate):
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
        return path if path.exists() else folder_of_part(path)
    except (OSError, ValueError):
        return None


def read_labelled_list(path: str, *, num_classes: int, data_root: str = "") -> FileList:
    """Read a list of ``path label`` lines, or a csv list with the columns path and label.

    The path may hold blanks: the label stands after the last one.

    Raises:
        FileListError: missing, empty, or a line without a label in [0, num_classes); names ``file:line``.
    """
    paths, labels, lines = [], [], _labelled_lines(path)
    for number, listed, label in lines:
        if not 0 <= label < num_classes:
            begins_at_one = label == num_classes and min(label for _, _, label in lines) == 1
            advice = "; the labels of this list begin at 1: subtract 1 from each" if begins_at_one else ""
            raise FileListError(f"{path}:{number}: label ({label}) must be in [0, {num_classes}){advice}")
        paths.append(listed)
        labels.append(label)
    return FileList(path, paths, np.array(labels, np.int64), data_root=data_root)


def _labelled_lines(path: str) -> list[tuple[int, str, int]]:
    """Line number, path and label of each line."""
    lines, is_table = read_lines(path)
    found = []
    for number, text, label in lines:
        listed = text
        if not is_table:
            listed, label = split_label(text)
        if not label or (is_table and not is_integer(label)):
            rule = "must have a label, a whole number" if is_table else "must be a path, a blank and a label"
            raise FileListError(f"{path}:{number}: {text!r} {rule}{'' if is_table else hint(text)}")
        if len(label) > _LONGEST_LABEL:
            raise FileListError(f"{path}:{number}: label ({label[:20]}...) must be a class number")
        found.append((number, listed, int(label)))
    return found


def read_test_list(path: str, *, num_classes: int, labels_file: str, data_root: str = "") -> FileList:
    """Read a test list in either format. In the old one labels come from `labels_file`, by video index."""
    if not is_view_list(path):
        return read_labelled_list(path, num_classes=num_classes, data_root=data_root)
    videos = read_view_list(path)
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
    if path != "-" and is_view_list(path):
        paths = [listed for listed, _ in read_view_list(path).values()]
    else:
        lines, is_table = read_lines(path, standard_input=path == "-")
        paths = [text if is_table else split_label(text)[0] for _, text, _ in lines]
    return unlabelled_videos(paths, source=path, data_root=data_root)


def read_any_list(path: str, *, data_root: str = "") -> FileList:
    """Read a list of any kind, for tools: with labels if every line has one, otherwise without.

    Raises:
        FileListError: missing or empty, or a label is no class number.
    """
    lines, is_table = read_lines(path)
    labels = [label if is_table else split_label(text)[1] for _, text, label in lines]
    unlabelled = sum(not label for label in labels)
    if 0 < unlabelled < len(labels):
        get_logger().warning("%s: %d of %d lines have no label: read without labels", path, unlabelled, len(labels))
    if not is_view_list(path) and not unlabelled:
        return read_labelled_list(path, num_classes=1 << 31, data_root=data_root)
    return read_path_list(path, data_root=data_root)


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
