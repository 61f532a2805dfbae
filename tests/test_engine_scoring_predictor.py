"""Predictions: means over views, best first, one by one or from Python; windows of long videos; the files of them."""

import csv
import json
import multiprocessing
import pickle
import subprocess
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import paddle
import pytest
from conftest import ROOT, write_counting_video
from seeded_values import fill

from configs.loading import dump_config
from datareader.building import build_loader, build_test_plan, infer_videos
from datareader.dataset import ClipDataset
from datareader.decoding.opening import decode_frames
from datareader.epoch_order import listed_order
from datareader.loader import ClipLoader
from datareader.processes.job import SampleRequest
from datareader.processes.per_video import for_each_video
from datareader.windows import WindowDataset, cut_windows, windows_of_video
from engine.distributed import ALONE
from engine.scoring.inference import run_inference
from engine.scoring.prediction_files import as_json, as_text
from engine.scoring.prediction_journal import PredictionJournal
from engine.scoring.predictor import Prediction, Predictor
from engine.scoring.scorers import DygraphScorer
from engine.scoring.timelines import write_timelines
from models.registry import build_model
from models.weights.writing import write_weights
from utils.errors import ConfigError, FileListError, VideoError
from utils.prefetching import prefetch

NAMES = ["run", "jump", "sit", "stand"]


@pytest.fixture
def network(narrow_config):
    return fill(build_model(narrow_config()))


@pytest.fixture
def predictor(network, narrow_config):
    return Predictor(DygraphScorer(network), narrow_config().INFER, class_names=NAMES)


def expected_means(network, config):
    videos = infer_videos(config.INFER)
    dataset = ClipDataset(videos, build_test_plan(config.INFER))
    for batch in build_loader(dataset, config.INFER, batch_size=1).batches(listed_order(len(videos))):
        views = [network(paddle.to_tensor(view[None])).numpy()[0] for view in batch.clips[0]]
        yield batch.paths[0], np.mean(views, axis=0)


@pytest.mark.parametrize("batch_size", [1, 4, 20])  # views at once; 20 is more than the six of three videos
def test_predictions_are_means_over_views_best_first(network, narrow_config, batch_size):
    config = narrow_config(f"INFER.batch_size={batch_size}")
    predictor = Predictor(DygraphScorer(network), config.INFER, class_names=NAMES)
    found = list(predictor.predict(infer_videos(config.INFER), top_k=3))
    expected = list(expected_means(network, config))
    assert [item.path for item in found] == [path for path, _ in expected]
    for item, (_, mean) in zip(found, expected, strict=True):
        assert item.classes == tuple(np.argsort(-mean)[:3].tolist())
        assert item.names == tuple(NAMES[class_] for class_ in item.classes)
        np.testing.assert_allclose(item.probabilities, np.sort(mean)[::-1][:3], atol=1e-5)


def test_a_bad_video_is_an_error_in_its_place(predictor, shapes, tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    good = sorted((shapes / "videos").rglob("*.mp4"))[:2]
    found = list(predictor.predict([good[0], tmp_path / "text.mp4", "gone.mp4", good[1]]))
    assert [bool(item.error) for item in found] == [False, True, True, False]
    assert "text.mp4: not a video" in found[1].error
    assert "gone.mp4: no such file" in found[2].error
    assert found[1].classes == ()
    windows = list(predictor.predict([good[0], tmp_path / "text.mp4", "gone.mp4"], window=1))
    assert [bool(item.error) for item in windows] == [True, True, *[False] * (len(windows) - 2)]
    assert len(windows) > 2


def test_a_folder_stands_for_its_videos(predictor, shapes, tmp_path):
    found = [item.path for item in predictor.predict(str(shapes / "videos"))]
    assert found == sorted(str(path) for path in (shapes / "videos").rglob("*.mp4"))
    with pytest.raises(FileListError, match=r"holds no video \(\.mp4 \.avi"):
        list(predictor.predict([tmp_path]))


def test_two_predictors_side_by_side(narrow_config, network, shapes):
    """In turns, and in two threads: each gives what it gives alone."""
    config = narrow_config("MODEL.num_classes=4")
    paddle.seed(5)
    other = build_model(config)
    other.state_dict()["pred_b"].set_value(np.array([3, 2, 1, 0], np.float32))
    predictors = [Predictor(DygraphScorer(net), config.INFER) for net in (network, other)]
    videos = sorted((shapes / "videos").rglob("*.mp4"))[:6]
    alone = [list(predictor.predict(videos)) for predictor in predictors]
    assert alone[0] != alone[1]
    in_turns = list(zip(predictors[0].predict(videos), predictors[1].predict(videos), strict=True))
    assert [list(items) for items in zip(*in_turns, strict=True)] == alone
    found = [None, None]

    def run(number):
        found[number] = list(predictors[number].predict(videos))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == alone


def test_one_predictor_in_two_threads(network, narrow_config, shapes):
    predictor = Predictor(DygraphScorer(network.train() or network), narrow_config().INFER)
    videos = sorted((shapes / "videos").rglob("*.mp4"))[:6]
    alone = list(predictor.predict(videos))
    found = [None, None]

    def run(number):
        found[number] = list(predictor.predict(videos))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [alone, alone]


def test_the_example_of_the_module(network, narrow_config, shapes, tmp_path):
    """As a program without a main guard, in a folder of its own."""
    config = narrow_config("INFER.kinetics_labels=names.json")
    (tmp_path / "config.txt").write_text(dump_config(config))
    (tmp_path / "names.json").write_text(json.dumps(NAMES))
    write_weights(tmp_path / "w.pdparams", {k: v.numpy() for k, v in network.state_dict().items()}, {})
    example = sys.modules[Predictor.__module__].__doc__.partition("\n\n")[2]
    code = "\n".join(line[4:] for line in example.splitlines() if line.startswith("    "))
    videos = sorted((shapes / "videos").rglob("*.mp4"))[:2]
    for old, new in {
        '"configs/nonlocal.txt"': "'config.txt'", '"checkpoints/best"': "'w.pdparams'",
        '["a.mp4", "b.mp4"]': str([str(path) for path in videos]),
    }.items():  # fmt: skip
        assert old in code
        code = code.replace(old, new)
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [line.partition(" ")[0] for line in done.stdout.splitlines()] == [str(path) for path in videos]
    assert any(name in done.stdout for name in NAMES)


@pytest.mark.parametrize("num_readers", [0, 1])
@pytest.mark.parametrize("window", [None, 0.5])
def test_a_prediction_that_nobody_waits_for(network, narrow_config, shapes, num_readers, window):
    """Closed half way, it leaves no process, thread or open file."""
    config = narrow_config(f"INFER.num_reader_threads={num_readers}")
    predictor = Predictor(DygraphScorer(network), config.INFER)
    videos = sorted((shapes / "videos").rglob("*.mp4"))[:4]
    before = held_by_this_process()
    found = predictor.predict(videos, window=window)
    next(found)
    found.close()
    assert held_by_this_process() <= before


def held_by_this_process():
    """Child processes, threads and open videos."""
    opened = [path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    return {
        *(child.pid for child in multiprocessing.active_children()),
        *(thread.ident for thread in threading.enumerate()),
        *(path for path in opened if path.suffix == ".mp4"),
    }


def test_prefetching_makes_the_next_item_meanwhile():
    made = []

    def items():
        for number in range(3):
            made.append(number)
            yield number
        raise ValueError("the end")

    ahead = prefetch(items())
    assert next(ahead) == 0
    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(ValueError, match="the end"):
        next(ahead)
    assert list(prefetch([])) == []


# The rows of `cut_windows`: duration, window, stride, windows.
@pytest.mark.parametrize(
    ("duration", "window", "stride", "expected"),
    [
        (12, 10, 5, [(0, 10), (5, 12)]),
        (20, 10, 5, [(0, 10), (5, 15), (10, 20)]),
        (8, 10, 5, [(0, 8)]),
        (12, 4, 6, [(0, 4), (6, 10)]),
    ],
)
def test_windows(duration, window, stride, expected):
    times = np.arange(duration * 10) / 10
    windows = cut_windows(times, frame_seconds=0.1, window=window, stride=stride)
    np.testing.assert_allclose([(w.start_seconds, w.end_seconds) for w in windows], expected)
    for w in windows:
        inside = [k for k, time in enumerate(times) if w.start_seconds <= time < w.end_seconds - 1e-9]
        assert (w.first_frame, w.num_frames) == (inside[0], len(inside))


@pytest.mark.parametrize("rate", [25, 30, 24000 / 1001, 50])
def test_no_window_for_a_rounding_error(rate):
    """Whole seconds, with times as containers round them: as many windows as seconds, all frames in one each."""
    for seconds in (1, 2, 7, 65):
        frames = round(seconds * rate)
        for times in (np.arange(frames) / rate, np.round(np.arange(frames) / rate, 3)):
            windows = cut_windows(times, frame_seconds=1 / rate, window=1, stride=1)
            assert len(windows) == round(frames / rate)
            assert sum(window.num_frames for window in windows) == frames


def test_windows_shorter_than_a_frame():
    """One for each frame: the others show nothing new."""
    for window in (0.01, 0.02, 0.03):
        windows = cut_windows(np.arange(10) / 25, frame_seconds=0.04, window=window, stride=window)
        assert [w.first_frame for w in windows] == list(range(10))


def test_lengths_that_are_none(predictor):
    for window, stride in ((0, None), (-1, None), (float("nan"), None), (float("inf"), None), (1, 0), (1, -1)):
        with pytest.raises(ConfigError, match=r"must be at least 0\.01 seconds"):
            list(predictor.predict(["a.mp4"], window=window, stride=stride))
    for options in ({"stride": 1.0}, {"top_k": 0}):
        with pytest.raises(ConfigError):
            list(predictor.predict(["a.mp4"], **options))


def test_windows_in_a_gap_are_left_out():
    windows = cut_windows(np.array([0.0, 0.5, 9.0]), frame_seconds=0.5, window=2, stride=2)
    assert windows == [(0, 2, 0, 2), (8, 9.5, 2, 1)]
    windows = cut_windows(np.array([0.0, 1e7]), frame_seconds=0.1, window=1, stride=0.25)
    assert len(windows) <= 5, "not one for every quarter of a second of four months"
    assert [w.first_frame for w in windows] == [0, *[1] * (len(windows) - 1)]


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_windows_follow_the_times_of_the_frames(tmp_path, container):
    """A frame rate that varies, and a gap: what the container says of each frame counts, not its mean rate."""
    times = [0, 100, 200, 300, 1000, 1100, 60000, 60100, 60200]  # ms
    with av.open(str(tmp_path / f"a.{container}"), "w") as file:
        stream = file.add_stream("libx264", rate=10, options={"bf": "2"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for time_ms in times:
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    windows = windows_of_video(tmp_path / f"a.{container}", "a", window=1.0, stride=1.0)
    found = [(w.start_seconds, round(w.end_seconds, 2), w.first_frame, w.num_frames) for w in windows]
    assert found == [(0, 1, 0, 4), (1, 2, 4, 2), (60, 60.3, 6, 3)]


@pytest.mark.parametrize("container", ["mp4", "avi"])
def test_frames_of_windows_are_those_of_the_video(tmp_path, container, narrow_config):
    """Whichever order they are asked for in, and in files whose times are not trusted too."""
    codec = {"mp4": "libx264", "avi": "mpeg4"}[container]
    path = write_counting_video(tmp_path / f"a.{container}", 47, codec=codec, rate=10, options={"g": "12"})
    windows = windows_of_video(path, "a", window=2.0, stride=0.8)
    assert [w.first_frame for w in windows] == [0, 8, 16, 24, 32]
    assert windows[-1].num_frames == 15
    plan = build_test_plan(narrow_config("INFER.video_length=8", "INFER.sample_rate=2").INFER)
    parts = infer_videos(narrow_config().INFER, named=[str(path)] * len(windows))
    dataset = WindowDataset(parts, windows, plan)
    for index in (0, 1, 4, 2, 2, 0):
        sample = dataset.load(SampleRequest(0, index, index))
        window = windows[index]
        frames, order = decode_frames(
            path,
            lambda n, w=window: w.first_frame + plan.frame_indices(w.num_frames, ()),
            short_side=plan.frame_side(()),
        )
        expected = plan.make_views(frames, order, (), np.empty(plan.shape, np.uint8))
        np.testing.assert_array_equal(sample.clips, expected)
    dataset.close()


@pytest.mark.parametrize("stride", [0.8, 2.0])
def test_windows_move_forward_in_every_container(tmp_path, narrow_config, monkeypatch, stride):
    """Where frames are found by counting, no frame is decoded twice, although windows share frames."""
    path = write_counting_video(tmp_path / "a.avi", 47, codec="mpeg4", rate=10)
    windows = windows_of_video(path, "a", window=2.0, stride=stride)
    plan = build_test_plan(narrow_config("INFER.video_length=8", "INFER.sample_rate=2").INFER)
    parts = infer_videos(narrow_config().INFER, named=[str(path)] * len(windows))
    dataset = WindowDataset(parts, windows, plan)
    decoded = []
    for index in range(len(windows)):
        dataset.load(SampleRequest(0, index, index), starts_on=decoded.append)
    dataset.close()
    assert len(decoded) <= 47 + len(windows) + 1, "a call for each frame, before each window, and at the opening"


@pytest.mark.parametrize("num_workers", [1, 0])
def test_a_long_video_is_no_bad_video(tmp_path, narrow_config, num_workers):
    """The limit holds from frame to frame, not for the whole file: this one takes about five times as long."""
    path = write_counting_video(tmp_path / "a.avi", 47, codec="mpeg4", rate=10)
    videos = infer_videos(narrow_config().INFER, named=[str(path)])
    limits = {"num_workers": num_workers, "timeout_seconds": 1.0, "limit_per_step": True}
    (outcome,) = for_each_video(videos, slow_windows, [0], **limits)
    assert len(outcome.value) == 3, outcome.reason
    limits["limit_per_step"] = False
    (outcome,) = for_each_video(videos, slow_windows, [0], **limits)
    assert "gave nothing for 1 s" in outcome.reason


def slow_windows(path, listed, is_alive=lambda: None):
    """As windows_of_video, with 0.1 seconds a frame."""
    return windows_of_video(path, listed, lambda: (is_alive(), time.sleep(0.1)), window=2.0, stride=2.0)


def test_windows_find_what_happens_when(narrow_config, tmp_path):
    """A network that answers by brightness, on a video that grows brighter."""
    path = write_counting_video(tmp_path / "brighter.mp4", 40, rate=10)

    class ByBrightness:
        engine, precision = "test", "fp32"

        def __call__(self, views):
            level = (views.mean(axis=(1, 2, 3, 4)) > 120).astype(int)
            return np.eye(4, dtype=np.float32)[level]

    predictor = Predictor(ByBrightness(), narrow_config("INFER.video_length=8").INFER, class_names=NAMES)
    found = list(predictor.predict([path], window=1.0, stride=1.0))
    assert [(item.start_seconds, item.names[0]) for item in found] == [(0, "run"), (1, "run"), (2, "jump"), (3, "jump")]
    files = write_timelines(tmp_path, found)
    rows = list(csv.DictReader(files[0].read_text().splitlines()))
    assert [(row["start_seconds"], row["end_seconds"], row["name"]) for row in rows] == [
        ("0.0", "1.0", "run"), ("1.0", "2.0", "run"), ("2.0", "3.0", "jump"), ("3.0", "4.0", "jump"),
    ]  # fmt: skip
    (picture,) = files[1:]
    assert picture.name == "timeline_000_brighter.png"
    assert picture.read_bytes()[:4] == b"\x89PNG"


def run(config, predictor, videos, save_dir, **options):
    return run_inference(
        predictor, videos, network_name=config.MODEL.name, save_dir=save_dir, top_k=20, log_interval=10,
        **{"network_sha256": "p", **options},
    )  # fmt: skip


def test_inference_files(predictor, narrow_config, shapes, tmp_path, capsys):
    (tmp_path / "text.mp4").write_text("no video")
    good = [str(path) for path in sorted((shapes / "videos").rglob("*.mp4"))[:2]]
    videos = infer_videos(narrow_config().INFER, named=[good[0], f"{tmp_path}/text.mp4", good[1]])
    (bad,) = run(narrow_config(), predictor, videos, tmp_path)
    assert bad.path == f"{tmp_path}/text.mp4"
    content = (tmp_path / "NONLOCAL_infer_result").read_bytes()
    assert content[:2] == b"\x80\x02", "pickle protocol 2"
    rows = pickle.loads(content)
    assert [row[0] for row in rows] == good
    lines = [json.loads(line) for line in (tmp_path / "NONLOCAL_infer_result.jsonl").read_text().splitlines()]
    assert [line["path"] for line in lines] == [good[0], bad.path, good[1]]
    assert "not a video" in lines[1]["error"]
    for (path, probabilities, classes), line in zip(rows, (lines[0], lines[2]), strict=True):
        assert type(probabilities[0]) is float
        assert type(classes[0]) is int
        assert len(classes) == 4
        assert path == line["path"]
        assert [item["name"] for item in line["predictions"]] == [NAMES[class_] for class_ in classes]
        assert [item["probability"] for item in line["predictions"]] == probabilities
    screen = capsys.readouterr().out
    assert rows[0][0] in screen
    assert NAMES[rows[0][2][0]] in screen
    run(narrow_config(), predictor, videos, tmp_path, screen="jsonl")
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == lines


def test_inference_in_windows(predictor, narrow_config, shapes, tmp_path):
    video = str(next((shapes / "videos").rglob("*.mp4")))
    videos = infer_videos(narrow_config().INFER, named=[video])
    assert run(narrow_config(), predictor, videos, tmp_path, window=1.0, stride=0.5) == []
    rows = pickle.loads((tmp_path / "NONLOCAL_infer_result").read_bytes())
    assert rows[1][0] == f"{video}#t=0.5,1.5"
    assert (tmp_path / "timeline.csv").read_text().count("\n") == len(rows) + 1
    assert len(list(tmp_path.glob("timeline_000_*.png"))) == 1


def test_inference_without_any_readable_video_writes_nothing(predictor, narrow_config, tmp_path):
    videos = infer_videos(narrow_config().INFER, named=["absent.mp4"])
    for window in (None, 1.0):
        with pytest.raises(VideoError, match=r"no video could be read; absent\.mp4: no such file"):
            run(narrow_config(), predictor, videos, tmp_path, window=window)
    assert not list(tmp_path.iterdir())


def test_text_and_json_of_a_prediction():
    item = Prediction(0, "a.mp4", (3, 0), (0.75, 0.125), ("stand", "run"), start_seconds=65.0, end_seconds=75.0)
    assert as_text(item) == "a.mp4  1:05.0 - 1:15.0\n     75.00 %  stand\n     12.50 %  run"
    assert json.loads(as_json(item))["predictions"][1] == {"class": 0, "name": "run", "probability": 0.125}
    assert json.loads(as_json(Prediction(0, "\udcff.mp4", error="no video")))["path"] == "\udcff.mp4"


def test_times_and_names_of_windows():
    item = Prediction(0, "a.mp4", (3,), (1.0,), ("x",), start_seconds=59.97, end_seconds=10000.25)
    assert as_text(item).startswith("a.mp4  1:00.0 - 166:40.2")


def test_odd_names_in_timelines(tmp_path):
    """Bytes that are no UTF-8, formulas, and one video named twice."""
    names = ("$x^2$ \udcff", "b")
    items = [
        Prediction(k, "caf\udce9 $a$.mp4", (k % 2,), (0.5,), (names[k % 2],), k % 3, k % 3 + 1.5) for k in range(6)
    ]
    table, *pictures = write_timelines(tmp_path, items)
    assert len(pictures) == 2
    assert table.read_bytes().count(b"caf\xe9") == 6


class HangsOn(WindowDataset):
    """Hangs on the windows of one file."""

    def _decode(self, index, key, is_alive):
        if "bad" in self.videos.paths[index]:
            time.sleep(1000)
        return super()._decode(index, key, is_alive)


@pytest.mark.parametrize("num_workers", [pytest.param(2, marks=pytest.mark.slow), 0])
def test_a_file_that_hangs_is_given_up_once_for_all_its_windows(tmp_path, narrow_config, num_workers):
    paths = [write_counting_video(tmp_path / name, 40, rate=10) for name in ("bad.avi", "good.avi")]
    windows = windows_of_video(paths[0], "a", window=0.2, stride=0.2)
    section = narrow_config().INFER
    parts = infer_videos(section, named=[str(path) for path in paths for _ in windows])
    dataset = HangsOn(parts, windows * 2, build_test_plan(section))
    started = time.monotonic()
    with ClipLoader(dataset, batch_size=1, num_workers=num_workers, timeout_seconds=2) as loader:
        batches = list(loader.batches(listed_order(len(dataset))))
    assert [len(batch.bad_videos) for batch in batches] == [1] * len(windows) + [0] * len(windows)
    assert time.monotonic() - started < 60, "not a time limit for each of 20 windows"


class StoppedError(Exception):
    pass


def stop_after(count, predictor, monkeypatch):
    """Let the predictor raise StoppedError after some predictions, once."""
    original = predictor.predict_samples

    def predict_samples(*arguments, **options):
        for number, item in enumerate(original(*arguments, **options)):
            if number == count:
                monkeypatch.undo()
                raise StoppedError
            yield item

    monkeypatch.setattr(predictor, "predict_samples", predict_samples)


@pytest.mark.parametrize("window", [None, 0.5])
def test_a_stopped_inference_goes_on(predictor, narrow_config, shapes, tmp_path, monkeypatch, logged, window):
    """Every prediction is on disk when it is shown; the results are those of a run that was not stopped."""
    config = narrow_config()
    videos = infer_videos(config.INFER, named=[str(shapes / "videos")])
    expected = tmp_path / "whole"
    run(config, predictor, videos, expected, window=window)
    folder = tmp_path / "parts"
    for part, resume in ((3, False), (2, True)):
        stop_after(part, predictor, monkeypatch)
        with pytest.raises(StoppedError):
            run(config, predictor, videos, folder, window=window, resume=resume)
    partial = folder / "NONLOCAL_infer_result.partial.jsonl"
    lines = partial.read_text().splitlines()
    assert len(lines) == 1 + 5
    assert json.loads(lines[1])["path"].endswith(".mp4")
    partial.write_text("\n".join(lines) + '\n{"index": 5, "pa')  # ended while it wrote
    assert not (folder / "NONLOCAL_infer_result").exists()
    run(config, predictor, videos, folder, window=window, resume=True)
    assert "5 of " in logged()
    for name in ("NONLOCAL_infer_result", "NONLOCAL_infer_result.jsonl"):
        assert (folder / name).read_bytes() == (expected / name).read_bytes()
    assert not partial.exists()


def test_an_inference_goes_on_only_where_it_is_the_same(
    predictor, narrow_config, shapes, tmp_path, monkeypatch, logged
):
    config = narrow_config()
    listed = [str(tmp_path / f"{number}.mp4") for number in range(3)]
    for number, path in enumerate(listed):
        write_counting_video(path, 20 + number)
    videos = infer_videos(config.INFER, named=listed)

    def stopped(**options):
        stop_after(2, predictor, monkeypatch)
        with pytest.raises(StoppedError):
            run(config, predictor, videos, tmp_path / "out", **options)

    stopped()
    for options, different in (
        ({"network_sha256": "q"}, r"weights \(was p, is q\)"), ({"window": 0.5}, "window"),
        ({"top_k": 3}, r"infer_topk \(was 20, is 3\)"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=rf"belongs to another run, with other {different}; without --resume"):
            run_inference(
                predictor, videos, network_name="NONLOCAL", save_dir=tmp_path / "out", log_interval=10, resume=True,
                **{"network_sha256": "p", "top_k": 20, **options},
            )  # fmt: skip
    with pytest.raises(ConfigError, match="with other list"):
        run(config, predictor, infer_videos(config.INFER, named=listed[:2]), tmp_path / "out", resume=True)
    write_counting_video(listed[0], 30)
    run(config, predictor, videos, tmp_path / "out", resume=True)
    assert f"1 videos have changed, and are predicted again: {listed[0]}" in logged()
    assert "1 of 3 were predicted before" in logged()
    stopped()
    run(config, predictor, videos, tmp_path / "out")
    assert "of a stopped run is written anew; --resume would go on with it" in logged()


def test_two_inferences_into_one_folder(predictor, narrow_config, shapes, tmp_path):
    """The second is refused while the first lives; another network's results may be written beside them."""
    config = narrow_config()
    videos = infer_videos(config.INFER, named=[str(next((shapes / "videos").rglob("*.mp4")))])
    journal = {"origin": {}, "stamps": {}, "resume": False, "processes": ALONE}
    with PredictionJournal(tmp_path / "NONLOCAL_infer_result", **journal):
        with pytest.raises(ConfigError, match=r"partial\.jsonl is being written by a live run: wait for it"):
            run(config, predictor, videos, tmp_path)
        run_inference(
            predictor, videos, network_name="OTHER", network_sha256="p", save_dir=tmp_path, top_k=2, log_interval=10
        )
    run(config, predictor, videos, tmp_path)
    assert (tmp_path / "OTHER_infer_result").is_file()
    assert (tmp_path / "NONLOCAL_infer_result").is_file()
