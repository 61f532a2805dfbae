"""What a weights argument holds, as NONLOCAL reads it."""

from dataclasses import dataclass

import numpy as np

from engine.checkpoint import RunPosition
from engine.weights_argument import read_weights_argument
from models.registry import NETWORKS
from models.weights.dialects import NamedWeights, name_weights


@dataclass
class Loaded:
    source: str
    parameters: NamedWeights  # by neutral name; of a save the names are its own
    optimizer: dict[str, np.ndarray] | None
    position: RunPosition | None
    config: str | None


def load_weights(argument):
    """Read weights for NONLOCAL and name them by its dialects."""
    weights = read_weights_argument(str(argument), "NONLOCAL")
    named = name_weights(weights.file, NETWORKS["NONLOCAL"].weight_dialects())
    save = weights.save
    if save is None:
        return Loaded(weights.source, named, None, None, None)
    return Loaded(weights.source, named, save.optimizer, save.description.position, save.description.config)


def newest_prefix(folder):
    """Prefix of the newest whole save of a folder, None if there is none."""
    from engine.save_folder import newest_save

    save = newest_save(folder)
    return None if save is None else save.prefix
