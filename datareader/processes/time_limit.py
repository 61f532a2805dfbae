"""A time limit without a process that could be ended: work that takes too long is left behind in its thread."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


class TimeLimitError(Exception):
    """The work gave no sign of life for too long. It may still be going on."""


class _LeftBehindError(BaseException):
    """Ends work that nobody waits for any more."""


def call_with_limit(work: Callable[[Callable[[], None]], Result], *, timeout_seconds: float) -> Result:
    """Return ``work(is_alive)``, called in a thread of its own.

    Args:
        work: calls `is_alive` while it gets on; the limit counts from the last call. It must keep to itself what it
            writes until it returns: work that has been left behind ends at its next call of `is_alive`.

    Raises:
        TimeLimitError: the limit has passed.
    """
    watched = _Watched(work)
    threading.Thread(target=watched.run, name="reader", daemon=True).start()
    while not watched.done.wait(max(watched.alive + timeout_seconds - time.monotonic(), 0.001)):
        if time.monotonic() > watched.alive + timeout_seconds:
            watched.left_behind = True
            raise TimeLimitError
    if watched.error is not None:
        raise watched.error
    return watched.result


class _Watched:
    """One call of `work`, and what came of it."""

    def __init__(self, work: Callable[[Callable[[], None]], Result]) -> None:
        self.alive = time.monotonic()
        self.done = threading.Event()
        self.left_behind = False
        self.error: BaseException | None = None
        self.result: Result
        self._work = work

    def run(self) -> None:
        try:
            self.result = self._work(self._is_alive)
        except BaseException as error:  # noqa: BLE001 - it is raised again where the result is waited for
            self.error = error
        self.done.set()

    def _is_alive(self) -> None:
        if self.left_behind:
            raise _LeftBehindError
        self.alive = time.monotonic()
