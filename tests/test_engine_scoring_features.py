"""Features: what the classifier sees, from Python and from infer.py, whole, in windows, and in parts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import paddle
import pytest
from conftest import write_counting_video
from seeded_values import fill
from test_engine_scoring_predictor import StoppedError, run, stop_after

from datareader.building import build_test_plan, infer_videos
from datareader.dataset import ClipDataset
from datareader.filelist import unlabelled_videos
from datareader.processes.job import SampleRequest
from engine.scoring import feature_files
from engine.scoring.feature_files import FeatureRows, names_of_files
from engine.scoring.predictor import Predictor
from engine.scoring.scorers import DygraphScorer
from models.registry import build_model
from utils.errors import ConfigError


@pytest.fixture
def network(narrow_config):
    return fill(build_model(narrow_config()))


@pytest.fixture
def predictor(network, narrow_config):
    return Predictor(DygraphScorer(network), narrow_config().INFER)


@pytest.fixture
def listed(tmp_path):
    """Two videos in two folders, and a file between them that is none."""
    paths = [tmp_path / "v" / "a" / "x.mp4", tmp_path / "v" / "text.mp4", tmp_path / "v" / "b" / "x.mp4"]
    for number, path in enumerate(paths):
        path.parent.mkdir(exist_ok=True, parents=True)
        write_counting_video(path, 40 + 4 * number)
    paths[1].write_text("no video")
    return [str(path) for path in paths]


def test_the_classifier_makes_the_probabilities_of_them(network, predictor, shapes, narrow_config):
    """Where a view has one place: softmax of features times weights, averaged over the views."""
    videos = infer_videos(narrow_config().INFER, named=[str(shapes / "videos")])
    weight, bias = (network.state_dict()[name].numpy().astype("float64") for name in ("pred_w", "pred_b"))
    means = list(predictor.features(videos))
    for item, mean, plain in zip(
        predictor.features(videos, views="all"), means, predictor.predict(videos), strict=True
    ):
        assert item.features.dtype == mean.features.dtype == np.float32
        assert plain.features is None
        np.testing.assert_allclose(item.features.mean(axis=0), mean.features, rtol=1e-5, atol=1e-6)
        scores = np.exp(item.features @ weight + bias)  # (V, K)
        probabilities = (scores / scores.sum(axis=1, keepdims=True)).mean(axis=0)
        np.testing.assert_allclose(np.sort(probabilities)[::-1], plain.probabilities[:4], atol=1e-5)


def test_they_are_means_over_the_places_of_a_larger_view(network, narrow_config, shapes):
    """The mean of the features of both halves is that of the whole, where the head's window is one place."""
    section = narrow_config("INFER.crop_size=64", "INFER.jitter_scales=[64,64]").INFER
    section = replace(section, num_test_clips=1, use_multi_crop=0)
    video = infer_videos(section).paths[0]
    (item,) = Predictor(DygraphScorer(network), section).features(shapes / video)
    view = clips_of(section, shapes / video)
    network.eval()
    last_map = network.feature_map(network.normalised(paddle.to_tensor(view))).numpy()  # (1, C, 4, 2, 2)
    assert last_map.shape[2:] == (4, 2, 2)
    np.testing.assert_allclose(item.features, last_map.mean(axis=(0, 2, 3, 4)), rtol=1e-4, atol=1e-5)


def clips_of(section, video):
    videos = unlabelled_videos([str(video)])
    return ClipDataset(videos, build_test_plan(section)).load(SampleRequest(0, 0, 0)).clips


@pytest.mark.parametrize("views", ["mean", "all"])
def test_a_file_of_features(predictor, narrow_config, listed, tmp_path, views, logged):
    videos = infer_videos(narrow_config().INFER, named=listed)
    run(narrow_config(), predictor, videos, tmp_path, features_out=tmp_path / "new" / "f.npz", feature_views=views)
    expected = [item for item in predictor.features(videos, views=views) if not item.error]
    with np.load(tmp_path / "new" / "f.npz") as found:
        assert set(found) == {"features", "paths"}
        assert found["paths"].tolist() == [listed[0], listed[2]]
        assert found["features"].dtype == np.float32
        np.testing.assert_array_equal(found["features"], [item.features for item in expected])
    assert "features of 2 samples in" in logged()
    assert sorted(path.name for path in tmp_path.glob("*infer_result*")) == [
        "NONLOCAL_infer_result", "NONLOCAL_infer_result.jsonl",
    ]  # fmt: skip


def test_features_of_windows(predictor, narrow_config, listed, tmp_path):
    videos = infer_videos(narrow_config().INFER, named=listed)
    options = {"window": 1.0, "stride": 0.5}
    run(narrow_config(), predictor, videos, tmp_path, features_out=tmp_path / "f.npz", **options)
    run(narrow_config(), predictor, videos, tmp_path, features_out=tmp_path / "f", **options)
    expected = [item for item in predictor.features(videos, **options) if not item.error]
    with np.load(tmp_path / "f.npz") as found:
        np.testing.assert_array_equal(found["features"], [item.features for item in expected])
        assert found["paths"].tolist() == [item.path for item in expected]
        np.testing.assert_allclose(found["start_seconds"], [item.start_seconds for item in expected])
        np.testing.assert_allclose(found["end_seconds"], [item.end_seconds for item in expected])
    for path, name in ((listed[0], "a/x.npy"), (listed[2], "b/x.npy")):
        rows = [item.features for item in expected if item.path == path]
        assert len(rows) > 1
        np.testing.assert_array_equal(np.load(tmp_path / "f" / name), rows)


def test_a_folder_of_features(predictor, narrow_config, listed, tmp_path):
    videos = infer_videos(narrow_config().INFER, named=listed)
    run(narrow_config(), predictor, videos, tmp_path, features_out=tmp_path / "f", feature_views="all")
    good = [item for item in predictor.features(videos, views="all") if not item.error]
    for item, name in zip(good, ("a/x.npy", "b/x.npy"), strict=True):
        np.testing.assert_array_equal(np.load(tmp_path / "f" / name), item.features)


def test_names_of_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def names(*paths):
        return list(names_of_files({path: Path(path) for path in paths}).values())

    assert names("x.mp4") == ["x.npy"]
    assert names(f"{tmp_path}/c/x.mp4", "c/../d/x.y.mp4", "c/x.mp4") == ["c/x.npy", "d/x.y.npy", "c/x.npy"]
    assert names("/x.mp4", "/x.avi", "/x") == ["x.mp4.npy", "x.avi.npy", "x.npy"]
    assert names("a/y.avi", "a/y.mp4", "a/y.avi.mp4") == ["y.avi.npy", "y.mp4.npy", "y.avi.mp4.npy"]


def test_a_folder_after_an_earlier_run(predictor, narrow_config, listed, tmp_path):
    """The names follow the list, whatever can be read; what cannot be read any more has no file; twice is once."""
    config = narrow_config()
    run(config, predictor, infer_videos(config.INFER, named=listed), tmp_path, features_out=tmp_path / "f")
    before = np.load(tmp_path / "f" / "a" / "x.npy")
    Path(listed[2]).write_text("damaged")
    again = [listed[0], listed[0], *listed[1:]]
    videos = infer_videos(config.INFER, named=again)
    run(config, predictor, videos, tmp_path, features_out=tmp_path / "f")
    assert [str(path.relative_to(tmp_path / "f")) for path in (tmp_path / "f").rglob("*.npy")] == ["a/x.npy"]
    np.testing.assert_array_equal(np.load(tmp_path / "f" / "a" / "x.npy"), before)
    run(config, predictor, videos, tmp_path, features_out=tmp_path / "w", window=0.5)
    windows = list(predictor.features(listed[0], window=0.5))
    assert len(np.load(tmp_path / "w" / "a" / "x.npy")) == len(windows)


def test_many_features_go_into_several_files(predictor, narrow_config, shapes, tmp_path, monkeypatch, logged):
    videos = infer_videos(narrow_config().INFER, named=[str(shapes / "videos")])
    (tmp_path / "f_00007.npz").write_text("the user's own")
    run(narrow_config(), predictor, videos, tmp_path, features_out=tmp_path / "f.npz")
    whole = dict(np.load(tmp_path / "f.npz"))
    monkeypatch.setattr(feature_files, "_LARGEST_BYTES", 3 * whole["features"][0].nbytes)
    run(narrow_config(), predictor, videos, tmp_path, features_out=tmp_path / "f.npz")
    files, count = sorted(tmp_path.glob("f_*-of-*.npz")), -(-len(videos) // 3)
    assert [file.name for file in files] == [f"f_{k:05d}-of-{count:05d}.npz" for k in range(count)]
    for name in ("features", "paths"):
        np.testing.assert_array_equal(np.concatenate([np.load(file)[name] for file in files]), whole[name])
    assert (tmp_path / "f_00007.npz").read_text() == "the user's own"
    assert "f.npz is of an earlier run: this one has" in logged()


@pytest.mark.parametrize("window", [None, 0.5])
def test_a_stopped_run_goes_on(predictor, narrow_config, shapes, tmp_path, monkeypatch, window):
    config = narrow_config()
    videos = infer_videos(config.INFER, named=[str(shapes / "videos")])
    run(config, predictor, videos, tmp_path / "whole", window=window, features_out=tmp_path / "whole.npz")
    folder, options = tmp_path / "parts", {"window": window, "features_out": tmp_path / "parts.npz"}
    for part, resume in ((3, False), (2, True)):
        stop_after(part, predictor, monkeypatch)
        with pytest.raises(StoppedError):
            run(config, predictor, videos, folder, resume=resume, **options)
    with pytest.raises(ConfigError, match="belongs to another run, with other features"):
        run(config, predictor, videos, folder, resume=True, feature_views="all", **options)
    rows = folder / "NONLOCAL_infer_result.partial.features"
    rows.rename(tmp_path / "away")
    with pytest.raises(ConfigError, match="is gone; start anew without --resume"):
        run(config, predictor, videos, folder, resume=True, **options)
    (tmp_path / "away").rename(rows)
    run(config, predictor, videos, folder, resume=True, **options)
    assert (tmp_path / "parts.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()
    assert not rows.exists()


def test_rows_that_are_not_there(tmp_path):
    with pytest.raises(ConfigError, match="is gone; start anew without --resume"):
        FeatureRows(tmp_path / "rows", resume=True)
    with pytest.raises(ConfigError, match="cannot be written"):
        FeatureRows(tmp_path / "none" / "rows", resume=False)
    with FeatureRows(tmp_path / "rows", resume=False) as rows:
        with pytest.raises(ConfigError, match="holds no features"):
            rows.read([0])
        rows.put(2, np.arange(6, dtype=np.float32).reshape(2, 3))
        np.testing.assert_array_equal(rows.read([2, 2])[1], [[0, 1, 2], [3, 4, 5]])
        with pytest.raises(ConfigError, match="is cut short"):
            rows.read([3])


def test_the_flags(run_program, shapes, tmp_path):
    (tmp_path / "taken").write_text("x")
    (tmp_path / "folder.npz").mkdir()
    for arguments, message in (
        (["--features", "taken"], "must end in .npz, or be a folder"),
        (["--features", "folder.npz"], "is a folder, and named as a file"),
        (["--feature_views", "all"], "--feature_views says which features --features writes: give both"),
    ):
        done = run_program("infer.py", "a.mp4", *arguments)
        assert done.returncode == 2
        assert message in done.stderr
