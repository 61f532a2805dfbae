"""Runs a program on a disk that fails: its n-th write is an error, once (EIO) or from then on (ENOSPC).

    python benchmarks/failing_disk.py NUMBER EIO|ENOSPC PROGRAM [ARGUMENTS ...]

Counted is what the program's own process writes below the working folder through Python: files opened, written and
synced, renamed, folders and links made. With NUMBER 0 nothing fails, and how many there were is printed at the end.
"""

import atexit
import builtins
import errno
import io
import os
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

COUNT = "writes: "  # what stands before their number
_open = builtins.open


class FailingDisk:
    """Counts writes below a folder, and lets them fail.

    Args:
        number: of the first write that fails, from 1; 0: none does.
        code: EIO fails once; ENOSPC goes on.
    """

    def __init__(self, folder: Path, number: int, code: int) -> None:
        self.count = 0
        self._folder = os.fspath(folder.resolve()) + os.sep
        self._number, self._code = number, code

    def write(self, path: Any) -> None:
        """Count a write to `path`, if it lies in the folder.

        Raises:
            OSError: it is one that fails.
        """
        if not isinstance(path, int) and os.path.realpath(path).startswith(self._folder):
            self.count += 1
            if self.count == self._number or (self.count > self._number > 0 and self._code == errno.ENOSPC):
                raise OSError(self._code, os.strerror(self._code), os.fspath(path))

    def install(self) -> None:
        """From now on Python's ways to write ask this one."""
        builtins.open = io.open = self._opened
        for name, number in (("mkdir", 0), ("symlink", 1), ("link", 1), ("replace", 1), ("rename", 1)):
            setattr(os, name, self._asking(getattr(os, name), number))

    def _asking(self, function: Callable, number: int) -> Callable:
        def asking(*arguments: Any, **named: Any) -> Any:
            self.write(arguments[number])
            return function(*arguments, **named)

        return asking

    def _opened(
        self, file: Any, mode: str = "r", buffering: int = -1, encoding: Any = None, errors: Any = None,
        newline: Any = None, closefd: bool = True, opener: Any = None,
    ) -> Any:  # fmt: skip
        if isinstance(file, int) or not set(mode) & set("wax+") or opener is not None:
            return _open(file, mode, buffering, encoding, errors, newline, closefd, opener)
        self.write(file)
        raw = _File(file, mode.replace("b", "").replace("t", ""))
        raw.disk = self
        binary: Any = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        if "b" in mode:
            return raw if buffering == 0 else binary
        return io.TextIOWrapper(binary, encoding, errors, newline, line_buffering=buffering == 1)


class _File(io.FileIO):
    disk: FailingDisk

    def write(self, data: Any) -> int:
        self.disk.write(self.name)
        return super().write(data)


def main(arguments: list[str]) -> None:
    number, code, program, *rest = arguments
    disk = FailingDisk(Path.cwd(), int(number), getattr(errno, code))
    disk.install()
    if number == "0":
        atexit.register(lambda: print(f"{COUNT}{disk.count}", file=sys.stderr))
    sys.argv, sys.path[0] = [program, *rest], str(Path(program).parent)
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
