"""The weights that are fetched when a command names none: those of the old Paddle video zoo."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from configs.schema import Config
from utils.download import fetch, fetch_unpacked
from utils.errors import DownloadError, WeightsError

_ZOO = "https://paddlemodels.bj.bcebos.com/video_classification"


def weights_folder() -> Path:
    """Where downloads are kept: NONLOCAL_WEIGHTS_HOME, by default ~/.paddle/weights as the old zoo had it."""
    return Path(os.environ.get("NONLOCAL_WEIGHTS_HOME") or Path.home() / ".paddle" / "weights")


def fetch_url(url: str) -> Path:
    """Return the local copy of a weights file that a user named by its address, in a folder of that address."""
    return fetch(url, weights_folder() / "urls" / hashlib.sha256(url.encode("utf-8", "replace")).hexdigest()[:12])


@dataclass(frozen=True)
class ReleasedWeights:
    """Weights of a network that can be fetched, each with the config keys that it wants, ``SECTION.key`` to value.

    Args:
        network: names of files or archives of the whole network; a later one is another form of the first.
        network_keys: what the config must say for it.
        backbone: an archive of ImageNet weights to start a training from.
        backbone_keys: what the config must say for it.
    """

    network: tuple[str, ...]
    network_keys: Mapping[str, object]
    backbone: str
    backbone_keys: Mapping[str, object]

    def fetch_backbone(self, config: Config) -> Path:
        """Return the folder of the ImageNet weights that the released run started from.

        Raises:
            WeightsError: they do not fit the network of `config`.
            DownloadError: they are not there and cannot be fetched.
        """
        _require(
            config,
            self.backbone_keys,
            "--pretrain is missing: name weights to start from, or 'none' for random ones. "
            f"{_address(self.backbone)}, which is fetched otherwise,",
        )
        return fetch_unpacked(_address(self.backbone), weights_folder())

    def fetch_network(self, config: Config) -> Path:
        """Return the released network: its folder, or the file that a later release made of it.

        Raises:
            WeightsError: it is not the network of `config`.
            DownloadError: it is not there and cannot be fetched.
        """
        first, *later = self.network
        _require(
            config,
            self.network_keys,
            f"--weights is missing: name a checkpoint. {_address(first)}, fetched otherwise,",
        )
        folder = weights_folder()
        for name in later:
            if (folder / name).is_file():
                return fetch(_address(name), folder)
        try:
            return fetch_unpacked(_address(first), folder)
        except DownloadError as error:
            if not later or "the server answers 404" not in str(error):
                raise
            return fetch(_address(later[0]), folder)


NONLOCAL = ReleasedWeights(
    # C2D-NL R50 8x8, Kinetics-400, 73.9 % top-1; the second is the same network, as a later release put it.
    network=("nonlocal_kinetics.tar.gz", "NONLOCAL.pdparams"),
    network_keys={
        "MODEL.width_mult": 1.0, "MODEL.num_classes": 400, "MODEL.video_arc_choice": 1, "MODEL.use_affine": False,
        "NONLOCAL.conv3_nonlocal": True, "NONLOCAL.conv4_nonlocal": True, "NONLOCAL.pairwise": "embedded_gaussian",
    },
    backbone="Nonlocal_ResNet50_pretrained.tar.gz",  # ResNet-50, ImageNet
    backbone_keys={
        "MODEL.width_mult": 1.0, "MODEL.depth": 50, "RESNETS.num_groups": 1, "RESNETS.width_per_group": 64,
    },
)  # fmt: skip


def _address(name: str) -> str:
    # A mirror can stand in for the zoo's own host.
    return f"{os.environ.get('NONLOCAL_WEIGHTS_URL') or _ZOO}/{name}"


def _require(config: Config, released: Mapping[str, object], what: str) -> None:
    for key, value in released.items():
        section, _, field = key.partition(".")
        configured = getattr(getattr(config, section), field)
        if configured != value:
            raise WeightsError(f"{what} has {key} = {value}, this config {configured}")
