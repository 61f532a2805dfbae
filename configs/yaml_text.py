"""Configs in YAML: sections with keys below them."""

from pathlib import Path
from typing import Any

import yaml

from configs.schema import Config, Values
from utils.errors import ConfigError, one_line


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that is there twice; YAML itself would let the last one win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping."""
        seen = set()
        for key, _ in node.value:
            if str(key.value).upper() in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"{key.value} is given twice", problem_mark=key.start_mark
                )
            seen.add(str(key.value).upper())
        return super().construct_mapping(node, deep)


def parse_yaml(text: str, path: Path) -> Values:
    """Return the values of a config by section and key.

    Args:
        path: what errors name.

    Raises:
        ConfigError: no YAML, or no sections with keys.
    """
    try:
        loaded = yaml.load(text, _StrictLoader)  # a SafeLoader
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError) as error:
        raise ConfigError(f"{path}: not a YAML file: {one_line(error)}") from error
    if not isinstance(loaded, dict) or not all(isinstance(keys, dict | None) for keys in loaded.values()):
        raise ConfigError(f"{path}: must be sections ({', '.join(Config.sections())}, ...) with keys below them")
    return {str(section): {str(key): value for key, value in (keys or {}).items()} for section, keys in loaded.items()}
