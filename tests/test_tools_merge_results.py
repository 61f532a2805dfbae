"""Ensembles of tests: means by hand, and inputs that do not belong together."""

import csv
import json
import pickle
from dataclasses import replace

import numpy as np
import paddle
import pytest
from tested_network import run_test_of

from datareader.building import build_test_dataset
from models.registry import build_model
from tools.merge_results import main
from utils.errors import ConfigError

PATHS, LABELS = ["a.mp4", "b.mp4", "c d.mp4"], [0, 1, 1]
FIRST = [[0.6, 0.4], [0.7, 0.3], [0.2, 0.8]]
SECOND = [[0.3, 0.7], [0.1, 0.9], [np.nan, np.nan]]


def write(folder, probabilities, paths=PATHS, labels=LABELS):
    folder.mkdir()
    content = {"paths": paths, "labels": np.array(labels), "probabilities": np.array(probabilities, np.float32)}
    (folder / "results_probs.pkl").write_bytes(pickle.dumps(content, protocol=2))
    return str(folder)


def test_means_by_hand(tmp_path, capsys):
    """Video 0 turns wrong, video 1 right; video 2 was not scored by both."""
    inputs = [write(tmp_path / "a", FIRST), write(tmp_path / "b", SECOND)]
    assert main([*inputs, "--out", str(tmp_path / "out")]) == 1
    assert "videos scored   2 of 3" in capsys.readouterr().out
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [video["predicted"] for video in results["videos"]] == [1, 1]
    assert results["videos"][0]["top_probabilities"] == pytest.approx([0.55, 0.45])
    assert results["metrics"]["top1"] == 0.5
    assert results["metrics"]["top1_of_all"] == pytest.approx(1 / 3)
    assert results["metrics"]["clip_top1"] is None
    assert results["unscored"][0]["reason"] == f"c d.mp4: not scored in {tmp_path}/b/results_probs.pkl"
    with open(tmp_path / "out" / "results.csv", newline="") as handle:
        assert [row["path"] for row in csv.DictReader(handle)] == PATHS[:2]


def test_weights_count(tmp_path):
    inputs = [write(tmp_path / "a", FIRST), str(tmp_path / "a" / "results_probs.pkl"), write(tmp_path / "b", SECOND)]
    main([*inputs, "--out", str(tmp_path / "out"), "--weights", "1", "1", "4"])
    with open(tmp_path / "out" / "results_probs.pkl", "rb") as handle:
        merged = pickle.load(handle)["probabilities"]
    np.testing.assert_allclose(merged[:2], (2 * np.array(FIRST[:2]) + 4 * np.array(SECOND[:2])) / 6, rtol=1e-6)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"paths": ["a.mp4", "b.mp4", "other.mp4"]}, "not of the same list"),
        ({"labels": [0, 1, 0]}, "not of the same list"),
        ({"probabilities": [[1, 0, 0]] * 3}, "3 classes, .* has 2"),
        ({"probabilities": [[1, 0]] * 2}, "no probabilities of a test there"),
        ({"labels": [0, 1, 7]}, "no probabilities of a test there"),
    ],
)
def test_what_does_not_belong_together_is_refused(tmp_path, second, message):
    inputs = [write(tmp_path / "a", FIRST), write(tmp_path / "b", **({"probabilities": FIRST} | second))]
    with pytest.raises(ConfigError, match=message):
        main([*inputs, "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_files_that_are_no_results_are_refused(tmp_path):
    good = write(tmp_path / "a", FIRST)
    (tmp_path / "rubbish.pkl").write_bytes(b"rubbish")
    (tmp_path / "list.pkl").write_bytes(pickle.dumps([1, 2]))
    for other in ("absent", "rubbish.pkl", "list.pkl"):
        with pytest.raises(ConfigError, match="no probabilities of a test there"):
            main([good, str(tmp_path / other), "--out", str(tmp_path / "out")])
    with pytest.raises(ConfigError, match="--weights: 1 for 2 results"):
        main([good, good, "--out", str(tmp_path / "out"), "--weights", "1"])


def test_inputs_are_not_overwritten(tmp_path):
    inputs = [write(tmp_path / "a", FIRST), write(tmp_path / "b", SECOND)]
    before = (tmp_path / "a" / "results_probs.pkl").read_bytes()
    with pytest.raises(ConfigError, match="an input lies there, and would be overwritten"):
        main([*inputs, "--out", inputs[0]])
    assert (tmp_path / "a" / "results_probs.pkl").read_bytes() == before


def test_values_that_are_none(tmp_path):
    for name, row in (("inf", [np.inf, 0]), ("half", [np.nan, 0.5]), ("negative", [-1, 2])):
        folder = write(tmp_path / name, [row, *FIRST[1:]])
        with pytest.raises(ConfigError, match="no probabilities of a test there"):
            main([folder, folder, "--out", str(tmp_path / "out")])
    nothing = write(tmp_path / "nothing", [[np.nan] * 2] * 3)
    with pytest.raises(ConfigError, match="no video is scored in all of the tests"):
        main([nothing, "--out", str(tmp_path / "out")])
    good = write(tmp_path / "good", FIRST)
    assert main([good, good, "--out", str(tmp_path / "out"), "--weights", "1e308", "1e308"]) == 0


def test_the_page_of_merged_tests_shows_the_videos(narrow_config, shapes, tmp_path):
    """Found where the first test found them, under the names that it knew."""
    config = narrow_config(f"INFER.kinetics_labels={shapes}/classes.json")
    folders = []
    for seed in (1, 2):
        paddle.seed(seed)
        section = replace(config.TEST, checkpoint_dir=str(tmp_path / str(seed)))
        folders.append(section.checkpoint_dir)
        dataset = build_test_dataset(config)
        run_test_of(replace(config, TEST=section), build_model(config), dataset, weights_source="w", log_interval=9)
    main([*folders, "--out", str(tmp_path / "out")])
    text = (tmp_path / "out" / "report.html").read_text()
    assert text.count('class="mistake"') == text.count('class="strip"') > 0
    assert "0 disc_sideways" in text
