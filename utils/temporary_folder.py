"""Temporary folders that do not outlive their programs for long: what a killed one left, the next one removes."""

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_LOCK = ".lock"  # in each folder; locked as long as its program lives
_SUFFIX = ".tmp"


@contextmanager
def temporary_folder(parent: Path | None = None, *, name: str = "nonlocal_video") -> Iterator[Path]:
    """Yield a new folder in `parent`, which is removed at the end.

    Args:
        parent: must exist; None: that of the system's temporary files.
        name: the first part of the folder's name. Folders in `parent` with the same first part, whose programs were
            killed, are removed first.

    Raises:
        OSError: the folder cannot be made; it names `parent`.
    """
    parent = Path(tempfile.gettempdir()) if parent is None else parent
    remove_abandoned(parent, name=name)
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{name}.", suffix=_SUFFIX, dir=parent))
    except OSError as error:  # it names the folder that nobody asked for
        raise OSError(error.errno, error.strerror, str(parent)) from error
    try:
        with open(folder / f"{_LOCK}.new", "w") as lock:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                (folder / f"{_LOCK}.new").rename(folder / _LOCK)  # under its name it is locked from the beginning
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned(parent: Path, *, name: str) -> None:
    """Remove the temporary folders of this name whose programs are gone."""
    with suppress(OSError):
        for folder in parent.glob(f".{name}.*{_SUFFIX}"):
            with suppress(OSError), open(folder / _LOCK) as lock:  # none: it has just been made
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
