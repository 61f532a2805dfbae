"""utils <- configs <- {models | datareader | metrics} <- engine <- programs: who may import whom."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAY_IMPORT = {
    "utils": set(),
    "configs": {"utils"},
    "models": {"utils", "configs"},
    "datareader": {"utils", "configs"},
    "metrics": {"utils", "configs"},
    "engine": {"utils", "configs", "models", "datareader", "metrics"},
    "tools": {"utils", "configs", "models", "datareader", "metrics", "engine"},
}
PROGRAMS = {"train.py", "test.py", "infer.py"}
FILES = [
    path
    for path in sorted(ROOT.rglob("*.py"))
    if path.relative_to(ROOT).parts[0] in MAY_IMPORT or path.relative_to(ROOT).as_posix() in PROGRAMS
]


def imported_modules(tree):
    """Dotted names of everything a module imports, also inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def our_modules(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {name for name in imported_modules(tree) if name.split(".")[0] in MAY_IMPORT}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_imports_only_what_its_place_allows(path):
    place = path.relative_to(ROOT).parts[0]
    allowed = MAY_IMPORT.get(place, set(MAY_IMPORT) - {"tools"}) | {place}
    forbidden = {name for name in our_modules(path) if name.split(".")[0] not in allowed}
    assert not forbidden


def test_there_is_no_circle_of_imports():
    module_of = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in FILES}
    edges = {}
    for module, path in module_of.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        top_level = ast.Module(body=[node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)])
        edges[module] = {name for name in imported_modules(top_level) if name in module_of}
    done, path_taken = set(), []

    def visit(module):
        assert module not in path_taken, f"circle: {' -> '.join([*path_taken, module])}"
        if module in done:
            return
        path_taken.append(module)
        for other in edges[module]:
            visit(other)
        path_taken.pop()
        done.add(module)

    for module in edges:
        visit(module)


@pytest.mark.parametrize("program", sorted(PROGRAMS))
def test_programs_import_nothing_heavy_before_main(program):
    tree = ast.parse((ROOT / program).read_text(encoding="utf-8"))
    top_level = ast.Module(body=[node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)])
    roots = {name.split(".")[0] for name in imported_modules(top_level)}
    assert roots <= {"argparse", "contextlib", "os", "sys", "pathlib", "collections", "configs", "utils"}


def test_forbidden_file_names_are_absent():
    assert not [path for path in FILES if path.stem in ("misc", "common", "helpers", "utils")]
