"""Several labels a video, from the list to the page: against the same by loops and NumPy."""

import csv
import json
import pickle

import numpy as np
import paddle
import pytest
from conftest import NARROW, ROOT, list_overrides
from loaded_weights import load_weights
from network_configs import load_config
from seeded_values import fill
from small_trainer import make_trainer
from test_engine_scoring_report_page import Page
from tested_network import run_test_of

from datareader.building import build_test_dataset, build_train_dataset
from datareader.epoch_order import balanced_order, listed_order
from datareader.list_reading import read_any_list, read_labelled_list
from datareader.list_remarks import remarks_on_lists
from datareader.loader import ClipLoader
from datareader.processes.job import SampleRequest
from engine.network_loading import fit_to_network, load_for_scoring
from engine.scoring.predictor import Predictor
from engine.scoring.runtimes import RUNTIMES
from engine.scoring.scorers import DygraphScorer, open_scorer
from engine.training.losses import build_losses, multi_label_losses, positive_weights
from engine.weights_argument import read_weights_argument
from metrics.average_precision import average_precision
from models.registry import build_model
from models.weights.settings import stated_keys
from models.weights.writing import write_weights
from test import main as score_list
from tools.fit_head import main as fit_head
from tools.make_shapes_dataset import CLASSES
from tools.make_shapes_dataset import main as make_shapes
from tools.merge_results import main as merge
from train import main as train
from utils.errors import ConfigError, FileListError, WeightsError

NAMES = list(CLASSES)
ON = "MODEL.multi_label=True"


@pytest.fixture(scope="session")
def several(tmp_path_factory):
    """A folder with 8 training, 4 validation and 4 test videos of two or three moving shapes each."""
    folder = tmp_path_factory.mktemp("several")
    make_shapes([str(folder), "--several", "--train", "2", "--val", "1", "--test", "1"])
    return folder


@pytest.fixture
def config_of(several):
    def load(*overrides):
        return load_config(ROOT / "configs" / "nonlocal.txt", [*NARROW, *list_overrides(several), ON, *overrides])

    return load


def label_sets(folder, name):
    lines = (folder / f"{name}.txt").read_text().splitlines()
    return [set(map(int, line.rpartition(" ")[2].split(","))) for line in lines]


def test_the_generated_videos_hold_two_or_three_classes(several):
    sets = [labels for name in ("train", "val", "test") for labels in label_sets(several, name)]
    assert len(sets) == 16
    assert {len(labels) for labels in sets} == {2, 3}
    assert set().union(*sets) == {0, 1, 2, 3}
    assert json.loads((several / "classes.json").read_text()) == NAMES


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ("a.mp4 3,0\nb c.mp4 -\n'd 1,2.mp4' 2\n", [{0, 3}, set(), {2}]),
        ('path,label\na.mp4,"3,0"\nb c.mp4,-\nd,2\n', [{0, 3}, set(), {2}]),
        ("path;label\na.mp4;3 0\nb c.mp4;-\nd;2\n", [{0, 3}, set(), {2}]),
        ("path\tlabel\na.mp4\t0;3\nb\t-\nd\t2\n", [{0, 3}, set(), {2}]),
        ("a.mp4 3\nb.mp4 0\n", [{3}, {0}]),
    ],
)
def test_lists_of_label_sets(tmp_path, content, wanted):
    path = tmp_path / "list.txt"
    path.write_text(content)
    videos = read_labelled_list(str(path), num_classes=5, multi_label=True)
    assert videos.labels.dtype == np.uint8
    assert videos.labels.shape == (len(wanted), 5)
    assert [set(videos[index].labels) for index in range(len(videos))] == wanted
    assert [set(np.flatnonzero(row).tolist()) for row in videos.labels] == wanted
    again = tmp_path / "again.txt"
    again.write_text("".join(f"{videos.line(index)}\n" for index in range(len(videos))))
    copy = read_labelled_list(str(again), num_classes=5, multi_label=True)
    assert (copy.paths, copy.sha256()) == (videos.paths, videos.sha256())
    if any(len(labels) != 1 for labels in wanted):
        assert read_any_list(str(path)).labels.tolist() == videos.labels[:, :4].tolist()
        other = content.replace("-", "1")
        path.write_text(other)
        assert read_labelled_list(str(path), num_classes=5, multi_label=True).sha256() != videos.sha256()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a.mp4 1,5\n", r"list\.txt:1: label \(5\) must be in \[0, 5\)"),
        ("a.mp4 1,-2\n", r"list\.txt:1: label \(-2\) must be in \[0, 5\)"),
        ("a.mp4 1,1\n", r"list\.txt:1: .* labels \(1,1\) name a class twice"),
        ("a.mp4 1\nb.mp4\n", r"list\.txt:2: 'b\.mp4' must be a path, a blank and a label"),
        ("path,label\na.mp4,one\n", r"list\.txt:2: .* labels \(one\) must be class numbers between commas, or '-' for"),
        ("a.mp4 1,5\nb.mp4 2\n", "the labels of this list begin at 1: subtract 1 from each"),
        ("path,label\na.mp4,1\nb.mp4,\n", r"list\.txt:3: 'b\.mp4' must have a label; '-' stands for none"),
        ("a.mp4 3, 1\n", r"list\.txt:1: 'a\.mp4 3, 1' has blanks between its labels, which stand between commas"),
        ("a.mp4 3 1\n", "has blanks between its labels, which stand between commas alone: 3,17,42"),
        ("a.mp4 3; 1\n", "has blanks between its labels"),
        (f"a.mp4 1,{'9' * 30}\n", r"label \(9{20}\.\.\.\) must be a class number"),
    ],
)
def test_label_sets_that_are_refused(tmp_path, content, message):
    path = tmp_path / "list.txt"
    path.write_text(content)
    with pytest.raises(FileListError, match=message):
        read_labelled_list(str(path), num_classes=5, multi_label=True)


def test_sets_where_one_label_is_wanted_are_refused_with_the_remedy(tmp_path):
    path = tmp_path / "list.txt"
    for content in ("a.mp4 3\nb.mp4 1,2\n", "a.mp4 3\nb.mp4 -\n", 'path,label\na.mp4,"1,2"\n'):
        path.write_text(content)
        with pytest.raises(FileListError, match=r"list\.txt:2: .* for several set MODEL\.multi_label=True"):
            read_labelled_list(str(path), num_classes=5)
    path.write_text("a.mp4 3,25000\n")
    with pytest.raises(FileListError, match=r"list\.txt:1: label \(25000\): of lists with several labels this program"):
        read_any_list(str(path))


def test_remarks_on_label_sets(tmp_path):
    lists = {}
    for name, content in (("TRAIN", "a 1,2\nb -\na 2\nc 4\n"), ("VALID", "a 1,2\nd 0\n")):
        (tmp_path / name).write_text(content)
        lists[name] = read_labelled_list(str(tmp_path / name), num_classes=9, multi_label=True)
    lines = remarks_on_lists(lists, num_classes=9)
    assert any(line.startswith("TRAIN: files with two labels (1): ") for line in lines)
    for line in (
        "TRAIN: videos without a label (1)",
        "TRAIN: labels without videos (2), at 0, 3",
        "labels that VALID has and TRAIN lacks (1): 0",
        "MODEL.num_classes is 9, but the largest label of the lists is 4",
    ):
        assert line in lines
    assert not any("all videos have one label" in line for line in lines)
    (tmp_path / "NONE").write_text("a -\nb -\n")
    none = read_labelled_list(str(tmp_path / "NONE"), num_classes=9, multi_label=True)
    assert "VALID: no video has a label, so mAP cannot be measured by it" in remarks_on_lists({"VALID": none})


def test_balanced_sampling_draws_every_class_equally_often():
    labels = np.array([[1, 1, 0]] * 20 + [[0, 1, 0]] * 8 + [[1, 0, 1], [0, 0, 0]], np.uint8)
    order = balanced_order(labels, np.random.default_rng(0))
    assert len(order) == 30
    rounds = order[:28].reshape(7, 4)  # three classes, and those without a label
    for drawn in rounds:
        assert 29 in drawn, "the video without a label"
        assert 28 in drawn, "the one of class 2"
    assert len(set(order.tolist()) - {28, 29}) >= 12, "others are not drawn again before all have been"


def test_the_losses_by_loops():
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(6, 5)) * 4, (random.random((6, 5)) < 0.3).astype(np.uint8)
    labels[:, 3], labels[:, 4] = 0, 1
    weights = positive_weights(labels)
    assert weights[3] == weights[4] == 1
    for weight in (None, weights):
        wanted = []
        for row, truth in zip(logits, labels, strict=True):
            losses = []
            for k in range(5):
                p = 1 / (1 + np.exp(-row[k]))
                losses.append(-np.log(p) * (1 if weight is None else weight[k]) if truth[k] else -np.log(1 - p))
            wanted.append(np.mean(losses))
        given = None if weight is None else paddle.to_tensor(weight)
        found = multi_label_losses(paddle.to_tensor(logits, "float32"), paddle.to_tensor(labels), pos_weight=given)
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-4)


def test_the_losses_of_large_logits_and_their_gradients_are_finite():
    logits = paddle.to_tensor([[200.0, -200.0, 200.0, -200.0]], stop_gradient=False)
    losses = multi_label_losses(logits, paddle.to_tensor(np.array([[1, 1, 0, 0]], np.uint8)))
    losses.sum().backward()
    assert losses.tolist() == pytest.approx([100])
    np.testing.assert_allclose(logits.grad.numpy(), [[0, -0.25, 0.25, 0]], atol=1e-6)


def test_balanced_weights_count_both_kinds_of_videos_the_same(config_of):
    videos = build_train_dataset(config_of()).videos
    weights = positive_weights(videos.labels)
    present = videos.labels.sum(axis=0)
    np.testing.assert_allclose(weights * present, len(videos) - present)
    balanced = build_losses(config_of("TRAIN.pos_weight=balanced"), videos.labels)
    np.testing.assert_allclose(balanced.keywords["pos_weight"].numpy(), weights)
    assert build_losses(config_of(), videos.labels).keywords["pos_weight"] is None


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([ON, "TRAIN.label_smoothing=0.1"], r"label_smoothing \(0\.1\) must be 0 where MODEL\.multi_label is on"),
        (["TRAIN.pos_weight=balanced"], r"pos_weight \(balanced\) is for MODEL\.multi_label, which is off"),
        ([ON, "TEST.threshold=1.0"], r"threshold \(1\.0\) must be less than 1"),
        ([ON, "TEST.ensemble=mean"], "ensemble"),
    ],
)
def test_keys_that_contradict_one_another(overrides, message):
    with pytest.raises(ConfigError, match=message):
        load_config(ROOT / "configs" / "nonlocal.txt", overrides)


def test_batches_hold_rows_of_labels(config_of):
    dataset = build_test_dataset(config_of())
    with ClipLoader(dataset, batch_size=3, num_workers=0, timeout_seconds=60) as loader:
        batches = list(loader.batches(listed_order(4)))
    np.testing.assert_array_equal(np.concatenate([batch.labels for batch in batches]), dataset.videos.labels)


def test_probabilities_are_sigmoids_of_the_logits_of_each_place(config_of):
    config = config_of()
    network = fill(build_model(config))
    network.eval()
    clips = paddle.to_tensor(np.random.default_rng(0).integers(0, 256, (2, 3, 8, 96, 96)).astype(np.uint8))
    with paddle.no_grad():
        logits = network.logits(clips).numpy().astype(np.float64)
        found, features = network.with_features(clips)
    assert np.prod(logits.shape[1:4]) > 1, "several places"
    wanted = (1 / (1 + np.exp(-logits))).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-6)
    np.testing.assert_allclose(network(clips).numpy(), wanted, atol=1e-6)
    assert not np.allclose(found.numpy().sum(axis=1), 1)
    assert features.shape[0] == 2


def test_training_goes_on_where_it_was(config_of, tmp_path):
    """Balanced, with weights: as if it had not been interrupted; the best save is the one of the best mAP."""
    keys = ("TRAIN.epoch=2", "TRAIN.save_interval=1", "TRAIN.pos_weight=balanced", "TRAIN.balanced_sampling=True")
    whole = make_trainer(config_of(*keys), tmp_path / "whole", valid_interval=1)
    whole.run()
    resumed = make_trainer(
        config_of(*keys), tmp_path / "part", resume=str(tmp_path / "whole" / "NONLOCAL_iter1"), valid_interval=1
    )
    resumed.run()
    for name, value in whole.step.network.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), resumed.step.network.state_dict()[name].numpy())
    rows = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    maps = [row["map"] for row in rows if row["kind"] == "valid"]
    assert len(maps) == 2
    assert load_weights(str(tmp_path / "whole" / "best")).position.best_value == pytest.approx(max(maps))
    with pytest.raises(ConfigError, match=r"MODEL\.multi_label was True, is False"):
        make_trainer(
            load_config(ROOT / "configs" / "nonlocal.txt", [*NARROW, *_single(tmp_path)]),
            tmp_path / "other",
            resume=str(tmp_path / "whole" / "NONLOCAL_iter1"),
        )


def _single(folder):
    listing = folder / "single.txt"
    listing.write_text("".join(f"{number}.mp4 {number % 4}\n" for number in range(8)))
    return [f"TRAIN.filelist={listing}"]


@pytest.fixture
def tested(config_of, tmp_path):
    def run(*overrides, folder="out"):
        config = config_of(f"TEST.checkpoint_dir={tmp_path / folder}", *overrides)
        network = fill(build_model(config))
        dataset = build_test_dataset(config)
        evaluation = run_test_of(
            config, network, dataset, weights_source="w.pdparams", log_interval=99, class_names=NAMES
        )
        return evaluation, network, dataset, config

    return run


@pytest.mark.parametrize("ensemble", ["sum", "max"])
def test_a_test_by_hand(tested, tmp_path, several, ensemble):
    evaluation, network, dataset, _ = tested(f"TEST.ensemble={ensemble}", "TEST.threshold=0.45")
    scorer = DygraphScorer(network)
    wanted = []
    for index in range(4):
        views = scorer(dataset.load(SampleRequest(0, index, index)).clips).astype(np.float64)
        wanted.append(views.max(axis=0) if ensemble == "max" else views.mean(axis=0))
    np.testing.assert_allclose(evaluation.probabilities, wanted, atol=1e-6)
    sets = label_sets(several, "test")
    folder = tmp_path / "out"
    results = json.loads((folder / "results.json").read_text())
    truth = np.array([[k in labels for k in range(4)] for labels in sets])
    precisions = [average_precision(evaluation.probabilities[:, k], truth[:, k]) for k in range(4) if truth[:, k].any()]
    assert results["metrics"]["map"] == pytest.approx(np.mean(precisions))
    low, high = results["metrics"]["map_interval"]
    assert 0 <= low <= high <= 1
    assert [set(row["labels"]) for row in results["videos"]] == sets
    given = [set(np.flatnonzero(row >= 0.45).tolist()) for row in evaluation.probabilities]
    assert [set(row["predicted"]) for row in results["videos"]] == given
    with open(folder / "results.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    for row, labels, found in zip(rows, sets, given, strict=True):
        assert row["label_names"] == "; ".join(NAMES[label] for label in sorted(labels))
        assert row["predicted"] == ",".join(map(str, sorted(found)))
        counts = len(found - labels), len(labels - found)
        assert (int(row["false_positives"]), int(row["misses"])) == counts
        assert row["correct"] == str(int(counts == (0, 0)))
    with open(folder / "classes.csv", newline="") as handle:
        classes = list(csv.DictReader(handle))
    assert [row["name"] for row in classes] == NAMES
    assert [int(row["num_positives"]) for row in classes] == truth.sum(axis=0).tolist()
    pairs = [(video, label) for video in range(4) for label in given[video] - sets[video]]
    pairs.sort(key=lambda pair: -evaluation.probabilities[pair])
    assert [(row["index"], row["label"]) for row in results["false_positives"]] == pairs
    missed = [(video, label) for video in range(4) for label in sets[video] - given[video]]
    missed.sort(key=lambda pair: evaluation.probabilities[pair])
    assert [(row["index"], row["label"]) for row in results["misses"]] == missed
    with open(folder / "results_probs.pkl", "rb") as handle:
        content = pickle.load(handle)
    np.testing.assert_array_equal(content["labels"], truth)
    page = Page((folder / "report.html").read_text())
    for words in (*NAMES, f"{100 * results['metrics']['map']:.2f} %", "Most confident false positives", "at 0.45"):
        assert words in page.text
    assert page.tags.count("img") == len(pairs) + len(missed) + 3


def test_a_run_whose_validation_list_has_no_label_has_no_best_save(config_of, several, tmp_path, capsys):
    """It is said at the start, and the last line names what there is."""
    listing = tmp_path / "none.txt"
    listing.write_text("".join(f"{several}/videos/val_00{k}.mp4 -\n" for k in range(2)))
    keys = [*NARROW, *list_overrides(several), ON, "TRAIN.epoch=1", f"VALID.filelist={listing}"]
    train([
        "--config", f"{ROOT}/configs/nonlocal.txt", *(word for key in keys for word in ("-o", key)), "--pretrain=none",
        f"--save_dir={tmp_path}/run", "--use_gpu=false",
    ])  # fmt: skip
    text = capsys.readouterr().err
    assert "VALID: no video has a label, so mAP cannot be measured by it" in text
    assert f"in {tmp_path}/run: checkpoints (latest), train.log" in text


def test_a_table_of_another_kind_does_not_stay(tested, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "confusion.csv").write_text("of a test of single labels")
    tested()
    assert not (tmp_path / "out" / "confusion.csv").exists()


def test_a_stopped_test_goes_on_with_the_same_ensemble_only(tested, tmp_path):
    whole, *_ = tested("TEST.ensemble=max", folder="whole")
    lines = (tmp_path / "whole" / "scores.rank0.jsonl").read_text().splitlines(keepends=True)
    for ensemble, folder in (("max", "part"), ("sum", "other")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "scores.rank0.jsonl").write_text("".join(lines[:3]))
        if ensemble == "max":
            with pytest.raises(ConfigError, match="--resume goes on with it"):
                tested("TEST.ensemble=max", "TEST.threshold=0.3", folder=folder)
        else:
            tested("TEST.ensemble=sum", folder=folder)
            assert (tmp_path / folder / "scores.rank0.jsonl.old").exists(), "scores of another ensemble are no use"
    assert whole.measures.num_scored == 4


def test_tests_are_merged(tested, tmp_path, capsys):
    first, *_ = tested(folder="a")
    second, *_ = tested("TEST.ensemble=max", folder="b")
    tested("TEST.threshold=0.3", folder="other")
    with pytest.raises(ConfigError, match=r"the tests have the thresholds 0\.3, 0\.5: give one with --threshold"):
        merge([str(tmp_path / "a"), str(tmp_path / "other"), "--out", str(tmp_path / "c")])
    assert merge([str(tmp_path / "a"), str(tmp_path / "other"), "--out", str(tmp_path / "d"), "--threshold=0.4"]) == 0
    assert json.loads((tmp_path / "d" / "results.json").read_text())["metrics"]["threshold"] == 0.4
    capsys.readouterr()
    assert merge([str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "c")]) == 0
    with open(tmp_path / "c" / "results_probs.pkl", "rb") as handle:
        merged = pickle.load(handle)
    np.testing.assert_allclose(merged["probabilities"], (first.probabilities + second.probabilities) / 2, atol=1e-6)
    assert "mAP  " in capsys.readouterr().out
    with open(tmp_path / "c" / "classes.csv", newline="") as handle:
        assert [row["name"] for row in csv.DictReader(handle)] == NAMES, "as the tests knew them"
    assert "map" in json.loads((tmp_path / "c" / "results.json").read_text())["metrics"]


@pytest.mark.parametrize("ensemble", ["sum", "max"])
def test_predictions_name_the_classes_above_the_threshold(config_of, several, ensemble):
    config = config_of(f"INFER.ensemble={ensemble}", "INFER.threshold=0.47")
    network = fill(build_model(config))
    predictor = Predictor(DygraphScorer(network), config.INFER, class_names=NAMES, multi_label=True)
    videos = [str(several / "videos" / f"test_{number:03d}.mp4") for number in range(3)]
    items = list(predictor.predict(videos, top_k=4))
    for item in items:
        assert sorted(item.classes) == [0, 1, 2, 3]
        assert list(item.probabilities) == sorted(item.probabilities, reverse=True)
        above = [k for k, p in zip(item.classes, item.probabilities, strict=True) if p >= 0.47]
        assert list(item.labels) == above
    one = list(predictor.predict(videos, top_k=1))
    assert [item.labels for item in one] == [item.labels for item in items], "whatever top_k says"
    single = Predictor(DygraphScorer(network), config.INFER, class_names=NAMES)
    assert next(single.predict(videos[:1])).labels is None


def test_the_programs(run_program, several, tmp_path):
    """train.py, test.py, infer.py and export.py as people run them."""
    keys = [*NARROW, *list_overrides(several), ON, "TRAIN.epoch=1"]
    arguments = [word for key in keys for word in ("-o", key)]
    done = run_program("train.py", *arguments, "--save_dir=run", "--pretrain=none", "--valid_interval=1", narrow=False)
    assert done.returncode == 0, done.stderr
    assert "mAP 0." in done.stderr + done.stdout
    done = run_program("test.py", *arguments, "--weights=run", "--save_dir=out", "--threshold=0.4", narrow=False)
    assert done.returncode == 0, done.stderr
    assert "mAP   " in done.stdout
    assert json.loads((tmp_path / "out" / "results.json").read_text())["metrics"]["threshold"] == 0.4
    wrong = [word for key in keys if key != ON for word in ("-o", key)]
    done = run_program("test.py", *wrong, "--weights=run", "--save_dir=no", narrow=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "for several set MODEL.multi_label=True" in done.stderr
    video = several / "videos" / "test_000.mp4"
    done = run_program(
        "infer.py", *arguments, "--weights=run", "--save_dir=res", "--threshold=0.3", video, narrow=False
    )
    assert done.returncode == 0, done.stderr
    row = json.loads((tmp_path / "res" / "NONLOCAL_infer_result.jsonl").read_text())
    assert len(row["predictions"]) == 4
    assert row["labels"] == [item["class"] for item in row["predictions"] if item["probability"] >= 0.3]
    stars = [line for line in done.stdout.splitlines() if line.startswith("  * ")]
    assert len(stars) == len(row["labels"])


def test_a_head_on_the_features_of_a_network_with_one_label(several, tmp_path, capsys, monkeypatch):
    """The lists make it a head for several labels; test.py measures the same, and infer knows the threshold."""
    monkeypatch.chdir(tmp_path)
    network = fill(build_model(load_config(ROOT / "configs" / "nonlocal.txt", NARROW)))
    write_weights(tmp_path / "w.pdparams", {k: v.numpy() for k, v in network.state_dict().items()}, {})
    keys = [word for key in [*NARROW, *list_overrides(several)] for word in ("-o", key)]
    common = ["--config", f"{ROOT}/configs/nonlocal.txt", *keys, "--use_gpu=false", "--engine=dygraph"]
    lists = [f"--train={several}/train.txt", f"--valid={several}/test.txt"]
    fit_head([*common, "--weights=w.pdparams", *lists, "--out=head", "--class_weights=balanced"])
    assert "mAP  " in capsys.readouterr().out
    facts = json.loads((tmp_path / "head" / "fit_head.json").read_text())
    assert facts["map_interval"][0] <= facts["map"] <= facts["map_interval"][1]
    score_list([
        "--config=head/train_config.txt", "--weights=head", "--views=6x1", "--engine=dygraph", "--use_gpu=false",
        "--save_dir=test", "--log_interval=1", f"--filelist={several}/test.txt",
    ])  # fmt: skip
    results = json.loads((tmp_path / "test" / "results.json").read_text())
    assert results["metrics"]["map"] == pytest.approx(facts["map"], abs=1e-6)
    assert "multi_label = True" in (tmp_path / "head" / "train_config.txt").read_text()
    single = tmp_path / "single.txt"
    single.write_text("".join(f"{several}/videos/train_{k:03d}.mp4 {k % 2}\n" for k in range(8)))
    fit_head([*common, "--weights=w.pdparams", f"--train={single}", "--out=one", "--cache=head/features"])
    assert "top-1  " in capsys.readouterr().out


@pytest.mark.parametrize("engine", list(RUNTIMES))
def test_exported_networks_give_sigmoids(config_of, engine):
    if not RUNTIMES[engine].is_installed or "cpu" not in RUNTIMES[engine].devices:
        pytest.skip(f"{engine} is not here")
    config = config_of()
    network = fill(build_model(config))
    views = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 64, 64)).astype(np.uint8)
    found = open_scorer(network, config, config.TEST, engine)(views)
    np.testing.assert_allclose(found, DygraphScorer(network)(views), atol=1e-4)
    assert not np.allclose(found.sum(axis=1), 1, atol=0.05)


def test_weights_of_the_other_kind(config_of, narrow_config, tmp_path, logged):
    """Names and shapes are the same: a save of one kind is refused by the other, and trained on from with a word."""
    single = make_trainer(narrow_config("TRAIN.epoch=1", "TRAIN.max_iter=1"), tmp_path / "single")
    single.run()
    config = config_of()
    network = build_model(config)
    with pytest.raises(WeightsError, match=r"MODEL\.multi_label=False \(here True\)"):
        load_for_scoring(network, config, str(tmp_path / "single"))
    weights = read_weights_argument(str(tmp_path / "single"), "NONLOCAL")
    fit_to_network(network, config, weights, partial=True)
    assert "MODEL.multi_label=False (here True); this one starts from its values all the same" in logged()


@pytest.mark.parametrize(
    "settings",
    [
        {"MODEL": {"multi_label": True}},
        {"DATA": {"MULTI_LABEL": True}},  # PySlowFast
        {"model": {"cls_head": {"multi_class": True}}},  # MMAction2
    ],
)
def test_files_that_state_several_labels_are_believed(settings):
    assert stated_keys(settings) == {"MODEL.multi_label": True}
