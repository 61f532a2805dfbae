"""The saves of a run in its folder: which is the newest, which the best, which may be removed.

The files ``latest`` and ``best`` each hold the name of a save. They are a convenience for people: both can be rebuilt
from the saves, and a run does so when it starts, since it may have been killed between a save and its pointers.
"""

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from engine.checkpoint import RunPosition, Save, description_file, part_of, read_description, read_save
from utils.atomic_file import atomic_path, write_text
from utils.errors import TrainingError, WeightsError
from utils.logging import get_logger

POINTERS = ("latest", "best")
_PARTS = ("json", "pdopt", "pdparams")
_KEPT_INSIDE = 2
_SAVE_FILE = re.compile(r".+_(epoch|iter|end)\d+\.(json|pdopt|pdparams)")


def described_saves(folder: Path) -> list[tuple[Path, RunPosition]]:
    """Return prefix and position of the saves that have a description, the oldest first.

    They have the names that a run gives them: a copy under another name belongs to its user.
    """
    saves = []
    for file in folder.glob("*.json"):
        if not (_SAVE_FILE.fullmatch(file.name) and file.is_file()):
            continue
        try:
            position = read_description(file).position
        except WeightsError as error:
            get_logger().warning("passed over: %s", error)
            continue
        saves.append((file.with_suffix(""), position))
    return sorted(saves, key=lambda save: (save[1].iteration, save[1].epoch_is_saved))


def newest_save(folder: Path) -> Save | None:
    """Read the newest save that is whole, None if there is none; torn ones are named in the log."""
    for prefix, _ in reversed(described_saves(folder)):
        try:
            return read_save(prefix)
        except WeightsError as error:
            get_logger().warning("passed over: %s", error)
    return None


def holds_save(prefix: Path, position: RunPosition) -> bool:
    """Whether there is a whole save of this name that stands at `position`: the same run would save the same again."""
    try:
        return read_description(description_file(prefix)).position == position and read_save(prefix) is not None
    except WeightsError:
        return False


def point_to(folder: Path, pointer: str, name: str) -> None:
    """Make the pointer `latest` or `best` of `folder` name the save `name`."""
    if named_by(folder / pointer) != name:
        write_text(folder / pointer, name + "\n")


def named_by(pointer: Path) -> str:
    """Return the name that a pointer holds, empty if there is no such file."""
    return pointer.read_text(encoding="utf-8", errors="replace").strip() if pointer.is_file() else ""


def rebuild_pointers(folder: Path) -> None:
    """Let `latest` name the newest whole save of `folder`, and `best` the newest whose validation was the best.

    A pointer without a save to name is removed.
    """
    newest_first = described_saves(folder)[::-1]
    best_first = [(prefix, position) for prefix, position in newest_first if position.is_best]
    for pointer, saves in (("latest", newest_first), ("best", best_first)):
        prefix = next((prefix for prefix, position in saves if holds_save(prefix, position)), None)
        if prefix is not None:
            point_to(folder, pointer, prefix.name)
        else:
            (folder / pointer).unlink(missing_ok=True)


def best_save(folder: Path, position: RunPosition) -> Path | None:
    """Return the whole save of `folder` that is the best of a run at `position`, None if it is not there."""
    best = (position.best_value, position.best_epoch, position.best_iteration)
    for prefix, found in described_saves(folder):
        is_it = found.is_best and (found.best_value, found.best_epoch, found.best_iteration) == best
        if is_it and holds_save(prefix, found):
            return prefix
    return None


def copy_save(prefix: Path, folder: Path) -> None:
    """Copy a save into another folder, whole or not at all.

    Raises:
        TrainingError: it cannot be written.
    """
    try:
        for suffix in reversed(_PARTS):  # the description last
            with atomic_path(part_of(folder / prefix.name, suffix)) as temporary:
                shutil.copyfile(part_of(prefix, suffix), temporary)
    except OSError as error:
        raise TrainingError(f"{prefix}: cannot be copied into {folder} ({error.strerror})") from error


def remove_old_saves(folder: Path, *, keep_last: int) -> None:
    """Remove saves that are no longer needed.

    Of those made inside an epoch the newest two stay; of those made at its end the newest `keep_last`, 0 = all. What
    `best` and `latest` name always stays.
    """
    named = {named_by(folder / pointer) for pointer in POINTERS}
    saves = described_saves(folder)
    inside = [prefix for prefix, position in saves if not position.epoch_is_saved]
    at_end = [prefix for prefix, position in saves if position.epoch_is_saved]
    for prefix in [*inside[:-_KEPT_INSIDE], *(at_end[:-keep_last] if keep_last else [])]:
        if prefix.name not in named:
            for suffix in _PARTS:  # the description first: without it the rest is no save any more
                part_of(prefix, suffix).unlink(missing_ok=True)


def set_saves_aside(folder: Path, also: Sequence[str] = ()) -> Path | None:
    """Move the saves of an earlier run, whole or not, and what names them, into a folder of their own.

    Args:
        also: other files and folders that belong to them.

    Returns:
        that folder, None if there were no saves.
    """
    saves = [file for file in folder.iterdir() if _SAVE_FILE.fullmatch(file.name) and file.is_file()]
    return _moved_aside(folder, [*saves, *(folder / name for name in (*POINTERS, *also))]) if saves else None


def set_later_saves_aside(folder: Path, position: RunPosition) -> Path | None:
    """Move the saves that were made after `position`, at which a run goes on, into a folder of their own.

    Returns:
        that folder, None if there were none.
    """
    here = (position.iteration, position.epoch_is_saved)
    later = [prefix for prefix, found in described_saves(folder) if (found.iteration, found.epoch_is_saved) > here]
    return _moved_aside(folder, [part_of(prefix, suffix) for prefix in later for suffix in _PARTS]) if later else None


def _moved_aside(folder: Path, files: Sequence[Path]) -> Path:
    number = 1
    while os.path.lexists(aside := folder / f"earlier{number}"):
        number += 1
    aside.mkdir()
    for file in files:
        if file.exists():
            file.rename(aside / file.name)
    return aside
