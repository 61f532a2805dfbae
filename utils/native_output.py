"""Silences libraries that print from C++, which Python's own redirection does not catch."""

import contextlib
import ctypes
import os
import sys
import tempfile
import threading
from collections.abc import Iterator

from utils.logging import get_logger

_ONE_AT_A_TIME = threading.RLock()  # of threads


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep everything that this process prints during the block from the screen, and log it (DEBUG) afterwards."""
    with _ONE_AT_A_TIME, tempfile.TemporaryFile() as kept:
        _flush()
        places = {number: os.dup(number) for number in (1, 2)}
        try:
            for number in places:
                os.dup2(kept.fileno(), number)
            yield
        finally:
            _flush()
            for number, place in places.items():
                os.dup2(place, number)
                os.close(place)
            kept.seek(0)
            for line in kept.read().decode("utf-8", "replace").splitlines():
                get_logger().debug("printed by a library: %s", line)


def _flush() -> None:
    with contextlib.suppress(OSError):  # the reader of our output has gone away
        sys.stdout.flush()
    ctypes.CDLL(None).fflush(None)
