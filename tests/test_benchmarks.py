"""The benchmark programs run, and what they compare computes the same. No speed is asserted."""

import json
import os
import shlex
import subprocess
import sys
import time

import numpy as np
import paddle
import pytest
from conftest import NARROW, ROOT, list_overrides
from network_configs import load_config
from seeded_values import clip, fill

from benchmarks import nonlocal_gain
from benchmarks.formulations import FORMULATIONS, apply_formulation
from benchmarks.measuring import in_new_process, print_table
from benchmarks.nonlocal_gain import report, sign_flip_p
from benchmarks.striking import differences
from engine.scoring.runtimes import RUNTIMES
from models.registry import build_model
from utils.errors import TrainingError


def network():
    overrides = ["MODEL.width_mult=0.0625", "TRAIN.crop_size=32", "TRAIN.dropout_rate=0", "MODEL.num_classes=5"]
    return fill(build_model(load_config(ROOT / "configs" / "nonlocal.txt", overrides)))


@pytest.mark.parametrize("name", FORMULATIONS)
def test_every_formulation_computes_the_same(name):
    x = paddle.to_tensor(clip("any", (2, 3, 8, 64, 64)))
    changed = network()
    apply_formulation(changed, name)
    np.testing.assert_allclose(changed.logits(x).numpy(), network().logits(x).numpy(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", [name for name, (_, trains) in FORMULATIONS.items() if trains])
def test_formulations_that_train_have_the_same_gradients(name):
    gradients = []
    for changed in (network(), network()):
        if gradients:
            apply_formulation(changed, name)
        changed.train()
        changed(paddle.to_tensor(clip("any", (2, 3, 8, 32, 32)))).square().sum().backward()
        gradients.append(changed.conv1[0].convolution.weight.grad.numpy())
    np.testing.assert_allclose(*gradients, rtol=1e-3, atol=1e-3 * np.abs(gradients[0]).max())


def test_pytorch_computes_the_same():
    torch = pytest.importorskip("torch")
    from benchmarks.torch_network import TorchNetwork

    ours = network()
    theirs = TorchNetwork({name: value.numpy() for name, value in ours.state_dict().items()}, window=(4, 1, 1)).eval()
    x = clip("any", (1, 3, 8, 64, 64))
    with torch.no_grad():
        found = theirs(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, ours.logits(paddle.to_tensor(x)).numpy(), atol=1e-4, rtol=1e-4)


def test_a_case_of_the_block_benchmark():
    program = str(ROOT / "benchmarks" / "nonlocal_block.py")
    found = in_new_process(program, ["--case", "8", "256"])
    assert found["seconds"] > 0
    assert "failed" in in_new_process(program, ["--case", "no", "number"])


@pytest.mark.parametrize("program", ["network.py", "nonlocal_block.py", "families.py", "inference.py", "copies.py"])
def test_help_of_the_programs(program):
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / program), "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "--json" in done.stdout


def test_what_non_local_blocks_add_is_told_with_its_doubts():
    """Two folds of three videos; the third network of a family makes no pair."""
    right = {"C2D": [1, 0, 0, 0, 0, 0], "C2D-NL": [1, 1, 1, 1, 1, 1], "TSM": [1, 1, 1, 0, 0, 0]}

    def fold(hits, first):
        videos = [{"path": f"{first + k}.mp4", "correct": bool(hit)} for k, hit in enumerate(hits)]
        return {"videos": videos, "metrics": {"clip_top1": 0.5}}

    scored = {name: [fold(hits[:3], 0), fold(hits[3:], 3)] for name, hits in right.items()}
    text = report(scored, num_classes=4)
    assert "| C2D | 16.7 % (1 of 6) | 3.0 to 56.4 % | 50.0 % |" in text
    assert "| C2D | +83.3 | +50.0 to +100.0 | 5, 0 | 0.06 |" in text
    assert "TSM-NL" not in text
    assert "| all |" not in text
    scored["TSM-NL"] = scored["C2D-NL"]
    (line,) = [line for line in report(scored, num_classes=4).splitlines() if line.startswith("| all |")]
    assert line.startswith("| all | +66.7 |")
    assert line.endswith("| 8, 0 | 0.06 |"), "five videos differ: 2 of 32 signs"
    del scored["C2D"][0]["videos"][0], scored["TSM"][1]["videos"][0]
    lines = report(scored, num_classes=4).splitlines()
    assert "| C2D | 0.0 % (0 of 5) |" in "".join(lines), "a video that could not be scored"
    assert [line.partition(" |")[2].split("|")[0].strip() for line in lines[-3:]] == ["+100.0", "+40.0", "+75.0"]


def test_an_experiment_of_another_list_has_folders_of_its_own(tmp_path, monkeypatch):
    calls = []

    def run(args, folder, program, config, **_):
        calls.append((folder, program))
        if program == "test.py":
            (folder / "test").mkdir(exist_ok=True)
            (folder / "test" / "results.json").write_text(json.dumps({"list": (folder / "test.txt").read_text()}))

    monkeypatch.setattr(nonlocal_gain, "run", run)
    table = tmp_path / "folds.csv"
    for label, column in ((0, "fold"), (0, "fold"), (1, "fold"), (1, "other")):
        table.write_text(f"path,label,fold,other\na 1,{label},0,1\nb.mp4,0,1,0\n")
        args = nonlocal_gain.parse_arguments([str(table), "--column", column, "--out", str(tmp_path / "out")])
        found = nonlocal_gain.run_fold(args, nonlocal_gain.read_rows(table, column, None), 0, "C2D", 2)
        expected = f'"{tmp_path}/a 1" {label}\n' if column == "fold" else f"{tmp_path}/b.mp4 0\n"
        assert found["list"] == expected
    assert len({folder for folder, _ in calls}) == 3
    assert len(calls) == 6, "the second is the first"


def test_after_an_error_no_other_training_begins(tmp_path, monkeypatch):
    calls = []

    def run(args, folder, program, config, **_):
        calls.append(folder)
        raise TrainingError("it failed")

    monkeypatch.setattr(nonlocal_gain, "run", run)
    (tmp_path / "folds.csv").write_text("path,label,loto_fold\n" + "".join(f"{k},0,{k}\n" for k in range(50)))
    with pytest.raises(TrainingError):
        nonlocal_gain.main([str(tmp_path / "folds.csv"), "--out", str(tmp_path / "out")])
    assert len(calls) < 500


def run_benchmark(program, *arguments):
    """The rows that a program writes with --json, which it prints as a table too."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / program), *map(str, arguments)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done


def test_readers_that_sleep_give_their_clips(tmp_path):
    """The program itself looks at the pixels of every clip."""
    rows = tmp_path / "rows.json"
    run_benchmark("loader_scale.py", "--readers", 1, 3, "--clips", 40, "--milliseconds", 5, "--json", rows)
    assert [row["readers"] for row in json.loads(rows.read_text())] == [1, 3]


@pytest.mark.slow
def test_engines_beside_one_another(shapes, tmp_path):
    """Two chunks of every engine, crops and whole frames, with the accuracy of random weights."""
    overrides = [part for override in NARROW for part in ("-o", override)]
    done = run_benchmark(
        "inference.py", shapes / "test.txt", "--videos", 2, "--chunk", 1, "--full", "--engines", "dygraph",
        "onnxruntime", "--json", tmp_path / "rows.json", *overrides,
    )  # fmt: skip
    rows = {row["engine"]: row for row in json.loads((tmp_path / "rows.json").read_text())}
    assert next(iter(rows)) == "dygraph fp32", done.stderr
    if not RUNTIMES["onnxruntime"].is_installed:
        return
    assert list(rows) == [
        f"{name}{views}" for views in ("", ", whole frames")
        for name in ("dygraph fp32", "onnxruntime fp32", "onnxruntime int8")
    ], done.stderr  # fmt: skip
    assert float(rows["onnxruntime fp32"]["change"]) < 1e-5
    assert rows["onnxruntime fp32"]["videos %"] == "100.0"
    assert all(row["top-1"].endswith("of 2)") for row in rows.values())


@pytest.mark.slow
def test_programs_that_are_struck_go_on_and_leave_nothing():
    """The short form: two signals each, at moments that the seed decides."""
    programs = ("train", "test", "infer, windows", "check_videos", "resize_videos", "export")
    done = run_benchmark("chaos.py", "--runs", 1, "--kills", 2, "--seed", 3, "--programs", *programs)
    assert done.stdout.count("| 0 |") >= len(programs)


def test_what_differs_is_found(tmp_path):
    """Of two folders: contents, names, and not the times in them."""
    for folder, seconds in (("a", 1.5), ("b", 2.5)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "r.json").write_text(json.dumps({"seconds": seconds, "top1": 0.5}))
        (tmp_path / folder / "x.log").write_text(folder)
    assert differences(tmp_path / "a", tmp_path / "b") == []
    (tmp_path / "b" / "r.json").write_text('{"seconds": 1, "top1": 0.6}')
    (tmp_path / "b" / ".r.json.tmp").touch()
    (tmp_path / "b" / "x.log").unlink()
    faults = differences(tmp_path / "a", tmp_path / "b")
    assert len(faults) == 3
    assert faults[:2] == ["missing: x.log", "too much: .r.json.tmp"] and faults[2].startswith("r.json differs")


def test_pairs_by_the_flipping_of_signs():
    """All 2^6 signs by hand: of six equal differences two are as far from 0."""
    assert abs(sign_flip_p(np.ones(6)) - 2 / 64) < 0.01
    assert sign_flip_p(np.array([1.0, -1.0])) == 1


def test_tables(capsys):
    print_table([{"a": 1, "b": 0.5}, {"a": "x", "c": 12.345}])
    expected = ["| a | b | c |", "| --- | --- | --- |", "| 1 | 0.5 | - |", "| x | - | 12.3 |"]
    assert capsys.readouterr().out.splitlines() == expected


def test_all_names_programs_and_flags_that_exist():
    script = ROOT / "benchmarks" / "all.sh"
    done = subprocess.run(["bash", str(script)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "usage: bash benchmarks/all.sh FILELIST\n")
    lines = [shlex.split(line) for line in script.read_text().splitlines() if line.startswith("measure ")]
    assert len(lines) >= 7
    for _, _, program, *arguments in lines:
        text = (ROOT / "benchmarks" / program).read_text()
        assert all(f'"{flag}"' in text for flag in arguments if flag.startswith("--")), program


@pytest.mark.slow
def test_long_runs_are_watched():
    """A tenth of two of them: the program sees processes, files and memory, and they do not grow by much."""
    done = run_benchmark("endurance.py", "--share", 0.1, "--runs", "1,000 Predictor calls", "300 s of a stream")
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines() if line.startswith(("| 1,000", "| 300"))]
    assert len(rows) == 2, done.stdout
    for row in rows:
        megabytes, _, files = row[2], row[3], row[4]
        early, late = map(float, megabytes.split(","))
        assert early > 50 and late < 1.5 * early
        assert abs(float(files.split(",")[1]) - float(files.split(",")[0])) < 5


def test_programs_of_another_run_are_left_alone(tmp_path):
    """Two runs of chaos.py beside one another: each sees, strikes and ends its own processes only."""
    from benchmarks.striking import MARK, marked_processes

    command = [sys.executable, "-c", "input()"]
    ours, theirs = (
        subprocess.Popen(command, stdin=subprocess.PIPE, env={**os.environ, MARK: str(tmp_path / name)})
        for name in ("a", "ab")
    )
    try:
        for _ in range(100):
            if ours.pid in marked_processes(tmp_path / "a"):
                break
            time.sleep(0.1)
        assert marked_processes(tmp_path / "a") == [ours.pid]
    finally:
        for process in (ours, theirs):
            process.communicate(b"\n")


@pytest.mark.slow
def test_a_program_goes_on_after_any_write_that_failed():
    """All 24 of a small program: one line, exit code 2, and what the next run leaves is as if nothing had been."""
    done = run_benchmark("chaos.py", "--failing_writes", 100, "--programs", "make_filelist")
    row = next(line for line in done.stdout.splitlines() if line.startswith("| make_filelist"))
    _, writes, failed, faults = (cell.strip() for cell in row.split("|")[1:-1])
    assert int(writes) >= 20 and int(failed) == 2 * int(writes) and faults == "0"


def test_a_disk_that_fails(tmp_path):
    """The wrapper itself: which write fails, and for how long."""
    program = tmp_path / "program.py"
    program.write_text(
        "import os, sys\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n"
        "        with open(name, 'w') as handle: handle.write('x')\n"
        "    except OSError as error: print(name, error.errno)\n"
    )
    wrapper = ROOT / "benchmarks" / "failing_disk.py"
    for number, error, wanted in ((0, "EIO", []), (3, "EIO", ["b 5"]), (3, "ENOSPC", ["b 28", "c 28"])):
        command = [sys.executable, wrapper, str(number), error, program, "a", "b", "c", "/dev/null"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.stdout.splitlines() == wanted
        assert done.stderr == ("writes: 6\n" if number == 0 else "")


@pytest.mark.slow
def test_a_training_on_a_disk_that_is_full(shapes, tmp_path):
    """A real one: a small file system in memory, which then grows."""
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("no file system may be mounted here")
    keys = " ".join(f"-o {shlex.quote(key)}" for key in [*NARROW, *list_overrides(shapes)])
    train = f"{sys.executable} {ROOT}/train.py --config {ROOT}/configs/nonlocal.txt {keys} --use_gpu=false"
    train += " --pretrain=none --epoch=2 --resume=auto --save_dir=disk/run --valid_interval=0"
    script = f"mkdir disk && mount -t tmpfs -o size=1m tmpfs disk && {train} 2>full.txt; echo $? >> full.txt; "
    script += (
        f"ls -A disk/run > left.txt; mount -o remount,size=100m disk && {train} 2>again.txt && ls disk/run > done.txt"
    )
    done = subprocess.run(["unshare", "--mount", "bash", "-c", script], cwd=tmp_path, capture_output=True, text=True)
    full = (tmp_path / "full.txt").read_text()
    if not full:
        pytest.skip(f"no file system may be mounted here: {done.stderr}")
    assert done.returncode == 0, done.stderr + (tmp_path / "again.txt").read_text()
    assert full.splitlines()[-1] == "2"
    assert "Traceback" not in full
    assert "error: disk/run: " in full and "make room" in full
    assert ".tmp" not in (tmp_path / "left.txt").read_text()
    assert "NONLOCAL_epoch1.pdparams" in (tmp_path / "done.txt").read_text()
