"""The folder of a run: used by one run at a time, with enough space, and with a report if the run fails."""

import contextlib
import fcntl
import json
import os
import shutil
import socket
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from configs.loading import dump_config
from configs.schema import Config
from datareader.quarantine import QUARANTINE_FILE
from engine.distributed import Processes
from engine.save_folder import POINTERS
from utils.atomic_file import write_text
from utils.errors import ConfigError, TrainingError
from utils.json_text import parse_json
from utils.logging import add_log_file, get_logger

FAILURE_FILE = "failure.json"
METRICS_FILE = "metrics.jsonl"
BOARD_FOLDERS = ("visualdl", "tensorboard")
FILES_OF_A_RUN = (METRICS_FILE, QUARANTINE_FILE, *BOARD_FOLDERS)  # beside its saves
_LOCK_FILE = ".lock"
_WRITTEN = (_LOCK_FILE, FAILURE_FILE, METRICS_FILE, QUARANTINE_FILE, *POINTERS)
_WATCH_SECONDS = 2
_GRACE_SECONDS = 10  # for a process to end by itself after another one has failed
_NCCL_SHM_BYTES = 64 << 20  # of /dev/shm, for each GPU
EXIT_OTHER_FAILED = 70


@contextlib.contextmanager
def claimed_folder(folder: Path) -> Iterator[None]:
    """Make `folder`, and lock it against other runs while the block runs.

    Raises:
        ConfigError: another run is using it, it cannot be written, or a file name of a run is taken by something else.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"output folder {folder} cannot be written: {error.strerror}") from error
    for file in (folder / name for name in _WRITTEN):
        if os.path.lexists(file) and (file.is_symlink() or not file.is_file()):
            raise ConfigError(f"{file}: not a regular file, but a run writes it: remove it, or name another folder")
    try:
        handle = open(folder / _LOCK_FILE, "a+", encoding="utf-8", errors="replace")  # noqa: SIM115 - it holds the lock
    except OSError as error:
        raise ConfigError(f"output folder {folder} cannot be written: {error.strerror}") from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            handle.seek(0)
            owner = handle.read().strip() or "another process"
            raise ConfigError(
                f"the folder {folder} is used by a live run ({owner}): wait for it, stop it, or name another one"
            ) from error
        except OSError as error:
            get_logger().warning(
                "%s cannot be locked (%s): make sure that no other run uses it", folder, error.strerror
            )
        handle.truncate(0)
        handle.write(f"process {os.getpid()} on {socket.gethostname()}")
        handle.flush()
        yield


def open_run_folder(path: str | Path, config: Config, program: str, *, rank: int = 0) -> Path:
    """Make the output folder of a run, with ``<program>.log`` and the full resolved config ``<program>_config.txt``.

    With several processes each has its own log file (``<program>.rank1.log``), and the first one writes the config.

    Call it after all checks, so that a run that cannot start leaves nothing behind.

    Returns:
        the log file.

    Raises:
        ConfigError: the folder cannot be written.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        log_file = folder / (f"{program}.rank{rank}.log" if rank else f"{program}.log")
        add_log_file(log_file)
        if rank == 0:
            write_text(folder / f"{program}_config.txt", dump_config(config))
    except OSError as error:
        raise ConfigError(f"output folder {folder} cannot be written: {error.strerror}") from error
    return log_file


def check_space(folder: Path, *, save_bytes: int, num_saves: int) -> None:
    """Compare the free space of the disk with the space that the run needs.

    Args:
        save_bytes: size of one checkpoint.
        num_saves: checkpoints that will be there at the same time. Too little room for all of them is a warning.

    Raises:
        TrainingError: there is no room for two checkpoints: the one being written and the one before it.
    """
    free = shutil.disk_usage(folder).free
    if free < 2 * save_bytes:
        raise TrainingError(
            f"{folder}: {_gigabytes(free)} free, but a checkpoint has {_gigabytes(save_bytes)} and two must fit: "
            "make room, or name another --save_dir"
        )
    if free < num_saves * save_bytes:
        get_logger().warning(
            "%s: %s free, and %d checkpoints of %s will want %s: set TRAIN.keep_last to keep fewer",
            folder, _gigabytes(free), num_saves, _gigabytes(save_bytes), _gigabytes(num_saves * save_bytes),
        )  # fmt: skip


def check_shared_memory(*, num_gpus: int, shm: Path = Path("/dev/shm")) -> None:
    """Warn if `shm` is too small for the buffers of NCCL, for this number of GPUs.

    The shared memory of the reader processes is elsewhere.
    """
    if num_gpus > 1 and shm.is_dir() and shutil.disk_usage(shm).free < num_gpus * _NCCL_SHM_BYTES:
        get_logger().warning(
            "%s: %s free is little for %d GPUs that exchange gradients; in a container, give it more (--shm-size=1g)",
            shm, _gigabytes(shutil.disk_usage(shm).free), num_gpus,
        )  # fmt: skip


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.2f} GB"


@contextlib.contextmanager
def failure_report(folder: Path, processes: Processes, log_file: Path) -> Iterator[None]:
    """Write an error that ends the block into ``failure.json``, unless another process has done so before.

    With several processes, this process is ended when another one has written the file: it might wait for ever.
    """
    file = folder / FAILURE_FILE
    if processes.is_main:
        file.unlink(missing_ok=True)
    run = processes.gather(f"{os.getpid()} at {time.time():.3f}")[0]  # tells this run's file from an earlier run's
    ended = threading.Event()
    if processes.count > 1:
        threading.Thread(target=_watch, args=(file, run, processes, ended), daemon=True).start()
    try:
        yield
    except Exception as error:
        _write_failure(file, run, error, processes, log_file)
        raise
    finally:
        ended.set()


def _write_failure(file: Path, run: str, error: Exception, processes: Processes, log_file: Path) -> None:
    content = {
        "run": run,
        "rank": processes.rank,
        "host": socket.gethostname(),
        "process": os.getpid(),
        "time": time.strftime("%Y-%m-%d %H:%M:%S"),
        "error": type(error).__name__,
        "message": str(error),
        "log": str(log_file),
        "traceback": traceback.format_exception(error),
    }
    try:
        with open(
            file, "w" if _run_of(file) not in (None, run) else "x", encoding="utf-8", errors="backslashreplace"
        ) as handle:
            json.dump(content, handle, indent=1)
    except FileExistsError:
        get_logger().error("another process failed before this one: see %s", file)
    except OSError as problem:  # a full disk may be what ended the run
        if _run_of(file) is None:
            file.unlink(missing_ok=True)  # nothing of it came to the disk
        get_logger().error("%s cannot be written: %s", file, problem.strerror)
    else:
        get_logger().error("the run failed in process %d: see %s", processes.rank, file)


def _run_of(file: Path) -> str | None:
    try:
        return parse_json(file.read_text(encoding="utf-8"))["run"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _watch(file: Path, run: str, processes: Processes, ended: threading.Event) -> None:
    while not ended.wait(_WATCH_SECONDS):
        if _run_of(file) == run:
            if ended.wait(_GRACE_SECONDS):
                return
            get_logger().error("process %d ends because another one failed: see %s", processes.rank, file)
            os._exit(EXIT_OTHER_FAILED)
