"""One save of a training run: what it is made of, and what it takes to believe it.

A save NAME is three files: ``NAME.pdparams`` (parameters by saved name), ``NAME.pdopt`` (momentum buffers) and, last,
``NAME.json`` (config, versions, position of the run, sizes and hashes of the others). Without its JSON file it does not
exist. `engine.save_folder` says how the saves of a folder are found, named and removed.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.weights.dialects import FileArrays
from models.weights.writing import write_pickle
from utils.atomic_file import write_json
from utils.errors import TrainingError, WeightsError
from utils.hashing import sha256
from utils.json_text import parse_json
from utils.pickles import load_data_pickle
from utils.text_file import read_text


@dataclass
class RunPosition:
    """Where a run stands. Everything random follows from it and the seed, so no random state is saved."""

    epoch: int = 0  # the epoch under way, from 0
    batch: int = 0  # batches done in this epoch
    iteration: int = 0  # batches done in all
    best_value: float | None = None  # of the measure of the validation (top-1, mAP), in [0, 1]
    best_epoch: int | None = None
    best_iteration: int | None = None  # None in saves of version 0.1, which name the epoch only
    improved_epoch: int | None = (
        None  # of the last validation that was better than all before; best may be a later equal
    )
    epoch_is_saved: bool = True  # False: the end of the epoch under way (validation, save) is still to come
    loss_scale: float | None = None  # of a run in float16

    @property
    def finished_epoch(self) -> int | None:
        """The epoch that a save made here ends; None for a save inside an epoch."""
        if not self.epoch_is_saved or self.iteration == 0:
            return None
        return self.epoch if self.batch else self.epoch - 1

    @property
    def is_best(self) -> bool:
        """Whether the validation that was just made was the best so far."""
        if self.best_iteration is not None:
            return self.epoch_is_saved and self.iteration == self.best_iteration
        return self.finished_epoch is not None and self.finished_epoch == self.best_epoch


@dataclass(frozen=True)
class Description:
    """What the JSON file of a save says."""

    files: dict[str, dict[str, Any]]  # suffix -> bytes and SHA-256
    position: RunPosition
    config: str | None  # as text
    train_list_sha256: str | None  # None in saves of versions that did not write it
    class_names: list[str]  # empty where they were not known


@dataclass
class Save:
    """A save that was read and found whole."""

    prefix: Path
    parameters: FileArrays
    optimizer: dict[str, np.ndarray]
    description: Description


def write_save(
    prefix: Path,
    *,
    parameters: dict[str, np.ndarray],
    optimizer: dict[str, np.ndarray],
    position: RunPosition,
    config_text: str,
    train_list_sha256: str,
    class_names: Sequence[str] = (),
) -> None:
    """Write a save, whole or not at all.

    Args:
        prefix: folder and name of the save.
        config_text: the config of the run.
        train_list_sha256: of the training list.
        class_names: by class, if they are known.

    Raises:
        TrainingError: it cannot be written (a full disk); the saves before it are as they were.
    """
    import paddle  # here: programs that only read saves may need none

    files: dict[str, Any] = {}
    written: list[Path] = []
    try:
        description_file(prefix).unlink(missing_ok=True)  # an older save of this name is void from here on
        for suffix, values in (("pdparams", parameters), ("pdopt", optimizer)):
            write_pickle(part_of(prefix, suffix), values)
            written.append(part_of(prefix, suffix))
            files[suffix] = _fingerprint(part_of(prefix, suffix))
        content = {
            "progress": asdict(position),
            "files": files,
            "versions": {"paddle": paddle.__version__, "numpy": np.__version__},
            "train_list_sha256": train_list_sha256,
            "class_names": list(class_names),
            "config": config_text,
        }
        write_json(description_file(prefix), content)
    except OSError as error:
        for part in [description_file(prefix), *written] if written else ():  # a full disk needs the room
            with contextlib.suppress(OSError):
                part.unlink()
        raise TrainingError(
            f"{prefix}: the checkpoint cannot be written ({error.strerror}); those before it are intact, "
            "--resume auto goes on from the newest"
        ) from error


def read_save(prefix: Path) -> Save:
    """Read a save and check it against its description.

    Raises:
        WeightsError: a file is missing, torn or damaged.
    """
    description = read_description(description_file(prefix))
    values = {}
    for suffix in ("pdparams", "pdopt"):
        file = part_of(prefix, suffix)
        if not file.is_file():
            raise WeightsError(f"{file}: missing, though {prefix.name}.json describes it")
        if _fingerprint(file) != description.files.get(suffix):
            raise WeightsError(f"{file}: damaged: size or SHA-256 differ from what {prefix.name}.json states")
        values[suffix] = _arrays_by_name(load_data_pickle(file), file)
    parameters = FileArrays(str(prefix), "checkpoint of this toolkit", values["pdparams"], is_own=True)
    return Save(prefix, parameters, values["pdopt"], description)


def read_description(file: Path) -> Description:
    """Read the JSON file of a save.

    Raises:
        WeightsError: the file describes no save.
    """
    try:
        content = parse_json(read_text(file))
        files, progress = dict(content["files"]), dict(content["progress"])
        if "best_top1" in progress:  # as versions called it that knew no other measure
            progress["best_value"] = progress.pop("best_top1")
        position = RunPosition(**progress)
        counts = [position.epoch, position.batch, position.iteration]
        optional = (position.best_epoch, position.best_iteration, position.improved_epoch)
        counts += [count for count in optional if count is not None]
        if not all(type(count) is int and 0 <= count < 1 << 53 for count in counts):
            raise ValueError("its progress must be counts")
        if position.best_value is not None and not 0 <= position.best_value <= 1:
            raise ValueError("its best_value must be in [0, 1]")
        if type(position.epoch_is_saved) is not bool:
            raise ValueError("its epoch_is_saved must be true or false")
        if position.loss_scale is not None and not 0 < position.loss_scale < float("inf"):
            raise ValueError("its loss_scale must be a number above 0")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{file}: not the description of a checkpoint ({error})") from error
    texts = (content.get("config"), content.get("train_list_sha256"))
    names = content.get("class_names")
    names = names if isinstance(names, list) and all(isinstance(name, str) for name in names) else []
    return Description(files, position, *(text if isinstance(text, str) else None for text in texts), names)


def description_file(prefix: Path) -> Path:
    """Return the JSON file of the save with this prefix."""
    return part_of(prefix, "json")


def part_of(prefix: Path, suffix: str) -> Path:
    """Return the file of a save with this suffix. The name of a save may hold dots."""
    return prefix.with_name(f"{prefix.name}.{suffix}")


def _arrays_by_name(content: Any, file: Path) -> dict[str, np.ndarray]:
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise WeightsError(f"{file}: holds a {type(content).__name__}, not parameters by name")
    return {name: value for name, value in content.items() if isinstance(value, np.ndarray)}


def _fingerprint(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}
