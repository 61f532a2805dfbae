"""Writes files atomically: into a temporary file in the same folder, which is synced and then renamed."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

_LONGEST_NAME = 220  # bytes; file systems allow 255, and a temporary name is longer


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield the name of a temporary file beside `path`; sync it and rename it to `path` when the block succeeds.

    If the block raises, the temporary file is removed, and `path` stays as it was. An OSError about the temporary file
    names `path`, which its reader knows.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.name if len(os.fsencode(path.name)) <= _LONGEST_NAME else sha256(os.fsencode(path.name)).hexdigest()
    temporary = path.with_name(f".{name}.tmp")
    try:
        with contextlib.ExitStack() as locks:
            if not _is_own(temporary, locks):  # another process is writing the same file
                temporary = path.with_name(f".{name}.{os.getpid()}.tmp")
            try:
                yield temporary
                with open(temporary, "rb+") as handle:
                    os.fsync(handle.fileno())
                os.replace(temporary, path)
            except BaseException:
                temporary.unlink(missing_ok=True)  # it is locked still; once renamed, the name may be another process's
                raise
    except OSError as error:
        if error.filename is None or os.fspath(error.filename) == str(temporary):
            raise OSError(error.errno, error.strerror or str(error), str(path)) from error
        raise
    _sync_folder(path.parent)


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file for binary writing that becomes `path` when the block succeeds: see `atomic_path`."""
    with atomic_path(path) as temporary, open(temporary, "wb") as handle:
        yield handle


@contextlib.contextmanager
def errors_name(path: Path | str) -> Iterator[None]:
    """Let an OSError of the block name `path`, if it names no file: those of a write to an open file do not."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


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


def _is_own(temporary: Path, locks: contextlib.ExitStack) -> bool:
    """Make an empty file, or empty one that a killed process left, and lock it; False if another process holds it.

    The name is the same for every process, so that what a killed one left goes away when the file is written again.
    """
    handle = locks.enter_context(open(temporary, "ab"))  # noqa: SIM115 - closed with the others
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        temporary.unlink(missing_ok=True)
        return False
    try:
        is_same = os.path.samestat(os.fstat(handle.fileno()), temporary.stat())  # else it was renamed meanwhile
    except FileNotFoundError:
        return False
    if is_same:
        handle.truncate(0)
    return is_same


def _sync_folder(folder: Path) -> None:
    # The rename itself must survive a power cut too. Not every system lets one sync a folder.
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
