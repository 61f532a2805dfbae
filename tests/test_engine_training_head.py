"""A classifier on features: the fit against its own optimality, folds, the cache, and the program on videos."""

import json

import numpy as np
import pytest
from conftest import NARROW, ROOT, list_overrides
from seeded_values import fill

from configs.loading import load_config
from datareader.filelist import FileList
from datareader.list_reading import read_labelled_list
from engine.network_identity import network_sha256, parameters_sha256
from engine.scoring import feature_cache
from engine.scoring.feature_cache import FeatureCache, content_sha256
from engine.scoring.predictor import Predictor
from engine.scoring.scorers import DygraphScorer
from engine.training.head_fitting import Examples, HeadOptions, examples_of, fit, folds_of
from engine.training.linear_head import fit_linear_heads
from models.registry import NETWORKS, build_model
from models.weights.writing import write_weights
from test import main as run_test
from tools import make_shapes_dataset
from tools.fit_head import main as fit_head
from tools.make_shapes_dataset import Pose
from train import main as train
from utils.errors import ConfigError, FileListError


def problem(rows, features, classes=3, seed=0):
    random = np.random.default_rng(seed)
    x = random.standard_normal((rows, features)) * random.uniform(0.1, 5, features) + random.uniform(-3, 3, features)
    labels = np.arange(rows) % classes
    x[np.arange(rows), labels] += 2
    return x.astype(np.float32), labels.astype(np.int64), random.uniform(0.2, 2, rows)


@pytest.mark.parametrize(("rows", "features"), [(60, 8), (20, 50)])
@pytest.mark.parametrize("penalty", [1.0, 0.01])
def test_the_loss_of_a_head_is_the_smallest(rows, features, penalty):
    """Its gradient, written out, is 0; the rows count by their weights; a feature that never changes says nothing."""
    x, labels, weights = problem(rows, features)
    x[:, -1] = 7
    heads = fit_linear_heads(x, labels, weights, num_classes=3, penalties=[10.0, penalty])
    head = list(heads)[-1]
    share = weights / weights.sum()
    mean = share @ x
    spread = np.sqrt(share @ (x - mean) ** 2)
    error = head.probabilities(x)
    error[np.arange(rows), labels] -= 1
    gradient = ((x - mean) / np.where(spread > 1e-3, spread, np.inf)).T @ (share[:, None] * error)
    gradient += penalty * head.weight * spread[:, None]
    np.testing.assert_allclose(gradient[:-1], 0, atol=2e-5)
    np.testing.assert_allclose(share @ error, 0, atol=2e-5)
    np.testing.assert_array_equal(head.weight[-1], 0)
    logits = x.astype(np.float64) @ head.weight + head.bias
    scores = np.exp(logits)
    np.testing.assert_allclose(head.probabilities(x), scores / scores.sum(axis=1, keepdims=True), atol=1e-6)


def examples(count, seed, views=2, classes=3):
    x, labels, _ = problem(count, 10, classes, seed)
    x[np.arange(count), labels] += 10
    noise = np.random.default_rng(seed + 1).standard_normal((count, views, 10)).astype(np.float32)
    return Examples([f"v/{k:03d}.mp4" for k in range(count)], x[:, None] + 0.3 * noise, labels)


def label_sets(count, seed, views=2, classes=3):
    """Features that say of each class whether it is there, two classes in three."""
    random = np.random.default_rng(seed)
    labels = (random.random((count, classes)) < 0.4).astype(np.uint8)
    x = random.standard_normal((count, views, 10)).astype(np.float32)
    x[..., :classes] += 4 * labels[:, None]
    return Examples([f"v/{k:03d}.mp4" for k in range(count)], x, labels)


@pytest.mark.parametrize("class_weights", ["none", "balanced"])
def test_a_head_for_several_labels_is_a_logistic_regression_of_each_class(class_weights):
    """The gradient of each class, written out, is 0; balanced, videos with it weigh as much as those without."""
    every = label_sets(50, 1)
    found = fit(every, None, num_classes=3, options=HeadOptions(penalty=0.3, class_weights=class_weights), seed=0)
    x = every.features.reshape(-1, 10).astype(np.float64)
    truth = np.repeat(every.labels, 2, axis=0)
    weights = np.ones_like(truth, np.float64)
    if class_weights == "balanced":
        weights = np.where(truth, (1 - truth).sum(axis=0) / truth.sum(axis=0), 1.0)
    weights /= weights.sum(axis=0)
    share = weights.mean(axis=1)
    mean = share @ x
    spread = np.sqrt(share @ (x - mean) ** 2)
    probabilities = 1 / (1 + np.exp(-(x @ found.head.weight + found.head.bias)))
    np.testing.assert_allclose(found.head.probabilities(x), probabilities, atol=1e-9)
    error = weights * (probabilities - truth)
    gradient = ((x - mean) / spread).T @ error + 0.3 * found.head.weight * spread[:, None]
    np.testing.assert_allclose(gradient, 0, atol=2e-5)
    np.testing.assert_allclose(error.sum(axis=0), 0, atol=2e-5)


def test_a_head_for_several_labels_is_judged_by_its_map(logged):
    train, valid = label_sets(80, 3), label_sets(40, 4)
    for judge, count in ((valid, 40), (None, 80)):
        good = fit(train, judge, num_classes=3, options=HeadOptions(), seed=0)
        assert good.measures.num_scored == count
        low, high = good.measures.map_interval
        assert 0.9 < low <= good.measures.map <= high <= 1
        assert 0.3 < good.chance < 0.5
    once = np.zeros((80, 1), np.uint8)
    once[7] = 1
    rare = Examples(train.paths, train.features, np.concatenate([train.labels, once], axis=1))
    found = fit(rare, None, num_classes=4, options=HeadOptions(), seed=0)
    assert found.measures.num_classes == 3, "a class of one video is not judged"
    assert "1 classes of --train are not judged" in logged()
    folds = folds_of(rare, "", seed=0)
    counts = [rare.labels[folds == fold, :3].sum(axis=0) for fold in range(5)]
    assert np.ptp(counts, axis=0).max() <= 3, "classes are spread over the folds"


def part_of(every, rows):
    return Examples(every.paths[rows], every.features[rows], every.labels[rows])


def test_a_head_is_judged_by_videos_that_it_was_not_fitted_to():
    """With labels that follow from nothing it is near chance, with and without a list of its own."""
    every = examples(150, 3)
    train, valid = part_of(every, slice(0, 90)), part_of(every, slice(90, None))
    blind = Examples(train.paths, train.features, np.random.default_rng(5).permutation(train.labels))
    for judge, count in ((valid, 60), (None, 90)):
        good = fit(train, judge, num_classes=3, options=HeadOptions(), seed=0)
        assert good.measures.num_scored == count
        assert good.measures.top1 > 0.8
        assert good.penalty == min(good.losses, key=good.losses.get)
        bad = fit(blind, judge, num_classes=3, options=HeadOptions(), seed=0)
        assert bad.measures.top1 < 0.55
    assert fit(train, None, num_classes=3, options=HeadOptions(penalty=0.5), seed=0).losses.keys() == {0.5}


def test_balanced_classes_count_the_same():
    """Nothing tells the classes but how often they are there: balanced, the head gives each the same."""
    labels = np.array([0] * 30 + [1] * 10)
    alike = Examples([f"{k}" for k in range(40)], np.zeros((40, 1, 4), np.float32), labels)
    for name, expected in (("none", [0.75, 0.25]), ("balanced", [0.5, 0.5])):
        options = HeadOptions(penalty=1.0, class_weights=name)
        found = fit(alike, None, num_classes=2, options=options, seed=0)
        np.testing.assert_allclose(found.head.probabilities(alike.features[0]), [expected], atol=1e-4)


def test_a_class_that_was_not_fitted_to_is_never_the_answer_and_does_not_choose():
    train, valid = examples(60, 7), examples(60, 7)
    other = Examples(valid.paths, valid.features, np.where(np.arange(60) < 3, 3, valid.labels))
    found = fit(train, other, num_classes=4, options=HeadOptions(), seed=0)
    assert found.measures.top1 <= 57 / 60
    assert found.head.probabilities(valid.features)[..., 3].max() < 0.1
    same = fit(train, part_of(valid, slice(3, None)), num_classes=4, options=HeadOptions(), seed=0)
    assert found.losses == pytest.approx(same.losses)
    with pytest.raises(FileListError, match="no video of --valid is of a class of --train"):
        fit(train, Examples(["x"], valid.features[:1], np.array([3])), num_classes=4, options=HeadOptions(), seed=0)


def test_folds_keep_groups_together_and_spread_the_classes():
    paths = [f"take{take}/{class_}.mp4" for take in range(10) for class_ in range(3)]
    listed = Examples(paths, np.zeros((30, 1, 2), np.float32), np.arange(30) % 3)
    folds = folds_of(listed, r"(take\d+)/", seed=0)
    assert sorted(np.bincount(folds).tolist()) == [6] * 5
    for take in range(10):
        assert len({fold for path, fold in zip(paths, folds, strict=True) if path.startswith(f"take{take}/")}) == 1
    alone = folds_of(listed, "", seed=0)
    assert all(np.bincount(listed.labels[alone == fold]).tolist() == [2, 2, 2] for fold in range(5))
    with pytest.raises(FileListError, match="must be of two groups at least"):
        folds_of(listed, "mp4", seed=0)


def test_a_video_under_two_names_is_in_one_fold():
    """It would judge a head that was fitted to it."""
    names = [f"{k}.mp4" for k in range(20)]
    contents = [str(k // 2) for k in range(20)]
    twice = Examples(names, np.zeros((20, 1, 2), np.float32), np.arange(20) // 2 % 2, contents)
    folds = folds_of(twice, "", seed=0)
    assert (folds[::2] == folds[1::2]).all()
    assert len(set(folds.tolist())) == 5
    assert len({tuple(pair) for pair in folds_of(twice, r"(\d+)", seed=0).reshape(-1, 2)}) > 5, "groups win"


def test_a_class_of_one_video_does_not_choose(logged):
    """It cannot be judged: it is left out of the loss and of the accuracy, and told."""
    every = examples(60, 9)
    alone = Examples(
        [*every.paths, "alone.mp4"], np.concatenate([every.features, every.features[:1]]), np.append(every.labels, 3)
    )
    found = fit(alone, None, num_classes=4, options=HeadOptions(), seed=0)
    assert found.measures.num_scored == 60
    assert found.penalty < 10
    assert "1 videos of --train are not judged" in logged()
    with pytest.raises(FileListError, match="no class of --train has videos in two groups"):
        fit(
            Examples(["a", "b"], every.features[:2], np.array([0, 1])),
            None,
            num_classes=2,
            options=HeadOptions(),
            seed=0,
        )


def test_features_that_are_all_the_same_say_nothing():
    rows = np.full((7, 5), 3.7, np.float32)
    labels = np.array([0] * 5 + [1] * 2)
    (head,) = fit_linear_heads(rows, labels, np.ones(7), num_classes=2, penalties=[0.01])
    np.testing.assert_allclose(head.probabilities(rows[0]), [5 / 7, 2 / 7], atol=1e-4)


def test_the_settings_of_a_network_are_a_part_of_what_it_is(narrow_config):
    network = fill(build_model(narrow_config()))
    keys = ((), ("NONLOCAL.pairwise=dot_product",), ("MODEL.image_mean=0.0",), ("MODEL.lineage=pyslowfast",))
    assert len({network_sha256(parameters_sha256(network), narrow_config(*key)) for key in keys}) == 4
    same = narrow_config("INFER.num_reader_threads=1", "TRAIN.learning_rate=0.5", "NONLOCAL.chunk_size=3")
    assert network_sha256(parameters_sha256(network), same) == network_sha256(
        parameters_sha256(network), narrow_config()
    )


class TestCache:
    """Features are computed once, by content."""

    @pytest.fixture
    def cache(self, narrow_config, tmp_path):
        network = fill(build_model(narrow_config()))
        predictor = Predictor(DygraphScorer(network), narrow_config().INFER)
        told = network_sha256(parameters_sha256(network), narrow_config())
        return lambda: FeatureCache(tmp_path / "cache", predictor, told)

    def test_what_is_there_is_not_computed(self, cache, shapes, tmp_path):
        videos = read_labelled_list(str(shapes / "test.txt"), num_classes=4)
        found, _, computed = cache().features_of(videos, log_interval=10)
        assert computed == len(videos)
        (file, *_) = sorted((tmp_path / "cache").rglob("*.npy"))
        file.write_bytes(file.read_bytes()[:100])
        again, _, computed = cache().features_of(videos, log_interval=10)
        assert computed == 1, "the damaged one"
        np.testing.assert_array_equal(found, again)
        (tmp_path / "copy.mp4").write_bytes(videos.locate(videos.paths[1]).read_bytes())
        (tmp_path / "text.mp4").write_text("no video")
        names = [f"{tmp_path}/{name}.mp4" for name in ("copy", "gone", "text", "copy")]
        other, contents, computed = cache().features_of(FileList("x", names, np.array([1, 0, 2, 1])), log_interval=10)
        assert computed == 0
        np.testing.assert_array_equal(other[0], found[1])
        assert other[1] is other[2] is None
        assert contents[0] == contents[3] != contents[2]
        assert contents[1] == ""
        kept = examples_of(FileList("x", names, np.array([1, 0, 2, 1])), other, contents)
        assert kept.contents == [contents[0], contents[0]]
        assert (kept.paths, kept.labels.tolist()) == ([names[0], names[3]], [1, 1])
        with pytest.raises(FileListError, match="x: no video could be read"):
            examples_of(FileList("x", names[1:3], np.array([1, 0])), other[1:3])

    def test_a_stopped_run_loses_nothing(self, cache, shapes, monkeypatch):
        videos = read_labelled_list(str(shapes / "test.txt"), num_classes=4)
        original, written = feature_cache.atomic_write, []

        def stops(path):
            if len(written) == 2:
                raise KeyboardInterrupt
            written.append(path)
            return original(path)

        monkeypatch.setattr(feature_cache, "atomic_write", stops)
        with pytest.raises(KeyboardInterrupt):
            cache().features_of(videos, log_interval=10)
        monkeypatch.undo()
        assert cache().features_of(videos, log_interval=10).num_computed == len(videos) - 2

    def test_a_folder_of_pictures_is_its_pictures(self, tmp_path):
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "0.jpg").write_bytes(b"x")
        assert content_sha256(tmp_path / "a", {}) == content_sha256(tmp_path / "b", {})
        (tmp_path / "b" / "0.jpg").write_bytes(b"y")
        assert content_sha256(tmp_path / "a", {}) != content_sha256(tmp_path / "b", {})


def words(overrides):
    return [word for override in overrides for word in ("-o", override)]


def test_a_head_of_a_network(narrow_config, shapes, tmp_path, capsys, monkeypatch):
    """The save is one like any other: test.py measures the same, and it knows the names of its classes."""
    monkeypatch.chdir(tmp_path)
    network = fill(build_model(narrow_config("MODEL.num_classes=9")))
    write_weights(tmp_path / "w.pdparams", {k: v.numpy() for k, v in network.state_dict().items()}, {})
    common = ["--config", f"{ROOT}/configs/nonlocal.txt", *words([*NARROW, *list_overrides(shapes)]), "--use_gpu=false"]
    arguments = [*common, "-o", "MODEL.num_classes=9", "--weights=w.pdparams", f"--train={shapes}/train.txt"]
    arguments += ["--engine=dygraph"]
    fit_head([*arguments, f"--valid={shapes}/test.txt", "--out=head"])
    screen = capsys.readouterr().out
    facts = json.loads((tmp_path / "head" / "fit_head.json").read_text())
    assert (facts["num_videos"], facts["views"]) == (4, 6)
    low, high = facts["top1_interval"]
    shown = f"top-1           {100 * facts['top1']:.2f} % [{100 * low:.2f}, {100 * high:.2f}]"
    assert f"{shown}   (95 % interval; 4 videos of {shapes}/test.txt)" in screen
    run_test([
        "--config=head/train_config.txt", "--weights=head/best", "--views=6x1", "--engine=dygraph", "--use_gpu=false",
        "--save_dir=test", "--log_interval=1", f"--filelist={shapes}/test.txt",
    ])  # fmt: skip
    results = json.loads((tmp_path / "test" / "results.json").read_text())
    assert results["metrics"]["top1"] == facts["top1"]
    config = load_config(tmp_path / "head" / "train_config.txt", networks=NETWORKS)
    assert config.TEST.filelist == type(config.TEST)().filelist, "the list of the network's own test is not the head's"
    assert config.TEST.checkpoint_dir == type(config.TEST)().checkpoint_dir
    description = json.loads((tmp_path / "head" / "NONLOCAL_epoch0.json").read_text())
    assert description["class_names"] == json.loads((shapes / "classes.json").read_text())
    fit_head([*arguments, "--out=head", "--groups", r"(\d)\.mp4", "--class_weights=balanced"])
    assert "cross-validated" in capsys.readouterr().out
    assert (tmp_path / "head" / "earlier1").is_dir()
    fit_head([*arguments, "--out=other", "--cache=head/features", "--penalty=0.5", f"--valid={shapes}/test.txt"])
    assert "in --train too" not in capsys.readouterr().err
    fit_head([*arguments, "--out=other", "--cache=head/features", "--penalty=0.5", f"--valid={shapes}/train.txt"])
    assert "8 videos of --valid are in --train too, by the content of their files" in capsys.readouterr().err
    assert not (tmp_path / "other" / "features").exists()
    assert json.loads((tmp_path / "other" / "fit_head.json").read_text())["penalty"] == 0.5
    with pytest.raises(ConfigError, match="leave one away"):
        fit_head([*arguments, "--out=head", "--groups=a", f"--valid={shapes}/test.txt"])
    (tmp_path / "ids.txt").write_text(f"{shapes}/videos/bar_spinning/test_000.mp4 20000\n")
    with pytest.raises(FileListError, match="label 20000 in lists of 1 classes: labels must be class numbers"):
        fit_head([*arguments, "--out=head", f"--train={tmp_path}/ids.txt"])
    with pytest.raises(FileListError, match=r"--groups 'zzz': found in no path of --train; the first is "):
        fit_head([*arguments, "--out=head", "--groups=zzz"])
    with pytest.raises(ConfigError, match="no regular expression"):
        fit_head([*arguments, "--out=head", "--groups=("])
    with pytest.raises(FileListError, match="absent"):
        fit_head([*arguments, "--out=new", "--valid=absent.txt"])
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_features_of_some_classes_tell_others_apart(tmp_path, monkeypatch, capsys):
    """A network that has learned eight kinds of moving shapes; a head for three others."""
    motions = {
        "sideways": lambda phase: Pose(x=np.sin(phase)),
        "up_and_down": lambda phase: Pose(y=np.sin(phase)),
        "spinning": lambda phase: Pose(angle=phase),
        "pulsing": lambda phase: Pose(size=1.2 + 0.7 * np.sin(phase)),
    }
    kinds = {f"{s}_{m}": (s, pose) for s in ("disc", "bar", "square") for m, pose in motions.items()}
    monkeypatch.setattr(make_shapes_dataset, "CLASSES", kinds)
    others = ["disc_pulsing", "bar_sideways", "square_up_and_down"]
    learned = [name for name in kinds if name not in others and name != "disc_spinning"]  # which cannot be seen
    for split, (names, count) in {"learned": (learned, 16), "train": (others, 8), "valid": (others, 10)}.items():
        lines = []
        for label, name in enumerate(names):
            for number in range(count):
                path = tmp_path / f"{split}_{name}_{number}.mp4"
                random = np.random.default_rng((len(split), label, number))
                make_shapes_dataset.write_video(path, *make_shapes_dataset.render(name, random))
                lines.append(f"{path} {label}\n")
        (tmp_path / f"{split}.txt").write_text("".join(lines))
    keys = [
        "MODEL.num_classes=8", f"TRAIN.filelist={tmp_path}/learned.txt", "TRAIN.schedule=cosine", "TRAIN.max_iter=200",
        "TRAIN.epoch=99", "TRAIN.learning_rate=0.03", "TRAIN.warmup_iters=20", "TRAIN.num_reader_threads=1",
        *(f"{section}.crop_size=32" for section in ("TRAIN", "VALID", "TEST", "INFER")),
        *(f"{section}.jitter_scales=[32,38]" for section in ("TRAIN", "VALID", "TEST", "INFER")),
    ]  # fmt: skip
    train([
        "--config", f"{ROOT}/configs/quickstart.txt", *words(keys), "--pretrain=none", "--valid_interval=0",
        f"--save_dir={tmp_path}/run", "--use_gpu=false", "--log_interval=100",
    ])  # fmt: skip
    fit_head([
        "--config=auto", f"--weights={tmp_path}/run", f"--train={tmp_path}/train.txt", f"--out={tmp_path}/head",
        f"--valid={tmp_path}/valid.txt", "--use_gpu=false",
    ])  # fmt: skip
    facts = json.loads((tmp_path / "head" / "fit_head.json").read_text())
    assert facts["top1_interval"][0] > 1 / 3, f"no better than chance: {facts['top1']}"
