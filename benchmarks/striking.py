"""Runs a program undisturbed and struck by signals, and says how what is left differs. Linux."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np

from benchmarks.failing_disk import COUNT

_SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
MARK = "CHAOS_ATTEMPT"  # in the environment of all processes of an attempt
_LONGEST_END = 120.0  # seconds from a signal to the end of the program
_LONGEST_REST = 30.0  # seconds from the end of the program to that of its other processes
_SHARED_MEMORY = Path("/dev/shm")
_OF_OTHERS = (".ses",)  # in TMPDIR: ONNX Runtime's
# Keys of JSON whose values are times, durations and the like; what they say is not compared.
_TIMES = re.compile(
    r"time|seconds|.*_seconds|.*_cost|date|duration|received|clips_per_second|views_per_second|memory_mb|.*_share"
    r"|scored_before"
)
_COMPARED_TIMES = ("start_seconds", "end_seconds", "timeout_seconds")


@dataclass(frozen=True)
class Subject:
    """A program, and when it is done.

    Attributes:
        command: of the folder of data. The same command goes on after it was stopped.
        done: exit codes of a run that is complete.
        stdin: a file of the data that is its standard input.
        judge: of what the undisturbed run and the disturbed one left, and how often this one was begun: faults. None:
            both are to be the same.
        environment: more variables.
    """

    name: str
    command: Callable[[Path], list[str]]
    done: tuple[int, ...] = (0,)
    stdin: str = ""
    judge: Callable[[Path, Path, int], list[str]] | None = None
    environment: dict[str, str] = field(default_factory=dict)


class Arena:
    """The folder in which one program runs; every run sees the same paths.

    Args:
        folder: of everything; runs are moved to ``folder/NAME/LABEL`` when they are done.
        data: videos, lists and weights.
    """

    def __init__(self, folder: Path, subject: Subject, data: Path) -> None:
        self._subject = subject
        self._data = data
        self._place = folder / "now"
        self._kept = folder / subject.name.replace(" ", "_")
        self._seconds = 0.0
        self._left_by_reference: set[str] = set()

    def undisturbed(self) -> list[str]:
        """Run twice without a signal, for what is expected; return why that is no measure."""
        faults = []
        for label in ("reference", "again"):
            self._begin()
            started = time.monotonic()
            code, output = self._attempt(self._subject.command(self._data))
            self._seconds = time.monotonic() - started
            if code not in self._subject.done:
                faults.append(f"undisturbed: exit code {code}: {output[-1500:]}")
            faults += self._left_behind()
            self._keep(label)
        faults += [f"undisturbed, twice: {fault}" for fault in self._compared("again", 1)]
        return faults

    def disturbed(self, random: np.random.Generator, *, most_kills: int, label: str) -> tuple[int, list[str]]:
        """Run, strike and go on until it is done; return how often it was struck, and what is wrong."""
        self._begin()
        faults: list[str] = []
        command = self._subject.command(self._data)
        struck, attempts, history = 0, 0, []
        while True:
            strike = _Strike.drawn(random, self._seconds) if struck < most_kills and attempts < 2 * most_kills else None
            attempts += 1
            code, output = self._attempt(command, strike)
            if strike is not None:
                struck += strike.has_struck
                history.append(f"{strike} -> {code}")
                faults += strike.faults
            if "Traceback (most recent call last)" in output and not _is_early(strike, output):
                faults.append(f"a traceback: {output[-3000:]}")
            faults += self._processes_left(attempts)
            if code in self._subject.done and (strike is None or not strike.ends_program):
                break
            if strike is None:
                faults.append(f"it does not go on: exit code {code}: {output[-1500:]}")
                break
        faults += self._left_behind()
        self._keep(label)
        faults += self._compared(label, attempts)
        return struck, [f"{fault}\n    ({'; '.join(history)})" for fault in faults]

    def count_writes(self) -> int:
        """Run once, and return how often it writes: see `failing_disk.py`."""
        self._begin()
        code, output = self._attempt(self._on_disk(0, "EIO"))
        if code not in self._subject.done:
            raise RuntimeError(f"exit code {code}: {output[-1500:]}")
        return int(re.findall(rf"^{COUNT}(\d+)$", output, re.MULTILINE)[-1])

    def on_failing_disk(self, number: int, error: str, *, label: str) -> list[str]:
        """Let a write fail, then go on with a disk that works; return what is wrong."""
        self._begin()
        code, output = self._attempt(self._on_disk(number, error))
        faults = self._processes_left(1)
        if code not in (2, *self._subject.done):
            faults.append(f"exit code {code}: {output[-1500:]}")
        if "Traceback (most recent call last)" in output:
            faults.append(f"a traceback: {output[-3000:]}")
        code, output = self._attempt(self._subject.command(self._data))
        if code not in self._subject.done:
            faults.append(f"it does not go on: exit code {code}: {output[-1500:]}")
        faults += self._left_behind()
        self._keep(label)
        faults += self._compared(label, 2)
        return [f"{error} at write {number}: {fault}" for fault in faults]

    @property
    def writes_itself(self) -> bool:
        """Whether the program is a Python file, not a launcher of several."""
        return self._subject.command(self._data)[0].endswith(".py")

    def _on_disk(self, number: int, error: str) -> list[str]:
        return [
            str(Path(__file__).with_name("failing_disk.py")),
            str(number),
            error,
            *self._subject.command(self._data),
        ]

    def _begin(self) -> None:
        shutil.rmtree(self._place, ignore_errors=True)
        for name in ("work", "tmp", "home"):
            (self._place / name).mkdir(parents=True)
        self._memory_before = set(_SHARED_MEMORY.iterdir())

    def _keep(self, label: str) -> None:
        target = self._kept / label
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(self._place / "work", target)

    def _attempt(self, command: Sequence[str], strike: "_Strike | None" = None) -> tuple[int, str]:
        environment = {
            **os.environ,
            "PYTHONWARNINGS": "ignore",
            "OMP_NUM_THREADS": "1",
            "HOME": str(self._place / "home"),
            "TMPDIR": str(self._place / "tmp"),
            MARK: str(self._place),
            **self._subject.environment,
        }
        source = open(self._data / self._subject.stdin, "rb") if self._subject.stdin else subprocess.DEVNULL  # noqa: SIM115
        with open(self._place / "output.txt", "w+b") as output:
            process = subprocess.Popen(
                [sys.executable, *command],
                cwd=self._place / "work", env=environment, stdin=source, stdout=output, stderr=subprocess.STDOUT,
                start_new_session=True, preexec_fn=_hear_ctrl_c,
            )  # fmt: skip
            try:
                if strike is not None:
                    strike.strike(process, self._place)
                process.wait(_LONGEST_END if strike is not None and strike.has_struck else 10 * _LONGEST_END)
            except subprocess.TimeoutExpired:
                if strike is not None:
                    strike.faults.append(f"it still runs {_LONGEST_END:.0f} s after {strike}")
            finally:
                if process.poll() is None:
                    process.kill()
                process.wait()
                if source is not subprocess.DEVNULL:
                    source.close()
            output.seek(0)
            return process.returncode, output.read().decode(errors="replace")

    def _processes_left(self, attempt: int) -> list[str]:
        """Wait for the other processes to end; end those that do not."""
        limit = time.monotonic() + _LONGEST_REST
        while (left := marked_processes(self._place)) and time.monotonic() < limit:
            time.sleep(0.1)
        for pid in left:
            with_name = Path(f"/proc/{pid}/cmdline")
            os.kill(pid, signal.SIGKILL) if with_name.exists() else None
        return [f"{len(left)} processes live on after attempt {attempt}"] if left else []

    def _left_behind(self) -> list[str]:
        faults = []
        if memory := set(_SHARED_MEMORY.iterdir()) - self._memory_before:
            faults.append(f"left in shared memory: {sorted(path.name for path in memory)}")
        if left := sorted(path.name for path in (self._place / "tmp").iterdir() if path.name not in _OF_OTHERS):
            faults.append(f"left in TMPDIR: {left}")
        homes = [path for path in (self._place / "home").rglob("*") if path.name.endswith(".tmp")]
        if homes:
            faults.append(f"left in HOME: {sorted(path.name for path in homes)}")
        return faults

    def _compared(self, label: str, attempts: int) -> list[str]:
        reference, found = self._kept / "reference", self._kept / label
        if self._subject.judge is not None:
            return self._subject.judge(reference, found, attempts)
        return differences(reference, found)


class _Strike:
    """One signal, at a moment, to the program or to one of its other processes."""

    def __init__(self, number: signal.Signals, seconds: float, at_other: bool, choice: float) -> None:
        self.has_struck = False
        self.faults: list[str] = []
        self._number, self._seconds, self._at_other, self._choice = number, seconds, at_other, choice

    @classmethod
    def drawn(cls, random: np.random.Generator, seconds: float) -> "_Strike":
        """Draw a signal, and a moment within `seconds`."""
        number = _SIGNALS[int(random.integers(len(_SIGNALS)))]
        return cls(number, float(random.uniform(0.05, seconds)), bool(random.random() < 0.35), float(random.random()))

    @property
    def ends_program(self) -> bool:
        """Whether the program itself was struck."""
        return self.has_struck and not self._at_other

    def strike(self, process: subprocess.Popen, place: Path) -> None:
        """Wait for the moment; send the signal if the program still runs. Its processes are marked with `place`."""
        try:
            process.wait(self._seconds)
        except subprocess.TimeoutExpired:
            others = [pid for pid in marked_processes(place) if pid != process.pid]
            self._at_other = self._at_other and bool(others)
            target = others[int(self._choice * len(others))] if self._at_other else process.pid
            try:
                os.kill(target, self._number)
                self.has_struck = True
            except ProcessLookupError:
                pass

    def __str__(self) -> str:
        target = "another process" if self._at_other else "the program"
        return f"{self._number.name} to {target} at {self._seconds:.2f} s{'' if self.has_struck else ' (too late)'}"


def _is_early(strike: _Strike | None, output: str) -> bool:
    """Whether the program was struck while Python and Paddle were being loaded, which print traces of their own."""
    began = re.search(r" on cpu$|videos? (left|done)|%", output, re.MULTILINE)
    return strike is not None and strike.has_struck and not began


def marked_processes(place: Path) -> list[int]:
    """Process ids of all that belong to the attempts in a folder, zombies left out; others may run beside them."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            if f"\0{MARK}={place}\0".encode() in b"\0" + (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:  # it has just ended
            continue
    return sorted(found)


def differences(reference: Path, found: Path) -> list[str]:
    """Return how two folders differ: by names, and by contents but for times and durations."""
    names = [{_steady_name(path.relative_to(folder)) for path in files_of(folder)} for folder in (reference, found)]
    faults = [f"missing: {name}" for name in sorted(names[0] - names[1])]
    faults += [f"too much: {name}" for name in sorted(names[1] - names[0])]
    for path in files_of(reference):
        name = path.relative_to(reference)
        other = found / name
        if other.is_file() and (wanted := steady_content(path)) != (seen := steady_content(other)):
            faults.append(f"{name} differs: {_first_difference(wanted, seen)}")
    return faults


def files_of(folder: Path) -> list[Path]:
    """Return all files below a folder, in order."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def steady_content(path: Path) -> bytes:
    """Return what of a file is the same in every run."""
    if path.suffix == ".log" or path.name == ".lock" or "events.out" in path.name or "vdlrecords" in path.name:
        return b""
    if path.suffix == ".mp4":  # x264 may write slightly other bytes of the same pictures, on processors with AVX-512
        with av.open(str(path)) as video:
            return repr((video.metadata, [frame.pts for frame in video.decode(video=0)])).encode()
    content = path.read_bytes()
    if path.suffix in (".json", ".jsonl"):
        lines = content.decode().splitlines() if path.suffix == ".jsonl" else [content.decode()]
        return "\n".join(json.dumps(_without_times(json.loads(line))) for line in lines).encode()
    if path.suffix == ".html":  # of how the results of a test were made
        content = re.sub(rb"<td>(seconds|views per second|scored before)</td><td[^>]*>[^<]*", b"", content)
    return content


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _without_times(item)
            for key, item in value.items()
            if key in _COMPARED_TIMES or not _TIMES.fullmatch(key)
        }
    return [_without_times(item) for item in value] if isinstance(value, list) else value


def _steady_name(path: Path) -> str:
    """Records of curves have the time and the process in their names, and there is one for each start."""
    return re.sub(r"(events\.out|vdlrecords).*", r"\1", str(path))


def _first_difference(wanted: bytes, seen: bytes) -> str:
    at = next((k for k, (a, b) in enumerate(zip(wanted, seen, strict=False)) if a != b), min(len(wanted), len(seen)))
    near = slice(max(at - 60, 0), at + 60)
    return f"{len(wanted)} and {len(seen)} bytes, from {at} on: {wanted[near]!r} / {seen[near]!r}"


def _hear_ctrl_c() -> None:
    """A shell lets what it starts in the background ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
