"""The annotations of Charades (Sigurdsson et al., ECCV 2016), as distributed: several actions a video, with times.

Charades_v1_test.csv holds the videos on which results are reported; they become `val`.
"""

import re
from pathlib import Path
from typing import NamedTuple

from datareader.class_folders import as_class_name
from datareader.decoding.parts import segment_text
from datareader.split_tables import read_table
from datareader.video_folder import find_videos
from utils.errors import FileListError, reading_fault
from utils.text_file import read_text

_FILES = {"train": "Charades_*train.csv", "val": "Charades_*test.csv"}
_CLASSES = "Charades_*classes.txt"
_CLASS = re.compile(r"c(\d{3}) +(\S.*)")
_ACTION = re.compile(r"c(\d{3}) +(\d+(?:\.\d+)?) +(\d+(?:\.\d+)?)")


class Action(NamedTuple):
    """An action in a video, from one time to another, as the annotations write them."""

    label: int
    start: str  # seconds
    end: str


class LabelledVideo(NamedTuple):
    """A video, or a segment of one, and its labels."""

    path: str
    labels: tuple[int, ...]


class CharadesLists(NamedTuple):
    """The lists, the class names, and remarks on what is not in the lists."""

    splits: dict[str, list[LabelledVideo]]
    classes: list[str]
    remarks: list[str]


def charades(annotations: Path, root: Path, *, clips: bool) -> CharadesLists:
    """Read the lists of Charades.

    Args:
        annotations: folder of the csv files and of the class names.
        root: folder of the videos, ``<id>.mp4``; of another type too, or folders of frames.
        clips: a line for each action, with its seconds and its label alone; else a line for each video, with all its
            labels.

    Raises:
        FileListError: a file cannot be read or has another content; or none of the videos is below `root`.
    """
    classes = _classes(_file(annotations, _CLASSES))
    there = find_videos(root)
    by_name = {Path(path).name.removesuffix(Path(path).suffix): path for path in there.paths + there.beside_videos}
    splits: dict[str, list[LabelledVideo]] = {}
    absent, without, void = [], 0, 0
    for split, pattern in _FILES.items():
        splits[split] = []
        for row in read_table(_file(annotations, pattern), ("id", "actions")):
            name = row["id"].strip()
            actions = _actions(row["place"], row["actions"], len(classes))
            if name not in by_name:
                absent.append(name)
                continue
            without += not actions
            if clips:
                lasting = [action for action in actions if float(action.start) < float(action.end)]
                void += len(actions) - len(lasting)
                splits[split] += [
                    LabelledVideo(f"{by_name[name]}{segment_text(action.start, action.end)}", (action.label,))
                    for action in lasting
                ]
            else:
                labels = tuple(sorted({action.label for action in actions}))
                splits[split].append(LabelledVideo(by_name[name], labels))
    if not any(splits.values()) and not absent:
        raise FileListError(f"{annotations}: names no video{' with an action' if clips else ''}")
    if not any(splits.values()):
        raise FileListError(
            f"{root}: holds none of the {len(absent)} videos of {annotations}; the first is {absent[0]}"
        )
    remarks = []
    if absent:
        remarks.append(f"videos that are not there ({len(absent)}): {', '.join(absent[:3])}")
    if without:
        remarks.append(f"videos without an action ({without}){' are left out' if clips else ''}")
    if void:
        remarks.append(f"actions that end before they start are left out ({void})")
    return CharadesLists(splits, classes, remarks)


def _file(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        what = "none" if not found else ", ".join(file.name for file in found)
        raise FileListError(f"{folder}: must hold one file {pattern} (found: {what})")
    return found[0]


def _classes(file: Path) -> list[str]:
    try:
        lines = [line.strip() for line in read_text(file).splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise FileListError(f"{file}: cannot be read: {reading_fault(error)}") from error
    matches = [_CLASS.fullmatch(line) for line in lines]
    numbers = [int(match[1]) for match in matches if match]
    if numbers != list(range(len(lines))) or not lines:
        raise FileListError(f"{file}: must have a line 'c000 name' for each class, numbered from 0")
    return [as_class_name(match[2]) for match in matches if match]


def _actions(place: str, text: str, num_classes: int) -> list[Action]:
    actions = []
    for part in filter(None, (part.strip() for part in text.split(";"))):
        match = _ACTION.fullmatch(part)
        if match is None or int(match[1]) >= num_classes:
            raise FileListError(f"{place}: {part!r} is no action: a class below c{num_classes:03d}, start and end")
        actions.append(Action(int(match[1]), match[2], match[3]))
    return actions
