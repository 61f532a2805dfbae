"""Paths that name a part of a video.

``VIDEO#t=12.5,17`` is what is shown from 12.5 s on and before 17 s, as in W3C media fragments.
``FOLDER|first|last|fps`` are pictures of a folder: first and last are the numbers in their names, and each of the three
may be empty. Lists with columns for these come to the same forms. A file whose own name looks like this is that file.
"""

import re
from pathlib import Path
from typing import NamedTuple

_SEGMENT = re.compile(r"#t=(\d{1,9}(?:\.\d{0,9})?),(\d{1,9}(?:\.\d{0,9})?)$", re.ASCII)
_PICTURES = re.compile(r"\|(\d{0,9})\|(\d{0,9})\|((?:\d{1,6}(?:\.\d{0,9})?)?)$", re.ASCII)


class Segment(NamedTuple):
    """A part of a video: the frames shown at or after `start_seconds` and before `end_seconds`."""

    start_seconds: float
    end_seconds: float


def segment_text(start: str, end: str) -> str:
    """Return what the path of a segment ends with."""
    return f"#t={start},{end}"


def segment_of(path: Path) -> tuple[Path, Segment] | None:
    """Return the video of a path that names a segment of one, and the segment; None if the path names none."""
    match = _match(_SEGMENT, path)
    return match and (path.parent / path.name[: match.start()], Segment(*map(float, match.groups())))


def segment_in(text: str) -> Segment | None:
    """Return the segment that the text of a path seems to name, without a look at the disk."""
    match = _SEGMENT.search(text)
    return match and Segment(*map(float, match.groups()))


def pictures_of(path: Path) -> tuple[Path, tuple[str, str, str]] | None:
    """Return the folder of a path that names some of its pictures, and first, last and fps; None if it names none."""
    match = _match(_PICTURES, path)
    return match and (path.parent / path.name[: match.start()], match.groups())


def whole_of(path: Path) -> Path:
    """Return the file or folder that a path names a part of; `path` itself if it names none."""
    found = segment_of(path) or pictures_of(path)
    return path if found is None or not found[0].exists() else found[0]


def is_there(path: Path) -> bool:
    """Whether there is a file or folder of this name, or one that it names a part of."""
    return path.exists() or path.is_symlink() or whole_of(path) != path


def without_part(text: str) -> str:
    """Return the text of a path without the part that it names, without a look at the disk."""
    if "|" not in text and "#t=" not in text:
        return text
    return _PICTURES.sub("", _SEGMENT.sub("", text))


def _match(pattern: re.Pattern[str], path: Path) -> re.Match[str] | None:
    match = pattern.search(path.name)
    return None if match is None or path.exists() else match
