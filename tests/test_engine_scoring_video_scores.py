"""One pass over many views: portions change nothing, bad videos are named, files hold what was computed."""

import json
import pickle

import numpy as np
import paddle
import pytest
from seeded_values import fill
from tested_network import run_test_of

from datareader.building import build_loader, build_test_dataset
from datareader.epoch_order import listed_order
from engine.scoring.scorers import DygraphScorer
from engine.scoring.video_scores import score_views
from engine.scoring.views_at_once import ViewsAtOnce
from models.registry import build_model
from utils.errors import ReaderError, WeightsError


@pytest.fixture
def network(narrow_config):
    return fill(build_model(narrow_config()))


def batches_of(dataset, section, batch_size=1):
    return build_loader(dataset, section, batch_size=batch_size).batches(listed_order(len(dataset)))


def test_probabilities_are_those_of_each_view_alone(network, narrow_config):
    config = narrow_config()
    dataset = build_test_dataset(config)
    for views_at_once, batch_size in ((4, 1), (100, 2), (1, 3), (0, 1)):
        for scored in score_views(
            DygraphScorer(network),
            batches_of(dataset, config.TEST, batch_size),
            views_at_once=ViewsAtOnce(views_at_once),
        ):
            for clips, probabilities in zip(scored.batch.clips, scored.probabilities, strict=True):
                expected = [network(paddle.to_tensor(clip[None])).numpy()[0] for clip in clips]
                np.testing.assert_allclose(probabilities, expected, atol=1e-5)


def test_an_output_that_is_not_finite_is_an_error(network, narrow_config):
    config = narrow_config()
    network.state_dict()["pred_b"].set_value(np.full(4, np.nan, np.float32))
    with pytest.raises(WeightsError, match=r"the network's output is not finite for a video of .*mp4"):
        list(
            score_views(
                DygraphScorer(network),
                batches_of(build_test_dataset(config), config.TEST),
                views_at_once=ViewsAtOnce(8),
            )
        )


def test_scoring_leaves_a_training_network_in_training(network, narrow_config):
    config = narrow_config()
    network.train()
    before = network.state_dict()["bn_conv1_mean"].numpy().copy()
    list(
        score_views(
            DygraphScorer(network), batches_of(build_test_dataset(config), config.TEST), views_at_once=ViewsAtOnce(8)
        )
    )
    assert network.training
    np.testing.assert_array_equal(network.state_dict()["bn_conv1_mean"].numpy(), before)


@pytest.mark.parametrize("batch_size", [1, 4, 7])
def test_the_test_against_counting_by_hand(network, narrow_config, tmp_path, batch_size):
    config = narrow_config(f"TEST.checkpoint_dir={tmp_path}", f"TEST.batch_size={batch_size}")
    dataset = build_test_dataset(config)
    evaluation = run_test_of(config, network, dataset, weights_source="seeded", log_interval=10)

    sums, labels, view_hits = [], dataset.videos.labels, 0
    for batch in batches_of(dataset, config.TEST):
        rows = np.stack([network(paddle.to_tensor(view[None])).numpy()[0] for view in batch.clips[0]])
        sums.append(rows.sum(axis=0, dtype=np.float64))
        view_hits += int((rows.argmax(axis=1) == batch.labels[0]).sum())
    top1 = float(np.mean([row.argmax() == label for row, label in zip(sums, labels, strict=True)]))

    results = json.loads((tmp_path / "results.json").read_text())
    assert results["metrics"] == json.loads(json.dumps(evaluation.measures.as_dict()))
    assert results["metrics"]["top1"] == top1
    assert results["metrics"]["top5"] is None, "with four classes it would always be 1"
    assert results["metrics"]["clip_top1"] == view_hits / (len(labels) * 6)
    assert [video["predicted"] for video in results["videos"]] == [int(row.argmax()) for row in sums]
    assert results["unscored"] == []
    with open(tmp_path / "results_probs.pkl", "rb") as handle:
        probabilities = pickle.load(handle)
    np.testing.assert_allclose(probabilities["probabilities"], np.stack(sums) / 6, atol=1e-5)
    assert probabilities["labels"].tolist() == labels.tolist()
    assert probabilities["paths"] == dataset.videos.paths


def list_with_a_bad_video(shapes, tmp_path):
    lines = (shapes / "test.txt").read_text().splitlines()
    (tmp_path / "text.mp4").write_text("no video")
    listing = tmp_path / "list.txt"
    listing.write_text("\n".join([f"{shapes}/{lines[0]}", f"{tmp_path}/text.mp4 1", f"{shapes}/{lines[1]}"]) + "\n")
    return listing


def test_a_bad_video_is_unscored_by_name(network, narrow_config, shapes, tmp_path):
    listing = list_with_a_bad_video(shapes, tmp_path)
    config = narrow_config(f"TEST.checkpoint_dir={tmp_path}/out", f"TEST.filelist={listing}")
    evaluation = run_test_of(config, network, build_test_dataset(config), weights_source="seeded", log_interval=10)
    assert (evaluation.measures.num_scored, evaluation.measures.num_videos) == (2, 3)
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [video["index"] for video in results["videos"]] == [0, 2]
    assert results["unscored"][0]["path"] == f"{tmp_path}/text.mp4"


def test_when_nothing_can_be_scored_nothing_is_written(network, narrow_config, tmp_path):
    (tmp_path / "list.txt").write_text("absent.mp4 0\n")
    config = narrow_config(f"TEST.checkpoint_dir={tmp_path}/out", f"TEST.filelist={tmp_path}/list.txt")
    with pytest.raises(ReaderError, match=r"none of the 1 videos .* absent\.mp4: no such file"):
        run_test_of(config, network, build_test_dataset(config), weights_source="seeded", log_interval=10)
    assert not (tmp_path / "out").exists()
