"""Names of the classes: from a label file, or from the save that a network comes from."""

import csv
import json
import re
from pathlib import Path
from typing import Any

from configs.schema import Config, InferSection
from engine.checkpoint import description_file, read_description
from engine.weights_argument import find_save
from utils.errors import FileListError, WeightsError
from utils.logging import get_logger

_BESIDE_LISTS = "classes.json"  # as tools/make_filelist.py writes it
_NAME_COLUMNS = ("name", "class_name", "label_name", "class", "category", "action", "label")
_INDEX_COLUMNS = ("id", "index", "class_id", "label_id", "class_index", "label_index", "number", "label", "class")
_NUMBER_FIRST = re.compile(r"(\d+)[\s,;:.]+(\S.*)")
_NUMBER_LAST = re.compile(r"(.*\S)[\s,;:]+(\d+)")


def class_names_for_scoring(config: Config, weights: str | None) -> list[str]:
    """Return the class names by index; empty if they are not known.

    A file that INFER.kinetics_labels names, and that is there, comes first, then the names in the save, then the
    default file.

    Args:
        weights: what ``--weights`` takes.

    Raises:
        FileListError: see `read_class_names`.
    """
    path, num_classes = config.INFER.kinetics_labels, config.MODEL.num_classes
    is_given = path != InferSection().kinetics_labels and Path(path).is_file()
    if not is_given and len(names := _names_in_save(weights)) == num_classes:
        return names
    return read_class_names(path, num_classes)


def class_names_for_training(config: Config) -> list[str]:
    """Return the class names that the saves of a training keep; empty if there are none.

    A file that INFER.kinetics_labels names comes first, then ``classes.json`` beside TRAIN.filelist, then the default
    file if it names as many classes.

    Raises:
        FileListError: see `read_class_names`.
    """
    path, default = config.INFER.kinetics_labels, InferSection().kinetics_labels
    beside = Path(config.TRAIN.filelist).with_name(_BESIDE_LISTS)
    if path == default and beside.is_file():
        path = str(beside)
    if path == default:
        names = _parse(path) if Path(path).is_file() else []
        return names if len(names) == config.MODEL.num_classes else []
    names = read_class_names(path, config.MODEL.num_classes)
    if names:
        get_logger().info("class names from %s: every save keeps them", path)
    return names


def read_class_names(path: str, num_classes: int) -> list[str]:
    """Return the class names in a file, by index; if there are none, or not as many as classes, log it and return [].

    The file is JSON (a list, or a dictionary either way, its numbers as text or not), CSV with a header, or text: a
    name a line, with its number before or behind it or without. Numbers count from 0, or from 1.

    Raises:
        FileListError: the file is there but is none of these.
    """
    if not path:
        return []
    if not Path(path).is_file():
        get_logger().warning("no label file %s: classes are shown as numbers", path)
        return []
    names = _parse(path)
    if len(names) != num_classes:
        get_logger().warning(
            "%s names %d classes, the network has %d: classes are shown as numbers", path, len(names), num_classes
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
        text = Path(path).read_text(encoding="utf-8-sig")
        if text.lstrip()[:1] in ("[", "{"):
            return _of_json(json.loads(text))
        return _of_text([line.strip() for line in text.splitlines() if line.strip()])
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError, OSError, csv.Error) as error:
        raise FileListError(
            f"{path}: no class names: must be a JSON list or dictionary between names and numbers, CSV with a header, "
            f"or text with a name a line, in UTF-8; each number once, from 0 or 1 on ({error})"
        ) from error


def _of_json(content: Any) -> list[str]:
    if isinstance(content, dict):
        keys_are_numbers = all(_is_number(key) for key in content)
        pairs = [(key, value) if keys_are_numbers else (value, key) for key, value in content.items()]
        return _by_number(pairs)
    if content and all(isinstance(row, dict) for row in content):
        return _of_rows(content, list(content[0]))
    return [_plain(name) for name in content]


def _of_text(lines: list[str]) -> list[str]:
    header = [cell.strip().strip('"').lower() for cell in re.split(r"[,;\t]", lines[0])] if lines else []
    if len(header) > 1 and set(header) & set(_NAME_COLUMNS) and not any(map(_is_number, header)):
        separator = next(mark for mark in ",;\t" if mark in lines[0])
        rows = list(csv.DictReader([separator.join(header), *lines[1:]], delimiter=separator))
        return _of_rows(rows, header)
    for pattern, order in ((_NUMBER_FIRST, (1, 2)), (_NUMBER_LAST, (2, 1))):
        matches = [pattern.fullmatch(line) for line in lines]
        if all(matches):
            pairs = [(match[order[0]], match[order[1]]) for match in matches if match]
            if _starts(pairs) is not None:
                return _by_number(pairs)
    return [_plain(line) for line in lines]


def _of_rows(rows: list[dict[str, Any]], header: list[str]) -> list[str]:
    name = next(column for column in (*_NAME_COLUMNS, None) if column in header or column is None)
    number = next((column for column in _INDEX_COLUMNS if column in header and column != name), None)
    if name is None:
        raise ValueError(f"no column with the names: {', '.join(map(str, header))}")
    if number is None:
        return [_plain(row[name]) for row in rows]
    return _by_number([(row[number], row[name]) for row in rows])


def _starts(pairs: list[tuple[Any, Any]]) -> int | None:
    """0 or 1 if the numbers are 0, 1, 2, ... or 1, 2, 3, ... in some order."""
    numbers = sorted(int(number) for number, _ in pairs if _is_number(number))
    return next((start for start in (0, 1) if numbers == list(range(start, start + len(pairs)))), None)


def _by_number(pairs: list[tuple[Any, Any]]) -> list[str]:
    if _starts(pairs) is None:
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
