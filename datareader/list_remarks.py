"""What in the lists of a run may not be meant: one line for each kind of thing, with counts and the first names."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from datareader.decoding.frame_folder import is_picture
from datareader.decoding.parts import without_part
from datareader.filelist import FileList
from datareader.label_text import label_texts
from utils.hashing import sha256


def remarks_on_lists(lists: Mapping[str, FileList], *, num_classes: int | None = None) -> list[str]:
    """Return the remarks on some lists and on how they fit one another.

    Args:
        lists: by what they are for, such as train, valid, test; the first is the one that is trained on, if any is.
        num_classes: of the network, if there is one.
    """
    lines = []
    places = {name: _places(videos) for name, videos in lists.items()}
    for name, videos in lists.items():
        lines += _remarks_on_one(name, videos, places[name])
    names = list(lists)
    for number, first in enumerate(names):
        for second in names[number + 1 :]:
            lines += _remarks_on_two(first, second, lists, places)
    classes = [class_ for videos in lists.values() if videos.is_labelled for class_ in videos.classes]
    if num_classes is not None and classes:
        largest = max(classes)
        if largest + 1 < num_classes:
            lines.append(f"MODEL.num_classes is {num_classes}, but the largest label of the lists is {largest}")
    return lines


def remarks_on_contents(lists: Mapping[str, FileList]) -> list[str]:
    """Return the remarks on files that are the same under two names, within a list with two labels or in two lists.

    Files are read only where two have the same size.
    """
    by_size: dict[int, dict[str, list[tuple[str, str, str]]]] = {}
    for name, videos in lists.items():
        for place, listed, label in zip(_places(videos), videos.paths, label_texts(videos.labels), strict=True):
            whole = without_part(place)
            if (stamp := videos.stamp(listed)) and stamp[0]:
                named = (name, label, place[len(whole) :])
                by_size.setdefault(stamp[0], {}).setdefault(os.path.normpath(whole), []).append(named)
    pairs: dict[str, list[str]] = {}
    for places in by_size.values():
        by_content: dict[str, list[str]] = {}
        for place in places if len(places) > 1 else ():
            by_content.setdefault(_content(Path(place)), []).append(place)
        for same in by_content.values():
            first_with: dict[tuple[str, str, str], str] = {}  # list, label and part: the first of these files there
            for place in same:
                for known, first in first_with.items():
                    for what in _conflicts([known], places[place]):
                        pairs.setdefault(what, []).append(f"{first} = {place}")
                for known in places[place]:
                    first_with.setdefault(known, place)
    return [f"{what} ({len(same)}): {_some(same)}" for what, same in pairs.items()]


def _conflicts(first: Sequence[tuple[str, str, str]], second: Sequence[tuple[str, str, str]]) -> list[str]:
    """What is wrong with two files of one content that stand in these lists with these labels."""
    found = []
    for list_, label, part in first:
        for other_list, other_label, other_part in second:
            if list_ != other_list:
                names = " and ".join(sorted((list_, other_list)))
                found.append(f"{names} share contents under two names")
            elif label != other_label and part == other_part:
                found.append(f"{list_}: contents with two labels")
    return list(dict.fromkeys(found))


def _remarks_on_one(name: str, videos: FileList, places: Sequence[str]) -> list[str]:
    lines = []
    labels_of: dict[str, set[str]] = {}
    for place, label in zip(places, label_texts(videos.labels), strict=True):
        labels_of.setdefault(place, set()).add(label)
    if two := [place for place, labels in labels_of.items() if len(labels) > 1]:
        lines.append(f"{name}: files with two labels ({len(two)}): {_some(two)}")
    if (again := len(places) - len(labels_of)) and not two:
        lines.append(f"{name}: lines that name a file again ({again})")
    if not videos.is_labelled:
        return lines
    present = videos.classes
    if videos.has_label_sets and (num_without := int((~videos.labels.any(axis=1)).sum())):
        lines.append(f"{name}: videos without a label ({num_without})")
    if not present:
        return [*lines, f"{name}: no video has a label, so mAP cannot be measured by it"]
    if len(present) == 1 and not videos.has_label_sets:
        lines.append(f"{name}: all videos have one label, {present[0]}")
    elif present[0] == 1:
        lines.append(f"{name}: no video has the label 0; if the labels begin at 1, subtract 1 from each")
    if num_absent := int(present[-1]) + 1 - len(present):
        gaps = np.flatnonzero(np.diff([-1, *present]) > 1)  # each begins behind the label before it
        firsts = [int(present[gap - 1]) + 1 if gap else 0 for gap in gaps]
        lines.append(f"{name}: labels without videos ({num_absent}), at {_some(firsts)}")
    return lines


def _remarks_on_two(
    first: str, second: str, lists: Mapping[str, FileList], places: Mapping[str, Sequence[str]]
) -> list[str]:
    lines = []
    known = set(map(without_part, places[first]))
    if shared := [place for place in dict.fromkeys(map(without_part, places[second])) if place in known]:
        lines.append(f"{first} and {second} share files ({len(shared)}): {_some(shared)}")
    if lists[first].is_labelled and lists[second].is_labelled:
        here, there = (set(lists[name].classes) for name in (first, second))
        for name, lacking in ((first, there - here), (second, here - there)):
            if lacking:
                other = second if name == first else first
                lines.append(f"labels that {other} has and {name} lacks ({len(lacking)}): {_some(sorted(lacking))}")
    return lines


def _places(videos: FileList) -> list[str]:
    """Where the videos are, as absolute paths, without a look at the disk."""
    root = os.path.abspath(videos.base)  # noqa: PTH100 - Path is slow for 250,000 of them
    return [os.path.normpath(os.path.join(root, path)) for path in videos.paths]  # noqa: PTH118


def _content(path: Path) -> str:
    """What tells a file from others; of a folder what tells its pictures, in their order, from those of others."""
    if not path.is_dir():
        return sha256(path)
    return " ".join(sha256(file) for file in sorted(path.iterdir()) if is_picture(file.name))


def _some(items: Iterable[object], most: int = 3) -> str:
    items = [str(item) for item in items]
    return ", ".join(items[:most]) + (", ..." if len(items) > most else "")
