"""The quarantine: videos that could not be read in training. They are counted, logged once, and written to a list."""

from collections.abc import Iterable
from pathlib import Path

from datareader.dataset import BadVideo
from datareader.filelist import FileList
from utils.atomic_file import write_text
from utils.errors import ReaderError
from utils.logging import get_logger

QUARANTINE_FILE = "quarantine.txt"


class Quarantine:
    """Remembers the unreadable videos of a run, and stops it when there are too many.

    Args:
        file: the list, with lines of ``path<tab>reason``; None: no list is written.
        num_videos: length of the file list.
        max_fraction: the run stops when more of the list than this is bad.
    """

    def __init__(self, file: Path | None, *, num_videos: int, max_fraction: float) -> None:
        self._file = file
        self._num_videos = num_videos
        self._max_fraction = max_fraction
        self._known: dict[int, BadVideo] = {}

    def __len__(self) -> int:
        return len(self._known)

    def remember(self, file: Path, videos: FileList) -> None:
        """Read the list that an earlier part of the run wrote into `file`."""
        if not file.is_file():
            return
        lines = file.read_text(encoding="utf-8", errors="surrogateescape").split("\n")
        reasons = dict(line.split("\t", 1) for line in lines if "\t" in line)
        for index, path in enumerate(videos.paths):
            if path in reasons:
                self._known[index] = BadVideo(index, path, reasons[path])

    def count_new(self, bad_videos: Iterable[BadVideo]) -> int:
        """Return how many of these videos are not known yet."""
        return len({video.index for video in bad_videos} - self._known.keys())

    def add(self, bad_videos: Iterable[BadVideo]) -> None:
        """Add the videos that are not known yet.

        Raises:
            ReaderError: more than `max_fraction` of the list is bad now; names the first ones and the file.
        """
        new = [video for video in bad_videos if video.index not in self._known]
        if not new:
            return
        for video in new:
            self._known[video.index] = video
            get_logger().warning("replaced by a neighbour, cannot be read: %s", video.reason)
        if self._file is not None:
            write_text(self._file, "".join(f"{v.path}\t{v.reason}\n" for v in self._known.values()))
        if len(self._known) > self._max_fraction * self._num_videos:
            first = next(iter(self._known.values()))
            where = f"; all: {self._file}" if self._file is not None else ""
            raise ReaderError(
                f"{len(self._known)} of {self._num_videos} videos cannot be read, more than "
                f"TRAIN.max_bad_fraction ({self._max_fraction}) allows; first: {first.reason}{where}"
            )
