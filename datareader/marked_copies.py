"""Copies that know their originals: made once, made again when the original has changed, never over something else."""

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path

import av

from datareader.copying import write_copy
from datareader.decoding.frame_folder import FrameFolder, is_picture, stamp_of_folder
from datareader.decoding.opening import require_regular_file
from datareader.decoding.parts import pictures_of, whole_of
from datareader.picture_copying import write_picture_copies
from utils.atomic_file import atomic_path, write_text
from utils.errors import ReaderError, VideoError
from utils.json_text import parse_json
from utils.temporary_folder import temporary_folder

_MARK_FILE = ".copy.json"  # in a folder of pictures; a video has its mark in its metadata
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}  # every other copy would fail too


def make_copy(
    path: Path,
    listed: str,
    *,
    targets: Mapping[str, Path],
    short_side: int,
    options: Mapping[str, str],
    largest_difference: float | None,
) -> int:
    """Write the copy of a video, or of a folder of pictures, if it is not there; return how many packets are damaged.

    Args:
        path, listed: where it is, and what the list calls it.
        targets: of the copies, by what the list calls the originals.
        short_side, options, largest_difference: see `write_copy`; a folder has no options.

    Raises:
        VideoError: the video cannot be read, its copy is not the same, or something else is in its place.
        ReaderError: nothing can be written.
    """
    if pictures_of(path):
        FrameFolder(path)  # refuses a part that is not there
    path = whole_of(path)
    target, is_folder = targets[listed], path.is_dir()
    if is_folder:
        options = {}
    else:
        require_regular_file(path)
    mark = json.dumps({"source": str(path.absolute()), "stamp": _stamp(path), "short_side": short_side, **options})
    try:
        known = _mark_of(target)
        if known == mark and (not is_folder or len(_pictures_in(target)) == len(_pictures_in(path))):
            return 0
        if known and parse_json(known)["source"] != str(path.absolute()):
            raise VideoError(
                f"{path}: {target} is the copy of another video, {parse_json(known)['source']}; use another OUT, or "
                "--root"
            )
        if os.path.lexists(target) and not known and not (is_folder and target.is_dir() and not _pictures_in(target)):
            raise VideoError(
                f"{path}: {target} is there, and is no copy by this program; use another OUT, or remove it"
            )
        if is_folder:
            _copy_folder(path, target, mark, short_side, largest_difference)
            return 0
        with atomic_path(target) as temporary:
            copied = write_copy(
                path,
                temporary,
                short_side=short_side,
                options=options,
                comment=mark,
                largest_difference=largest_difference,
            )
        return copied.num_damaged
    except OSError as error:
        kind = ReaderError if error.errno in NO_ROOM else VideoError
        raise kind(f"{target}: cannot be written ({error.strerror})") from error


def _copy_folder(folder: Path, target: Path, mark: str, short_side: int, largest_difference: float | None) -> None:
    """Copy the pictures, and put them into `target` one by one: other folders of the list may lie in it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(target.parent, name=target.name) as temporary:
        made = temporary / "pictures"
        write_picture_copies(folder, made, short_side=short_side, largest_difference=largest_difference)
        target.mkdir(parents=True, exist_ok=True)
        write_text(target / _MARK_FILE, json.dumps({**parse_json(mark), "stamp": "being made"}))
        new = _pictures_in(made)
        for name in _pictures_in(target) - new:
            (target / name).unlink(missing_ok=True)
        for name in new:
            os.replace(made / name, target / name)
        write_text(target / _MARK_FILE, mark)


def _pictures_in(folder: Path) -> set[str]:
    return {name for name in os.listdir(folder) if is_picture(name)}  # noqa: PTH208 - names are enough


def _stamp(path: Path) -> list[int]:
    try:
        if path.is_dir():
            return stamp_of_folder(path)
        status = path.stat()
    except OSError as error:
        raise VideoError(f"{path}: cannot be opened ({error.strerror})") from error
    return [status.st_size, status.st_mtime_ns]


def _mark_of(target: Path) -> str:
    """What this program wrote into a copy about its making; empty if there is no copy, or not one of its own."""
    try:
        if target.is_dir():
            mark = (target / _MARK_FILE).read_text(encoding="utf-8")
        elif target.is_file():
            with av.open(str(target), metadata_errors="replace") as copy:
                mark = copy.metadata.get("comment", "")
        else:
            return ""
        return mark if "source" in parse_json(mark) else ""
    except (FileNotFoundError, av.FFmpegError, ValueError, TypeError):
        return ""
