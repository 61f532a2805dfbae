"""infer.py --stream: answers equal those for the windows of the file, are on disk as they come, and end on request."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import partial

import numpy as np
import paddle
import pytest
from conftest import NARROW, ROOT
from seeded_values import fill
from test_datareader_streaming import write_stream

from datareader.streaming.source import named_source
from engine.scoring.predictor import Predictor
from engine.scoring.scorers import DygraphScorer
from engine.scoring.stream_inference import run_stream
from models.registry import build_model
from utils.errors import ConfigError, VideoError


@pytest.fixture
def predictor(narrow_config):
    section = replace(narrow_config().INFER, num_test_clips=1, use_multi_crop=0)  # quick: no window is left out
    return Predictor(DygraphScorer(fill(build_model(narrow_config()))), section, class_names=list("abcd"))


@pytest.fixture
def piped(tmp_path):
    """Write a file into a new named pipe, from a thread; return the pipe."""

    def pipe(content):
        path = tmp_path / f"pipe{len(list(tmp_path.glob('pipe*')))}"
        os.mkfifo(path)
        threading.Thread(target=path.write_bytes, args=(content,), daemon=True).start()
        return path

    return pipe


@pytest.fixture
def watch(predictor, tmp_path):
    settings = {"window": 1.0, "stride": 0.5, "patience_seconds": 5.0, "network_name": "NONLOCAL", "top_k": 2}
    return partial(run_stream, predictor, save_dir=tmp_path / "out", **settings)


def rows_of(folder):
    return [json.loads(line) for line in (folder / "NONLOCAL_stream_result.jsonl").read_text().splitlines()]


def test_the_answers_are_those_for_the_windows_of_the_file(predictor, watch, piped, tmp_path, capsys):
    next(iter(predictor.predict(np.zeros((8, 48, 64, 3), np.uint8))))  # the first one takes longest
    file = write_stream(tmp_path / "s.ts", 85)
    pipe = piped(file.read_bytes())
    assert watch(named_source(str(pipe)), stride=0.8)
    rows = rows_of(tmp_path / "out")
    windows = list(predictor.predict(str(file), window=1.0, stride=0.8, top_k=2))
    assert len(windows) == 4
    wanted = {round(item.start_seconds, 3): item for item in windows}
    assert len({row["start_seconds"] for row in rows}) == len(rows) >= 1, "on a slow machine windows are left out"
    for row in rows:
        item = wanted[row["start_seconds"]]
        assert row["path"] == str(pipe)
        assert row["end_seconds"] == round(item.end_seconds, 3)
        assert [found["name"] for found in row["predictions"]] == list(item.names)
        assert [found["probability"] for found in row["predictions"]] == pytest.approx(item.probabilities, abs=1e-6)
        assert row["received"] > "2020"
    assert " - 0:0" in capsys.readouterr().out


def test_answers_of_earlier_runs_stay_and_a_torn_line_is_ended(watch, piped, tmp_path):
    content = write_stream(tmp_path / "s.ts", 30).read_bytes()
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "NONLOCAL_stream_result.jsonl").write_text('{"path": "earlier"}\n{"path": "to')
    watch(named_source(str(piped(content))))
    lines = (folder / "NONLOCAL_stream_result.jsonl").read_text().splitlines()
    assert lines[:2] == ['{"path": "earlier"}', '{"path": "to']
    assert all(json.loads(line)["predictions"] for line in lines[2:])
    assert 3 <= len(lines) <= 4, "on a slow machine a window is left out"


def test_too_slow_a_network_is_said_once(predictor, watch, piped, tmp_path, caplog, monkeypatch):
    scorer = predictor._scorer
    monkeypatch.setattr(predictor, "_scorer", lambda clips: (time.sleep(0.2), scorer(clips))[1])
    watch(named_source(str(piped(write_stream(tmp_path / "s.ts", 60).read_bytes()))), window=0.2, stride=0.1)
    assert caplog.text.count("--views 1x1") == 1
    assert "windows because the network did" in caplog.text


def test_what_is_no_video_is_an_error(watch, piped):
    with pytest.raises(VideoError, match="no video"):
        watch(named_source(str(piped(b"rubbish" * 100))))


def test_one_run_writes_a_file(watch, piped, tmp_path):
    from engine.scoring.locked_file import open_locked

    with open_locked(tmp_path / "out" / "NONLOCAL_stream_result.jsonl"), pytest.raises(ConfigError, match="live run"):
        watch(named_source(str(piped(b""))))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_watch_with_the_answers_on_disk(number, narrow_config, tmp_path):
    paddle.save(fill(build_model(narrow_config())).state_dict(), str(tmp_path / "w.pdparams"))
    command = [sys.executable, str(ROOT / "infer.py"), "--config", str(ROOT / "configs" / "nonlocal.txt")]
    command += [f"--override={key}" for key in NARROW]
    command += ["--weights=w.pdparams", "--engine=dygraph", "--stream=-", "--window=0.5", "--save_dir=out"]
    content = write_stream(tmp_path / "s.ts", 60).read_bytes()
    process = subprocess.Popen(
        command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        process.stdin.buffer.write(content)
        process.stdin.buffer.flush()
        lines = []
        while not any("- 0:0" in line for line in lines):  # an answer: of which window is a matter of speed
            lines.append(process.stdout.readline())
            assert lines[-1], "".join(lines)
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, "".join(lines) + output
    assert rows_of(tmp_path / "out")
    assert "answers in" in output


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--stream=-", "a.mp4"], "--stream and VIDEO"),
        (["--stream=-", "--features=f.npz"], "--stream and --features"),
        (["--stream=-", "--resume"], "--stream and --resume"),
        (["--stream=-", "--filelist=list.txt"], "--stream and --filelist"),
        (["--stream=-", "--feature_views=all"], "--stream and --feature_views"),
        (["--patience=3", "a.mp4"], "--stream"),
        (["--stream=gone"], "no camera, pipe or address"),
    ],
)
def test_contradictions_are_one_line(arguments, reason, tmp_path, monkeypatch):
    import infer

    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=reason):
        infer.main([f"--config={ROOT}/configs/nonlocal.txt", "--weights=w.pdparams", *arguments])
