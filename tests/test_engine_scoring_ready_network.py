"""Networks that are kept from one start to the next: found where all is as it was, made anew where anything is not."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import paddle
import pytest
from conftest import ROOT
from seeded_values import fill

from engine.scoring import ready_network
from engine.scoring.agreement import video_like_views
from engine.scoring.ready_network import ready_on_this_device, start_scoring
from engine.scoring.scorers import DygraphScorer
from models.registry import build_model
from utils.errors import WeightsError

pytest.importorskip("onnxruntime")
REQUEST = {"engine": "onnxruntime", "precision": "fp32"}


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """The folder of the kept networks."""
    monkeypatch.setenv("NETWORK_CACHE_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "networks"


@pytest.fixture
def weights(narrow_config, tmp_path):
    network = fill(build_model(narrow_config()))
    paddle.save(network.state_dict(), str(tmp_path / "w.pdparams"))
    return str(tmp_path / "w.pdparams")


@pytest.fixture
def made(monkeypatch):
    """How often a network was exported."""
    from engine.scoring import scorers

    calls, export = [], scorers.export_network
    monkeypatch.setattr(scorers, "export_network", lambda *args, **keys: calls.append(1) or export(*args, **keys))
    return calls


def test_the_second_start_gives_the_same_and_makes_nothing(narrow_config, weights, kept, made, logged):
    config = narrow_config()
    first = ready_on_this_device(config, config.INFER, weights, **REQUEST)
    told = logged()
    second = ready_on_this_device(config, config.INFER, weights, **REQUEST)
    assert len(made) == 1
    assert (second.source, second.parameters_sha256) == (first.source, first.parameters_sha256)
    assert (second.scorer.engine, second.scorer.precision) == ("onnxruntime", "fp32")
    views = video_like_views((3, 3, 8, 32, 40))
    for ours, theirs in zip(second.scorer.with_features(views), first.scorer.with_features(views), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    network = fill(build_model(config))
    np.testing.assert_allclose(second.scorer(views), DygraphScorer(network)(views), atol=1e-5)
    again = logged()[len(told) :]
    line = next(line for line in told.splitlines() if line.startswith("weights from"))
    assert line in again, "what loading told is told again"
    assert "engine: onnxruntime fp32, from" in again


@pytest.mark.parametrize(
    "change",
    ["weights", "their place", "another engine", "config", "views", "version", "processor", "threads", "code", "torn"],
)
def test_where_anything_changed_it_is_made_anew(narrow_config, weights, kept, made, monkeypatch, tmp_path, change):
    config, request = narrow_config(), dict(REQUEST)
    ready_on_this_device(config, config.INFER, weights, **request)
    if change == "weights":
        network = fill(build_model(config))
        state = network.state_dict()
        state["pred_b"].set_value(state["pred_b"] + 0.5)
        paddle.save(state, weights)
    elif change == "their place":  # which the lines and the results name
        weights = str(shutil.copy(weights, tmp_path / "copy.pdparams"))
    elif change == "another engine":
        request["engine"] = "auto"
    elif change == "config":
        config = narrow_config("MODEL.image_mean=0.1")
    elif change == "views":
        config = narrow_config("INFER.video_length=16")
    elif change == "version":
        monkeypatch.setattr(ready_network, "_version", lambda package: f"{package} of tomorrow")
    elif change == "processor":
        monkeypatch.setattr(ready_network, "processor_description", lambda: "another")
    elif change == "threads":
        monkeypatch.setattr(ready_network, "computing_threads", lambda: 77)
    elif change == "code":
        monkeypatch.setattr(ready_network, "_code_sha256", lambda: "another")
    else:
        (file,) = kept.glob("*/network.onnx")
        file.write_bytes(file.read_bytes()[:-100])
    ready = ready_on_this_device(config, config.INFER, weights, **request)
    assert len(made) == 2
    if change == "weights":
        views = video_like_views((1, 3, 8, 32, 32))
        network.set_state_dict(paddle.load(weights))
        np.testing.assert_allclose(ready.scorer(views), DygraphScorer(network)(views), atol=1e-5)


def test_a_kept_network_that_no_engine_loads_is_made_anew(narrow_config, weights, kept, made, monkeypatch):
    config = narrow_config()
    ready_on_this_device(config, config.INFER, weights, **REQUEST)
    (description,) = kept.glob("*/kept.json")
    content = json.loads(description.read_text())
    for facts in ({"engine": "gone"}, {"lines": 3}, {"lines": [[1]]}, {"source": None, "precision": "fp1"}, None):
        bad = {} if facts is None else {**content["facts"], **facts}
        description.write_text(json.dumps({**content, "facts": bad}))
        made.clear()
        ready = ready_on_this_device(config, config.INFER, weights, **REQUEST)
        assert ready.scorer.engine == "onnxruntime" and len(ready.parameters_sha256) == 64
        assert made or facts == {"source": None, "precision": "fp1"}
        made.clear()
        ready_on_this_device(config, config.INFER, weights, **REQUEST)
        assert not made, "it is replaced, once"


@pytest.mark.parametrize("stray", ["file", "link"])
def test_what_is_no_folder_in_the_place_of_a_network_is_replaced(narrow_config, weights, kept, made, stray):
    config = narrow_config()
    ready_on_this_device(config, config.INFER, weights, **REQUEST)
    (place,) = kept.iterdir()
    shutil.rmtree(place)
    place.write_text("x") if stray == "file" else place.symlink_to("nowhere")
    for _ in range(2):
        ready_on_this_device(config, config.INFER, weights, **REQUEST)
    assert len(made) == 2 and place.is_dir() and not place.is_symlink()


def test_a_network_kept_without_chunks_is_not_taken_for_one_with(narrow_config, weights, kept):
    """It is computed in the blocks' chunks by dygraph only."""
    request = {**REQUEST, "engine": "auto"}
    config = narrow_config()
    assert ready_on_this_device(config, config.INFER, weights, **request).scorer.engine != "dygraph"
    config = narrow_config("NONLOCAL.chunk_size=7")
    assert ready_on_this_device(config, config.INFER, weights, **request).scorer.engine == "dygraph"


def test_without_a_cache_nothing_is_kept_or_used(narrow_config, weights, kept, made):
    config = narrow_config()
    for use_cache in (False, True, False):
        ready, processes = start_scoring(
            config, config.INFER, weights, use_gpu="false", calibration=None, use_cache=use_cache, **REQUEST
        )
        assert ready.scorer.engine == "onnxruntime" and processes.count == 1
        assert kept.exists() == (len(made) > 1)
    assert len(made) == 3


def test_dygraph_keeps_nothing(narrow_config, weights, kept):
    config = narrow_config()
    ready_on_this_device(config, config.INFER, weights, engine="dygraph", precision="fp32")
    assert not kept.exists()


def test_a_cache_that_cannot_be_written_is_told_and_does_no_harm(narrow_config, weights, tmp_path, monkeypatch, logged):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NETWORK_CACHE_HOME", str(tmp_path / "file" / "below"))
    config = narrow_config()
    ready = ready_on_this_device(config, config.INFER, weights, **REQUEST)
    assert ready.scorer.engine == "onnxruntime"
    assert "the next start will not be faster: the network was not kept" in logged()


def test_wrong_weights_are_told_as_without_a_cache(narrow_config, tmp_path, kept):
    config = narrow_config()
    for name in ("nothing_there", "", " ", str(tmp_path)):
        with pytest.raises(WeightsError):
            ready_on_this_device(config, config.INFER, name, **REQUEST)


def test_weights_that_are_replaced_while_they_are_read_are_not_kept(narrow_config, weights, kept, monkeypatch):
    import engine.network_loading as loading

    config, load = narrow_config(), loading.load_for_scoring

    def replaced(network, config, argument):
        source = load(network, config, argument)
        with open(argument, "ab") as file:
            file.write(b"more")
        return source

    monkeypatch.setattr(loading, "load_for_scoring", replaced)
    ready_on_this_device(config, config.INFER, weights, **REQUEST)
    assert not kept.exists()


def test_a_second_start_of_infer_needs_no_paddle(run_program, weights, shapes, tmp_path, kept):
    """In a process whose every import of Paddle fails."""
    videos = [str(path) for path in sorted((shapes / "videos").glob("*.mp4"))[:2]]
    arguments = ["--weights", weights, "--engine=onnxruntime", "--format=jsonl"]
    first = run_program("infer.py", *arguments, *videos)
    assert first.returncode == 0, first.stderr
    folder = tmp_path / "none" / "paddle"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise ImportError('Paddle was imported')")
    path = os.environ.get("PYTHONPATH", "")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{folder.parent}{os.pathsep}{path}")
        second = run_program("infer.py", *arguments, *videos)
        assert second.returncode == 0, second.stderr
        assert second.stdout == first.stdout
        third = run_program("infer.py", *arguments, "--no_cache", *videos)
        assert third.returncode != 0


def test_a_test_of_a_kept_network_goes_on_where_it_was(run_program, weights, tmp_path, kept):
    """Scores of a start that made the network, and of one that found it, belong together."""
    arguments = ["--weights", weights, "--engine=onnxruntime", "--save_dir=out"]
    first = run_program("test.py", *arguments)
    assert first.returncode == 0, first.stderr
    (scores,) = (tmp_path / "out").glob("scores*")
    lines = scores.read_text().splitlines(keepends=True)
    scores.write_text("".join(lines[:-1]))
    second = run_program("test.py", *arguments, "--resume")
    assert second.returncode == 0, second.stderr
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["scored_before"] == len(lines) - 2
    assert second.stdout.splitlines()[0] == first.stdout.splitlines()[0]


def test_several_processes_that_start_at_once_all_score(weights, shapes, tmp_path, kept):
    code = """if True:
        import sys
        from configs.loading import load_config
        from engine.scoring.ready_network import ready_on_this_device
        from models.registry import NETWORKS
        config = load_config("configs/nonlocal.txt", sys.argv[2:], networks=NETWORKS)
        ready = ready_on_this_device(config, config.INFER, sys.argv[1], engine="onnxruntime", precision="fp32")
        print(ready.parameters_sha256)
    """
    from conftest import NARROW

    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, weights, *NARROW],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(3)
    ]  # fmt: skip
    said = [process.communicate(timeout=120) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], said
    assert len({out for out, _ in said}) == 1
    assert len(list(kept.iterdir())) == 1
