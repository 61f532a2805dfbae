"""Videos with the classes and splits that the names of their folders say."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from datareader.video_folder import VIDEO_SUFFIXES, FoundVideos, find_videos, folders_in
from utils.errors import FileListError

SPLITS = ("train", "val", "test")
SPLIT_NAMES = {  # what folders and tables call them, in lower case
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


class Video(NamedTuple):
    """A video file and its class name."""

    path: str
    class_name: str


def as_class_name(label: str) -> str:
    """Return a label as it stands in folders and lists.

    >>> as_class_name("air drumming"), as_class_name("  tai chi ")
    ('air_drumming', 'tai_chi')
    """
    return label.strip().replace(" ", "_")


def in_label_order(names: Iterable[str]) -> list[str]:
    """Return class names in the order of their labels: sorted; by their values if all are numbers.

    >>> in_label_order({"run", "10", "9"}), in_label_order({"10", "9", "0"})
    (['10', '9', 'run'], ['0', '9', '10'])
    """
    names = set(names)
    return sorted(names, key=lambda name: (int(name), name)) if all(map(str.isdecimal, names)) else sorted(names)


def renumbered(classes: Sequence[str]) -> str:
    """Return a remark if class names are numbers, and other numbers than their labels; empty otherwise.

    >>> renumbered(["0", "9", "10"])
    'classes are called by numbers that are not their labels: 9 has the label 1'
    >>> renumbered(["0", "1", "2"]), renumbered(["a"])
    ('', '')
    """
    if not all(map(str.isdecimal, classes)):
        return ""
    odd = [(name, label) for label, name in enumerate(classes) if int(name) != label]
    return (
        f"classes are called by numbers that are not their labels: {odd[0][0]} has the label {odd[0][1]}" if odd else ""
    )


def split_folders(root: Path) -> dict[str, Path]:
    """Return the folders of `root` that are named like splits, by split; empty if there are none.

    Raises:
        FileListError: two folders of one split; or class folders beside them, so that either may be meant.
    """
    if not root.is_dir():
        raise FileListError(f"{root}: no such folder")
    splits: dict[str, Path] = {}
    names = folders_in(root)
    for name in names:
        split = SPLIT_NAMES.get(name.lower())
        if split is None:
            continue
        if split in splits:
            raise FileListError(f"{root}: {splits[split].name} and {name} are both {split} folders; join them")
        splits[split] = root / name
    others = [name for name in names if name.lower() not in SPLIT_NAMES and find_videos(root / name).paths]
    if splits and others:
        raise FileListError(
            f"{root}: holds {_some(path.name for path in splits.values())}, which are splits, beside {_some(others)}; "
            "put all classes into the splits, or rename the classes that are named like splits"
        )
    return splits


def videos_of_class_folders(root: Path, *, may_be_empty: bool = False) -> tuple[list[Video], FoundVideos]:
    """Return the videos of ROOT/<class>/..., the class being the first folder below `root`; and all that was found.

    Raises:
        FileListError: a video lies in `root` itself, there is none, or two folders are one class.
    """
    found = find_videos(root)
    if not found.paths and not may_be_empty:
        raise FileListError(
            f"{root}: holds no video ({' '.join(VIDEO_SUFFIXES)}){''.join(f'; {line}' for line in found.remarks())}"
        )
    videos, folder_of = [], {}
    for path in found.paths:
        folder, _, rest = os.path.relpath(path, root).partition(os.sep)
        if not rest and os.path.isdir(path):  # noqa: PTH112 - as above
            raise FileListError(
                f"{path}: holds pictures, which are the frames of one video; its class is the folder above it, so this "
                "must be ROOT/<class>/<video>/*.jpg"
            )
        if not rest:
            raise FileListError(f"{path}: lies outside of every class folder of {root}")
        name = as_class_name(folder)
        if folder_of.setdefault(name, folder) != folder:
            raise FileListError(
                f"{root}: the folders {folder_of[name]!r} and {folder!r} would be one class, {name}; join them"
            )
        videos.append(Video(path, name))
    return videos, found


def class_remarks(splits: dict[str, list[Video]], found: Iterable[FoundVideos]) -> list[str]:
    """Return one line for each thing about the classes that may not be meant."""
    everything = list(found)
    lines = [line for one in everything for line in one.remarks()]
    renamed = sorted({
        folder for one in everything for path in one.paths
        if " " in (folder := os.path.relpath(path, one.root).partition(os.sep)[0])
    })  # fmt: skip
    if renamed:
        lines.append(f"class names with blanks, which become underscores ({len(renamed)}): {_some(renamed)}")
    empty = sorted({name for one in everything for name in one.empty_folders})
    if empty:
        lines.append(f"folders without a video, which are no classes ({len(empty)}): {_some(empty)}")
    counts: dict[str, int] = {}
    for videos in splits.values():
        for video in videos:
            counts[video.class_name] = counts.get(video.class_name, 0) + 1
    trained = {video.class_name for video in splits["train"]}
    if untrained := sorted(counts.keys() - trained):
        alike = {name.lower(): name for name in trained}
        hints = [f"{name} (beside {alike[name.lower()]})" if name.lower() in alike else name for name in untrained]
        lines.append(f"classes without training videos ({len(untrained)}): {_some(hints)}")
    if few := sorted(name for name, count in counts.items() if count < 5):
        lines.append(f"classes with fewer than 5 videos ({len(few)}): {_some(few)}")
    return lines


def require_classes(splits: dict[str, list[Video]], root: Path) -> None:
    """Raise FileListError if there is one class only, and show which folders were seen."""
    classes = {video.class_name for videos in splits.values() for video in videos}
    if len(classes) != 1:
        return
    example = next(video.path for videos in splits.values() for video in videos)
    below = os.path.relpath(example, root)
    raise FileListError(
        f"{root}: there is one class only, {classes.pop()}. Classes are the folders of ROOT, or of ROOT/train and "
        f"so on; the first video stands {below.count(os.sep)} folders below it, at {below}. Name the folder that "
        "holds the class folders"
    )


def _some(names: Iterable[str], most: int = 5) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
