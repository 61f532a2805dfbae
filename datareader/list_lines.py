"""The text of a file list: its lines as (line number, path, what stands behind it).

Plain lists have a path in each line, and perhaps a blank and a label, or several labels. Lists with more columns are
csv, with a header that names them.
"""

import csv
import os
import re
import sys
from collections.abc import Mapping, Sequence

from datareader.decoding.parts import segment_text
from datareader.label_text import is_integer, is_label_text
from utils.errors import FileListError
from utils.logging import get_logger

_FIRST_BYTES = 1 << 16
_SECONDS = r"(\d{1,9}(\.\d{0,9})?)?"
_PART_COLUMNS = {  # and what stands in them
    "first": r"\d{0,9}", "last": r"\d{0,9}", "fps": r"(\d{1,6}(\.\d{0,9})?)?",  # of folders of pictures
    "start": _SECONDS, "end": _SECONDS,
}  # fmt: skip
_SAME_COLUMNS = {"start_seconds": "start", "end_seconds": "end", "labels": "label"}
_KNOWN_COLUMNS = ("path", "label", *_PART_COLUMNS)
_NAMES_OF_PATH = ("path", "video", "file", "filename", "video_path", "file_path")  # what headers call this column
_HEADERS = [{name, "label"} for name in _NAMES_OF_PATH]


# Number, text and label of one line that names a video. In csv lists the text is the path, and the label what stands in
# its column, None if there is none; in others the text is the whole line. Plain tuples: lists may have 250,000 lines.
ListLine = tuple[int, str, str | None]


def read_lines(path: str, *, standard_input: bool = False) -> tuple[list[ListLine], bool]:
    """Return the lines that are not blank, and whether the list is csv with a header.

    Raises:
        FileListError: it cannot be read, is no text in UTF-8, or names nothing.
    """
    text = _text(path, standard_input).split("\n")  # str.splitlines divides names at rarer characters too
    rows = [(number, row) for number, row in enumerate(text, start=1) if row.strip()]
    if rows and (delimiter := _delimiter(rows[0][1])):
        lines, is_table = _table(path, rows, delimiter), True
    else:
        if rows and set(rows[0][1].lower().split()) in _HEADERS:
            rows = rows[1:]
        lines, is_table = [(number, row.replace("\t", " ").strip(" "), None) for number, row in rows], False
    if not lines:
        raise FileListError(f"file list {path!r} is empty: it must name one video a line")
    return lines, is_table


def split_label(line: str) -> tuple[str, str]:
    """Return the path of a line and the text of its label, empty if there is none. The label stands after a blank.

    >>> split_label("a b.mp4 17"), split_label("a b.mp4"), split_label('"a b.mp4" 17')
    (('a b.mp4', '17'), ('a b.mp4', ''), ('a b.mp4', '17'))
    >>> split_label("a b.mp4 3,17"), split_label("a b.mp4 -")
    (('a b.mp4', '3,17'), ('a b.mp4', '-'))
    """
    listed, _, label = line.rpartition(" ")
    if not listed or not (label.isdecimal() or is_label_text(label)):
        listed, label = line, ""
    listed = listed.rstrip(" ")
    return (listed if listed[0] not in "'\"" else unquoted(listed)), label


def quoted(path: str) -> str:
    """Return a path as it stands in a plain list: in quotes if it would be read as another one, or as one with a label.

    >>> quoted("a b.mp4"), quoted("clip 3"), quoted("a.mp4 ")
    ('a b.mp4', '"clip 3"', '"a.mp4 "')
    """
    is_plain = path.strip() and path == path.strip(" ") and path[0] not in "'\"\ufeff" and not split_label(path)[1]
    return path if is_plain and set(path.lower().split()) not in _HEADERS else f'"{path}"'


def unquoted(path: str) -> str:
    """Return a path without the quotes around it."""
    return path[1:-1] if len(path) > 2 and path[0] == path[-1] and path[0] in "'\"" else path


def hint(line: str) -> str:
    """Say what may be wrong with a line that is no path and label."""
    if re.fullmatch(r".+[,;]\s*-?\d+([,;].*)?", line):
        marks = "commas" if "," in line else "semicolons"
        return f"; it holds {marks}: write 'path label', or put the header 'path,label' above the lines"
    if is_integer(line.partition(" ")[0]):
        return "; the label stands behind the path"
    return ""


def _text(path: str, standard_input: bool) -> str:
    try:
        # A descriptor of its own for standard input: it takes any bytes of file names, and stays open.
        with open(os.dup(sys.stdin.fileno()) if standard_input else path, "rb") as handle:
            content = handle.read(_FIRST_BYTES)
            _require_text(path, content)  # before all of a video, or of a device, is in memory
            if len(content) == _FIRST_BYTES:
                content += handle.read()
    except OSError as error:
        raise FileListError(f"file list {path!r} cannot be read: {error.strerror}") from error
    _require_text(path, content)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        get_logger().warning(
            "file list %r is not in UTF-8 (line %d): its names are looked for byte by byte; if it was written on "
            "Windows (in GBK, perhaps), save it as UTF-8", path, 1 + content.count(b"\n", 0, error.start),
        )  # fmt: skip
        text = content.decode("utf-8-sig", "surrogateescape")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _require_text(path: str, content: bytes) -> None:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or content[1:200:2].count(0) > 20 > content[:200:2].count(0):
        raise FileListError(f"file list {path!r} is in UTF-16: save it as UTF-8")
    if b"\0" in content:
        raise FileListError(f"file list {path!r} is no text: it holds zero bytes")


def _delimiter(header: str) -> str:
    """What separates the columns of a csv list, empty if this is no header of one."""
    for delimiter in ",;\t":
        names = column_names(header, delimiter)
        if len(names) > 1 and ("path" in names or names[:2] in ([name, "label"] for name in _NAMES_OF_PATH)):
            return delimiter
    return ""


def column_names(header: str, delimiter: str) -> list[str]:
    """Return what a header calls its columns, in lower case; other names of known columns become the known ones."""
    names = [name.strip().strip('"').strip().lower() for name in header.split(delimiter)]
    return [_SAME_COLUMNS.get(name, name) if _SAME_COLUMNS.get(name) not in names else name for name in names]


def _table(path: str, rows: Sequence[tuple[int, str]], delimiter: str) -> list[ListLine]:
    columns = column_names(rows[0][1], delimiter)
    if "path" not in columns:
        columns[0] = "path"
    if repeated := sorted({name for name in columns if columns.count(name) > 1}):
        raise FileListError(f"{path}:{rows[0][0]}: the header names {repeated[0]} twice")
    unused = [name for name in columns if name not in _KNOWN_COLUMNS]
    if unused:
        get_logger().info("%s: columns that are not used: %s", path, ", ".join(unused))
    lines = []
    for number, row in rows[1:]:
        try:
            fields = [field.strip() for field in next(csv.reader([row], delimiter=delimiter))]
        except csv.Error as error:
            raise FileListError(f"{path}:{number}: {row[:80]!r} cannot be read ({error})") from error
        if len(fields) != len(columns) or not fields[columns.index("path")]:
            raise FileListError(
                f"{path}:{number}: {row!r} must have the {len(columns)} columns {delimiter.join(columns)}; "
                "quote a path that holds the separator"
            )
        values = dict(zip(columns, fields, strict=True))
        part = _part(f"{path}:{number}", values)
        lines.append((number, f"{values['path'].rstrip('/')}{part}" if part else values["path"], values.get("label")))
    return lines


def _part(place: str, values: Mapping[str, str]) -> str:
    """What a path ends with if a part is meant: ``|first|last|fps`` of a folder, ``#t=start,end`` of a video."""
    part = {name: values.get(name, "") for name in _PART_COLUMNS}
    for name, value in part.items():
        if not re.fullmatch(_PART_COLUMNS[name], value, re.ASCII):
            kind = {"fps": "a number", "start": "seconds", "end": "seconds"}.get(name, "a whole number")
            raise FileListError(f"{place}: {name} ({value}) must be {kind}")
    start, end = part.pop("start"), part.pop("end")
    text = f"|{'|'.join(part.values())}" if any(part.values()) else ""
    if not start and not end:
        return text
    if not (start and end) or float(start) >= float(end) or text:
        rule = "start and end must both be given, end after start, and without first, last and fps"
        raise FileListError(f"{place}: {rule} (start {start or 'empty'}, end {end or 'empty'})")
    return segment_text(start, end)
