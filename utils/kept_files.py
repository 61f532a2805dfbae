"""Files that take long to make, kept in a folder of the user, each set under a key of all that it was made from."""

import contextlib
import errno
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.atomic_file import write_json
from utils.hashing import sha256
from utils.json_text import parse_json
from utils.temporary_folder import temporary_folder

_DESCRIPTION = "kept.json"
_UNDER_WAY = "under_way"  # the first part of the names of sets that are being written or removed


@dataclass(frozen=True)
class Kept:
    """A set of files that was found whole."""

    files: list[Path]  # in the order in which they were kept
    facts: dict[str, Any]  # what was noted with them


class KeptFiles:
    """A folder with a subfolder for each key. Several processes may use it at the same time.

    A set that is torn or damaged is removed when it is met. What cannot be kept is not, and nothing else happens.

    Args:
        folder: made when something is kept.
        most_bytes: of all files. The sets that were not used for longest are removed first.
    """

    def __init__(self, folder: Path, *, most_bytes: int) -> None:
        self.folder = folder
        self._most_bytes = most_bytes

    def find(self, key: str) -> Kept | None:
        """Return what was kept under `key`, None if there is nothing, or nothing whole."""
        place = self.folder / key
        try:
            if not place.is_dir():
                if os.path.lexists(place):  # a stray file, or a link that leads nowhere
                    _remove(place)
                return None
        except OSError:  # a folder that may not be entered, a name that is too long
            return None
        kept = _read(place, key)
        if kept is None:
            _remove(place)
            return None
        with contextlib.suppress(OSError):  # a folder that can only be read serves too
            os.utime(place / _DESCRIPTION)
        return kept

    def remove(self, key: str) -> None:
        """Remove what is kept under `key`, a stray file of this name too."""
        _remove(self.folder / key)

    def keep(self, key: str, files: Sequence[Path], facts: Mapping[str, Any]) -> str:
        """Copy `files` into the folder, whole or not at all. What another process kept under the key stays.

        Args:
            facts: JSON.

        Returns:
            why they were not kept; empty if they were.
        """
        size = sum(file.stat().st_size for file in files)
        if size > self._most_bytes:
            return f"{size / 1e6:.0f} MB are more than the {self._most_bytes / 1e6:.0f} MB of the folder"
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with temporary_folder(self.folder, name=_UNDER_WAY) as temporary:
                self._make_room(size)
                (place := temporary / key).mkdir(mode=0o700)
                described = {}
                for file in files:
                    shutil.copyfile(file, place / file.name)
                    described[file.name] = {"bytes": file.stat().st_size, "sha256": sha256(place / file.name)}
                write_json(place / _DESCRIPTION, {"key": key, "files": described, "facts": dict(facts)})
                place.rename(self.folder / key)
        except OSError as error:
            is_taken = error.errno in (errno.ENOTEMPTY, errno.EEXIST)  # by another process that was faster
            return "" if is_taken else f"{self.folder}: {error.strerror or error}"
        return ""

    def _make_room(self, size: int) -> None:
        """Remove what was not used for longest until `size` bytes fit."""
        places = []
        for place in self.folder.iterdir():
            with contextlib.suppress(OSError):  # another process may remove it just now
                if place.name.startswith(f".{_UNDER_WAY}."):
                    continue
                used = (place / _DESCRIPTION).stat().st_mtime
                places.append((used, sum(file.stat().st_size for file in place.iterdir()), place))
        places.sort()
        while places and sum(bytes_ for _, bytes_, _ in places) + size > self._most_bytes:
            _remove(places.pop(0)[2])


def _read(place: Path, key: str) -> Kept | None:
    try:
        content = parse_json((place / _DESCRIPTION).read_text(encoding="utf-8"))
        files = []
        for name, stated in content["files"].items():
            file = place / name
            is_own = Path(name).name == name and file.is_file() and not file.is_symlink()
            if not is_own or file.stat().st_size != stated["bytes"] or sha256(file) != stated["sha256"]:
                return None
            files.append(file)
        return Kept(files, dict(content["facts"])) if content["key"] == key and files else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _remove(place: Path) -> None:
    """Take a set away: first its name, so that nobody finds half of it."""
    with contextlib.suppress(OSError), temporary_folder(place.parent, name=_UNDER_WAY) as gone:
        place.rename(gone / place.name)
