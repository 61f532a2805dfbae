"""Names of the classes: from a label file, or from the save that a network comes from."""

import csv
import re
from pathlib import Path
from typing import Any

from configs.schema import Config, InferSection
from engine.checkpoint import description_file, read_description
from engine.weights_argument import find_save
from utils.errors import FileListError, WeightsError
from utils.json_text import parse_json
from utils.logging import get_logger
from utils.text_file import read_text

_BESIDE_LISTS = "classes.json"  # as tools/make_filelist.py writes it
_NAME_COLUMNS = ("name", "class_name", "label_name", "class", "action", "label", "category")  # the likeliest first
_INDEX_COLUMNS = ("id", "index", "class_id", "label_id", "class_index", "label_index", "number", "label", "class")
_NUMBER_FIRST = re.compile(r"(\d+)[\s,;:.]+(\S.*)")
_NUMBER_LAST = re.compile(r"(.*\S)[\s,;:]+(\d+)")


def class_names_for_scoring(config: Config, weights: str | None) -> list[str]:
    """Return the class names by index; empty if they are not known.

    A file that INFER.kinetics_labels names comes first, then the names in the save, then the default file. If the key
    is empty no names are wanted.

    Args:
        weights: what ``--weights`` takes.

    Raises:
        FileListError: see `read_class_names`.
    """
    path, num_classes = config.INFER.kinetics_labels, config.MODEL.num_classes
    is_given = path != InferSection().kinetics_labels
    if is_given and (not path or (names := read_class_names(path, num_classes))):
        return names if path else []
    if len(names := _names_in_save(weights)) == num_classes:
        return names
    return [] if is_given else read_class_names(path, num_classes)


def class_names_for_training(config: Config) -> list[str]:
    """Return the class names that the saves of a training keep; empty if there are none.

    A file that INFER.kinetics_labels names comes first, then ``classes.json`` beside TRAIN.filelist, then the default
    file. A file that nobody named stops no training.

    Raises:
        FileListError: see `read_class_names`, of the file that INFER.kinetics_labels names.
    """
    path, num_classes = config.INFER.kinetics_labels, config.MODEL.num_classes
    if path != InferSection().kinetics_labels:
        names = read_class_names(path, num_classes)
    else:
        beside = Path(config.TRAIN.filelist).with_name(_BESIDE_LISTS)
        path = next((str(file) for file in (beside, Path(path)) if file.is_file()), "")
        try:
            names = read_class_names(path, num_classes)
        except FileListError as error:
            get_logger().warning("%s", error)
            return []
    if names:
        get_logger().info("class names from %s: every save keeps them", path)
    return names


def names_beside(filelist: str) -> list[str]:
    """Return the names in ``classes.json`` beside a list; empty if there is none, or none that can be read."""
    file = Path(filelist).with_name(_BESIDE_LISTS)
    try:
        return _parse(str(file)) if file.is_file() else []
    except FileListError:
        return []  # `class_names_for_training` says so


def read_class_names(path: str, num_classes: int) -> list[str]:
    """Return the class names in a file, by index; if there are none, or not as many as classes, log it and return [].

    The file is JSON (a list, or a dictionary either way, its numbers as text or not), CSV with a header, or text: a
    name a line, with its number before or behind it or without. Numbers count from 0, or from 1; a number is a part of
    the name where names would be the same without it.

    Raises:
        FileListError: the file is there but is none of these.
    """
    if not path:
        return []
    if not Path(path).is_file():
        get_logger().warning("no label file %s with the names of the classes", path)
        return []
    names = _parse(path)
    if len(names) != num_classes:
        get_logger().warning(
            "%s names %d classes, the network has %d: these names are not used", path, len(names), num_classes
        )
        return []
    return names


def _names_in_save(weights: str | None) -> list[str]:
    prefix = find_save(weights) if weights else None
    if prefix is None:
        return []
    try:
        return read_description(description_file(prefix)).class_names
    except WeightsError:
        return []  # whoever loads it says so


def _parse(path: str) -> list[str]:
    try:
        text = read_text(path)
        if text.lstrip()[:1] in ("[", "{"):
            return _of_json(parse_json(text))
        return _of_text([line.strip() for line in text.splitlines() if line.strip()])
    except (ValueError, AttributeError, KeyError, TypeError, OSError, csv.Error) as error:
        raise FileListError(
            f"{path}: no class names: must be a JSON list or dictionary between names and numbers, CSV with a header, "
            f"or text with a name a line, in UTF-8; each number once, from 0 or 1 on ({error})"
        ) from error


def _of_json(content: Any) -> list[str]:
    if isinstance(content, dict):
        by_key, by_value = list(content.items()), [(value, key) for key, value in content.items()]
        # The keys of JSON are text: where a value is a number, it is the one that was meant as such.
        orders = [by_value, by_key] if all(type(value) is int for value in content.values()) else [by_key, by_value]
        return _by_number(next((pairs for pairs in orders if _is_sequence(pairs)), orders[0]))
    if content and all(isinstance(row, dict) for row in content):
        return _of_rows([{str(column).strip().lower(): cell for column, cell in row.items()} for row in content])
    return [_plain(name) for name in content]


def _of_text(lines: list[str]) -> list[str]:
    header = [cell.strip().strip('"').lower() for cell in re.split(r"[,;\t]", lines[0])] if lines else []
    if len(header) > 1 and set(header) & set(_NAME_COLUMNS) and not any(map(_is_number, header)):
        separator = next(mark for mark in ",;\t" if mark in lines[0])
        rows = list(csv.reader(lines[1:], delimiter=separator))
        # Without a column of numbers "action, other" may be the first name of many.
        if set(header) & set(_INDEX_COLUMNS) or all(len(row) == len(header) for row in rows):
            return _of_rows([dict(zip(header, row, strict=True)) for row in rows])
    for pattern, order in ((_NUMBER_FIRST, (1, 2)), (_NUMBER_LAST, (2, 1))):
        matches = [pattern.fullmatch(line) for line in lines]
        if all(matches):
            pairs = [(match[order[0]], match[order[1]]) for match in matches if match]
            if _is_sequence(pairs) and _are_distinct([name for _, name in pairs]):
                return _by_number(pairs)
    return [_plain(line) for line in lines]


def _of_rows(rows: list[dict[str, Any]]) -> list[str]:
    """The names in a table; which of its columns hold names and numbers is told by their titles and their cells."""
    columns = {column: [row[column] for row in rows] for column in rows[0]} if rows else {}
    named = [column for column in _NAME_COLUMNS if column in columns and _are_distinct(columns[column])]
    named.sort(key=lambda column: all(map(_is_number, columns[column])))  # names made of digits if there are no others
    if not named:
        raise ValueError(f"no column with a name of its own for each class: {', '.join(map(str, columns))}")
    numbered = [column for column in _INDEX_COLUMNS if column in columns and column != named[0]]
    numbered = [column for column in numbered if any(map(_is_number, columns[column]))]
    if not numbered:
        return [_plain(name) for name in columns[named[0]]]
    orders = [list(zip(columns[column], columns[named[0]], strict=True)) for column in numbered]
    return _by_number(next(filter(_is_sequence, orders), orders[0]))


def _are_distinct(names: list[Any]) -> bool:
    return len({str(name) for name in names}) == len(names)


def _is_sequence(pairs: list[tuple[Any, Any]]) -> bool:
    """Whether the numbers, the first of each pair, are 0, 1, 2, ... or 1, 2, 3, ... in some order."""
    numbers = sorted(int(number) for number, _ in pairs if _is_number(number))
    return any(numbers == list(range(start, start + len(pairs))) for start in (0, 1))


def _by_number(pairs: list[tuple[Any, Any]]) -> list[str]:
    if not _is_sequence(pairs):
        raise ValueError("the numbers are not 0, 1, 2, ... or 1, 2, 3, ...")
    return [_plain(name) for _, name in sorted(pairs, key=lambda pair: int(pair[0]))]


def _is_number(value: Any) -> bool:
    return type(value) is int or (isinstance(value, str) and value.strip().isascii() and value.strip().isdecimal())


def _plain(name: Any) -> str:
    """A name without the quotes that some files put around it.

    Raises:
        TypeError: it is no text.
    """
    if not isinstance(name, str | int | float):
        raise TypeError(f"a {type(name).__name__} is no name")
    return str(name).strip().strip('"')
