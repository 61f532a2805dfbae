"""What every command-line program does around its work: its parser, one clear line and an exit code for an error."""

import argparse
import errno
import io
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from utils.errors import ConfigError, VideoToolkitError, one_line
from utils.logging import get_logger
from utils.printable import printable
from utils.signals import end_orderly_on_sigterm
from utils.suggestions import nearest

# Warnings of Paddle that are no news to anybody: a build tool nobody asked for, and what BN has always done.
_NOISE = ("No ccache found", ".*always track global mean and variance", "Glyph .* missing from")
_NO_MORE_PROCESSES = (
    "the system gives no more processes or threads ({}): use fewer reader processes, or raise the limit (ulimit -u; "
    "that of the container)"
)
_OUT_OF_MEMORY = "memory is out: {}; smaller views, a smaller batch or network take less"


class ProgramParser(argparse.ArgumentParser):
    """A parser that shows its texts as they are written, and whose errors are one line.

    A flag that does not exist is answered with the nearest one that does.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False, **settings})

    def error(self, message: str) -> NoReturn:
        """Raise ConfigError: what is wrong with the command line."""
        unknown = message.removeprefix("unrecognized arguments: ").split()
        flags = [word.partition("=")[0] for word in unknown if word.startswith("-") and len(word) > 1]
        if message.startswith("unrecognized arguments: ") and flags:
            known = [flag for flag in self._flags() if flag.startswith("--")]
            message = f"unknown flag {flags[0]}{nearest(flags[0], known) or '; --help lists all'}"
        raise ConfigError(f"{message} ({self.prog} --help explains)" if "--help" not in message else message)

    def _flags(self) -> set[str]:
        commands = [action for action in self._actions if isinstance(action, argparse._SubParsersAction)]
        return set(self._option_string_actions).union(
            *(parser._flags() for action in commands for parser in action.choices.values())
        )


class _NeutralOutput(io.TextIOWrapper):
    """Standard output, on which names of files and classes do nothing to the terminal."""

    def write(self, text: str) -> int:
        return super().write(printable(text))


def run_program(main: Callable[[Sequence[str]], int | None]) -> int:
    """Call `main` with the command line's arguments and return the exit code of the process.

    0 or what `main` returned; 2 after a `VideoToolkitError`, an `OSError`, or where memory, threads or a package are
    missing (a line on standard error; a traceback before it with ``--debug``); 130 after Ctrl-C, 143 after SIGTERM.
    """
    arguments = sys.argv[1:]
    for message in _NOISE:
        warnings.filterwarnings("ignore", message=message)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by whoever started the program
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - for as long as the program runs
    if not _has_working_directory():
        return _report("the working directory has been removed: change into a folder that is there", arguments)
    end_orderly_on_sigterm()
    if type(sys.stdout) is io.TextIOWrapper:
        how = {name: getattr(sys.stdout, name) for name in ("encoding", "line_buffering", "write_through")}
        # A file name that the terminal cannot show stops nothing.
        sys.stdout = _NeutralOutput(sys.stdout.detach(), errors="backslashreplace", **how)
    try:
        return main(arguments) or 0
    except VideoToolkitError as error:
        return _report(str(error), arguments)
    except KeyboardInterrupt:
        get_logger().error("error: stopped by Ctrl-C")
        return 130
    except BrokenPipeError:  # the reader of our output went away, as in `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError as error:
        return _report(_OUT_OF_MEMORY.format(one_line(error)), arguments)
    except BlockingIOError as error:
        return _report(_NO_MORE_PROCESSES.format(error.strerror), arguments)
    except RuntimeError as error:
        if str(error) != "can't start new thread":
            raise
        return _report(_NO_MORE_PROCESSES.format(error), arguments)
    except ModuleNotFoundError as error:
        return _report(
            f"{error}: activate the environment that the project was installed in (source .venv/bin/activate), or "
            "pip install -r requirements.txt", arguments,
        )  # fmt: skip
    except OSError as error:  # a full disk, a folder where a file should be
        if error.errno == errno.ENOMEM and error.filename is None:
            return _report(_OUT_OF_MEMORY.format(error.strerror), arguments)
        return _report(f"{error.filename or 'output'}: {error.strerror or error}", arguments)


def _has_working_directory() -> bool:
    try:
        return bool(Path.cwd())
    except FileNotFoundError:
        return False


def _report(message: str, arguments: Sequence[str]) -> int:
    if "--debug" in arguments:
        traceback.print_exc()
    get_logger().error("error: %s", printable(" ".join(message.split())[:3000]))  # logging may not be set up as yet
    return 2
