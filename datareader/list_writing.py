"""Writes file lists."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from datareader.list_lines import quoted
from utils.atomic_file import write_json, write_text

ListedVideo = tuple[str, str]  # its path, and its label or labels as they stand in a list


def write_lists(splits: Mapping[str, Sequence[ListedVideo]], out: Path, class_names: Sequence[str]) -> None:
    """Write ``<split>list.txt`` of each split that has videos, and ``classes.json``, into `out`."""
    out = out.resolve()
    for split, videos in splits.items():
        if videos:
            write_text(out / f"{split}list.txt", "".join(f"{listed(path, out)} {label}\n" for path, label in videos))
    write_json(out / "classes.json", list(class_names))


def write_old_test_list(paths: Iterable[str], out: Path) -> None:
    """Write ``testlist.txt`` with 30 lines a video: path video_index clip_index crop_index."""
    out = out.resolve()
    views = [
        f"{listed(path, out)} {number} {clip} {crop}\n"
        for number, path in enumerate(paths)
        for clip in range(10)
        for crop in range(3)
    ]
    write_text(out / "testlist.txt", "".join(views))


def listed(path: str, out: Path) -> str:
    """Return a path as it stands in a list in `out`: relative if the video lies below it, so that the folder can be
    moved; else absolute.
    """
    path = os.path.abspath(path)  # noqa: PTH100 - Path is slow for 250,000 of them
    return quoted(os.path.relpath(path, out) if path.startswith(f"{out}{os.sep}") else path)
