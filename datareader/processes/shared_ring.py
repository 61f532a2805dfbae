"""Buffers of equal size that the main process and its reader processes share. They are allocated once.

The memory belongs to no file system (`memfd_create`). So the size of /dev/shm does not matter, and nothing is left
behind: the memory is freed when the last process that uses it ends, however it ends.
"""

import errno
import math
import mmap
import os
from multiprocessing import reduction
from typing import Any

import numpy as np

from utils.errors import ReaderError


class SharedRing:
    """`num_slots` uint8 arrays of `shape`, and a row of `STATUS` numbers for each of `num_workers` processes.

    An object that is passed to a new process refers to the same memory there.
    """

    STATUS = ("task", "index", "since")  # number of the task, index of the video, time.monotonic() (0: idle)

    def __init__(self, num_slots: int, shape: tuple[int, ...], num_workers: int) -> None:
        self.num_slots = num_slots
        self.shape = shape
        self.num_workers = num_workers
        self._file = os.memfd_create("clips")
        try:
            _require_available(self._num_bytes())
            os.posix_fallocate(self._file, 0, self._num_bytes())  # without it, a lack of memory later would be a SIGBUS
        except OSError as error:
            os.close(self._file)
            raise ReaderError(
                f"there are no {self._num_bytes() >> 20} MiB of memory for {num_slots} samples ({error.strerror}): "
                "use fewer num_reader_threads or a smaller batch_size"
            ) from error
        self._map()

    def slot(self, number: int, shape: tuple[int, ...] | None = None) -> np.ndarray:
        """Return the array of slot `number`; with a smaller `shape`, the beginning of it."""
        return self._slots[number] if shape is None else beginning(self._slots[number], shape)

    def status(self, worker: int) -> np.ndarray:
        """Return the numbers `STATUS` of one worker, float64."""
        return self._status[worker]

    def close(self) -> None:
        """Release the memory in this process. Arrays that are still in use keep it alive."""
        self._slots = self._status = None
        os.close(self._file)

    def __getstate__(self) -> dict[str, Any]:
        return {
            "num_slots": self.num_slots,
            "shape": self.shape,
            "num_workers": self.num_workers,
            "file": reduction.DupFd(self._file),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.num_slots, self.shape, self.num_workers = state["num_slots"], state["shape"], state["num_workers"]
        self._file = state["file"].detach()
        self._map()

    def _map(self) -> None:
        memory = np.frombuffer(mmap.mmap(self._file, self._num_bytes()), np.uint8)
        status_bytes = self._status_bytes()
        self._status = memory[:status_bytes].view(np.float64).reshape(self.num_workers, len(self.STATUS))
        self._slots = memory[status_bytes:].reshape(self.num_slots, *self.shape)

    def _status_bytes(self) -> int:
        return self.num_workers * len(self.STATUS) * 8

    def _num_bytes(self) -> int:
        return self._status_bytes() + self.num_slots * int(np.prod(self.shape))


def beginning(buffer: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the first bytes of a contiguous uint8 buffer as an array of `shape`."""
    return buffer if buffer.shape == shape else buffer.reshape(-1)[: math.prod(shape)].reshape(shape)


def _require_available(num_bytes: int) -> None:
    """Raise OSError if less memory is available: Linux would promise it, and kill a process later."""
    with open("/proc/meminfo") as handle:
        kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in handle}
    if num_bytes > kilobytes.get("MemAvailable", num_bytes) * 1024:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
