"""Names of the classes, from a label file."""

import json
from pathlib import Path

from utils.errors import FileListError
from utils.logging import get_logger


def read_class_names(path: str, num_classes: int) -> list[str]:
    """Return the class names by index; if there are none, or not as many as classes, log it and return [].

    The file is JSON: a list of names, {name: index} or {index: name}.

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


def _parse(path: str) -> list[str]:
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
        if isinstance(content, list):
            return [str(name) for name in content]
        by_index = {}
        for key, value in content.items():
            index, name = (value, key) if isinstance(value, int) else (int(key), value)
            by_index[index] = str(name).strip('"')
        return [by_index[index] for index in range(len(by_index))]
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError, OSError) as error:
        raise FileListError(
            f"{path}: must be a JSON list of class names, or a dictionary between names and 0, 1, 2, ... ({error})"
        ) from error
