"""Saves, configs and scores that version 0.1 wrote go on to be read.

`fixtures/run_0.1` was made by that version from the generated videos: a run of two iterations saved after each, a test
stopped after three of four videos.
"""

import shutil

import numpy as np
import pytest
from conftest import ROOT
from network_configs import load_config

from configs.loading import dump_config
from engine.network_loading import load_for_scoring, new_network
from utils.pickles import load_data_pickle

OLD = ROOT / "tests" / "fixtures" / "run_0.1"


@pytest.fixture
def folder(tmp_path, shapes):
    """The files of that version where they were made: beside lists with relative paths."""
    for name in ("train.txt", "val.txt", "test.txt"):
        shutil.copy(shapes / name, tmp_path / name)
    (tmp_path / "videos").symlink_to(shapes / "videos")
    shutil.copytree(OLD, tmp_path / "run")
    (tmp_path / "test").mkdir()
    shutil.copy(OLD / "scores.rank0.jsonl", tmp_path / "test")
    return tmp_path


def test_a_resolved_config_is_read(folder):
    config = load_config(OLD / "train_config.txt")
    assert (config.MODEL.width_mult, config.TRAIN.epoch, config.TEST.num_test_clips) == (0.02, 1, 6)
    assert load_config(OLD / "config.txt", ["TRAIN.save_interval=1"]) == config
    assert "checkpoint_dir = './output'" in dump_config(config).partition("[INFER]")[2], "an old key stays legal"


def test_a_save_is_scored_and_continued(folder, run_program):
    network = new_network(load_config(OLD / "config.txt"))
    load_for_scoring(network, load_config(OLD / "config.txt"), str(OLD / "best"))
    (folder / "run" / "NONLOCAL_epoch0.json").unlink()
    done = run_program(
        "train.py", "--config=run/config.txt", "--resume=run/NONLOCAL_iter1", "--save_dir=run", "--use_gpu=false",
        cwd=folder, narrow=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "does not say which training list it is of" in done.stderr
    found, expected = (load_data_pickle(path / "NONLOCAL_epoch0.pdparams") for path in (folder / "run", OLD))
    before = load_data_pickle(OLD / "NONLOCAL_iter1.pdparams")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        # Another version of x264 or of a kernel moves the parameters a little otherwise.
        moved = np.abs(value - before[name]).max()
        np.testing.assert_allclose(found[name], value, atol=0.3 * moved + 1e-6, err_msg=name)


def test_a_test_goes_on_with_its_scores(folder, run_program):
    done = run_program(
        "test.py", "--config=run/config.txt", "--weights=run/NONLOCAL_epoch0", "--resume", "--save_dir=test",
        "--use_gpu=false", "--engine=dygraph", cwd=folder, narrow=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "3 of 4 videos are scored already" in done.stderr
    assert "videos scored   4 of 4" in done.stdout
