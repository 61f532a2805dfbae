"""Splits and groups of videos that a user names: in csv files with a header, or by a regular expression."""

import csv
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from datareader.class_folders import SPLIT_NAMES, SPLITS, Video, as_class_name
from datareader.list_lines import column_names
from utils.errors import FileListError, reading_fault

_LONGEST_HEADER = 1 << 16


def groups_of_videos(rule: str, root: Path, paths: Sequence[str]) -> tuple[list[str], list[str]]:
    r"""Return the group of each video, and remarks about what is not in any.

    Args:
        rule: a csv file with the columns path,group; else a regular expression that is searched for in each path below
            `root`. What its first bracket finds, or without one all that it finds, is the group.

    Raises:
        FileListError: the rule cannot be read, or fits no video.
    """
    relative = [_key(os.path.relpath(path, root)) for path in paths]
    absent: list[str] = []
    if rule.lower().endswith(".csv"):
        by_path: dict[str, str] = {}
        for row in read_table(Path(rule), ("path", "group")):
            key, group = _key(row["path"]), row["group"].strip()
            if by_path.setdefault(key, group) != group:
                raise FileListError(f"{row['place']}: {row['path']} is in group {by_path[key]} above, {group} here")
        found = [by_path.get(path) for path in relative]
        absent = sorted(by_path.keys() - set(relative))
    else:
        try:
            pattern = re.compile(rule)
        except re.error as error:
            raise FileListError(f"--group {rule!r}: no regular expression ({error})") from error
        matches = [pattern.search(path) for path in relative]
        found = [match and (match[1] if pattern.groups else match[0]) for match in matches]
    lacking = [path for path, group in zip(relative, found, strict=True) if not group]
    if len(lacking) == len(paths):
        raise FileListError(f"--group {rule}: fits no video; the first is {relative[0]}")
    groups = [f"group {group}" if group else f"alone {path}" for path, group in zip(relative, found, strict=True)]
    remarks = [f"{len(set(groups) - {f'alone {path}' for path in lacking})} groups"]
    if lacking:
        remarks.append(f"videos in no group, which stand alone ({len(lacking)}): {', '.join(lacking[:3])}")
    if absent:
        remarks.append(f"videos of {rule} that are not there ({len(absent)}): {', '.join(absent[:3])}")
    return groups, remarks


def split_by_table(file: Path, root: Path, paths: Sequence[str]) -> tuple[dict[str, list[Video]], list[str]]:
    """Return the videos below `root` in the splits that a csv file names, in its order, and remarks.

    Args:
        file: with the columns path, split and perhaps label. A path starts from `root`. Without a label the class is
            the folder of the video.

    Raises:
        FileListError: the file cannot be read, names an unknown split or a video twice, or none that is there.
    """
    there = {_key(os.path.relpath(path, root)): path for path in paths}
    splits: dict[str, list[Video]] = {split: [] for split in SPLITS}
    named: set[str] = set()
    absent: list[str] = []
    for row in read_table(file, ("path", "split")):
        key = _key(row["path"])
        split = SPLIT_NAMES.get(row["split"].strip().lower())
        if split is None:
            raise FileListError(f"{row['place']}: split {row['split']!r} must be train, val or test")
        if key in named:
            raise FileListError(f"{row['place']}: {row['path']} is named twice")
        named.add(key)
        if key not in there:
            absent.append(row["path"])
            continue
        label = (row.get("label") or "").strip() or os.path.basename(os.path.dirname(key))  # noqa: PTH119, PTH120
        if not label:
            raise FileListError(f"{row['place']}: {row['path']} has no class: it lies in no folder, and has no label")
        splits[split].append(Video(there[key], as_class_name(label)))
    if not named:
        raise FileListError(f"{file}: names no video")
    if not any(splits.values()):
        raise FileListError(f"{file}: none of its {len(absent)} videos is below {root}; the first is {absent[0]}")
    remarks = []
    if absent:
        remarks.append(f"videos of {file} that are not there ({len(absent)}): {', '.join(absent[:3])}")
    if left := sorted(there.keys() - named):
        remarks.append(f"videos that are not in {file}, and left out ({len(left)}): {', '.join(left[:3])}")
    return splits, remarks


def read_table(file: Path, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    """Yield the rows of a csv file with a header; `place` of each is ``file:line``.

    Raises:
        FileListError: it cannot be read, or lacks a column.
    """
    try:
        with open(file, encoding="utf-8-sig", newline="") as handle:
            header = handle.readline(_LONGEST_HEADER)
            delimiter = next((mark for mark in ",;\t" if mark in header), ",")
            names = column_names(header, delimiter)
            if repeated := sorted({name for name in names if names.count(name) > 1}):
                raise FileListError(f"{file}:1: the header names {repeated[0]} twice")
            if not {*columns} <= {*names}:
                raise FileListError(f"{file}:1: needs a header with the columns {','.join(columns)}")
            reader = csv.DictReader(handle, names, delimiter=delimiter, skipinitialspace=True)
            for row in reader:
                if any(row[name] is None for name in columns):
                    raise FileListError(f"{file}:{reader.line_num + 1}: needs the columns {','.join(columns)}")
                yield {**row, "place": f"{file}:{reader.line_num + 1}"}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FileListError(f"csv {file} cannot be read: {reading_fault(error)}") from error


def _key(path: str) -> str:
    return os.path.normpath(path.strip()).replace(os.sep, "/")
