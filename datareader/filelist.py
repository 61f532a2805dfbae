"""The videos of a file list, and where their files are. No video is opened here; `list_reading` reads the text."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datareader.decoding.frame_folder import is_picture, stamp_of_folder
from datareader.decoding.parts import is_there, whole_of
from datareader.label_text import (
    NO_LABEL,
    classes_present,
    label_texts,
    labels_of,
)
from datareader.list_lines import quoted
from datareader.video_folder import VIDEO_SUFFIXES, find_videos
from utils.errors import FileListError, VideoError
from utils.logging import get_logger

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

    def unlabelled(self, paths: list[str]) -> "FileList":
        """Return a list of some of its paths, in whatever order and number, without labels."""
        return unlabelled_videos(paths, source=self.source, data_root=self.data_root)

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


def named_videos(names: Iterable[str], *, results: Path | None = None) -> FileList:
    """Make a list of named videos, without labels. A folder stands for all videos in it and below it, sorted; one that
    holds pictures and no video is a video itself.

    Args:
        results: a folder that results are written to: see `find_videos`.

    Raises:
        FileListError: a folder holds no video.
    """
    paths: list[str] = []
    for name in names:
        if Path(name).is_dir():
            found = find_videos(Path(name), results=results)
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
