"""Writes files atomically: into a temporary file in the same folder, which is synced and then renamed."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield the name of a temporary file beside `path`; sync it and rename it to `path` when the block succeeds.

    If the block raises, the temporary file is removed, and `path` stays as it was. An OSError about the temporary file
    names `path`, which its reader knows.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with open(temporary, "rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.filename is not None and os.fspath(error.filename) == str(temporary):
            error.filename = str(path)
            error.filename2 = None
        raise
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file for binary writing that becomes `path` when the block succeeds: see `atomic_path`."""
    with atomic_path(path) as temporary, open(temporary, "wb") as handle:
        yield handle


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, atomically. Bytes of file names that are not UTF-8 are written unchanged."""
    with atomic_write(path) as handle:
        handle.write(text.encode("utf-8", "surrogateescape"))


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` as indented JSON, atomically. NaN and infinity are refused (ValueError)."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    with atomic_write(path) as handle:
        # A byte of a file name that is not UTF-8 becomes its \\udc.. escape, which JSON reads back to the same.
        handle.write(text.encode("utf-8", "backslashreplace") + b"\n")


def _sync_folder(folder: Path) -> None:
    # The rename itself must survive a power cut too. Not every system lets one sync a folder.
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
