"""Print every section and key of the config as Markdown tables: python tools/config_table.py > docs/config.md"""

import argparse
import dataclasses
import sys
import typing
from collections.abc import Collection, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a program, from any folder

from configs.schema import Config
from models.registry import NETWORKS
from utils.commandline import ProgramParser, run_program
from utils.logging import setup_logging

_HEAD = """# Every key of a config

Made by `python tools/config_table.py` from `configs/schema.py` and the config of each network; a test keeps them equal.
A file names only the keys that it changes. A key that may change can differ when a stopped run or test is continued.
Text files have INI sections and Python values (strings with or without quotes); YAML files have the
same sections and keys. Unknown names, wrong types and impossible combinations are errors that name the line.
"""


def config_tables() -> str:
    """Return the tables: one for each section that all networks share, then those of each network."""
    parts = [_HEAD]
    for section, kind in Config.sections().items():
        parts.append(_table(section, kind, ()))
    for name, entry in NETWORKS.items():
        parts.append(f"\n# Keys of the network {name}\n")
        for section, kind in entry.config_type().sections().items():
            shared = Config.sections().get(section)
            if kind is not shared:
                known = [field.name for field in dataclasses.fields(shared)] if shared else ()
                parts.append(_table(section if shared is None else f"{section}, more keys", kind, known))
    return "".join(parts)


def _table(title: str, kind: type, known: Collection[str]) -> str:
    lines = [
        f"\n## {title}\n\n{kind.__doc__}{_counting(kind)}\n\n"
        "| key | default | range | may change | meaning |\n|---|---|---|---|---|\n"
    ]
    for field in dataclasses.fields(kind):
        if field.name not in known:
            default = list(field.default) if isinstance(field.default, tuple) else field.default
            meaning = field.metadata["doc"] + _choices(typing.get_type_hints(kind)[field.name])
            range_ = field.metadata["range"].text()
            may_change = "yes" if field.metadata["may_change"] else ""
            lines.append(f"| `{field.name}` | `{default!r}` | {range_} | {may_change} | {meaning} |\n")
    return "".join(lines)


def _counting(kind: type) -> str:
    return "" if kind.counts_for else " It may change as a whole when a run or a test is continued."


def _choices(type_: object) -> str:
    values = typing.get_args(type_) if typing.get_origin(type_) is typing.Literal else ()
    return f" ({', '.join(map(str, values))})" if len(values) > 1 else ""


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    return ProgramParser(description=__doc__).parse_args(argv)


def main(argv: Sequence[str]) -> None:
    parse_arguments(argv)
    setup_logging()
    print(config_tables(), end="")


if __name__ == "__main__":
    sys.exit(run_program(main))
