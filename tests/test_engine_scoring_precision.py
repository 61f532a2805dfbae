"""--precision auto and int8: the choice by a clock of the test, and networks that were fitted to a user's videos."""

import json
import re

import numpy as np
import paddle
import pytest
from conftest import write_counting_video
from seeded_values import fill

from datareader.filelist import named_videos
from engine.distributed import Processes
from engine.scoring import ready_network, scorers
from engine.scoring.agreement import largest_difference, video_like_views
from engine.scoring.calibration import Calibration, calibration_of
from engine.scoring.precision_choice import as_line, choose
from engine.scoring.predictor import Predictor
from engine.scoring.ready_network import ready_on_this_device
from engine.scoring.scorers import DygraphScorer, open_scorer
from engine.scoring.view_scorer import ExportedScorer, arithmetic_of
from models.registry import build_model
from tools import export
from utils.errors import ConfigError, DeviceError, FileListError


class Fake:
    """An engine whose view takes `seconds` of the test's clock, and whose probabilities are `change` off."""

    engine = "fake"

    def __init__(self, clock, precision, seconds, change=0.0):
        self.precision, self._clock, self._seconds, self._change = precision, clock, seconds, change

    def __call__(self, views):
        assert len(views) == 1
        self._clock.now += self._seconds
        shift = self._change if views[0, 0, 0, 0, 0] == 2 else 0.0  # of one view only
        return np.array([[0.6 - shift, 0.4 + shift]], np.float32)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


VIEWS = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1, 1)


@pytest.mark.parametrize(
    ("others", "chosen"),
    [
        ([("bf16", 0.5, 0.01), ("int8", 0.4, 0.02)], "int8"),
        ([("bf16", 0.5, 0.01), ("int8", 0.4, 0.06)], "bf16"),  # what differs in one view is not used
        ([("bf16", 2.0, 0.0), ("int8", 1.5, 0.0)], "fp32"),
        ([("bf16", 0.1, float("nan")), ("int8", 0.1, float("inf"))], "fp32"),
        ([("bf16", 0.5, 0.05 - 1e-4)], "bf16"),
        ([], "fp32"),
    ],
)
def test_the_fastest_that_agrees_is_chosen(others, chosen):
    clock = Clock()
    rows = [("fp32", 1.0, 0.0), *others]
    best, measured = choose([Fake(clock, *row) for row in rows], VIEWS, clock=clock)
    assert best.precision == chosen
    assert [(row.precision, pytest.approx(row.seconds)) for row in measured] == [row[:2] for row in rows]
    np.testing.assert_allclose([row.change for row in measured], [row[2] for row in rows], atol=1e-6)


def test_one_slow_moment_decides_nothing():
    clock = Clock()

    class Disturbed(Fake):
        calls = 0

        def __call__(self, views):
            Disturbed.calls += 1
            clock.now += 50 * (Disturbed.calls in (1, 4))  # the first call does not count
            return super().__call__(views)

    best, measured = choose([Fake(clock, "fp32", 1.0), Disturbed(clock, "bf16", 0.5)], VIEWS, clock=clock)
    assert best.precision == "bf16" and measured[1].seconds == pytest.approx(0.5)


def test_the_line_says_what_was_measured():
    clock = Clock()
    rows = [Fake(clock, "fp32", 1.0), Fake(clock, "bf16", 0.5, 0.2)]
    best, measured = choose(rows, VIEWS, clock=clock)
    assert as_line(best.precision, measured, {"int8": "ml_dtypes is missing"}) == (
        "precision auto: fp32 1000 ms a view; bf16 500 ms, its probabilities 0.2 off (more than 0.05: not used); "
        "without int8: ml_dtypes is missing. fp32 is used"
    )


@pytest.fixture
def videos(tmp_path):
    """Three videos and a file that is none."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(3):
        write_counting_video(folder / f"{number}.mp4", 40, size=(64, 48))
    (folder / "bad.mp4").write_bytes(b"no video")
    return folder


def test_views_to_calibrate_on_are_spread_and_always_the_same(narrow_config, videos):
    section = narrow_config().INFER
    calibration = Calibration(named_videos([str(videos)]), section)
    views = calibration.views()
    assert {(view.shape, view.dtype.name) for view in views} == {((3, 8, 32, 32), "uint8")}
    assert 12 <= len(views) <= 20, "several of each video, where there are few videos"
    np.testing.assert_array_equal(views, Calibration(named_videos([str(videos)]), section).views())
    assert len({view.tobytes() for view in views}) == 2, "of both clips, which look the same in every crop"
    others = list(calibration.others(most_videos=2, of_each=3))
    assert [len(rows) for rows in others] == [3] * len(others) and 1 <= len(others) <= 2
    label = calibration.label
    assert re.fullmatch("[0-9a-f]{8}", label)
    write_counting_video(videos / "1.mp4", 30, size=(64, 48))
    assert Calibration(named_videos([str(videos)]), section).label != label


def test_a_long_list_gives_a_view_of_twenty_videos(narrow_config, videos):
    paths = [str(videos / f"{number % 3}.mp4") for number in range(100)]
    calibration = Calibration(named_videos(paths), narrow_config().INFER)
    assert len(calibration.views()) == 20
    assert [len(rows) for rows in calibration.others(most_videos=4, of_each=2)] == [2, 2, 2, 2]


def test_without_a_readable_video_there_is_no_calibration(narrow_config, videos):
    calibration = Calibration(named_videos([str(videos / "bad.mp4")]), narrow_config().INFER)
    with pytest.raises(DeviceError, match=r"no view to measure or calibrate on: .*bad\.mp4"):
        calibration.views()
    with pytest.raises(FileListError):
        calibration_of("nothing.txt", narrow_config().INFER, None)
    assert calibration_of(None, narrow_config().INFER, None) is None


@pytest.fixture
def network(narrow_config):
    return fill(build_model(narrow_config()))


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_int8_is_int8_and_near(narrow_config, network, videos, engine):
    pytest.importorskip(engine)
    pytest.importorskip("ml_dtypes")
    config = narrow_config()
    calibration = Calibration(named_videos([str(videos)]), config.TEST)
    scorer = open_scorer(network, config, config.TEST, engine, "int8", calibration=calibration)
    assert (scorer.engine, scorer.precision) == (engine, f"int8-{calibration.label}")
    views = np.stack(calibration.views())
    found, features = scorer.with_features(views)
    expected, expected_features = DygraphScorer(network).with_features(views)
    assert 1e-5 < largest_difference(found, expected) < 1
    assert 1e-4 < np.abs(features - expected_features).max() / np.abs(expected_features).max() < 0.2


@pytest.mark.parametrize("precision", ["int8", "auto"])
def test_whole_frames_of_different_sizes(narrow_config, network, tmp_path, precision):
    """Videos of three shapes, upright and wide, whose whole frames make no common array."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("ml_dtypes")
    for number, size in enumerate([(64, 48), (48, 96), (128, 48)]):
        write_counting_video(tmp_path / f"{number}.mp4", 40, size=size)
    config = narrow_config("TEST.spatial=full", "TEST.use_multi_crop=0", "TEST.num_test_clips=2")
    calibration = Calibration(named_videos([str(tmp_path)]), config.TEST)
    views = calibration.views()
    assert len({view.shape for view in views}) == 3
    scorer = open_scorer(network, config, config.TEST, "onnxruntime", precision, calibration=calibration)
    for view in views:
        assert largest_difference(scorer(view[None]), DygraphScorer(network)(view[None])) < 1


def test_int8_needs_videos_and_an_engine_for_it(narrow_config, network):
    pytest.importorskip("openvino")
    config = narrow_config()
    with pytest.raises(DeviceError, match="name a list of some with --calibrate"):
        open_scorer(network, config, config.TEST, "auto", "int8")
    with pytest.raises(DeviceError, match="--precision int8 needs --engine openvino or onnxruntime, not dygraph"):
        open_scorer(network, config, config.TEST, "dygraph", "int8")


@pytest.mark.parametrize("engine", ["auto", "openvino", "onnxruntime", "paddle"])
def test_auto_takes_one_that_agrees_and_says_so(narrow_config, network, videos, engine, logged):
    if engine != "auto":
        pytest.importorskip(engine)
    config = narrow_config()
    calibration = Calibration(named_videos([str(videos)]), config.TEST)
    scorer = open_scorer(network, config, config.TEST, engine, "auto", calibration=calibration)
    line = next(line for line in logged().splitlines() if line.startswith("precision auto: fp32"))
    assert line.endswith(f"{scorer.precision} is used")
    views = np.stack(calibration.views(4))
    assert np.abs(scorer(views) - DygraphScorer(network)(views)).max() <= 0.06


def test_auto_without_videos_measures_too(narrow_config, network, logged):
    pytest.importorskip("onnxruntime")
    config = narrow_config()
    scorer = open_scorer(network, config, config.TEST, "onnxruntime", "auto")
    assert scorer.precision == "fp32" and "precision auto: fp32" in logged()


def test_auto_goes_on_without_what_cannot_be_had(narrow_config, network, videos, monkeypatch, logged):
    pytest.importorskip("onnxruntime")

    def refuse(*_):
        raise DeviceError("no quantiser")

    monkeypatch.setattr(scorers, "quantise", refuse)
    config = narrow_config()
    calibration = Calibration(named_videos([str(videos)]), config.TEST)
    scorer = open_scorer(network, config, config.TEST, "onnxruntime", "auto", calibration=calibration)
    assert scorer.precision == "fp32" and "without int8: no quantiser" in logged()


def test_the_choice_is_remembered(narrow_config, network, videos, tmp_path, monkeypatch, logged):
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv("NETWORK_CACHE_HOME", str(tmp_path / "home"))
    paddle.save(network.state_dict(), str(tmp_path / "w.pdparams"))
    config = tmp_path / "c.txt"
    from configs.loading import dump_config

    config.write_text(dump_config(narrow_config()))
    monkeypatch.setattr(scorers, "choose", lambda found, _: (found[-1], []))  # int8, whatever the time
    monkeypatch.setattr(scorers, "as_line", lambda *_: "measured")
    options = {"weights": str(tmp_path / "w.pdparams"), "engine": "onnxruntime", "precision": "auto"}
    first = Predictor.load(config, calibrate=str(videos), **options)
    assert first.precision.startswith("int8-")
    second = Predictor.load(config, calibrate=str(videos), **options)
    assert second.precision == first.precision
    assert logged().count("measured") == 1
    paths = [str(videos / "0.mp4")]
    (ours,), (theirs,) = list(second.predict(paths)), list(first.predict(paths))
    assert ours.probabilities == theirs.probabilities


def test_an_int8_file_runs_without_this_project(narrow_config, network, videos, tmp_path, capsys):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("ml_dtypes")
    from configs.loading import dump_config

    (tmp_path / "c.txt").write_text(dump_config(narrow_config()))
    paddle.save(network.state_dict(), str(tmp_path / "w.pdparams"))
    command = ["--config", str(tmp_path / "c.txt"), "--weights", str(tmp_path / "w.pdparams"), "--format", "onnx"]
    assert export.main([*command, "--out", str(tmp_path / "plain.onnx")]) == 0
    out = tmp_path / "int8.onnx"
    more = ["--features", "--precision=int8", "--calibrate", str(videos)]
    assert export.main([*command, "--out", str(out), *more]) == 0
    said = capsys.readouterr().out
    found = re.search(r"int8 in onnxruntime: same best class in (\d+) of (\d+) views and (\d) of (\d) videos; ", said)
    assert found and int(found[1]) <= int(found[2]) == 15 and found[4] == "3"
    assert out.stat().st_size < 0.6 * (tmp_path / "plain.onnx").stat().st_size
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    views = video_like_views((2, 3, 8, 32, 40))
    probabilities, features = session.run(["probabilities", "features"], {"frames": views})
    expected, expected_features = DygraphScorer(network).with_features(views)
    assert np.abs(probabilities - expected).max() < 0.1
    assert features.shape == expected_features.shape
    plain = onnxruntime.InferenceSession(str(tmp_path / "plain.onnx"), providers=["CPUExecutionProvider"])
    assert [output.name for output in plain.get_outputs()] == ["probabilities"], "features only if they are asked for"
    np.testing.assert_allclose(plain.run(None, {"frames": views})[0], expected, atol=2e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "c.txt", "int8.onnx", "plain.onnx", "videos", "w.pdparams"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--format=paddle", "--precision=int8", "--calibrate=v"], "is for --format onnx"),
        (["--format=onnx", "--precision=int8"], "--calibrate LIST"),
        (["--format=onnx", "--calibrate=v"], "is for --precision int8"),
        (["--format=onnx", "--precision=int8", "--calibrate=v", "--batch_size=2"], "goes without --batch_size"),
    ],
)
def test_contradictions_of_the_export_are_one_line(arguments, reason, tmp_path):
    with pytest.raises(ConfigError, match=reason):
        export.main([*arguments, "--out", str(tmp_path / "x.onnx"), "--weights=w"])


def test_infer_records_what_it_chose(run_program, narrow_config, network, videos, tmp_path):
    pytest.importorskip("openvino")
    paddle.save(network.state_dict(), str(tmp_path / "w.pdparams"))
    done = run_program(
        "infer.py", f"--weights={tmp_path}/w.pdparams", "--precision=auto", "--save_dir=out", str(videos)
    )
    assert done.returncode == 1, done.stderr  # one file is no video
    assert "precision auto: fp32" in done.stderr
    done = run_program(
        "test.py", f"--weights={tmp_path}/w.pdparams", "--precision=int8", "--engine=onnxruntime", "--save_dir=t"
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch("int8-[0-9a-f]{8}", json.loads((tmp_path / "t" / "results.json").read_text())["precision"])


def test_views_that_are_made_in_another_way_have_another_label(narrow_config, videos):
    listed = named_videos([str(videos)])
    keys = ((), ("INFER.sample_rate=3",), ("INFER.jitter_scales=[36,40]",), ("INFER.num_test_clips=3",))
    assert len({Calibration(listed, narrow_config(*key).INFER).label for key in keys}) == 4


@pytest.fixture
def ready(narrow_config, network, videos, tmp_path, monkeypatch):
    """Make the network ready as a program does, with int8 as the choice of 'auto'; call it with overrides."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("ml_dtypes")
    monkeypatch.setenv("NETWORK_CACHE_HOME", str(tmp_path / "home"))
    paddle.save(network.state_dict(), str(tmp_path / "w.pdparams"))
    monkeypatch.setattr(scorers, "choose", lambda found, _: (found[-1], []))
    monkeypatch.setattr(scorers, "as_line", lambda *_: "measured")

    def run(*overrides, precision, named=None, scored=videos):
        section = narrow_config(*overrides).INFER
        calibration = calibration_of(named and str(named), section, scored and named_videos([str(scored)]))
        return ready_on_this_device(
            narrow_config(*overrides), section, str(tmp_path / "w.pdparams"),
            engine="onnxruntime", precision=precision, calibration=calibration,
        ).scorer  # fmt: skip

    return run


@pytest.mark.parametrize("precision", ["int8", "auto"])
def test_a_kept_int8_network_is_not_taken_for_views_of_another_kind(ready, precision):
    first = ready(precision=precision)
    assert ready(precision=precision).precision == first.precision
    other = ready("INFER.sample_rate=3", precision=precision)
    assert other.precision.startswith("int8-") and other.precision != first.precision


def test_auto_listens_to_the_videos_that_are_named(ready, videos, tmp_path, logged):
    first = ready(precision="auto")
    (tmp_path / "other").mkdir()
    write_counting_video(tmp_path / "other" / "x.mp4", 40, size=(64, 48))
    assert ready(precision="auto", scored=tmp_path / "other").precision == first.precision, "the choice is kept"
    assert ready(precision="auto", named=tmp_path / "other").precision != first.precision
    assert logged().count("measured") == 2


def test_auto_without_videos_does_not_stand_for_auto_with_some(ready):
    assert ready(precision="auto", scored=None).precision == "fp32"
    assert ready(precision="auto").precision.startswith("int8-")


def test_a_run_goes_on_in_another_engine_in_fp32_only():
    """Engines agree to rounding in fp32, and differ in the rest of int8 and bf16."""
    arithmetics = [
        arithmetic_of(ExportedScorer(engine, precision, None))
        for engine in ("openvino", "onnxruntime") for precision in ("fp32", "int8-1a2b3c4d")
    ]  # fmt: skip
    assert arithmetics == ["fp32", "int8-1a2b3c4d in openvino", "fp32", "int8-1a2b3c4d in onnxruntime"]


def test_auto_measures_on_made_views_where_no_video_can_be_read(narrow_config, network, videos, logged):
    pytest.importorskip("onnxruntime")
    config = narrow_config()
    calibration = Calibration(named_videos([str(videos / "bad.mp4")]), config.TEST)
    scorer = open_scorer(network, config, config.TEST, "onnxruntime", "auto", calibration=calibration)
    assert (scorer.engine, scorer.precision) == ("onnxruntime", "fp32")
    assert "without int8: no view to measure or calibrate on" in logged()


def test_a_warning_of_the_engine_is_told_again(ready, logged):
    for _ in range(2):
        ready("NONLOCAL.chunk_size=2", precision="fp32")
    (line,) = {line for line in logged().splitlines() if line.startswith("onnxruntime: ")}
    assert logged().count(line) == 2


def test_processes_that_chose_differently_are_refused(narrow_config, monkeypatch):
    class Two(Processes):
        def gather(self, value, **_):
            return [value, "int8-other"]

    config = narrow_config()
    scorer = Fake(Clock(), "int8-one", 1.0)
    monkeypatch.setattr(ready_network, "is_surely_cpu", lambda _: False)
    monkeypatch.setattr(ready_network, "join_processes", lambda _: Two(0, 2))
    monkeypatch.setattr(ready_network._Request, "ready", lambda *_: ready_network.ReadyNetwork(scorer, "w", "p"))
    for precision in ("auto", "int8"):
        with pytest.raises(ConfigError, match="would compute in int8-one and int8-other: give --precision"):
            ready_network.start_scoring(
                config, config.INFER, "w",
                use_gpu="false", engine="auto", precision=precision, calibration=None, use_cache=True,
            )  # fmt: skip
