"""The table of networks. To add one: a file with the network, and one line here.

Nothing of a network is imported before it is needed: the table is read by every program at its start.
"""

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from configs.schema import Config

if TYPE_CHECKING:
    from models.complexity import StageCost
    from models.network import VideoNetwork
    from models.weights.dialects import Dialect
    from models.weights.released import ReleasedWeights


@dataclass(frozen=True)
class NetworkEntry:
    """What the toolkit knows of a network before it is built. Each field names ``module:attribute``.

    Args:
        builder: a function from the config to the network, with freshly initialised parameters.
        config: a subclass of `Config`: keys and sections of the network's own, and rules for its geometry. In a module
            that does not import Paddle.
        dialects: a tuple of `Dialect`: how weights files of other systems name the parameters; the first one is that of
            the network itself. Empty: only files of this toolkit can be loaded.
        released: a `ReleasedWeights`, what is fetched where a command names no weights. Empty: there is nothing.
    """

    builder: str
    config: str = "configs.schema:Config"
    dialects: str = ""
    released: str = ""

    def config_type(self) -> type[Config]:
        """Return the config of a run of this network."""
        return _attribute(self.config)

    def build(self, config: Config) -> "VideoNetwork":
        """Build the network."""
        return _attribute(self.builder)(config)

    def weight_dialects(self) -> "tuple[Dialect, ...]":
        """Return how foreign files may name its parameters."""
        return _attribute(self.dialects) if self.dialects else ()

    def released_weights(self) -> "ReleasedWeights | None":
        """Return what can be fetched."""
        return _attribute(self.released) if self.released else None


NETWORKS: dict[str, NetworkEntry] = {
    "NONLOCAL": NetworkEntry(
        builder="models.nonlocal_model:build_nonlocal",
        config="models.nonlocal_config:NonlocalConfig",
        dialects="models.weights.zoo_dialects:NONLOCAL_DIALECTS",
        released="models.weights.released:NONLOCAL",
    ),
    "SLOWONLY": NetworkEntry(
        builder="models.nonlocal_model:build_nonlocal",
        config="models.nonlocal_config:SlowOnlyConfig",
        dialects="models.weights.zoo_dialects:SLOWONLY_DIALECTS",
    ),
    "SLOWFAST": NetworkEntry(
        builder="models.slowfast:build_slowfast",
        config="models.nonlocal_config:SlowFastConfig",
        dialects="models.weights.zoo_dialects:SLOWFAST_DIALECTS",
    ),
    "TSM": NetworkEntry(
        builder="models.nonlocal_model:build_nonlocal",
        config="models.nonlocal_config:TsmConfig",
        dialects="models.weights.zoo_dialects:TSM_DIALECTS",
    ),
}


def build_model(config: Config) -> "VideoNetwork":
    """Build the network of MODEL.name with freshly initialised parameters."""
    return NETWORKS[config.MODEL.name].build(config)


def network_costs(config: Config, size: tuple[int, int, int]) -> "list[StageCost]":
    """Return what the stages of the config's network cost for one clip of `size` (T, H, W). Allocates no parameter.

    Raises:
        ConfigError: a clip of this size is too small for the network.
    """
    import paddle

    with paddle.LazyGuard():
        network = build_model(config)
    return network.costs(size)


def _attribute(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)
