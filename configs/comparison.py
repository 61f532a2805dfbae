"""Whether two configs mean the same run, and which keys say that they do not."""

from collections.abc import Collection, Mapping
from dataclasses import asdict

from configs.schema import Config


def differing_keys(before: Config, now: Config, free: Mapping[str, Collection[str]]) -> list[str]:
    """Describe every key of the sections of `free` that differs, but those that may: ``SECTION.key was 1, is 2``.

    Args:
        free: section -> keys that may differ; a section that is not named is not compared.
    """
    found = []
    for section, may_differ in free.items():
        old, new = asdict(getattr(before, section)), asdict(getattr(now, section))
        found += [
            f"{section}.{key} was {old[key]!r}, is {new[key]!r}"
            for key in new
            if key not in may_differ and old[key] != new[key]
        ]
    return found
