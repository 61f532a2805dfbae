"""Config files into the schema: INI text or YAML, overrides, checks, and the way back to text."""

import ast
import configparser
import dataclasses
import re
import typing
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from configs.checks import violations
from configs.schema import Config, Values, is_override
from utils.errors import ConfigError, one_line, reading_fault
from utils.logging import get_logger
from utils.suggestions import nearest
from utils.text_file import read_text


class ConfiguredNetwork(Protocol):
    """What reading a config asks of an entry of the registry of networks."""

    def config_type(self) -> type[Config]:
        """Return the config of a run of this network: its sections and its rules."""


Networks = Mapping[str, ConfiguredNetwork]  # by name; the first is the network of configs that name none


class _Given(NamedTuple):
    """One value as it was given."""

    section: str
    key: str
    value: Any
    place: str  # file:line, or the override


def load_config(path: str | Path, overrides: Iterable[str] = (), *, networks: Networks) -> Config:
    """Read a config file (``.yaml``/``.yml``: YAML; anything else: INI text), override, check.

    Args:
        path: the config file.
        overrides: ``SECTION.key=value`` strings; later ones win.
        networks: the registry; MODEL.name chooses the network, whose sections and rules then hold.

    Raises:
        ConfigError: file missing or malformed; unknown network, section or key (names the nearest); wrong type; a
            broken rule. The message names the place: ``file:line``, or the override.
    """
    path = Path(path)
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"config file {path} cannot be read: {reading_fault(error)}") from error
    if path.suffix.lower() in (".yaml", ".yml"):
        from configs.yaml_text import parse_yaml  # no other config needs the library

        parsed = parse_yaml(text, path)
    else:
        parsed = _parse_ini(text, path)
    return _load([*_given_in_file(text, parsed, str(path)), *_given_by_overrides(overrides)], str(path), networks)


def parse_config(text: str, source: str, *, networks: Networks, overrides: Iterable[str] = ()) -> Config:
    """Read what `dump_config` wrote.

    Args:
        source: what the text is called in errors.
        overrides: see `load_config`.

    Raises:
        ConfigError: as `load_config`.
    """
    given = _given_in_file(text, _parse_ini(text, source), source)
    return _load([*given, *_given_by_overrides(overrides)], source, networks)


def config_from(overrides: Iterable[str], *, networks: Networks) -> Config:
    """Return the defaults of a network, overridden: see `load_config`."""
    return _load(list(_given_by_overrides(overrides)), "the defaults", networks)


def dump_config(config: Config) -> str:
    """Write every section and key of `config` as INI text that `load_config` reads back to the same value."""
    lines = []
    for section in config.sections():
        lines.append(f"[{section}]")
        values = getattr(config, section)
        for field in dataclasses.fields(values):
            value = getattr(values, field.name)
            lines.append(f"{field.name} = {list(value) if isinstance(value, tuple) else value!r}")
        lines.append("")
    return "\n".join(lines)


def _load(given: list[_Given], source: str, networks: Networks) -> Config:
    kind, name = _network(given, networks)
    values: Values = {}
    places: dict[str, str] = {}
    for item in given:
        before = places.get(f"{item.section.upper()}.{item.key.lower()}")
        if before is not None and not is_override(item.place):
            raise ConfigError(f"{item.place}: {item.section}.{item.key} is given twice, before at {before}")
        _store(values, places, item, kind.sections(), name)
    kind.settle_old_keys(values, places)
    values.setdefault("MODEL", {})["name"] = name
    config = kind(**{section: type_(**values.get(section, {})) for section, type_ in kind.sections().items()})
    for key, message in violations(config):
        raise ConfigError(f"{places.get(key, source)}: {key}: {message}")
    return config


def _network(given: list[_Given], networks: Networks) -> tuple[type[Config], str]:
    """The config of the network that MODEL.name names, in any case, and the name as it is registered."""
    names = [item for item in given if item.section.upper() == "MODEL" and (item.key or "").lower() == "name"]
    if not names:
        name = next(iter(networks))
        return networks[name].config_type(), name
    item = names[-1]
    wanted = _convert(item.value, str, "MODEL.name", item.place)
    for name, entry in networks.items():
        if name.upper() == wanted.upper():
            return entry.config_type(), name
    raise ConfigError(f"{item.place}: unknown network MODEL.name = {wanted!r}{nearest(wanted.upper(), networks)}")


def _given_in_file(text: str, parsed: Values, source: str) -> Iterator[_Given]:
    for section, keys in parsed.items():
        if not keys:
            yield _Given(section, "", None, source)  # an empty section; its name is checked all the same
        for key, value in keys.items():
            yield _Given(section, key, value, f"{source}:{_line_of(text, section, key)}")


def _given_by_overrides(overrides: Iterable[str]) -> Iterator[_Given]:
    for override in overrides:
        name, equals, value = override.partition("=")
        section, dot, key = name.strip().partition(".")
        if not (equals and dot and section and key):
            raise ConfigError(f"override {override!r} must have the form SECTION.key=value")
        yield _Given(section, key, value.strip(), f"override {override!r}")


def _parse_ini(text: str, path: str | Path) -> Values:
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",), default_section="")
    try:
        parser.read_string(text, source=str(path))
    except configparser.Error as error:
        raise ConfigError(f"{path}: not a config file: {one_line(error)}") from error
    if not parser.sections():
        raise ConfigError(f"{path}: holds no section; a config begins with a line such as [TRAIN]")
    return {
        section: {key: _without_comment(value) for key, value in parser[section].items()}
        for section in parser.sections()
    }


def _without_comment(value: str) -> str:
    """A value of an INI file without the comment after it: what follows a blank and #, outside of quotes.

    Quotes count where the value begins with one, or is a list.

    >>> _without_comment("12  # my own"), _without_comment("'in/set #1/a.txt'  # mine"), _without_comment("it's # mine")
    ('12', "'in/set #1/a.txt'", "it's")
    """
    quotes_count = value.startswith(("'", '"', "[", "("))
    quote, previous = "", " "
    for place, character in enumerate(value):
        if quote:
            if character == quote and previous != "\\":
                quote = ""
            previous = "" if previous == character == "\\" else character
            continue
        if character == "#" and previous.isspace():
            return value[:place].rstrip()
        if quotes_count and character in "'\"":
            quote = character
        previous = character
    return value


def _store(values: Values, places: dict[str, str], given: _Given, sections: Mapping[str, type], network: str) -> None:
    section, place = given.section.upper(), given.place
    if section not in sections:
        raise ConfigError(f"{place}: unknown section [{given.section}] for {network}{nearest(section, sections)}")
    if not given.key:
        return
    fields = typing.get_type_hints(sections[section])
    fields = {key: type_ for key, type_ in fields.items() if typing.get_origin(type_) is not typing.ClassVar}
    key = given.key.lower()
    if key in sections[section].retired_keys:
        harmless, what_holds = sections[section].retired_keys[key]
        if given.value != harmless:
            get_logger().warning("%s: %s.%s has no effect any more: %s", place, section, key, what_holds)
        return
    if key not in fields:
        raise ConfigError(f"{place}: unknown key {section}.{key} for {network}{nearest(key, fields)}")
    name = f"{section}.{key}"
    values.setdefault(section, {})[key] = _convert(given.value, fields[key], name, place)
    places[name] = place


def _convert(value: Any, wanted: Any, name: str, place: str) -> Any:
    """Turn a Python literal, a bare string or a YAML value into the field's type, or say what does not fit."""
    literal = _literal(value)
    if wanted is str and isinstance(value, str | int | float):
        text = literal if isinstance(literal, str) else _shown(value)
        if any(ord(character) < 32 for character in text):
            raise ConfigError(f"{place}: {name} = {text!r} must be one line without control characters")
        return text
    if isinstance(literal, int | float) and not abs(literal) < 2**31:
        raise ConfigError(f"{place}: {name} = {_shown(value)[:40]} must be a number of less than 2^31")
    if wanted is bool and (isinstance(literal, bool) or literal in (0, 1)):
        return bool(literal)
    if wanted is int and type(literal) is int:
        return literal
    if wanted is float and type(literal) in (int, float):
        return float(literal)
    if wanted == float | tuple[float, ...]:
        if type(literal) in (int, float):
            return float(literal)
        if isinstance(literal, list | tuple) and all(type(item) in (int, float) for item in literal):
            return tuple(map(float, literal))
        raise ConfigError(f"{place}: {name} = {_shown(value)[:40]} must be a number, or a list of numbers")
    if wanted == tuple[int, ...] and isinstance(literal, list | tuple) and all(type(item) is int for item in literal):
        if not all(abs(item) < 2**31 for item in literal):
            raise ConfigError(f"{place}: {name} = {_shown(value)[:40]} must be numbers of less than 2^31")
        return tuple(literal)
    if typing.get_origin(wanted) is typing.Literal:
        if literal is False and "off" in typing.get_args(wanted):  # YAML reads the word so
            return "off"
        if type(literal) is not bool and literal in typing.get_args(wanted):
            return literal
        choices = ", ".join(map(str, typing.get_args(wanted)))
        raise ConfigError(f"{place}: {name} = {_shown(value)} must be one of {choices}")
    kind = {str: "a text", bool: "True or False", int: "an integer", float: "a number"}.get(
        wanted, "a list of integers"
    )
    raise ConfigError(f"{place}: {name} = {_shown(value)} must be {kind}")


def _shown(value: Any) -> str:
    try:
        return str(value)
    except ValueError:  # Python prints no integer of more than 4300 digits
        return "a number of thousands of digits"


def _literal(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a backslash in a path, for example
            return ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return value


def _line_of(text: str, section: str, key: str) -> int:
    """Line number (from 1) of `key` inside `section`, in either syntax; 1 if it cannot be told."""
    inside = False
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[(.+?)\]|(\w+)\s*:\s*(?:#.*)?$", line)
        if header:
            inside = (header.group(1) or header.group(2)) == section
        elif inside and re.match(rf"\s*{re.escape(key)}\s*[=:]", line, re.IGNORECASE):
            return number
    return 1
