"""Whether two configs mean the same run, test or network, and which keys say that they do not."""

import dataclasses

from configs.fields import Compared
from configs.schema import Config


def differing_keys(before: Config, now: Config, what: Compared) -> list[str]:
    """Describe every key that makes the run, the test or the network of two configs differ.

    Keys that may change are passed over, and so are sections that do not count for `what`.

    Returns:
        ``SECTION.key was 1, is 2`` for each; for two kinds of network the one line that names them.
    """
    if before.MODEL.name != now.MODEL.name:
        return [f"MODEL.name was {before.MODEL.name!r}, is {now.MODEL.name!r}"]
    found = []
    for name in now.sections():
        old, new = getattr(before, name), getattr(now, name)
        for field in dataclasses.fields(new):
            counts = what in new.counts_for or field.metadata["shapes_network"]
            values = getattr(old, field.name), getattr(new, field.name)
            if counts and not field.metadata["may_change"] and values[0] != values[1]:
                found.append(f"{name}.{field.name} was {values[0]!r}, is {values[1]!r}")
    return found


def network_keys(config: Config, *, changeable: bool = False) -> str:
    """Return the keys that make the network of a config what it is, and its input: ``SECTION.key=value`` a line.

    Args:
        changeable: those too that change how it is computed, and not what.
    """
    lines = [f"MODEL.name={config.MODEL.name}"]
    for name in config.sections():
        section = getattr(config, name)
        for field in dataclasses.fields(section):
            counts = "network" in section.counts_for or field.metadata["shapes_network"]
            if counts and (changeable or not field.metadata["may_change"]):
                lines.append(f"{name}.{field.name}={getattr(section, field.name)!r}")
    return "\n".join(lines)
