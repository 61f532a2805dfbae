"""tools/compare_runs.py and tools/show_batch.py, and the summary of a run."""

import csv
import json

import cv2
import numpy as np
import pytest

from configs.loading import dump_config
from engine.training.run_summary import summarise
from tools import compare_runs, show_batch
from utils.errors import ConfigError

ROWS = [
    {"kind": "train", "iteration": 10, "epoch": 0, "time": 1000.0, "loss": 2.0, "clips_per_second": 10.0},
    {"kind": "valid", "iteration": 10, "epoch": 0, "time": 1100.0, "loss": 1.5, "top1": 0.5},
    {"kind": "train", "iteration": 20, "epoch": 1, "time": 1900.0, "loss": 1.0, "clips_per_second": 30.0},
    {"kind": "valid", "iteration": 20, "epoch": 1, "time": 2000.0, "loss": 1.2, "top1": 0.75},
    {"kind": "train", "iteration": 30, "epoch": 2, "time": 2700.0, "loss": 0.5, "clips_per_second": 20.0},
    {"kind": "valid", "iteration": 30, "epoch": 2, "time": 2800.0, "loss": 1.4, "top1": 0.6},
]


def test_a_run_in_one_line():
    found = summarise(ROWS)
    assert (found.best, found.best_epoch, found.last, found.hours) == (0.75, 1, 0.6, 0.5)
    assert found.line() == (
        "30 iterations in 0.50 h, best top-1 75.00 % after epoch 1, last 60.00 %, training loss 0.5000, 20.0 clips/s"
    )


def test_of_equal_results_the_later_one_is_the_best():
    rows = [{**row, "map": row["top1"]} for row in ROWS if row["kind"] == "valid"]
    rows = [{key: value for key, value in row.items() if key != "top1"} for row in rows]
    rows[2]["map"] = 0.75
    found = summarise(rows)
    assert (found.measure, found.best_epoch) == ("mAP", 2)


@pytest.mark.parametrize("rows", [[], ROWS[:1], [{"kind": "train", "iteration": 1, "loss": None, "time": "x"}]])
def test_runs_without_a_validation_or_with_odd_rows(rows):
    found = summarise(rows)
    assert found.best is None
    assert found.line().startswith(f"{len(rows) and rows[0]['iteration']} iterations")


@pytest.fixture
def runs(tmp_path, narrow_config):
    for name, rows, keys in (
        ("first", ROWS[:2], ("TRAIN.learning_rate=0.1",)),
        ("second", ROWS, ("TRAIN.mixup_alpha=0.2",)),
        ("third", ROWS[:1], ()),
    ):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (folder / "train_config.txt").write_text(dump_config(narrow_config(*keys)))
    return tmp_path


def test_an_epoch_that_is_no_number_is_left_out(tmp_path, capsys):
    (tmp_path / "metrics.jsonl").write_text(json.dumps({**ROWS[1], "epoch": "x"}) + "\n")
    assert compare_runs.main([str(tmp_path)]) == 0
    assert "50.00" in capsys.readouterr().out


def test_runs_side_by_side(runs, capsys):
    arguments = [str(runs / name) for name in ("first", "second", "third")]
    assert compare_runs.main([*arguments, "--csv", str(runs / "t.csv")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0].rpartition("/")[2] for line in lines[1:]] == ["second", "first", "third"], "the best first"
    rows = {row["run"].rpartition("/")[2]: row for row in csv.DictReader((runs / "t.csv").read_text().splitlines())}
    assert rows["second"]["best %"] == "75.00"
    assert (rows["second"]["TRAIN.mixup_alpha"], rows["first"]["TRAIN.mixup_alpha"]) == ("0.2", "0.0")
    assert rows["first"]["TRAIN.learning_rate"] == "0.1"
    assert set(next(iter(rows.values()))) & {"TRAIN.seed", "MODEL.name"} == set(), "only what differs"
    assert rows["third"]["best %"] == ""


def test_what_is_no_run_is_passed_over_by_name(runs, capsys, caplog):
    (runs / "second" / "train_config.txt").write_text("[NOTHING]\n")
    assert compare_runs.main([str(runs / "second"), str(runs / "gone")]) == 1
    captured = capsys.readouterr()
    said = captured.err + caplog.text
    assert "passed over" in said and "gone" in said
    assert "config of" in said and "is not compared" in said
    with pytest.raises(ConfigError, match="none of these folders"):
        compare_runs.main([str(runs / "gone")])


def batch_of(narrow_config, tmp_path, *keys, arguments=()):
    (tmp_path / "c.txt").write_text(dump_config(narrow_config(*keys)))
    out = tmp_path / "out" / "batch.png"
    assert show_batch.main(["--config", str(tmp_path / "c.txt"), "--out", str(out), *arguments]) == 0
    return cv2.imread(str(out))


def test_the_picture_of_a_batch_shows_its_clips(narrow_config, tmp_path, capsys, monkeypatch):
    drawn = {}
    monkeypatch.setattr(show_batch, "_picture", lambda clips, titles: drawn.update(clips=clips, titles=titles) or b"")
    (tmp_path / "c.txt").write_text(dump_config(narrow_config("TRAIN.mixup_alpha=0.8")))
    show_batch.main(
        ["--config", str(tmp_path / "c.txt"), "--out", str(tmp_path / "b.png"), "--epoch", "1", "--batch", "1"]
    )
    from small_trainer import make_trainer

    trainer = make_trainer(narrow_config("TRAIN.mixup_alpha=0.8", "TRAIN.epoch=2"), tmp_path / "run")
    seen, network = [], trainer.step.network.forward
    trainer.step.network.forward = lambda clips: (
        seen.append(clips.numpy()) if clips.shape[0] == 4 else None,
        network(clips),
    )[1]
    trainer.run()
    np.testing.assert_array_equal(drawn["clips"], seen[trainer.batches_per_epoch + 1])
    assert all(".mp4: " in title for title in drawn["titles"])
    assert "4 of the 4 clips of batch 1, epoch 1" in capsys.readouterr().out


def test_the_picture_is_drawn(narrow_config, tmp_path):
    picture = batch_of(narrow_config, tmp_path, "TRAIN.rand_augment_ops=1", arguments=("--clips", "2"))
    assert picture.shape[1] > 1000
    assert picture.std() > 20


@pytest.mark.parametrize(
    ("target", "names", "label"),
    [
        (np.int64(1), ["run", "sit"], "sit"),
        (np.int64(1), [], "class 1"),
        (np.array([0.25, 0.75], np.float32), ["run", "sit"], "0.75 sit + 0.25 run"),
        (np.array([1, 0, 1], np.uint8), ["a", "b", "c"], "a + c"),
        (np.array([0, 0], np.uint8), ["a", "b"], "no label"),
        (np.array([1, 1, 1, 1], np.uint8), [], "class 0 + class 1 + class 2 + ..."),
    ],
)
def test_labels_of_clips(target, names, label):
    assert show_batch._label(target, names) == label


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [(("--batch", "99"), "an epoch has 2"), (("--out", "x.jpg"), r"must end with \.png")],
)
def test_errors_of_show_batch(narrow_config, tmp_path, arguments, reason):
    with pytest.raises(ConfigError, match=reason):
        batch_of(narrow_config, tmp_path, arguments=arguments)
