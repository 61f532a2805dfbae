"""SIGTERM and Ctrl-C ask a program to stop: it finishes what it is at, and ends.

A training run saves itself and ends with exit code 75 (EX_TEMPFAIL): the same command with ``--resume auto`` continues
it. scripts/train/train_nonlocal.sh does so.
"""

import signal
import threading
import time
from types import FrameType
from typing import Any

from utils.logging import get_logger

EXIT_RESUMABLE = 75
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequested(Exception):  # noqa: N818 - not an error
    """Raised where the run can be saved, after a signal asked it to stop."""


_SAME_REQUEST_SECONDS = 5
_LOOK_SECONDS = 0.2


class StopRequest:
    """While the block runs, the first SIGTERM or SIGINT is only noted; a second one has its usual effect.

    Signals within 5 seconds of the first are ignored, after the block too: launchers and job schedulers send several at
    once, and the program may have ended its work by then.

    Args:
        answer: what the program does now, for the log.
    """

    def __init__(self, answer: str = "saving, then stopping") -> None:
        self._answer = answer
        self._signal: int | None = None
        self._noted: float | None = None
        self._is_over = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():  # only it may handle signals
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        if self._noted is None:
            self._restore()

    @property
    def is_set(self) -> bool:
        """Whether a signal came."""
        return self._signal is not None

    def note_other(self) -> None:
        """Another process of the run was asked to stop: a signal to this one says the same from now on."""
        if self._noted is None:
            self._noted = time.monotonic()

    def wait(self) -> None:
        """Return when a signal has come."""
        while not self.is_set:
            time.sleep(_LOOK_SECONDS)

    @property
    def name(self) -> str:
        """Name of the signal that came."""
        return "a signal to another process" if self._signal is None else signal.Signals(self._signal).name

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._noted is not None:
            if time.monotonic() > self._noted + _SAME_REQUEST_SECONDS:
                self._restore()
                if number == signal.SIGTERM and not self._is_over:
                    signal.signal(number, signal.SIG_DFL)  # at once
                signal.raise_signal(number)
            return
        self._signal, self._noted = number, time.monotonic()
        get_logger().warning(
            "%s: %s; once more after %d seconds to stop at once",
            signal.Signals(number).name,
            self._answer,
            _SAME_REQUEST_SECONDS,
        )

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
