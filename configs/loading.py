"""Config files into the schema: INI text or YAML, overrides, checks, and the way back to text."""

import ast
import configparser
import dataclasses
import difflib
import re
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from configs.checks import violations
from configs.schema import SECTIONS, Config
from utils.errors import ConfigError

Values = dict[str, dict[str, Any]]  # section -> key -> value, where only strings may still need parsing


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Read a config file (``.yaml``/``.yml``: YAML; anything else: INI text), override, check.

    Args:
        path: the config file.
        overrides: ``SECTION.key=value`` strings; later ones win.

    Raises:
        ConfigError: file missing or malformed; unknown section or key (names the nearest); wrong type; a broken
            rule. The message names the place: ``file:line``, or the override.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"config file {path} cannot be read: {error}") from error
    is_yaml = path.suffix.lower() in (".yaml", ".yml")
    return _load(text, _parse_yaml(text, path) if is_yaml else _parse_ini(text, path), str(path), overrides)


def parse_config(text: str, source: str) -> Config:
    """Read what `dump_config` wrote.

    Args:
        source: what the text is called in errors.

    Raises:
        ConfigError: as `load_config`.
    """
    return _load(text, _parse_ini(text, source), source)


def _load(text: str, parsed: Values, source: str, overrides: Iterable[str] = ()) -> Config:
    values: Values = {}
    places: dict[str, str] = {}
    for section, keys in parsed.items():
        for key, value in keys.items():
            place = f"{source}:{_line_of(text, section, key)}"
            _store(values, places, section, key, value, place)
        if not keys:
            _known_section(section, source)
    for override in overrides:
        name, equals, value = override.partition("=")
        section, dot, key = name.strip().partition(".")
        if not (equals and dot):
            raise ConfigError(f"override {override!r} must have the form SECTION.key=value")
        _store(values, places, section, key, value.strip(), f"override {override!r}")
    return _build(values, places, source)


def dump_config(config: Config) -> str:
    """Write every section and key of `config` as INI text that `load_config` reads back to the same value."""
    lines = []
    for section in SECTIONS:
        lines.append(f"[{section}]")
        values = getattr(config, section)
        for field in dataclasses.fields(values):
            value = getattr(values, field.name)
            lines.append(f"{field.name} = {list(value) if isinstance(value, tuple) else value!r}")
        lines.append("")
    return "\n".join(lines)


def _parse_ini(text: str, path: str | Path) -> Values:
    parser = configparser.ConfigParser(
        interpolation=None, delimiters=("=",), default_section="", inline_comment_prefixes=("#",)
    )
    try:
        parser.read_string(text, source=str(path))
    except configparser.Error as error:
        raise ConfigError(f"{path}: not a config file: {' '.join(str(error).split())}") from error
    if not parser.sections():
        raise ConfigError(f"{path}: holds no section; known: {', '.join(SECTIONS)}")
    return {section: dict(parser[section]) for section in parser.sections()}


def _parse_yaml(text: str, path: Path) -> Values:
    try:
        loaded = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise ConfigError(f"{path}: not a YAML file: {' '.join(str(error).split())}") from error
    if not isinstance(loaded, dict) or not all(isinstance(keys, dict | None) for keys in loaded.values()):
        raise ConfigError(f"{path}: must be sections ({', '.join(SECTIONS)}) with keys below them")
    return {str(section): {str(key): value for key, value in (keys or {}).items()} for section, keys in loaded.items()}


def _store(values: Values, places: dict[str, str], section: str, key: str, value: Any, place: str) -> None:
    known = _known_section(section, place)
    fields = typing.get_type_hints(known)
    key = key.lower()
    if key not in fields:
        raise ConfigError(f"{place}: unknown key {section}.{key}{_nearest(key, fields)}")
    name = f"{section.upper()}.{key}"
    values.setdefault(section.upper(), {})[key] = _convert(value, fields[key], name, place)
    places[name] = place


def _known_section(section: str, place: str) -> type:
    if section.upper() not in SECTIONS:
        raise ConfigError(f"{place}: unknown section [{section}]{_nearest(section.upper(), SECTIONS)}")
    return SECTIONS[section.upper()]


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(known)}"


def _convert(value: Any, wanted: Any, name: str, place: str) -> Any:
    """Turn a Python literal, a bare string or a YAML value into the field's type, or say what does not fit."""
    literal = _literal(value)
    if wanted is str and isinstance(value, str | int | float):
        text = literal if isinstance(literal, str) else str(value)
        if any(ord(character) < 32 for character in text):
            raise ConfigError(f"{place}: {name} = {text!r} must be one line without control characters")
        return text
    if isinstance(literal, int | float) and not abs(literal) < 2**31:
        raise ConfigError(f"{place}: {name} = {str(value)[:40]} must be a number of less than 2^31")
    if wanted is bool and (isinstance(literal, bool) or literal in (0, 1)):
        return bool(literal)
    if wanted is int and type(literal) is int:
        return literal
    if wanted is float and type(literal) in (int, float):
        return float(literal)
    if wanted == tuple[int, ...] and isinstance(literal, list | tuple) and all(type(item) is int for item in literal):
        return tuple(literal)
    if typing.get_origin(wanted) is typing.Literal:
        if type(literal) is not bool and literal in typing.get_args(wanted):
            return literal
        choices = ", ".join(map(str, typing.get_args(wanted)))
        raise ConfigError(f"{place}: {name} = {value} must be one of {choices}")
    kind = {str: "a text", bool: "True or False", int: "an integer", float: "a number"}.get(
        wanted, "a list of integers"
    )
    raise ConfigError(f"{place}: {name} = {value} must be {kind}")


def _literal(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return value


def _build(values: Values, places: dict[str, str], source: str) -> Config:
    _resolve_pairwise(values, places)
    sections = {name: kind(**values.get(name, {})) for name, kind in SECTIONS.items()}
    config = Config(**sections)
    for name, message in violations(config):
        raise ConfigError(f"{places.get(name, source)}: {name}: {message}")
    return config


def _resolve_pairwise(values: Values, places: dict[str, str]) -> None:
    """Old files say use_softmax=False for the dot-product form; `pairwise` says it by name.

    Every old file says use_softmax=True, so an override of `pairwise` passes over that; else the two must agree.
    """
    given = values.setdefault("NONLOCAL", {})
    if "pairwise" not in given:
        given["pairwise"] = "embedded_gaussian" if given.get("use_softmax", True) else "dot_product"
    softmax = given["pairwise"] in ("embedded_gaussian", "gaussian")
    stated, place = given.get("use_softmax", softmax), places.get("NONLOCAL.use_softmax", "")
    overridden = "override" in places.get("NONLOCAL.pairwise", "") and "override" not in place
    if stated != softmax and not (stated and overridden):
        raise ConfigError(
            f"{place}: NONLOCAL.use_softmax = {stated} contradicts NONLOCAL.pairwise = {given['pairwise']}"
        )
    given["use_softmax"] = softmax


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
