"""What the documents say of the code is what the code is."""

import re

import pytest
from conftest import ROOT

from configs.loading import load_config
from tools.config_table import config_tables

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


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
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", path.read_text()):
        assert (path.parent / target).exists(), target


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


def test_the_weights_table_says_what_the_configs_say():
    rows = re.findall(
        r"\|[^|]+\| Caffe2 \| `(configs/\w+\.txt)` \| ([\d.]+) / ([\d.]+) \|", (ROOT / "README.md").read_text()
    )
    assert len(rows) == 12
    for config, top1, top5 in rows:
        head = (ROOT / config).read_text().partition("[MODEL]")[0]
        assert f"{top1} % top-1, {top5} % top-5" in head, config
