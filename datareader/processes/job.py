"""What a pool of reader processes asks of the work that they do."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from datareader.filelist import FileList


class SampleRequest(NamedTuple):
    """Which sample: `index` in the list, and where it stands in the run (that alone decides its randomness)."""

    epoch: int
    position: int  # in the epoch's order
    index: int


class Job(Protocol):
    """Work on the videos of a list, a request at a time. It is sent to every process once, so it can be pickled."""

    videos: FileList

    def candidates(self, request: SampleRequest) -> list[int]:
        """Return the videos that may be opened for this request, by index, in the order in which they are tried."""

    def file_of(self, index: int) -> int | str:
        """Return what a time limit or a death is held against: the same for all requests that open one file."""

    def run(
        self,
        request: SampleRequest,
        *,
        out: np.ndarray,
        known_bad: Mapping[int, str],
        starts_on: Callable[[int], None],
    ) -> tuple[Any, tuple[int, ...] | None]:
        """Do the work.

        Args:
            out: uint8, the slot of the request in shared memory.
            known_bad: index of each video that is not to be opened, and why.
            starts_on: to be called with the index of each video before it is opened; the time limit counts from then.
                Work on a video of any length calls it again while it gets on.

        Returns:
            what came of it, which is sent to the main process; and the shape of the array that was written to the
            beginning of `out`, None if nothing was.

        Raises:
            VideoToolkitError: it cannot be done; raised again in the main process.
        """
