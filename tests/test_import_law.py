"""utils <- configs <- {models | datareader | metrics} <- engine <- programs: who may import whom.

All imports count, those inside functions too.
"""

import ast
import subprocess
import sys

import pytest
from conftest import ROOT

PACKAGES = {"utils", "configs", "models", "datareader", "metrics", "engine", "tools"}
MAY_IMPORT = {
    "utils": set(),
    "configs": {"utils"},
    "models": {"utils", "configs"},
    "datareader": {"utils", "configs"},
    "metrics": {"utils", "configs"},
    "engine": {"utils", "configs", "models", "datareader", "metrics"},
    "tools": PACKAGES,
}
PROGRAMS = ("train.py", "test.py", "infer.py")
# The rooms of the engine: what lies in none of them is common ground.
ROOMS = ("engine.scoring", "engine.training")
MAY_ENTER = {"engine": set(), "engine.scoring": {"engine.scoring"}, "engine.training": set(ROOMS)}
PUBLIC_FACE = "engine.predictor"  # a name that is documented for users; it holds no code
FILES = [
    path
    for path in sorted(ROOT.rglob("*.py"))
    if path.relative_to(ROOT).parts[0] in PACKAGES or path.relative_to(ROOT).as_posix() in PROGRAMS
]


def module_name(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in FILES}


def imported_modules(path):
    """Our modules that a file imports, anywhere in it; not those that it imports for type checkers alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):  # a block under `if TYPE_CHECKING` is never run
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in names if name in MODULES}


IMPORTS = {module: imported_modules(path) for module, path in MODULES.items()}


def room_of(module):
    return next((room for room in ROOMS if module == room or module.startswith(f"{room}.")), "engine")


@pytest.mark.parametrize("module", MODULES)
def test_a_file_imports_only_what_its_place_allows(module):
    place = module.split(".")[0]
    allowed = MAY_IMPORT.get(place, PACKAGES - {"tools"}) | {place}
    assert not {name for name in IMPORTS[module] if name.split(".")[0] not in allowed}


@pytest.mark.parametrize("module", [module for module in MODULES if module.startswith("engine.")])
def test_the_rooms_of_the_engine(module):
    """Common ground enters no room, and scoring never training."""
    if module == PUBLIC_FACE:
        return
    entered = {room_of(name) for name in IMPORTS[module] if name.startswith("engine.")} - {"engine"}
    assert entered <= MAY_ENTER[room_of(module)]


def test_the_public_face_holds_no_code():
    tree = ast.parse(MODULES[PUBLIC_FACE].read_text())
    assert all(isinstance(node, ast.Expr | ast.ImportFrom | ast.Assign) for node in tree.body)


def test_there_is_no_circle_of_imports():
    done, path_taken = set(), []

    def visit(module):
        assert module not in path_taken, f"circle: {' -> '.join([*path_taken, module])}"
        if module in done:
            return
        path_taken.append(module)
        for other in IMPORTS[module]:
            visit(other)
        path_taken.pop()
        done.add(module)

    for module in MODULES:
        visit(module)


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_import_nothing_heavy_before_main(program):
    """What --help and the check of a config need is read in a fraction of a second."""
    code = (
        f"import sys; import {program.removesuffix('.py')}; from configs.loading import load_config; "
        "from models.registry import NETWORKS; load_config('configs/nonlocal.txt', networks=NETWORKS); "
        "print(sorted({'paddle', 'numpy', 'cv2', 'av', 'matplotlib', 'openvino'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_the_name_of_a_network_stands_in_its_own_files_alone():
    """Nor does the name of a layer: networks are known to the rest by `models/network.py`."""
    words = ("NONLOCAL", "VideoResNet", "Bottleneck", "res5", "conv1_", "pred_w", "nonlocal_conv", "width_mult")
    for module, path in MODULES.items():
        if module.split(".")[0] in ("models", "tools"):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        texts = [
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        documents = {ast.get_docstring(node, clean=False) for node in ast.walk(tree) if hasattr(node, "body")
                     and isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)}  # fmt: skip
        found = [word for text in texts if text not in documents for word in words if word in text]
        assert not found, (module, found)


def test_forbidden_file_names_are_absent():
    assert not [path for path in FILES if path.stem in ("misc", "common", "helpers", "utils")]
