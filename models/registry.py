"""Network names to the functions that build them; their modules are imported only when one is built."""

import difflib
import importlib
from typing import TYPE_CHECKING

from configs.schema import Config
from utils.errors import ConfigError

if TYPE_CHECKING:
    from models.layers import NamedNetwork

_BUILDERS = {"NONLOCAL": ("models.nonlocal_model", "build_nonlocal")}


def check_model_name(name: str) -> str:
    """Return the registered spelling of `name` (any case).

    Raises:
        ConfigError: no such network; the message lists the known ones.
    """
    if name.upper() in _BUILDERS:
        return name.upper()
    close = difflib.get_close_matches(name.upper(), _BUILDERS, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    raise ConfigError(f"unknown model {name!r}; {hint}known: {', '.join(sorted(_BUILDERS))}")


def build_model(config: Config) -> "NamedNetwork":
    """Build the network that ``MODEL.name`` names, with freshly initialised parameters."""
    module, function = _BUILDERS[check_model_name(config.MODEL.name)]
    return getattr(importlib.import_module(module), function)(config)
