"""From the text of a file list to its videos. No video is opened here.

Three formats: ``path label``, or ``path 3,17,42`` where videos have several labels; csv with a header, columns path
and perhaps label; and the old test list ``path video_index clip_index crop_index`` with 30 lines a video.
"""

import re
from collections.abc import Iterable

import numpy as np

from datareader.decoding.parts import segment_in
from datareader.filelist import FileList, unlabelled_videos
from datareader.label_text import is_integer, is_set, label_matrix, parse_label, parse_label_set
from datareader.list_lines import hint, read_lines, split_label
from datareader.old_test_list import is_view_list, read_view_list
from utils.errors import FileListError
from utils.logging import get_logger

_MOST_CLASSES = 20_000  # of a list with several labels, where nobody says how many there are
_LONGEST_SURE = 18  # digits of a label that is no mistake
_MORE_LABELS = re.compile(r"(\s-?\d+|[,;]\s*)$")  # in front of the last labels of a line: a path is not meant so
_LONGEST_SHOWN = 200  # characters of a line that an error quotes


def read_labelled_list(path: str, *, num_classes: int, data_root: str = "", multi_label: bool = False) -> FileList:
    """Read a list of ``path label`` lines, or a csv list with the columns path and label.

    The path may hold blanks: the label stands after the last one.

    Args:
        multi_label: a video has a set of labels, ``3,17,42``, or ``-`` for none.

    Raises:
        FileListError: missing, empty, or a line without labels in [0, num_classes); names ``file:line``.
    """
    lines = _labelled_lines(path, multi_label=multi_label)
    for number, _, labels in lines:
        for label in labels:
            if not 0 <= label < num_classes:
                least = min((label for _, _, others in lines for label in others), default=0)
                begins_at_one = label == num_classes and least == 1
                advice = "; the labels of this list begin at 1: subtract 1 from each" if begins_at_one else ""
                raise FileListError(f"{path}:{number}: label ({label}) must be in [0, {num_classes}){advice}")
    sets = [labels for _, _, labels in lines]
    array = label_matrix(sets, num_classes) if multi_label else np.array(sets, np.int64).reshape(len(sets))
    return FileList(path, [listed for _, listed, _ in lines], array, data_root=data_root)


def _labelled_lines(path: str, *, multi_label: bool) -> list[tuple[int, str, tuple[int, ...]]]:
    """Line number, path and labels of each line: one of each, but for `multi_label`."""
    lines, is_table = read_lines(path)
    found = []
    for number, text, label in lines:
        listed = text
        if not is_table:
            listed, label = split_label(text)
        if "#t=" in listed:
            _require_segment(f"{path}:{number}", listed)
        if label and label.isdecimal() and len(label) < _LONGEST_SURE and not multi_label:
            found.append((number, listed, (int(label),)))
            continue
        try:
            if multi_label and not is_table and _MORE_LABELS.search(text.rpartition(" ")[0]):
                raise ValueError("has blanks between its labels, which stand between commas alone: 3,17,42")
            labels = _labels_in(label, is_table=is_table, multi_label=multi_label)
        except ValueError as error:
            shown = f"{text!r} " if len(text) <= _LONGEST_SHOWN else ""
            raise FileListError(f"{path}:{number}: {shown}{error}{'' if label else hint(text)}") from error
        found.append((number, listed, labels))
    return found


def _require_segment(place: str, listed: str) -> None:
    """Raise FileListError if a path names a segment that ends before it starts. No look at the disk."""
    if (segment := segment_in(listed)) and segment.start_seconds >= segment.end_seconds:
        raise FileListError(f"{place}: {listed!r} names a segment that does not end after it starts")


def _labels_in(text: str | None, *, is_table: bool, multi_label: bool) -> tuple[int, ...]:
    """The labels in what stands behind a path; of a table, in the column, None if there is no such column.

    Raises:
        ValueError: they are not what they must be.
    """
    if not text:
        none = "; '-' stands for none" if multi_label else ""
        raise ValueError(f"must {'have' if is_table else 'be a path, a blank and'} a label{none}")
    if multi_label:
        return parse_label_set(text)
    if is_set(text):
        raise ValueError(f"has a set of labels ({text}), and one is wanted: for several set MODEL.multi_label=True")
    if not is_integer(text):
        raise ValueError("must have a label, a whole number")
    return (parse_label(text),)


def read_test_list(
    path: str, *, num_classes: int, labels_file: str, data_root: str = "", multi_label: bool = False
) -> FileList:
    """Read a test list in either format. In the old one labels come from `labels_file`, by video index."""
    if not is_view_list(path):
        return read_labelled_list(path, num_classes=num_classes, data_root=data_root, multi_label=multi_label)
    videos = read_view_list(path)
    truth = read_labelled_list(labels_file, num_classes=num_classes, multi_label=multi_label)
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
        for (number, _, _), listed in zip(lines, paths, strict=True):
            if "#t=" in listed:
                _require_segment(f"{path}:{number}", listed)
    return unlabelled_videos(paths, source=path, data_root=data_root)


def read_any_list(path: str, *, data_root: str = "") -> FileList:
    """Read a list of any kind, for tools: with labels if every line has one, otherwise without.

    Its videos have several labels each if one of them has another number of labels than one.

    Raises:
        FileListError: missing or empty, or a label is no class number.
    """
    lines, is_table = read_lines(path)
    labels = [label if is_table else split_label(text)[1] for _, text, label in lines]
    unlabelled = sum(not label for label in labels)
    if 0 < unlabelled < len(labels):
        get_logger().warning("%s: %d of %d lines have no label: read without labels", path, unlabelled, len(labels))
    if is_view_list(path) or unlabelled:
        return read_path_list(path, data_root=data_root)
    if has_label_sets(path):
        return read_labelled_list(path, num_classes=classes_of_sets([path]), data_root=data_root, multi_label=True)
    return read_labelled_list(path, num_classes=1 << 31, data_root=data_root)


def has_label_sets(path: str) -> bool:
    """Whether a line of a list has several labels, or '-' for none."""
    lines, is_table = read_lines(path)
    labels = [label if is_table else split_label(text)[1] for _, text, label in lines]
    return any(is_set(label) for label in labels if label)


def classes_of_sets(paths: Iterable[str]) -> int:
    """Return how many classes the labels of lists with several labels ask for: the largest, and 1.

    Raises:
        FileListError: see `read_labelled_list`; or there would be more than 20,000.
    """
    largest = 0
    for path in paths:
        for number, _, labels in _labelled_lines(path, multi_label=True):
            largest = max((largest, *labels))
            if largest >= _MOST_CLASSES:
                raise FileListError(
                    f"{path}:{number}: label ({largest}): of lists with several labels this program reads "
                    f"{_MOST_CLASSES} classes at most"
                )
    return largest + 1
