"""The video files in a folder and below it, and what else lies there."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from datareader.decoding.frame_folder import is_picture
from utils.errors import FileListError

VIDEO_SUFFIXES = (
    ".mp4", ".avi", ".mkv", ".webm", ".mov", ".m4v", ".mpg", ".mpeg", ".flv", ".wmv", ".3gp",
    ".3g2", ".amv", ".asf", ".divx", ".dv", ".f4v", ".gif", ".h264", ".hevc", ".ivf", ".m2t", ".m2ts", ".m2v",
    ".mjpeg", ".mod", ".mpe", ".mpv", ".mts", ".mxf", ".nut", ".ogm", ".ogv", ".qt", ".rm", ".rmvb", ".tod", ".ts",
    ".vob", ".wtv", ".y4m",
)  # fmt: skip
_SYSTEM_FOLDERS = {"__macosx", "@eadir", "lost+found", "system volume information", "$recycle.bin"}


@dataclass
class FoundVideos:
    """What lies in a folder and below it."""

    root: Path
    paths: list[str] = field(default_factory=list)  # of videos, sorted
    empty_folders: list[str] = field(default_factory=list)  # of the first level: without a video in them or below
    other_types: Counter[str] = field(default_factory=Counter)  # files of other types, by suffix
    left_out: Counter[str] = field(default_factory=Counter)  # files in folders of the system, and hidden ones, by name
    results: dict[str, int] = field(default_factory=dict)  # files in the folder that results are written to
    beside_videos: list[str] = field(default_factory=list)  # folders of pictures that are taken for something else

    def remarks(self) -> list[str]:
        """Return one line for each kind of thing that was passed over."""
        lines = []
        for what, counts in (
            ("files of other types passed over", self.other_types),
            ("hidden files and files of the system left out", self.left_out),
        ):
            if counts:
                most = ", ".join(f"{count} {name or 'without a suffix'}" for name, count in counts.most_common(6))
                lines.append(f"{self.root}: {what} ({counts.total()}): {most}")
        for folder, count in self.results.items():
            lines.append(f"{self.root}: {count} files in {folder} left out: results are written there")
        if self.beside_videos:
            lines.append(
                f"{self.root}: folders of pictures beside videos, or above some, not taken for videos "
                f"({len(self.beside_videos)}): {', '.join(self.beside_videos[:3])}"
            )
        return lines


def find_videos(root: Path, *, results: Path | None = None) -> FoundVideos:
    """Find every video file below `root`, and every folder of pictures, which is a video.

    A folder of pictures is none if a video lies in it, below it or beside it: then they are posters, or thumbnails. Of
    two such folders, one below the other, the one with more pictures is the video.
    Hidden files and folders, and those of operating systems, are left out.

    Args:
        results: a folder that results are written to. Where it lies below `root`, it is left out too.

    Raises:
        FileListError: `root` is no folder, or a name cannot stand in a list.
    """
    if not root.is_dir():
        raise FileListError(f"{root}: no such folder")
    found = FoundVideos(root)
    files: list[str] = []
    pictures: dict[str, list[str]] = {}  # names, by folder
    holders: set[str] = set()  # folders with a video file in them
    place_of_results = results and os.path.realpath(results)
    for folder, folders, names in os.walk(root, followlinks=True):
        entered = []
        for name in sorted(folders):
            path = os.path.join(folder, name)  # noqa: PTH118 - see below
            if is_left_out(name):
                found.left_out[name] += _number_of_files(path)
            elif _leads_back(path):
                found.left_out[name] += 1
            elif results and os.path.realpath(path) == place_of_results:
                found.results[path] = _number_of_files(path)
            else:
                entered.append(name)
        folders[:] = entered
        for name in sorted(names):
            if is_left_out(name):
                found.left_out[name] += 1
            elif name.lower().endswith(VIDEO_SUFFIXES):
                files.append(os.path.join(folder, name))  # noqa: PTH118 - twice as fast as Path on 250,000 files
                holders.add(folder)
            elif is_picture(name):
                pictures.setdefault(folder, []).append(name)
            else:
                found.other_types[_suffix(name)] += 1
    found.paths = files + _frame_folders(found, pictures, holders)
    found.paths.sort()
    for path in found.paths:
        if "\n" in path or "\r" in path or "\t" in path:
            raise FileListError(f"{path!r}: a name with a line break or a tab cannot stand in a list; rename it")
    held = {os.path.relpath(path, root).partition(os.sep)[0] for path in found.paths}
    found.empty_folders = [name for name in folders_in(root) if name not in held]
    return found


def _number_of_files(folder: str) -> int:
    return sum(len(files) for _, _, files in os.walk(folder))


def _frame_folders(found: FoundVideos, pictures: Mapping[str, Sequence[str]], holders: set[str]) -> list[str]:
    """Return the folders of pictures that are videos, and note the others in `found`."""
    above: set[str] = set()  # folders with a video below them, or with a folder of as many pictures
    thumbnails: set[str] = set()  # folders below one of more pictures
    for folder in [*holders, *pictures]:
        parent = folder
        while parent != str(found.root) and (parent := os.path.dirname(parent)):  # noqa: PTH120
            if folder not in holders and len(pictures.get(parent, ())) > len(pictures[folder]):
                thumbnails.add(folder)
            elif parent in pictures:
                above.add(parent)
    videos = []
    for folder, names in pictures.items():
        beside = folder in holders or os.path.dirname(folder) in holders  # noqa: PTH120
        if folder != str(found.root) and not beside and folder not in above and folder not in thumbnails:
            videos.append(folder)
            continue
        found.other_types.update(map(_suffix, names))
        if folder not in holders and folder != str(found.root):
            found.beside_videos.append(folder)
    return videos


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 - as above


def _leads_back(folder: str) -> bool:
    """Whether a folder is a link to one that it stands in."""
    if not os.path.islink(folder):  # noqa: PTH114 - as above
        return False
    target, parent = Path(folder).resolve(), Path(folder).parent.resolve()
    return target == parent or target in parent.parents


def folders_in(root: Path) -> list[str]:
    """Return the names of the folders in `root`, sorted, without those that `find_videos` leaves out."""
    # Not DirEntry.is_dir: of a link that leads to itself that is an error.
    return sorted(path.name for path in root.iterdir() if path.is_dir() and not is_left_out(path.name))


def is_left_out(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or belongs to an operating system.

    >>> is_left_out(".DS_Store"), is_left_out("__MACOSX"), is_left_out("a.mp4")
    (True, True, False)
    """
    return name.startswith(".") or name.lower() in _SYSTEM_FOLDERS
