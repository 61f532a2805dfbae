"""Names of strangers: on the screen, in logs, pictures and tables."""

import csv
import io
import json
import subprocess
import sys

import pytest
from conftest import ROOT

from engine.scoring.prediction_files import as_json, as_text
from engine.scoring.predictor import Prediction
from engine.scoring.result_files import _write_table
from engine.scoring.timelines import write_timelines
from utils.atomic_file import atomic_write
from utils.printable import printable, printable_line, table_cell

HOSTILE = {
    "colour": "a\x1b[31mb", "bell": "a\x07b", "c1": "a\x9b2Jb", "rlo": "a\u202egpj.exe", "isolate": "a\u2066b",
    "mark": "a\u200fb", "bom": "a\ufeffb", "line": "a\u2028b", "backspace": "a\x08\x08b", "delete": "a\x7fb",
    "return": "a\rb",
}  # fmt: skip
KEPT = [
    "跳 高", "全角\u3000空格", "no\u00a0break", "прыжок", "میخواهم\u200cبروم", "क्\u200dष", "👩\u200d🚀", "<b>&amp;</b>",
    "$x_1$",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_what_is_hidden_becomes_a_question_mark(name):
    shown = printable(name)
    assert len(shown) == len(name) and "?" in shown and shown.replace("?", "").isprintable()
    assert printable_line(name).replace("?", "").isprintable()


@pytest.mark.parametrize("name", KEPT)
def test_what_people_write_stays(name):
    assert printable(name) == name
    assert printable_line(name) == " ".join(name.split())


def test_a_program_prints_and_logs_them_so(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from utils.commandline import run_program\n"
        "from utils.errors import ConfigError\n"
        "from utils.logging import add_log_file, get_logger, setup_logging\n"
        "def main(arguments):\n"
        "    setup_logging(); add_log_file(arguments[1])\n"
        "    print('out', arguments[2]); get_logger().info('log %s', arguments[2])\n"
        "    raise ConfigError(f'error of {arguments[2]}')\n"
        "sys.exit(run_program(main))\n"
    )
    name = "".join(HOSTILE.values()).encode() + b"\xff"
    done = subprocess.run(
        [sys.executable, program, ROOT, tmp_path / "log", name], capture_output=True, env={"LC_ALL": "C.UTF-8"}
    )
    assert done.returncode == 2
    for text in (done.stdout, done.stderr, (tmp_path / "log").read_bytes()):
        shown = text.decode("utf-8")
        assert "a?[31mb" in shown
        assert all(line.isprintable() for line in shown.split("\n")), shown


def test_an_error_before_logging_is_set_up():
    done = subprocess.run([sys.executable, ROOT / "test.py", "--\x1b[2Jflag"], capture_output=True)
    assert done.returncode == 2
    assert b"\x1b" not in done.stderr and b"unknown flag --?[2Jflag" in done.stderr


def test_unbuffered_output_stays_so(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import os, sys; sys.path.insert(0, sys.argv[1])\n"
        "from utils.commandline import run_program\n"
        "def main(arguments):\n"
        "    print('seen', end='')\n"
        "    os._exit(0)\n"
        "sys.exit(run_program(main))\n"
    )
    for flag, wanted in (("-u", b"seen"), ("-B", b"")):
        assert subprocess.run([sys.executable, flag, program, ROOT], capture_output=True, env={}).stdout == wanted


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_predictions(name):
    item = Prediction(0, name, (0,), (1.0,), (name,))
    assert as_text(item).replace("\n", "").isprintable()
    line = as_json(item)
    assert line.isprintable()
    row = json.loads(line)
    assert (row["path"], row["predictions"][0]["name"]) == (name, name), "read back as they were"


def test_no_cell_of_a_table_begins_a_formula(tmp_path):
    cells = ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(1)", " =1", "\t=1", "-0.5", "+3", "jump", "跳", -0.5, 3]
    _write_table(tmp_path / "t.csv", (["name"], [[cell] for cell in cells]))
    rows = [row[0] for row in csv.reader(io.StringIO((tmp_path / "t.csv").read_text()))][1:]
    assert rows[6:] == ["-0.5", "+3", "jump", "跳", "-0.5", "3"]
    for cell, row in zip(cells[:6], rows, strict=False):
        assert row == f"'{cell}"
    assert table_cell("") == ""
    assert table_cell("a\x1b[2Jb") == "a?[2Jb"


@pytest.mark.filterwarnings("ignore:Glyph")
def test_files_of_the_longest_names(tmp_path):
    """255 bytes are a name; what is written beside it and under a temporary name must fit too."""
    name = "\U00020000" * 62 + "abc.mp4"
    assert len(name.encode()) == 255
    with atomic_write(tmp_path / name) as handle:
        handle.write(b"x")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    windows = [Prediction(0, name, (0,), (1.0,), ("a",), start_seconds=0.0, end_seconds=1.0)]
    files = write_timelines(tmp_path / "out", windows)
    assert all(file.is_file() for file in files) and len(files) == 2
