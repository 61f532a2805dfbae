"""What a user names as weights: a save, a folder of saves, a file of another system, an address."""

from dataclasses import dataclass
from pathlib import Path

from engine.checkpoint import Save, description_file, part_of, read_save
from engine.save_folder import POINTERS, named_by
from models.registry import NETWORKS
from models.weights.dialects import FileArrays
from models.weights.reading import read_weights
from models.weights.released import fetch_url
from utils.errors import WeightsError


@dataclass
class Weights:
    """What was found under a weights argument."""

    file: FileArrays
    save: Save | None = None  # None: no save of a run, only weights

    @property
    def source(self) -> str:
        """The file, for messages."""
        return self.file.source


def read_weights_argument(argument: str, network_name: str | None) -> Weights:
    """Read what a user named as weights.

    It may be a save's prefix or any of its files, a folder of saves (its latest), a pointer (``checkpoints/best``), the
    address of a file, or weights of any format that `models.weights` reads.

    Args:
        network_name: of the network that they are for, in the registry; None: it is not known yet.

    Raises:
        WeightsError: nothing there, torn, damaged, or of no known format.
    """
    if not argument.strip():
        raise WeightsError("the name of the weights is empty")
    entries = NETWORKS.values() if network_name is None else [NETWORKS[network_name]]
    dialects = [dialect for entry in entries for dialect in entry.weight_dialects()]
    if argument.lower().startswith(("http://", "https://")):
        argument = str(fetch_url(argument))
    path = _follow_pointer(Path(argument))
    if (prefix := _save_at(path)) is not None:
        save = read_save(prefix)
        return Weights(save.parameters, save)
    if path.is_dir() or path.is_file():
        return Weights(read_weights(path, dialects))
    parameters_file = part_of(path, "pdparams")
    if parameters_file.is_file():
        return Weights(read_weights(parameters_file, dialects))
    if path.exists() or path.is_symlink():
        raise WeightsError(f"weights {argument!r}: neither a regular file nor a folder (a link that leads nowhere?)")
    raise WeightsError(f"weights {argument!r}: no such file, folder or checkpoint prefix")


def files_of_weights(argument: str) -> list[Path]:
    """Return the files whose contents decide what a weights argument means.

    Raises:
        WeightsError: there are none.
        DownloadError: an address cannot be fetched.
    """
    if argument.lower().startswith(("http://", "https://")):
        return [fetch_url(argument)]
    path = _follow_pointer(Path(argument))
    if (prefix := _save_at(path)) is not None:
        return [description_file(prefix), part_of(prefix, "pdparams")]
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.is_file())
    found = [file for file in (path, part_of(path, "pdparams")) if file.is_file()]
    if not found:
        raise WeightsError(f"weights {argument!r}: no such file")
    return found[:1]


def find_save(argument: str) -> Path | None:
    """Return the prefix of the save that a weights argument names; None if it names none, or something else."""
    if not argument.strip() or argument.lower().startswith(("http://", "https://")):
        return None
    try:
        return _save_at(_follow_pointer(Path(argument)))
    except WeightsError:
        return None


def _save_at(path: Path) -> Path | None:
    prefix = path.with_suffix("") if path.suffix in (".pdparams", ".pdopt", ".json") else path
    return prefix if not path.is_dir() and prefix.name and description_file(prefix).is_file() else None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that no file can have
        return False


def _follow_pointer(path: Path) -> Path:
    if path.is_dir() and (path / "latest").is_file():
        path = path / "latest"
    if path.name not in POINTERS or not path.is_file():
        return path
    name = named_by(path)
    if not name or Path(name).name != name or not _is_file(path.with_name(f"{name}.json")):
        raise WeightsError(f"{path}: names the checkpoint {name!r}, which is not in its folder")
    return path.with_name(name)
