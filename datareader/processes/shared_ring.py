"""A ring of equal buffers that the main process and its reader processes share, allocated once.

The memory belongs to no file system (`memfd_create`): it does not count against /dev/shm, has no name that could be
left behind, and is gone with the last process that holds it, however that process ends.
"""

import errno
import mmap
import os
from multiprocessing import reduction
from typing import Any

import numpy as np

from utils.errors import ReaderError


class SharedRing:
    """`num_slots` uint8 arrays of `shape`, and one row of `STATUS` numbers for each of `num_workers` processes.

    Sent to a child process that is being started, it becomes the same memory there.
    """

    STATUS = ("task", "index", "since")  # number of the task, index of the video, time.monotonic() or 0 when idle

    def __init__(self, num_slots: int, shape: tuple[int, ...], num_workers: int) -> None:
        self.num_slots = num_slots
        self.shape = shape
        self.num_workers = num_workers
        self._file = os.memfd_create("clips")
        try:
            _require_available(self._num_bytes())
            os.posix_fallocate(self._file, 0, self._num_bytes())  # a page that is missing later would be a SIGBUS
        except OSError as error:
            os.close(self._file)
            raise ReaderError(
                f"{self._num_bytes() >> 20} MiB of memory for {num_slots} samples cannot be had ({error.strerror}): "
                "use fewer num_reader_threads or a smaller batch_size"
            ) from error
        self._map()

    def slot(self, number: int, shape: tuple[int, ...] | None = None) -> np.ndarray:
        """The array of slot `number`, or the beginning of it in a smaller shape."""
        return self._slots[number] if shape is None else beginning(self._slots[number], shape)

    def status(self, worker: int) -> np.ndarray:
        """The numbers `STATUS` of one worker, float64."""
        return self._status[worker]

    def close(self) -> None:
        """Give up this process's hold. Arrays that are still in use keep the memory alive."""
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
    """The first bytes of a uint8 buffer without gaps, as an array of `shape`."""
    return buffer.reshape(-1)[: int(np.prod(shape))].reshape(shape)


def _require_available(num_bytes: int) -> None:
    """Raise OSError if the machine has not that much memory to spare: Linux would rather kill a process."""
    with open("/proc/meminfo") as handle:
        kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in handle}
    if num_bytes > kilobytes.get("MemAvailable", num_bytes) * 1024:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
