"""A test that is stopped and goes on: nothing is scored twice, nothing is lost, and only what belongs together is."""

import base64
import csv
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import paddle
import pytest
from conftest import NARROW, ROOT, list_overrides
from tested_network import run_test_of

from configs.loading import dump_config
from datareader.building import build_test_dataset
from datareader.filelist import unlabelled_videos
from engine.distributed import Processes
from engine.scoring.score_file import Origin, ScoreFiles
from metrics.multi_view import VideoScores
from models.registry import build_model
from utils.errors import ConfigError


@pytest.fixture
def tested(narrow_config, tmp_path, shapes):
    """Test eight videos with a network of seed 3; call it with overrides. Returns the evaluation."""

    def run(*overrides, resume=False, seed=3, folder="out", stop_after=None):
        config = narrow_config(
            f"TEST.checkpoint_dir={tmp_path / folder}", f"TEST.filelist={shapes}/train.txt", "MODEL.bn_init_gamma=0.5",
            *overrides,
        )  # fmt: skip
        paddle.seed(seed)
        network = build_model(config)
        dataset = build_test_dataset(config)
        load, loaded = dataset.load, []

        def counting(request, **keys):
            if len(loaded) == stop_after:
                raise KeyboardInterrupt
            loaded.append(request.index)
            return load(request, **keys)

        dataset.load = counting
        evaluation = run_test_of(config, network, dataset, weights_source="w", log_interval=99, resume=resume)
        return evaluation, loaded

    return run


def test_a_stopped_test_goes_on_where_it_was(tested, tmp_path):
    whole, _ = tested(folder="whole")
    with pytest.raises(KeyboardInterrupt):
        tested(stop_after=3)
    file = tmp_path / "out" / "scores.rank0.jsonl"
    file.write_text(file.read_text() + '{"video": 3, "hits": 0, "su')  # what a kill leaves of a line
    resumed, loaded = tested(resume=True)
    assert loaded == [3, 4, 5, 6, 7]
    np.testing.assert_array_equal(resumed.probabilities, whole.probabilities)
    assert resumed.measures == whole.measures
    for name in ("results_probs.pkl",):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    _, loaded = tested(resume=True)
    assert loaded == []


def test_an_unfinished_test_is_not_begun_anew_by_mistake(tested, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        tested(stop_after=3)
    with pytest.raises(ConfigError, match=r"scores of 3 of 8 videos of an unfinished test .* --resume goes on with it"):
        tested()
    tested(seed=4)  # other weights: another test
    _, loaded = tested(seed=4)
    assert len(loaded) == 8, "a finished one is begun anew"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 4}, r"the weights were \w{12}, are \w{12} \(SHA-256\)"),
        ({"overrides": ["TEST.num_test_clips=3"]}, r"TEST\.num_test_clips was 6, is 3"),
        ({"overrides": ["TEST.temporal_sampling=linspace"]}, r"TEST\.temporal_sampling was 'wrap', is 'linspace'"),
    ],
)
def test_scores_of_another_test_are_refused(tested, change, message):
    with pytest.raises(KeyboardInterrupt):
        tested(stop_after=3)
    overrides = change.pop("overrides", [])
    with pytest.raises(ConfigError, match=f"scores of another test: {message}"):
        tested(*overrides, resume=True, **change)


@pytest.mark.parametrize("override", ["TEST.batch_size=1", "NONLOCAL.chunk_size=5", "TRAIN.learning_rate=7"])
def test_what_changes_no_score_may_change(tested, override):
    with pytest.raises(KeyboardInterrupt):
        tested(stop_after=3)
    _, loaded = tested(override, resume=True)
    assert len(loaded) == 5


def test_another_list_is_refused(tested, shapes, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        tested(stop_after=3)
    lines = (shapes / "train.txt").read_text().splitlines()
    (shapes / "turned.txt").write_text("\n".join(reversed(lines)))
    with pytest.raises(ConfigError, match="the list holds other videos or labels"):
        tested(f"TEST.filelist={shapes}/turned.txt", resume=True)


def test_a_video_that_could_not_be_read_is_tried_again(tested, shapes, tmp_path):
    lines = (shapes / "train.txt").read_text().splitlines()
    video = tmp_path / "late.mp4"
    listing = tmp_path / "list.txt"
    listing.write_text("\n".join([f"{video} 0", *(f"{shapes}/{line}" for line in lines[1:])]))
    first, _ = tested(f"TEST.filelist={listing}")
    assert first.measures.num_scored == 7
    video.write_bytes((shapes / lines[0].rpartition(" ")[0]).read_bytes())
    second, loaded = tested(f"TEST.filelist={listing}", resume=True)
    assert loaded == [0]
    assert second.measures.num_scored == 8 and not second.unscored


def test_a_video_that_was_replaced_is_scored_anew(tested, shapes, tmp_path, logged):
    """Another file under the same name: of another size, or written at another time."""
    lines = (shapes / "train.txt").read_text().splitlines()
    copies = []
    for number, line in enumerate(lines):
        path = tmp_path / f"{number}.mp4"
        path.write_bytes((shapes / line.rpartition(" ")[0]).read_bytes())
        copies.append(f"{path} {line.rpartition(' ')[2]}")
    listing = tmp_path / "list.txt"
    listing.write_text("\n".join(copies))
    tested(f"TEST.filelist={listing}")
    (tmp_path / "2.mp4").write_bytes((tmp_path / "5.mp4").read_bytes())
    os.utime(tmp_path / "4.mp4", ns=(1, 1))
    evaluation, loaded = tested(f"TEST.filelist={listing}", resume=True)
    assert loaded == [2, 4]
    assert "2 videos were scored from other files (size or time differ), and are scored again" in logged()
    np.testing.assert_array_equal(evaluation.probabilities[2], evaluation.probabilities[5])
    _, loaded = tested(f"TEST.filelist={listing}", resume=True)
    assert loaded == []


def test_scores_of_several_processes_are_one(narrow_config, tmp_path):
    """Written by three, read by one; what is damaged is not believed."""
    origin = Origin(dump_config(narrow_config()), "a" * 64, "b" * 64)
    videos = unlabelled_videos([f"{number}.mp4" for number in range(9)])

    class Silent(Processes):
        def wait_for_all(self):
            pass

    def files(rank=0, count=1, resume=True):
        return ScoreFiles(
            tmp_path, origin, videos=videos, num_views=6, num_classes=4, resume=resume, processes=Silent(rank, count)
        )  # fmt: skip

    sums = np.random.default_rng(0).random((9, 4))
    sums *= 6 / sums.sum(axis=1, keepdims=True)  # of six views
    for rank in range(3):
        scores = files(rank, 3)
        for video in range(rank, 8, 3):
            scores.add(VideoScores(video, sums[video], video % 7))
        scores.close()
    file = tmp_path / "scores.rank1.jsonl"
    rows = file.read_text().splitlines()
    good = json.loads(rows[1]) | {"video": 8}
    huge = base64.b64encode(np.array([1e308, -1e308, 3, 3]).tobytes()).decode()
    changes = [{"sums": "AAAA"}, {"sums": huge}, {"video": 99}, {"hits": 7}, {"hits": 10**30}, {"hits": None}]
    bad = [json.dumps(good | change) for change in changes]
    file.write_text("\n".join([*rows, *bad, "[1]", "nonsense", "[" * 100_000]) + "\n")
    done = files().done
    assert sorted(done) == list(range(8))
    for video, row in done.items():
        np.testing.assert_array_equal(row.combined, sums[video])
        assert row.hits == video % 7


def test_the_files_of_a_test_agree(tested, tmp_path, shapes):
    """Tables and JSON against the probabilities, and how they came about."""
    evaluation, _ = tested()
    folder = tmp_path / "out"
    results = json.loads((folder / "results.json").read_text())
    labels = [int(line.rpartition(" ")[2]) for line in (shapes / "train.txt").read_text().splitlines()]
    predicted = evaluation.probabilities.argmax(axis=1).tolist()
    with open(folder / "results.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [int(row["label"]) for row in rows] == labels
    assert [int(row["predicted"]) for row in rows] == predicted
    assert [row["correct"] for row in rows] == [str(int(a == b)) for a, b in zip(labels, predicted, strict=True)]
    for row, probabilities in zip(rows, evaluation.probabilities, strict=True):
        assert float(row["probability"]) == pytest.approx(probabilities.max(), abs=1e-6)
        assert float(row["probability_of_label"]) == pytest.approx(probabilities[int(row["label"])], abs=1e-6)
    with open(folder / "confusion.csv", newline="") as handle:
        table = [list(map(int, row[2:])) for row in list(csv.reader(handle))[1:]]
    pairs = list(zip(labels, predicted, strict=True))
    assert table == [[pairs.count((label, answer)) for answer in range(4)] for label in range(4)]
    with open(folder / "classes.csv", newline="") as handle:
        assert [int(row["num_videos"]) for row in csv.DictReader(handle)] == [2, 2, 2, 2]
    wrong = [row["index"] for row in results["videos"] if not row["correct"]]
    assert sorted(results["mistakes"]) == wrong
    confidence = [evaluation.probabilities[index].max() for index in results["mistakes"]]
    assert confidence == sorted(confidence, reverse=True)
    assert len(results["parameters_sha256"]) == len(results["list_sha256"]) == 64
    assert results["versions"]["paddle"] == paddle.__version__
    assert "temporal_sampling = 'wrap'" in results["config"]
    assert results["views_per_second"] == pytest.approx(48 / results["seconds"], rel=0.01)


def test_scores_that_are_not_believed_are_set_aside(tested, tmp_path):
    """Never adopted, never lost: of another test, or without a head that can be read."""
    with pytest.raises(KeyboardInterrupt):
        tested(stop_after=3, seed=4)
    file = tmp_path / "out" / "scores.rank0.jsonl"
    foreign = file.read_text()
    tested()
    assert file.with_name("scores.rank0.jsonl.old").read_text() == foreign
    whole = (tmp_path / "out" / "results_probs.pkl").read_bytes()
    for damage in ("not a head\n" + foreign.partition("\n")[2], "[" * 100_000 + "\n", "\x00\xff"):
        file.write_text(damage)
        _, loaded = tested(resume=True)
        assert len(loaded) == 8
        assert file.with_name("scores.rank0.jsonl.old").read_text() == damage
        assert (tmp_path / "out" / "results_probs.pkl").read_bytes() == whole


def test_a_file_of_scores_that_is_no_file_is_an_error(tested, tmp_path):
    (tmp_path / "out").mkdir()
    os.mkfifo(tmp_path / "out" / "scores.rank0.jsonl")
    with pytest.raises(ConfigError, match="not a regular file; remove it"):
        tested(resume=True)


@pytest.mark.slow
def test_a_test_that_is_killed_goes_on(shapes, tmp_path):
    """SIGKILL in the middle, twice; the results are those of an undisturbed test."""
    names = (shapes / "train.txt").read_text().splitlines() * 6
    (tmp_path / "long.txt").write_text("\n".join(f"{shapes}/{name}" for name in names))
    overrides = [*NARROW, *list_overrides(shapes), "MODEL.bn_init_gamma=0.5"]
    paddle.seed(3)
    from network_configs import load_config

    network = build_model(load_config(ROOT / "configs" / "nonlocal.txt", overrides))
    paddle.save(network.state_dict(), str(tmp_path / "w.pdparams"))

    def command(folder, *more):
        parts = [sys.executable, str(ROOT / "test.py"), "--config", str(ROOT / "configs" / "nonlocal.txt")]
        for override in overrides:
            parts += ["-o", override]
        return [*parts, "--weights=w.pdparams", "--filelist=long.txt", f"--save_dir={folder}", *more]

    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    subprocess.run(command("whole"), cwd=tmp_path, check=True, env=environment, capture_output=True)
    scores = tmp_path / "part" / "scores.rank0.jsonl"
    for wanted in (5, 20):
        with subprocess.Popen(
            command("part", "--resume"), cwd=tmp_path, env=environment, stderr=subprocess.PIPE
        ) as part:
            while not (scores.is_file() and scores.read_bytes().count(b"\n") > wanted):
                assert part.poll() is None
                time.sleep(0.02)
            part.send_signal(signal.SIGKILL)
    done = subprocess.run(command("part", "--resume"), cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "of 48 videos are scored already" in done.stderr
    for name in ("results_probs.pkl",):
        assert (tmp_path / "part" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_finished_test_is_finished_though_a_file_has_changed(tested, tmp_path, shapes, logged):
    lines = (shapes / "train.txt").read_text().splitlines()
    (tmp_path / "0.mp4").write_bytes((shapes / lines[0].rpartition(" ")[0]).read_bytes())
    listing = tmp_path / "list.txt"
    listing.write_text("\n".join([f"{tmp_path}/0.mp4 0", *(f"{shapes}/{line}" for line in lines[1:])]))
    tested(f"TEST.filelist={listing}")
    os.utime(tmp_path / "0.mp4", ns=(1, 1))
    _, loaded = tested(f"TEST.filelist={listing}")
    assert len(loaded) == 8, "begun anew"
    assert "were scored from other files" not in logged()
    os.utime(tmp_path / "0.mp4", ns=(2, 2))
    assert tested(f"TEST.filelist={listing}", resume=True)[1] == [0]
    assert "1 videos were scored from other files" in logged()
    before = logged().count("were scored from other files")
    assert tested(f"TEST.filelist={listing}", resume=True)[1] == []
    assert logged().count("were scored from other files") == before


def test_a_file_that_changes_while_a_test_runs_is_scored_again(narrow_config, tmp_path, shapes):
    """The scores are of the file as it was when the test began."""
    lines = (shapes / "train.txt").read_text().splitlines()[:2]
    for number, line in enumerate(lines):
        (tmp_path / f"{number}.mp4").write_bytes((shapes / line.rpartition(" ")[0]).read_bytes())
    videos = unlabelled_videos([f"{tmp_path}/0.mp4", f"{tmp_path}/1.mp4"])
    origin = Origin(dump_config(narrow_config()), "a" * 64, "b" * 64)

    def files(resume):
        return ScoreFiles(
            tmp_path, origin, videos=videos, num_views=3, num_classes=4, resume=resume, processes=Processes(0, 1)
        )

    first = files(resume=False)
    (tmp_path / "0.mp4").write_bytes(b"another")
    for video in (0, 1):
        first.add(VideoScores(video, np.full(4, 0.75), 0))
    first.close()
    assert files(resume=True).done.keys() == {1}
