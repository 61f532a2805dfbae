"""Libraries that print from C++, where Python's own redirection does not reach."""

import contextlib
import ctypes
import os
import sys
import threading
from collections.abc import Iterator

_ONE_AT_A_TIME = threading.RLock()  # of threads


@contextlib.contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Send what is printed to standard output meanwhile, by whatever code of this process, to standard error."""
    libc = ctypes.CDLL(None)
    with _ONE_AT_A_TIME:
        sys.stdout.flush()
        libc.fflush(None)
        stdout = os.dup(1)
        try:
            os.dup2(2, 1)
            yield
        finally:
            try:
                sys.stdout.flush()
                libc.fflush(None)
            finally:
                os.dup2(stdout, 1)
                os.close(stdout)
