"""What Ctrl-C and SIGTERM do outside of a run that saves itself first (`engine/stopping.py` has those)."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

EXIT_TERMINATED = 128 + signal.SIGTERM


def end_orderly_on_sigterm() -> None:
    """Let SIGTERM end the program as an error would: temporary files are removed, reader processes ended.

    Paddle puts a handler of its own in the place of this one when it is imported, which prints a trace of C++; so this
    is called again then.
    """
    if threading.current_thread() is threading.main_thread():  # only it may handle signals
        signal.signal(signal.SIGTERM, _end)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(EXIT_TERMINATED)


@contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Block Ctrl-C for this thread, and for processes that it starts: they never hear of one. It comes afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def signals_held() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back until the block is over.

    For libraries that catch a KeyboardInterrupt and go on with an error of their own: nobody would know that it came.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda number, frame: came.append(number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])
