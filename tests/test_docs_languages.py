"""The Chinese documents say what the English ones say: the same commands, outputs, headings and figures."""

import re

import pytest
from conftest import ROOT

CHINESE = [ROOT / "README.zh-CN.md", *sorted((ROOT / "docs" / "zh-CN").glob("*.md"))]


def english_of(path):
    return ROOT / "README.md" if path.parent == ROOT else ROOT / "docs" / path.name


def blocks(path):
    """Language and lines of every block of code, comments of shell commands left out."""
    found = re.findall(r"```(\w+)\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
    return [
        (kind, [re.sub(r"\s+# .*", "", line) if kind == "bash" else line for line in text.splitlines()])
        for kind, text in found
    ]


def rows(path):
    """Of every row of every table: the number of cells, the numbers in it, and what is set as code."""
    found = []
    for line in re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL).splitlines():
        if line.startswith("|"):
            code = sorted(re.findall(r"`[^`]+`", line))
            found.append((line.count("|"), sorted(re.findall(r"\d+(?:\.\d+)?", line)), code))
    return found


def headings(path):
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [len(marks) for marks in re.findall(r"^(#+) ", text, re.MULTILINE)]


def test_every_document_for_users_is_there():
    names = {path.name for path in CHINESE}
    assert names >= {
        "README.zh-CN.md", "finetune.md", "data.md", "training.md", "testing.md", "inference.md", "weights.md",
        "troubleshooting.md",
    }  # fmt: skip


@pytest.mark.parametrize("path", CHINESE, ids=lambda path: path.name)
def test_commands_and_outputs_are_the_same(path):
    assert blocks(path) == blocks(english_of(path))


@pytest.mark.parametrize("path", CHINESE, ids=lambda path: path.name)
def test_tables_hold_the_same_figures(path):
    chinese, english = rows(path), rows(english_of(path))
    for ours, theirs in zip(chinese, english, strict=True):
        assert ours == theirs


@pytest.mark.parametrize("path", CHINESE, ids=lambda path: path.name)
def test_they_are_divided_alike(path):
    assert headings(path) == headings(english_of(path))


@pytest.mark.parametrize("path", CHINESE, ids=lambda path: path.name)
def test_figures_of_the_text_are_the_same(path):
    """Percentages and numbers with a decimal point, which nobody writes as words."""

    def figures(text):
        return sorted(set(re.findall(r"\d+\.\d+(?: %)?", text)))

    assert figures(path.read_text(encoding="utf-8")) == figures(english_of(path).read_text(encoding="utf-8"))
