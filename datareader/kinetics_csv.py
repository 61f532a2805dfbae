"""The csv files of Kinetics-400, 600 and 700: label,youtube_id,time_start,time_end,split."""

import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

from datareader.class_folders import Video, as_class_name
from datareader.split_tables import read_table
from datareader.video_folder import find_videos
from utils.errors import FileListError

_YOUTUBE_ID = re.compile(r"([\w-]{11})(_\d+_\d+)?")


def videos_of_csv(file: Path, root: Path) -> tuple[list[Video], list[Video]]:
    """The videos of a csv that are there, and those that are missing (their path is the YouTube id).

    A file belongs to a line if its name is ``<id>_<start>_<end>`` (six digits each), or ``<id>`` alone.

    Raises:
        FileListError: the csv cannot be read or lacks a column.
    """
    by_name: dict[str, str] = {}
    for path in find_videos(root).paths:
        stem = os.path.splitext(os.path.basename(path))[0]  # noqa: PTH119, PTH122 - as above
        by_name[stem] = path
        if match := _YOUTUBE_ID.fullmatch(stem):
            by_name.setdefault(match[1], path)
    there, missing = [], []
    for row in read_table(file, ()):
        try:
            class_name, identity = as_class_name(row["label"]), row["youtube_id"].strip()
            start, end = int(float(row["time_start"])), int(float(row["time_end"]))
        except (KeyError, ValueError, TypeError, AttributeError, OverflowError) as error:
            raise FileListError(
                f"{row['place']}: needs the columns label, youtube_id, time_start, time_end ({error!r})"
            ) from error
        path = by_name.get(f"{identity}_{start:06d}_{end:06d}") or by_name.get(identity)
        if path is None:
            missing.append(Video(identity, class_name))
        else:
            there.append(Video(path, class_name))
    return there, missing


def missing_videos(missing: dict[str, list[Video]], there: dict[str, list[Video]]) -> tuple[list[str], dict[str, Any]]:
    """Return lines that say how many videos of the csv files are missing, and all of them by split and class."""
    lines, content = [], {}
    for split, videos in missing.items():
        total = Counter(v.class_name for v in [*videos, *there[split]])
        lost = Counter(v.class_name for v in videos)
        if not total:
            continue
        lines.append(f"{split}: {len(videos)} of {total.total()} videos of the csv are missing")
        lines += [f"    {class_name}: {count} of {total[class_name]}" for class_name, count in lost.most_common(5)]
        if len(lost) > 5:
            lines.append(f"    and {len(lost) - 5} more classes: missing.json")
        content[split] = {
            name: {"missing": lost[name], "of": total[name], "ids": [v.path for v in videos if v.class_name == name]}
            for name in sorted(lost)
        }
    return lines, content
