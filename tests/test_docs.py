"""What the documents say of the code is what the code is."""

import importlib
import re
import shlex

import pytest
from conftest import ROOT
from network_configs import config_from, load_config

from models.lineages import LINEAGES
from models.weights.published import config_of, family_of, overrides_of, published_rows
from tools.config_table import config_tables
from tools.weights_table import weights_table

DOCUMENTS = [*sorted(ROOT.glob("README*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_config_document_is_up_to_date():
    assert (ROOT / "docs" / "config.md").read_text() == config_tables(), "run tools/config_table.py > docs/config.md"


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.txt")), ids=lambda path: path.name)
def test_every_config_loads_and_opens_with_its_command(path):
    load_config(path)
    head = path.read_text().partition("[MODEL]")[0]
    assert re.search(r"python train\.py|bash scripts", head)
    assert "Cost:" in head
    assert "Expected:" in head


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    for target, _, anchor in re.findall(r"\]\((?!https?://|#)([^)#]+)(#([^)]+))?", path.read_text()):
        assert (path.parent / target).exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", (path.parent / target).read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}, anchor


def test_files_named_in_the_readme_exist():
    text = (ROOT / "README.md").read_text()
    for name in re.findall(
        r"`((?:configs|docs|scripts|tools|engine|models|datareader|metrics|utils|dataset)/[\w./]+\.\w+)`", text
    ):
        if "list.txt" not in name:
            assert (ROOT / name).is_file(), name


def test_overrides_in_the_documents_are_valid():
    for path in DOCUMENTS:
        for override in re.findall(r"-o ((?!SECTION)[A-Z]+\.[a-z_]+=[^\s`]+)", path.read_text()):
            if "[" not in override or "]" in override:
                section, key = override.partition("=")[0].split(".")
                assert key in vars(getattr(load_config(ROOT / "configs" / "nonlocal.txt"), section)), override


def test_requirements_of_cpu_and_gpu_agree():
    def packages(name):
        lines = (ROOT / name).read_text().splitlines()
        return {line for line in lines if line and not line.startswith(("#", "-")) and "paddlepaddle" not in line}

    assert packages("requirements.txt") == packages("requirements-gpu.txt")


def test_the_configs_state_what_is_published():
    rows = [row for row in published_rows() if "config" in row]
    assert len(rows) == 25
    for row in rows:
        head = (ROOT / config_of(row)).read_text().partition("[MODEL]")[0]
        stated = [f"{row[key]:.1f} % top-{k}" for key, k in (("top1", 1), ("top5", 5)) if row[key]]
        assert ", ".join(stated) in head.replace("\n#          ", ""), row["url"]


def commands_of(path):
    """(program, arguments) of every `python PROGRAM ...` in the bash blocks and inline code of a document."""
    text = path.read_text()
    pieces = re.findall(r"```bash\n(.*?)```", text, re.DOTALL) + re.findall(r"`(python [^`]+)`", text)
    for piece in pieces:
        for line in piece.replace("\\\n", " ").splitlines():
            found = re.search(r"python (?:-m paddle\.distributed\.launch .*?)?((?:tools/)?\w+\.py)\b([^|&>]*)", line)
            if found and "tools/" not in found[1].removeprefix("tools/"):
                arguments = shlex.split(found[2].replace("$SMALL", ""), comments=True)
                yield found[1], [word for word in arguments if word not in ("...", "…")]


CASES = [
    (path, *command)
    for path in [*DOCUMENTS, ROOT / "dataset" / "nonlocal" / "README.md"]
    for command in commands_of(path)
]


@pytest.mark.parametrize(
    ("path", "program", "arguments"),
    CASES,
    ids=[f"{path.stem}-{program}-{k}" for k, (path, program, _) in enumerate(CASES)],
)
def test_commands_in_the_documents_are_understood(path, program, arguments):
    """Programs know every flag of every command, and take its values."""
    assert (ROOT / program).is_file()
    module = importlib.import_module(program.removesuffix(".py").replace("/", "."))
    if "IN OUT" in " ".join(arguments):
        return
    module.parse_arguments(["x"] if arguments == [] and program.startswith("tools/plot") else arguments)


def test_there_are_commands_to_understand():
    assert len(CASES) > 50
    assert {"train.py", "test.py", "infer.py", "tools/export.py", "tools/show_attention.py"} <= {
        case[1] for case in CASES
    }


def test_the_table_of_the_zoos_is_that_of_the_data_file():
    assert weights_table() in (ROOT / "docs" / "weights.md").read_text()


@pytest.mark.parametrize("row", published_rows(), ids=lambda row: row["url"].rpartition("/")[2])
def test_every_published_file_has_a_network(row):
    """Its lineage is one of its family's, and its clip is one that the network takes."""
    family = family_of(row)
    assert row["lineage"] in LINEAGES[family]
    if "config" in row:
        config = load_config(ROOT / config_of(row))
        assert (config.family, config.MODEL.lineage) == (family, row["lineage"])
        frames, rate = row["clip"]
        assert config.TEST.video_length == frames
        assert config.TEST.sampling == "segments" if not rate else config.TEST.sample_rate == rate
        return
    keys = [f"MODEL.name={'NONLOCAL' if family in ('C2D', 'I3D') else family}", f"MODEL.lineage={row['lineage']}"]
    keys += ["MODEL.video_arc_choice=2"] if family == "I3D" else []
    frames, _ = LINEAGES[family][row["lineage"]].clip
    keys += [f"{section}.video_length={frames}" for section in ("TRAIN", "VALID", "TEST", "INFER")]
    config = config_from([*keys, *overrides_of(row)])
    assert config.TEST.video_length == row["clip"][0]
    assert 60 < row["top1"] < 80
