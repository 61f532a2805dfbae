"""Test lists of the old video zoo: ``path video_index clip_index crop_index``, 30 lines a video."""

from datareader.label_text import is_integer
from datareader.list_lines import read_lines, unquoted
from utils.errors import FileListError


def is_view_list(path: str) -> bool:
    """Whether the first line of a list ends with three numbers."""
    lines, is_table = read_lines(path)
    fields = lines[0][1].rsplit(maxsplit=3)
    return not is_table and len(fields) == 4 and all(map(is_integer, fields[1:]))


def read_view_list(path: str) -> dict[int, tuple[str, int]]:
    """Return (path, first line number) by video index, sorted. The numbers of the views are not used.

    Raises:
        FileListError: a line is not like this, or two paths have one index.
    """
    videos: dict[int, tuple[str, int]] = {}
    for number, line, _ in read_lines(path)[0]:
        fields = line.rsplit(maxsplit=3)
        if len(fields) != 4 or not all(map(is_integer, fields[1:])):
            raise FileListError(f"{path}:{number}: {line!r} must be a path, video index, clip index and crop index")
        listed, video_index = unquoted(fields[0]), int(fields[1])
        known, _ = videos.setdefault(video_index, (listed, number))
        if known != listed:
            raise FileListError(f"{path}:{number}: video index {video_index} is {known} above, {listed} here")
    return dict(sorted(videos.items()))
