"""Curves of runs: read from what a run wrote, drawn where they belong."""

import json
import sys

import pytest
from small_trainer import make_trainer

from engine.training.metrics_log import MetricsLog, read_metrics
from tools.plot_run import main
from utils.errors import ConfigError


def test_a_run_is_drawn_into_its_folder(narrow_config, tmp_path, capsys):
    import cv2

    make_trainer(narrow_config("TRAIN.epoch=2"), tmp_path / "run", valid_interval=1).run()
    main([str(tmp_path / "run")])
    assert capsys.readouterr().out == f"curves of 1 run in {tmp_path}/run/curves.png\n"
    picture = cv2.imread(str(tmp_path / "run" / "curves.png"))
    assert picture.shape == (1320, 1210, 3)
    assert (picture != 255).any(axis=2).mean() > 0.01


def test_several_runs_and_gaps(tmp_path, monkeypatch):
    """Every line holds the numbers of its run; a missing number is left out."""
    from matplotlib.axes import Axes

    for name, losses in (("a", [3.0, None, 1.0]), ("b", [2.5])):
        (tmp_path / name).mkdir()
        rows = [{"kind": "train", "iteration": 10 * i, "loss": loss} for i, loss in enumerate(losses, start=1)]
        (tmp_path / name / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"kind": "tr')
    drawn = []
    plot = Axes.plot

    def noted(axis, x, y, **keys):
        drawn.append((keys["label"], list(x), list(y)))
        return plot(axis, x, y, **keys)

    monkeypatch.setattr(Axes, "plot", noted)
    main([str(tmp_path / "a"), str(tmp_path / "b" / "metrics.jsonl"), "--out", str(tmp_path / "both.png")])
    assert drawn[0] == (str(tmp_path / "a"), [10, 30], [3.0, 1.0])
    assert drawn[1] == (str(tmp_path / "b" / "metrics.jsonl"), [10], [2.5])
    assert (tmp_path / "both.png").is_file()


def test_a_folder_without_metrics_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match=r"metrics\.jsonl: no metrics there"):
        main([str(tmp_path)])


def test_rubbish_among_the_metrics_is_left_out(tmp_path):
    folder = tmp_path / "m$\\frac$"
    folder.mkdir()
    rows = [f'{{"kind": "train", "iteration": 1, "loss": {loss}}}' for loss in ("1" + 400 * "0", 1e308, -1e308, "true")]
    rows += ['{"kind": "train", "iteration": 1' + 400 * "0" + ', "loss": 1}', "[" * 100_000, "\x00"]
    rows += ['{"kind": "train", "iteration": 2, "loss": 3}']
    (folder / "metrics.jsonl").write_text("\n".join(rows))
    main([str(folder)])
    assert (folder / "curves.png").is_file()
    with pytest.raises(ConfigError, match=r"latest: must end with \.png"):
        main([str(folder), "--out", str(folder / "latest")])


def test_metrics_of_a_run_by_hand(narrow_config, tmp_path):
    trainer = make_trainer(narrow_config("TRAIN.epoch=2", "TRAIN.step_sizes=[2,9]"), tmp_path, valid_interval=2)
    trainer.run()
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert [(row["kind"], row["iteration"], row["epoch"]) for row in rows] == [
        ("train", 1, 0), ("train", 2, 0), ("train", 3, 1), ("train", 4, 1), ("valid", 4, 1)
    ]  # fmt: skip
    assert [row["learning_rate"] for row in rows[:4]] == pytest.approx([0.01, 0.01, 0.001, 0.001])
    for row in rows[:4]:
        assert row["loss"] > 0 and row["gradient_norm"] > 0 and row["memory_mb"] > 50 and row["skipped"] == 0
        assert row["clips_per_second"] == pytest.approx(4 / row["batch_seconds"])
        assert row["reader_share"] == pytest.approx(row["reader_seconds"] / row["batch_seconds"])
        assert row["top1"] in (0, 0.25, 0.5, 0.75, 1)
    assert rows[4]["num_scored"] == 4


def test_a_resumed_run_writes_no_iteration_twice(narrow_config, tmp_path):
    make_trainer(narrow_config("TRAIN.epoch=2"), tmp_path).run()
    (tmp_path / "latest").write_text("NONLOCAL_epoch0\n")
    with open(tmp_path / "metrics.jsonl", "a") as handle:
        handle.write('{"kind": "train", "itera')  # cut off by a kill
    make_trainer(narrow_config("TRAIN.epoch=2"), tmp_path, resume=str(tmp_path)).run()
    assert [row["iteration"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4]


def test_a_number_that_is_not_finite_is_null(tmp_path):
    log = MetricsLog(tmp_path)
    log.open(0)
    log.add("train", iteration=1, epoch=0, values={"loss": float("nan"), "top1": 0.5})
    assert json.loads((tmp_path / "metrics.jsonl").read_text())["loss"] is None


def test_visualdl_gets_the_scalars(narrow_config, tmp_path):
    reader = pytest.importorskip("visualdl").LogReader
    trainer = make_trainer(narrow_config("TRAIN.epoch=1"), tmp_path, valid_interval=1, log_to="visualdl")
    trainer.run()
    trainer.metrics.close()
    (file,) = (tmp_path / "visualdl").iterdir()
    log = reader(file_path=str(file))
    rows = read_metrics(tmp_path / "metrics.jsonl")
    found = [(item.id, item.value) for item in log.get_data("scalar", "train/loss")]
    assert found == [(row["iteration"], pytest.approx(row["loss"], rel=1e-6)) for row in rows if row["kind"] == "train"]
    assert {"valid/top1", "train/gradient_norm", "train/reader_share"} <= set(log.get_tags()["scalar"])


def test_tensorboard_gets_the_scalars(narrow_config, tmp_path):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    trainer = make_trainer(narrow_config("TRAIN.epoch=1"), tmp_path, valid_interval=1, log_to="tensorboard")
    trainer.run()
    trainer.metrics.close()
    log = accumulators.EventAccumulator(str(tmp_path / "tensorboard"))
    log.Reload()
    rows = read_metrics(tmp_path / "metrics.jsonl")
    found = [(item.step, item.tensor_proto.float_val[0]) for item in log.Tensors("train/loss")]
    assert found == [(row["iteration"], pytest.approx(row["loss"], rel=1e-6)) for row in rows if row["kind"] == "train"]
    assert {"valid/top1", "train/gradient_norm", "train/reader_share"} <= set(log.Tags()["tensors"])


@pytest.mark.parametrize("board", ["visualdl", "tensorboard"])
def test_a_resumed_run_shows_no_step_twice(narrow_config, tmp_path, board):
    pytest.importorskip(board)
    make_trainer(narrow_config("TRAIN.epoch=2"), tmp_path, log_to=board).run()
    (tmp_path / "latest").write_text("NONLOCAL_epoch0\n")
    trainer = make_trainer(narrow_config("TRAIN.epoch=2"), tmp_path, resume=str(tmp_path), log_to=board)
    trainer.run()
    trainer.metrics.close()
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert steps_of(tmp_path / board, board) == [row["iteration"] for row in rows] == [1, 2, 3, 4]


@pytest.mark.parametrize("board", ["visualdl", "tensorboard"])
def test_a_new_run_shows_no_steps_of_the_one_before(narrow_config, tmp_path, board):
    pytest.importorskip(board)
    make_trainer(narrow_config("TRAIN.epoch=2"), tmp_path, log_to=board).run()
    trainer = make_trainer(narrow_config("TRAIN.epoch=1"), tmp_path, log_to=board)
    trainer.run()
    trainer.metrics.close()
    assert steps_of(tmp_path / board, board) == [1, 2]
    assert steps_of(tmp_path / "earlier1" / board, board) == [1, 2, 3, 4]


def steps_of(folder, board):
    """The steps at which a board has losses of training, from all of its files."""
    if board == "visualdl":
        from visualdl import LogReader

        files = sorted(folder.iterdir())
        return [item.id for file in files for item in LogReader(file_path=str(file)).get_data("scalar", "train/loss")]
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = EventAccumulator(str(folder))
    log.Reload()
    return [item.step for item in log.Tensors("train/loss")]


@pytest.mark.parametrize(("board", "module"), [("visualdl", "visualdl"), ("tensorboard", "tensorboard.summary")])
def test_a_board_that_is_absent_is_named(tmp_path, monkeypatch, board, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=rf"needs the package {board} .* pip install {board}"):
        MetricsLog(tmp_path, log_to=board)


def test_the_flag_of_train_turns_visualdl_on(run_program, tmp_path):
    pytest.importorskip("visualdl")
    done = run_program("train.py", "--pretrain=none", "--save_dir=run", "--valid_interval=0", "--epoch=1", "--visualdl")
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "run" / "visualdl").iterdir())
