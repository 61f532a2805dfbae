"""The logger of the project: lines on standard error, and the same lines with dates in the log file of a run."""

import logging
import logging.handlers
import sys
from pathlib import Path

from utils.printable import printable

LOGGER_NAME = "nonlocal_video"
logging.getLogger(LOGGER_NAME).setLevel(logging.WARNING)  # until a program says otherwise


class _Neutral(logging.Formatter):
    """Names of files and classes in a line do nothing to the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


_DATED = _Neutral("%(asctime)s %(levelname)s %(message)s")


def get_logger() -> logging.Logger:
    """Return the project's logger. Before `setup_logging` is called it shows warnings and errors only.

    DEBUG lines go to the log file only.
    """
    return logging.getLogger(LOGGER_NAME)


def setup_logging() -> None:
    """Send INFO and above to standard error, and keep all lines for the file that `add_log_file` may name later."""
    logger = get_logger()
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logging.raiseExceptions = False  # a log that cannot be written is no reason for a trace on the screen
    console = logging.StreamHandler(sys.stderr)
    console.setLevel(logging.INFO)
    console.setFormatter(_Neutral("[%(levelname)s %(asctime)s] %(message)s", "%H:%M:%S"))
    logger.addHandler(console)
    # A run that cannot start must leave no file behind, so the first lines are kept here.
    logger.addHandler(logging.handlers.MemoryHandler(capacity=1000, flushLevel=logging.CRITICAL + 1))


def add_log_file(path: Path) -> None:
    """Append everything logged since `setup_logging`, and from now on, to `path`."""
    logger = get_logger()
    to_file = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    to_file.setFormatter(_DATED)
    for handler in list(logger.handlers):
        if isinstance(handler, logging.handlers.MemoryHandler):
            handler.setTarget(to_file)
            handler.flush()
            logger.removeHandler(handler)
    logger.addHandler(to_file)
