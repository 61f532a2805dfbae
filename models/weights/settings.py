"""The settings that some systems keep beside their weights, read as data: nothing of them is run.

PySlowFast writes its whole config as YAML text into ``cfg``; MMAction2 writes the Python text of its config into
``meta["cfg"]``. `tools/convert_weights.py` writes what its input was found to be into ``cfg``, with our names.
"""

import ast
import re
from collections.abc import Mapping
from typing import Any

import yaml

from configs.schema import Config
from models.lineages import LINEAGES
from models.registry import NETWORKS

_LONGEST = 1 << 20  # characters
_STATED = {  # of each key that names and shapes do not tell: where a file may state it
    "MODEL.name": (("MODEL", "name"),),
    "MODEL.lineage": (("MODEL", "lineage"),),
    "MODEL.multi_label": (("MODEL", "multi_label"), ("DATA", "MULTI_LABEL"), ("model", "cls_head", "multi_class")),
    "NONLOCAL.pairwise": (
        ("NONLOCAL", "pairwise"),
        ("NONLOCAL", "INSTANTIATION"),
        ("model", "backbone", "non_local_cfg", "mode"),
    ),
    "SLOWFAST.alpha": (("SLOWFAST", "alpha"), ("SLOWFAST", "ALPHA"), ("model", "backbone", "resample_rate")),
}
_PAIRWISE = {
    "softmax": "embedded_gaussian", "dot_product": "dot_product", "embedded_gaussian": "embedded_gaussian",
    "gaussian": "gaussian", "concatenation": "concatenation",
}  # fmt: skip
_TYPES = {"SLOWFAST.alpha": int, "MODEL.multi_label": bool}  # of the others: text
_KNOWN = {"MODEL.name": NETWORKS, "MODEL.lineage": {name for rows in LINEAGES.values() for name in rows}}


def settings_of(content: Any) -> dict[str, Any]:
    """Return the settings in the content of a file, by their names there; empty if there are none, or they are odd."""
    if not isinstance(content, Mapping):
        return {}
    text, meta = content.get("cfg"), content.get("meta")
    if isinstance(text, str) and len(text) < _LONGEST:
        return _yaml(text)
    text = meta.get("cfg") if isinstance(meta, Mapping) else None
    return _python(text) if isinstance(text, str) and len(text) < _LONGEST else {}


def stated_keys(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a config that a file states, of those that names and shapes do not tell.

    Networks and lineages that are not known here do not count: other systems have names of their own.

    >>> stated_keys({"NONLOCAL": {"INSTANTIATION": "softmax"}, "SLOWFAST": {"ALPHA": 8}, "MODEL": {"ARCH": "slow"}})
    {'NONLOCAL.pairwise': 'embedded_gaussian', 'SLOWFAST.alpha': 8}
    """
    found = {}
    for key, places in _STATED.items():
        value = next((value for place in places if (value := setting_at(settings, *place)) is not None), None)
        value = _PAIRWISE.get(value) if key == "NONLOCAL.pairwise" and isinstance(value, str) else value
        if type(value) is _TYPES.get(key, str) and value in _KNOWN.get(key, [value]):
            found[key] = value
    return found


def keys_that_names_do_not_tell(config: Config) -> dict[str, Any]:
    """Return these keys of a config; without non-local blocks no pairwise function counts."""
    found = {}
    for key in _STATED:
        section, _, name = key.partition(".")
        part = getattr(config, section, None)
        counts = section != "NONLOCAL" or getattr(part, "conv3_nonlocal", True) or getattr(part, "conv4_nonlocal", True)
        if hasattr(part, name) and counts:
            found[key] = getattr(part, name)
    return found


def settings_text(keys: Mapping[str, Any]) -> str:
    """Return YAML text from which `stated_keys` reads the same keys.

    >>> settings_text({"MODEL.name": "TSM", "MODEL.lineage": "tsm"})
    'MODEL:\\n  name: TSM\\n  lineage: tsm\\n'
    """
    sections: dict[str, dict[str, Any]] = {}
    for key, value in keys.items():
        if key in _STATED:
            section, _, name = key.partition(".")
            sections.setdefault(section, {})[name] = value
    return yaml.safe_dump(sections, sort_keys=False) if sections else ""


def setting_at(settings: Mapping[str, Any], *path: str) -> Any:
    """Return what stands in `settings` at a path of names, None if it is not there.

    >>> setting_at({"a": {"b": 3}}, "a", "b"), setting_at({"a": 3}, "a", "b")
    (3, None)
    """
    for name in path:
        settings = settings.get(name) if isinstance(settings, Mapping) else None
    return settings


def _yaml(text: str) -> dict[str, Any]:
    if "&" in text and "*" in text:  # aliases, which a config has no use for, can make a small text huge
        return {}
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _python(text: str) -> dict[str, Any]:
    """The assignments ``name = value`` whose values are literals, lists, tuples, and calls of ``dict``."""
    found = {}
    for statement in _statements(text):
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            try:
                found[statement.targets[0].id] = _value(statement.value)
            except (ValueError, RecursionError):
                continue  # no data
    return found


def _statements(text: str) -> list[ast.stmt]:
    for attempt in (text, _closed(text)):
        try:
            return ast.parse(attempt).body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
    return []


def _closed(text: str) -> str:
    """A text that was cut short, up to its last whole line, with the brackets closed that are open there."""
    lines, brackets = text.split("\n")[:-1], ""
    while lines and not lines[-1].rstrip().endswith((",", "(", "[", "{")):
        lines.pop()
    for character in re.sub(r"'[^'\n]*'|\"[^\"\n]*\"|#.*", "", "\n".join(lines)):
        if character in "([{":
            brackets += {"(": ")", "[": "]", "{": "}"}[character]
        elif character in ")]}":
            brackets = brackets[:-1]
    return "\n".join(lines) + "\n" + brackets[::-1]


def _value(node: ast.expr) -> Any:
    """The value of an expression.

    Raises:
        ValueError: it is more than data.
    """
    if isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Name) or node.func.id != "dict" or node.args:
            raise ValueError
        return {word.arg: _value(word.value) for word in node.keywords if word.arg is not None}
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Dict):
        return {ast.literal_eval(key): _value(value) for key, value in zip(node.keys, node.values, strict=True) if key}
    return ast.literal_eval(node)
