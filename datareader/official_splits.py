"""The official split files of UCF101, HMDB51 and Something-Something, as they are distributed.

What a data set calls its test split becomes `val`: it is what results are reported on, and `TEST.filelist` may name
the same list. A video belongs to an entry if its name without the suffix is the entry's; so copies of another type, and
folders of frames, are found too.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from datareader.class_folders import SPLITS, Video, as_class_name
from datareader.video_folder import find_videos
from utils.errors import FileListError
from utils.json_text import parse_json
from utils.text_file import read_text


class OfficialSplit(NamedTuple):
    """The lists of a data set."""

    splits: dict[str, list[Video]]
    classes: list[str]  # in the order of the official labels
    absent: list[str]  # names of entries without a video


def ucf101(folder: Path, number: int, root: Path) -> OfficialSplit:
    """Read classInd.txt, trainlist0N.txt and testlist0N.txt of `folder`.

    Raises:
        FileListError: a file cannot be read or has another content; or none of the videos is below `root`.
    """
    classes = [as_class_name(line.split(maxsplit=1)[1]) for _, line in _lines(folder / "classInd.txt", r"\d+ \S.*")]
    entries = []
    for split, file in (("train", f"trainlist{number:02d}.txt"), ("val", f"testlist{number:02d}.txt")):
        for place, line in _lines(folder / file, r"[^/]+/[^/]+\.\w+( \d+)?"):
            class_name, _, rest = line.partition("/")
            if as_class_name(class_name) not in classes:
                raise FileListError(f"{place}: class {class_name!r} is not in {folder / 'classInd.txt'}")
            entries.append((split, Path(rest.split()[0]).stem, as_class_name(class_name)))
    return _found(entries, classes, root)


def hmdb51(folder: Path, number: int, root: Path) -> OfficialSplit:
    """Read CLASS_test_splitN.txt of all classes in `folder`: a name and 1 (training), 2 (test) or 0 (neither) a line.

    Raises:
        FileListError: see `ucf101`.
    """
    files = sorted(folder.glob(f"*_test_split{number}.txt"))
    if not files:
        raise FileListError(f"{folder}: holds no file CLASS_test_split{number}.txt")
    entries = []
    for file in files:
        class_name = file.name.removesuffix(f"_test_split{number}.txt")
        for _, line in _lines(file, r"\S.* [012]"):
            name, _, what = line.rpartition(" ")
            if what != "0":
                entries.append(({"1": "train", "2": "val"}[what], Path(name).stem, class_name))
    return _found(entries, sorted({entry[2] for entry in entries}), root)


def something_something(labels: Path, files: dict[str, Path], root: Path) -> OfficialSplit:
    """Read the JSON files of Something-Something: labels.json, and an entry with id and template for each video.

    Args:
        labels: {template without brackets: label}.
        files: by split.

    Raises:
        FileListError: see `ucf101`.
    """
    table = _json(labels)
    if not isinstance(table, dict) or not all(str(label).isdecimal() for label in table.values()):
        raise FileListError(f"{labels}: must be {{name of a class: label}}")
    classes = [as_class_name(name) for name in sorted(table, key=lambda name: int(table[name]))]
    entries = []
    for split, file in files.items():
        rows = _json(file)
        for number, row in enumerate(rows if isinstance(rows, list) else [None]):
            try:
                name = as_class_name(re.sub(r"[\[\]]", "", row["template"]))
                entries.append((split, str(row["id"]), name))
            except (KeyError, TypeError) as error:
                raise FileListError(f"{file}: entry {number} must have an id and a template") from error
            if name not in classes:
                raise FileListError(f"{file}: entry {number}: {row['template']!r} is not in {labels}")
    return _found(entries, classes, root)


def _found(entries: list[tuple[str, str, str]], classes: list[str], root: Path) -> OfficialSplit:
    by_name: dict[str, str] = {}
    there = find_videos(root)
    for path in there.paths + there.beside_videos:  # the names say which of them are meant
        by_name[Path(path).stem if not Path(path).is_dir() else Path(path).name] = path
    splits: dict[str, list[Video]] = {split: [] for split in SPLITS}
    absent = []
    for split, name, class_name in entries:
        if name in by_name:
            splits[split].append(Video(by_name[name], class_name))
        else:
            absent.append(name)
    if not entries:
        raise FileListError("the files of the split name no video for training or test")
    if not any(splits.values()):
        raise FileListError(f"{root}: holds none of the {len(entries)} videos of the split; the first is {absent[0]}")
    return OfficialSplit(splits, classes, absent)


def _lines(file: Path, pattern: str) -> Iterator[tuple[str, str]]:
    """Yield (file:line, line) of the lines of a text file, which must match."""
    try:
        text = read_text(file, errors="surrogateescape")
    except OSError as error:
        raise FileListError(f"{file}: cannot be read ({error.strerror})") from error
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            if not re.fullmatch(pattern, line.strip()):
                raise FileListError(f"{file}:{number}: {line.strip()!r} is no line of such a file")
            yield f"{file}:{number}", line.strip()


def _json(file: Path) -> object:
    try:
        return parse_json(read_text(file))
    except (OSError, ValueError) as error:
        raise FileListError(f"{file}: not a JSON file ({error})") from error
