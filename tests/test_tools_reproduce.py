"""Published networks tested with one command: rows of narrow networks from a local server, on generated videos."""

import json

import foreign_names
import numpy as np
import pytest
from conftest import ROOT, write_counting_video
from foreign_writers import python2_pickle
from network_configs import config_from
from seeded_values import fill
from test_models_weights_zoos import SIZE, values_of, write
from test_utils_download import server  # noqa: F401 - a fixture

import tools.reproduce
from models.registry import build_model
from tools.reproduce import chosen_videos, main, table
from utils.errors import ConfigError

ROW = {"top1": 70.0, "top5": None, "views": "1 clip x 1 crop", "source": "a test"}
KEYS = ("TRAIN.crop_size=32", "TEST.crop_size=32", "TEST.jitter_scales=[32,32]", "TEST.num_reader_threads=0")
SMALL = [word for key in KEYS for word in ("-o", key)]


@pytest.fixture
def rows(server, tmp_path, monkeypatch):  # noqa: F811
    """Two rows that the server has, one that it has not, and one whose file is damaged."""
    names = {
        "tsm.pth": ("TSM", "TSM R50", "tsm", (8, 0)),
        "slow.pyth": ("PyTorchVideo Slow", "SlowOnly R50", "pytorchvideo", (4, 16)),
    }
    found = []
    for name, (title, network, lineage, clip) in names.items():
        write(title, tmp_path / name)
        server.files[f"/{name}"] = (tmp_path / name).read_bytes()
        found.append({**ROW, "network": network, "url": f"{server.url}/{name}", "lineage": lineage, "clip": clip})
    server.files["/bad.pth"] = b"PK\x03\x04"
    for name in ("gone.pth", "bad.pth"):
        found.append({**found[0], "url": f"{server.url}/{name}"})
    monkeypatch.setattr(tools.reproduce, "published_rows", lambda: found)
    monkeypatch.setenv("NONLOCAL_WEIGHTS_HOME", str(tmp_path / "weights"))
    monkeypatch.chdir(tmp_path)
    lines = []
    for number in range(6):
        write_counting_video(tmp_path / f"{number}.mp4", 20 + number)
        lines.append(f"{number}.mp4 {number % 3}\n")
    (tmp_path / "val.txt").write_text("".join(lines))
    return found


def test_published_beside_measured(rows, server, tmp_path, capsys):  # noqa: F811
    arguments = ["--list", "val.txt", "--out", "out", *SMALL]
    assert main(arguments) == 1
    shown = capsys.readouterr().out
    results = json.loads((tmp_path / "out" / "reproduced.json").read_text())
    assert [row["url"] for row in results] == [row["url"] for row in rows]
    for row in results[:2]:
        assert row["measured"]["videos"] == 6, row
        low, high = row["measured"]["interval"]
        assert low <= row["measured"]["top1"] <= high
    assert "404" in results[2]["measured"]["error"]
    assert "bad.pth" in results[3]["measured"]["error"]
    assert "Traceback" not in shown
    assert "failed: " in shown
    assert "70.0 / -" in shown
    page = (tmp_path / "out" / "reproduced.html").read_text()
    assert page.count("<tr>") == 5
    asked = len([path for path, _ in server.requests if path == "/tsm.pth"])
    assert main([*arguments, "--rows", "tsm.pth|SlowOnly"]) == 0, "what is done is not done again"
    assert len([path for path, _ in server.requests if path == "/tsm.pth"]) == asked
    folders = {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()}
    assert main([*arguments, "--rows", "tsm.pth", "--videos", "3"]) == 0
    more = {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()} - folders
    assert len(more) == 1, "another list is another test"
    assert json.loads((tmp_path / "out" / "reproduced.json").read_text())[0]["measured"]["videos"] == 3


def test_files_of_ones_own(rows, tmp_path):
    arguments = ["--list", "val.txt", "--weights_dir", str(tmp_path), "--rows", "slow.pyth|gone", *SMALL]
    assert main(arguments) == 1
    slow, gone = json.loads((tmp_path / "reproduced" / "reproduced.json").read_text())
    assert slow["measured"]["videos"] == 6
    assert gone["measured"]["error"] == f"{tmp_path}/gone.pth: no such file"


def test_a_row_with_a_config_of_its_own(rows, tmp_path):
    """The names of the authors' file do not tell who trained it: its config does."""
    narrow = [*SIZE, "MODEL.lineage=authors"]
    values = values_of(fill(build_model(config_from(narrow))))
    names = foreign_names.caffe2()
    (tmp_path / "c2d.pkl").write_bytes(python2_pickle({"blobs": {names[name]: v for name, v in values.items()}}))
    rows[:] = [
        {**rows[0], "network": "C2D-NL R50", "url": "http://x/c2d.pkl", "lineage": "authors", "config": "nonlocal"}
    ]
    keys = [word for key in ("MODEL.width_mult=0.125", "MODEL.num_classes=5") for word in ("-o", key)]
    assert main(["--list", "val.txt", "--weights_dir", str(tmp_path), *SMALL, *keys]) == 0
    (command,) = (tmp_path / "reproduced").glob("c2d_pkl_*/reproduced_by.txt")
    assert "configs/nonlocal.txt" in command.read_text()


def test_another_config_is_another_test(rows, tmp_path, monkeypatch):
    monkeypatch.setattr(tools.reproduce, "config_of", lambda row: str(tmp_path / "mine.txt"))
    rows[:] = [{**rows[1], "config": "mine"}]
    config = (ROOT / "configs" / "slowonly_r50_4x16.txt").read_text()
    keys = ("MODEL.width_mult=0.125", "MODEL.num_classes=5", "MODEL.lineage=pytorchvideo")
    keys = [word for key in keys for word in ("-o", key)]
    for text, count in ((config, 1), (config, 1), (f"{config}\n# another\n", 2)):
        (tmp_path / "mine.txt").write_text(text)
        assert main(["--list", "val.txt", "--weights_dir", str(tmp_path), *SMALL, *keys]) == 0
        assert len(list((tmp_path / "reproduced").glob("slow_pyth_*/reproduced_by.txt"))) == count


def test_what_cannot_be_meant(rows, tmp_path):
    (tmp_path / "bare.txt").write_text("0.mp4\n")
    for arguments, message in (
        (["--list", "bare.txt"], "every line must have a label"),
        (["--list", "val.txt", "--rows", "("], "no regular expression"),
        (["--list", "val.txt", "--rows", "nothing"], "fits no row"),
    ):
        with pytest.raises(ConfigError, match=message):
            main(arguments)


@pytest.mark.parametrize("count", [1, 5, 30, 200])
def test_a_choice_of_videos_keeps_the_shares_of_the_classes(count):
    labels = np.array([0] * 100 + [1] * 60 + [2] * 40)
    chosen = chosen_videos(labels, count, seed=3)
    assert len(set(chosen)) == count
    assert chosen == sorted(chosen) == chosen_videos(labels, count, seed=3)
    if 1 < count < 200:
        assert chosen != chosen_videos(labels, count, seed=4)
    for class_, share in ((0, 0.5), (1, 0.3), (2, 0.2)):
        assert abs((labels[chosen] == class_).sum() - share * count) <= 1


def test_names_in_the_page_are_escaped(tmp_path):
    row = {**ROW, "network": "<b>", "lineage": "x", "url": "http://a/b<i>.pth", "measured": {"error": "<script>"}}
    tools.reproduce.write_reports(tmp_path, [row])
    page = (tmp_path / "reproduced.html").read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert table([row])[1][3] == "failed: <script>"
