"""Checkpoints: what a save is made of, how it is found again, and what it takes to believe it.

A save NAME is three files: ``NAME.pdparams`` (parameters by released name), ``NAME.pdopt`` (momentum buffers) and,
last, ``NAME.json`` (config, versions, progress, sizes and hashes of the others). Without its JSON it does not exist.
The files ``latest`` and ``best`` of the folder hold the name of a save.
"""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from configs.loading import dump_config
from configs.schema import Config
from models.weights.names import NamedWeights, name_weights
from models.weights.reading import read_weights
from models.weights.writing import write_pickle
from utils.atomic_file import write_json, write_text
from utils.errors import TrainingError, WeightsError
from utils.hashing import sha256
from utils.logging import get_logger
from utils.pickles import load_data_pickle

_POINTERS = ("latest", "best")
_KEPT_INSIDE = 2
_SAVE_FILE = re.compile(r".+_(epoch|iter|end)\d+\.(json|pdopt|pdparams)")


@dataclass
class Progress:
    """Where a run stands. Everything random follows from it and the seed, so no random state is saved."""

    epoch: int = 0  # the epoch under way, from 0
    batch: int = 0  # batches done in this epoch
    iteration: int = 0  # batches done in all
    best_top1: float | None = None  # of the validation, in [0, 1]
    best_epoch: int | None = None
    epoch_is_saved: bool = True  # False: the end of the epoch under way (validation, save) is still to come
    loss_scale: float | None = None  # of a run in float16


@dataclass
class Weights:
    """What was found under a weights argument."""

    source: str  # the file, for messages
    parameters: NamedWeights
    optimizer: dict[str, np.ndarray] | None = None  # None: weights only
    progress: Progress | None = None
    config: str | None = None  # of the run that wrote it, as text


def save_checkpoint(
    folder: Path,
    name: str,
    *,
    parameters: dict[str, np.ndarray],
    optimizer: dict[str, np.ndarray],
    progress: Progress,
    config: Config,
) -> Path:
    """Write the save `name` into `folder`, whole or not at all, and make it the latest. Return its prefix.

    Raises:
        TrainingError: it cannot be written (a full disk); the saves before it are as they were.
    """
    try:
        return _write_save(folder / name, parameters, optimizer, progress, config)
    except OSError as error:
        raise TrainingError(
            f"{folder / name}: the checkpoint cannot be written ({error.strerror}); those before it are intact, "
            "--resume auto goes on from the newest"
        ) from error


def _write_save(
    prefix: Path,
    parameters: dict[str, np.ndarray],
    optimizer: dict[str, np.ndarray],
    progress: Progress,
    config: Config,
) -> Path:
    name = prefix.name
    prefix.with_name(f"{name}.json").unlink(missing_ok=True)  # an older save of this name is void from here on
    files = {}
    for suffix, values in (("pdparams", parameters), ("pdopt", optimizer)):
        path = prefix.with_name(f"{name}.{suffix}")
        write_pickle(path, values)
        files[suffix] = _fingerprint(path)
    description = {
        "progress": asdict(progress),
        "files": files,
        "versions": {"paddle": paddle.__version__, "numpy": np.__version__},
        "config": dump_config(config),
    }
    write_json(prefix.with_name(f"{name}.json"), description)
    point_to(prefix.parent, "latest", name)
    return prefix


def holds_save(prefix: Path, progress: Progress) -> bool:
    """Whether there is a whole save of this name that stands where `progress` does: the same run saves the same."""
    description = prefix.with_name(f"{prefix.name}.json")
    try:
        return _read_description(description)[1] == progress and _load_save(prefix, description) is not None
    except WeightsError:
        return False


def newest_checkpoint(folder: Path) -> Path | None:
    """Prefix of the newest save in `folder` that is whole, None if there is none; torn ones are named in the log."""
    for prefix, _ in reversed(_described_saves(folder)):
        try:
            _load_save(prefix, prefix.with_name(f"{prefix.name}.json"))
        except WeightsError as error:
            get_logger().warning("passed over: %s", error)
            continue
        return prefix
    return None


def remove_old_saves(folder: Path, *, keep_last: int) -> None:
    """Remove saves that are no longer needed.

    Of those made inside an epoch the newest two stay; of those made at its end the newest `keep_last`, 0 = all. What
    `best` and `latest` name always stays.
    """
    named = {_named_by(folder / pointer) for pointer in _POINTERS}
    saves = _described_saves(folder)
    inside = [prefix for prefix, progress in saves if not progress.epoch_is_saved]
    at_end = [prefix for prefix, progress in saves if progress.epoch_is_saved]
    for prefix in [*inside[:-_KEPT_INSIDE], *(at_end[:-keep_last] if keep_last else [])]:
        if prefix.name not in named:
            for suffix in ("json", "pdopt", "pdparams"):  # without its description it is no save any more
                prefix.with_name(f"{prefix.name}.{suffix}").unlink(missing_ok=True)


def _described_saves(folder: Path) -> list[tuple[Path, Progress]]:
    """Saves of `folder` that have a description, the oldest first."""
    saves = []
    for file in folder.glob("*.json"):
        try:
            _, progress, _ = _read_description(file)
        except WeightsError as error:
            if _SAVE_FILE.fullmatch(file.name):
                get_logger().warning("passed over: %s", error)
            continue
        saves.append((file.with_suffix(""), progress))
    return sorted(saves, key=lambda save: (save[1].iteration, save[1].epoch_is_saved))


def _named_by(pointer: Path) -> str:
    return pointer.read_text(encoding="utf-8", errors="replace").strip() if pointer.is_file() else ""


def point_to(folder: Path, pointer: str, name: str) -> None:
    """Make the pointer `latest` or `best` of `folder` name the save `name`."""
    write_text(folder / pointer, name + "\n")


def set_saves_aside(folder: Path, also: Sequence[str] = ()) -> Path | None:
    """Move the saves of an earlier run, whole or not, and what names them, into a folder of their own.

    Return that folder, None if there were no saves.

    Args:
        also: other files that belong to them.
    """
    saves = [file for file in folder.iterdir() if _SAVE_FILE.fullmatch(file.name) and file.is_file()]
    if not saves:
        return None
    number = 1
    while os.path.lexists(aside := folder / f"earlier{number}"):
        number += 1
    aside.mkdir()
    for file in [*saves, *(folder / name for name in (*_POINTERS, *also))]:
        if file.is_file():
            file.rename(aside / file.name)
    return aside


def load_weights(argument: str) -> Weights:
    """Read what a user passed as weights and find out what it is: a save's prefix or any of its files, a folder of
    saves (its latest), a pointer (``checkpoints/best``), or weights of any format that `models.weights` reads.

    Raises:
        WeightsError: nothing there, torn, damaged, or of no known format.
    """
    path = _follow_pointer(Path(argument))
    prefix = path.with_suffix("") if path.suffix in (".pdparams", ".pdopt", ".json") else path
    description_file = prefix.with_name(prefix.name + ".json") if prefix.name else prefix
    if not path.is_dir() and description_file.is_file():
        return _load_save(prefix, description_file)
    if path.is_dir() or path.is_file():
        return Weights(str(path), read_weights(path))
    parameters_file = path.with_name(path.name + ".pdparams")
    if parameters_file.is_file():
        return Weights(str(parameters_file), read_weights(parameters_file))
    if path.exists() or path.is_symlink():
        raise WeightsError(f"weights {argument!r}: neither a regular file nor a folder (a link that leads nowhere?)")
    raise WeightsError(f"weights {argument!r}: no such file, folder or checkpoint prefix")


def _follow_pointer(path: Path) -> Path:
    if path.is_dir() and (path / "latest").is_file():
        path = path / "latest"
    if path.name not in _POINTERS or not path.is_file():
        return path
    name = path.read_text(encoding="utf-8", errors="replace").strip()
    if not name or Path(name).name != name or not path.with_name(f"{name}.json").is_file():
        raise WeightsError(f"{path}: names the checkpoint {name!r}, which is not in its folder")
    return path.with_name(name)


def _read_description(file: Path) -> tuple[dict[str, Any], Progress, str | None]:
    """The fingerprints of a save's files, where the run stood, and its config.

    Raises:
        WeightsError: the file describes no save.
    """
    try:
        description = json.loads(file.read_text(encoding="utf-8"))
        files, progress = dict(description["files"]), Progress(**description["progress"])
        counts = (progress.epoch, progress.batch, progress.iteration, progress.best_epoch or 0)
        if not all(type(count) is int and 0 <= count < 1 << 53 for count in counts):
            raise ValueError("its progress must be counts")
        if progress.best_top1 is not None and not 0 <= progress.best_top1 <= 1:
            raise ValueError("its best_top1 must be in [0, 1]")
        if type(progress.epoch_is_saved) is not bool or not isinstance(progress.loss_scale, float | None):
            raise ValueError("its epoch_is_saved must be true or false, its loss_scale a number")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsError(f"{file}: not the description of a checkpoint ({error})") from error
    config = description.get("config")
    return files, progress, config if isinstance(config, str) else None


def _load_save(prefix: Path, description_file: Path) -> Weights:
    files, progress, config = _read_description(description_file)
    values = {}
    for suffix in ("pdparams", "pdopt"):
        file = prefix.with_name(f"{prefix.name}.{suffix}")
        if not file.is_file():
            raise WeightsError(f"{file}: missing, though {description_file.name} describes it")
        if _fingerprint(file) != files.get(suffix):
            raise WeightsError(f"{file}: damaged: size or SHA-256 differ from what {description_file.name} states")
        values[suffix] = _as_parameters(load_data_pickle(file), file)
    named = name_weights(values["pdparams"], str(prefix), "checkpoint of this toolkit")
    return Weights(str(prefix), named, values["pdopt"], progress, config)


def _as_parameters(content: Any, file: Path) -> dict[str, np.ndarray]:
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise WeightsError(f"{file}: holds a {type(content).__name__}, not parameters by name")
    return {name: value for name, value in content.items() if isinstance(value, np.ndarray)}


def _fingerprint(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}
