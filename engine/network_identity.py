"""Hashes that say whether results belong to a network."""

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from configs.comparison import network_keys
from configs.schema import Config

if TYPE_CHECKING:
    from models.network import VideoNetwork


def parameters_sha256(network: "VideoNetwork") -> str:
    """Return the SHA-256 of the names and values of a network's parameters and statistics."""
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(value.numpy()).tobytes())
    return digest.hexdigest()


def network_sha256(parameters: str, config: Config) -> str:
    """Return the SHA-256 of a network's values and of the keys that say what it computes with them.

    Args:
        parameters: `parameters_sha256` of it.
    """
    return hashlib.sha256(f"{parameters}\n{network_keys(config)}".encode()).hexdigest()
