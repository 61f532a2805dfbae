"""Print every section and key of the config as Markdown tables: python tools/config_table.py > docs/config.md"""

import dataclasses
import sys
import typing
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a program, from any folder

from configs.schema import SECTIONS
from utils.commandline import run_program

_HEAD = """# Every key of a config

Made by `python tools/config_table.py` from `configs/schema.py`; a test keeps the two equal. A file names only the keys
that it changes. Text files have INI sections and Python values (strings with or without quotes); YAML files have the
same sections and keys. Unknown names, wrong types and impossible combinations are errors that name the line.
"""


def config_tables() -> str:
    """Return the tables, one per section."""
    parts = [_HEAD]
    for section, kind in SECTIONS.items():
        parts.append(f"\n## {section}\n\n{kind.__doc__}\n\n| key | default | meaning |\n|---|---|---|\n")
        for field in dataclasses.fields(kind):
            default = list(field.default) if isinstance(field.default, tuple) else field.default
            meaning = field.metadata["doc"] + _choices(typing.get_type_hints(kind)[field.name])
            parts.append(f"| `{field.name}` | `{default!r}` | {meaning} |\n")
    return "".join(parts)


def _choices(type_: object) -> str:
    values = typing.get_args(type_) if typing.get_origin(type_) is typing.Literal else ()
    return f" ({', '.join(map(str, values))})" if len(values) > 1 else ""


def main(argv: Sequence[str]) -> None:
    print(config_tables(), end="")


if __name__ == "__main__":
    sys.exit(run_program(main))
