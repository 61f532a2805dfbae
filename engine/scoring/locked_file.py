"""A file of results that grows line by line, and that one run at a time may write."""

import fcntl
from pathlib import Path
from typing import TextIO

from utils.errors import ConfigError
from utils.logging import get_logger


def open_locked(path: Path) -> TextIO:
    """Open a file for reading and appending, and lock it until it is closed. Bytes that are no UTF-8 are kept.

    Raises:
        ConfigError: another run is writing it, or it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = open(path, "a+", encoding="utf-8", errors="surrogateescape")  # noqa: SIM115 - holds the lock
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        handle.close()
        raise ConfigError(
            f"{path} is being written by a live run: wait for it, stop it, or name another --save_dir"
        ) from error
    except OSError as error:
        get_logger().warning("%s cannot be locked (%s): make sure that no other run writes it", path, error)
    return handle


def end_last_line(handle: TextIO) -> None:
    """End the last line of an open file if a run was killed while it wrote it."""
    with open(handle.name, "rb") as content:
        size = content.seek(0, 2)
        content.seek(max(size - 1, 0))
        if content.read(1) not in (b"", b"\n"):
            handle.write("\n")
            handle.flush()
