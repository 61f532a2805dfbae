"""Several processes on one machine, over gloo: the same numbers as one, and no end that is not explained."""

import contextlib
import json
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import NARROW, ROOT, list_overrides
from loaded_weights import load_weights
from strangers import listening_ports, visit

from models.normalisation import synchronised
from models.registry import build_model

STEADY = [
    "TRAIN.freeze_bn=True", "TRAIN.dropout_rate=0", "MODEL.bn_init_gamma=0.5", "NONLOCAL.bn_init_gamma=0.5"
]  # fmt: skip

# Runs train.py, and makes one process do something else than its step at iteration 3.
MISBEHAVING = """
import os, sys
sys.path.insert(0, {root!r})
from engine.training.train_step import TrainStep
run = TrainStep.run
def step(self, batch, *, iteration, learning_rate):
    if iteration == 3 and os.environ["PADDLE_TRAINER_ID"] == "1":
        {deed}
    return run(self, batch, iteration=iteration, learning_rate=learning_rate)
TrainStep.run = step
if __name__ == "__main__":
    from train import main
    from utils.commandline import run_program
    sys.exit(run_program(main))
"""


# Runs train.py; the first process takes a second and a half more to end than the others.
SLOW_TO_END = """
import atexit, os, sys, time
sys.path.insert(0, {root!r})
if os.environ["PADDLE_TRAINER_ID"] == "0":
    atexit.register(time.sleep, 1.5)
from train import main
from utils.commandline import run_program
sys.exit(run_program(main))
"""


def end_of(process, folder):
    """Exit code and all output of a run that `launch` has started."""
    output, _ = process.communicate(timeout=200)
    logs = [path.read_text() for path in sorted((folder / "log").glob("workerlog.*"))]
    return process.returncode, "\n".join([output, *logs])


@pytest.fixture
def launch(shapes, tmp_path):
    """Run a program in some processes, narrow and on the generated videos; 1 without the launcher."""

    def run(count, program, *arguments, overrides=(), wait=True):
        launcher = ["-m", "paddle.distributed.launch", "--nproc_per_node", str(count), "--log_dir", "log"]
        command = [sys.executable, *(launcher if count > 1 else []), str(ROOT / program)]
        command += ["--config", str(ROOT / "configs" / "nonlocal.txt"), "--use_gpu=false"]
        for override in [*NARROW, *list_overrides(shapes), *overrides]:
            command += ["-o", override]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        environment = {**os.environ, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1", "PADDLE_PORT": str(port)}
        process = subprocess.Popen(
            [*command, *arguments],
            cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        return end_of(process, tmp_path) if wait else process

    return run


def parameters(folder):
    return load_weights(str(folder)).parameters


@pytest.mark.parametrize("count", [pytest.param(2), pytest.param(4, marks=pytest.mark.slow)])
def test_several_processes_train_the_parameters_of_one(launch, tmp_path, count):
    """Three steps of four clips in all, with BN frozen and no dropout: to a thousandth of what training moved.

    The sums of several processes are rounded elsewhere, and where a unit of ReLU or a maximum turns over by that,
    the difference grows a hundredfold in a step, on one processor and not on another: hence few steps, and a bound
    in the units of the change. A gradient that is summed or counted wrongly is off by half of it.
    """
    arguments = ("--pretrain=none", "--valid_interval=0", "--log_interval=1")
    overrides = [*STEADY, "TRAIN.max_iter=3", "TRAIN.learning_rate=0.005"]
    for number in (1, count):
        code, output = launch(number, "train.py", f"--save_dir=run{number}", *arguments, overrides=overrides)
        assert code == 0, output
    one, several = (load_weights(str(tmp_path / f"run{number}")) for number in (1, count))
    start = load_weights(str(tmp_path / "run1" / "NONLOCAL_epoch0"))
    moved = max(np.abs(value - start.parameters.values[name]).max() for name, value in one.parameters.values.items())
    assert moved > 1e-2, "there was something to agree on"
    for name, value in one.parameters.values.items():
        np.testing.assert_allclose(several.parameters.values[name], value, rtol=0, atol=1e-3 * moved, err_msg=name)
    assert one.position == several.position
    files = {path.name for path in (tmp_path / f"run{count}").iterdir()}
    assert {"train.log", *(f"train.rank{rank}.log" for rank in range(1, count))} <= files
    rows = [
        [json.loads(line) for line in (tmp_path / f"run{number}" / "metrics.jsonl").read_text().splitlines()]
        for number in (1, count)
    ]
    assert len(rows[0]) == len(rows[1]) == 3
    for alone, together in zip(*rows, strict=True):
        assert together["loss"] == pytest.approx(alone["loss"], abs=1e-4)
        assert together["top1"] == alone["top1"]
        assert together["gradient_norm"] == pytest.approx(alone["gradient_norm"], rel=1e-3)


@pytest.fixture
def seven_videos(shapes, tmp_path):
    """A labelled list of seven videos, one of which cannot be read."""
    (tmp_path / "broken.mp4").write_text("no video")
    names = (shapes / "train.txt").read_text().splitlines()[:6]
    listing = tmp_path / "seven.txt"
    listing.write_text("\n".join([*(f"{shapes}/{name}" for name in names), f"{tmp_path}/broken.mp4 1"]))
    return listing


@pytest.mark.parametrize("count", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_any_number_of_processes_scores_the_same(launch, tmp_path, seven_videos, narrow_config, count):
    """Test and inference, of seven videos by one process and by several."""
    import paddle

    config = narrow_config("MODEL.bn_init_gamma=0.5")
    paddle.seed(3)
    paddle.save(build_model(config).state_dict(), str(tmp_path / "w.pdparams"))
    arguments = ("--weights=w.pdparams", f"--filelist={seven_videos}", "--engine=dygraph")
    found, answers = [], []
    for number in (1, count):
        code, output = launch(
            number, "test.py", f"--save_dir=test{number}", *arguments, overrides=["TEST.num_test_clips=3"]
        )
        assert code == 1, output
        assert "videos scored   6 of 7" in output
        results = json.loads((tmp_path / f"test{number}" / "results.json").read_text())
        same = {key: results[key] for key in ("metrics", "classes", "mistakes", "videos", "unscored", "list_sha256")}
        found.append((same, (tmp_path / f"test{number}" / "results_probs.pkl").read_bytes()))
        code, output = launch(
            number, "infer.py", f"--save_dir=infer{number}", *arguments, overrides=["INFER.num_test_clips=3"]
        )
        assert code == 1, output
        assert output.count("broken.mp4: not a video") >= 1
        answers.append(pickle.loads((tmp_path / f"infer{number}" / "NONLOCAL_infer_result").read_bytes()))
    assert found[0] == found[1]
    assert len(answers[0]) == 6
    assert answers[0] == answers[1]


@pytest.mark.slow
def test_validation_is_shared_out(launch, tmp_path, seven_videos):
    rows = []
    for count in (1, 2, 3):
        code, output = launch(
            count, "train.py", "--pretrain=none", f"--save_dir=run{count}",
            overrides=[*STEADY, "TRAIN.max_iter=1", "TRAIN.batch_size=6", f"VALID.filelist={seven_videos}"],
        )  # fmt: skip
        assert code == 0, output
        lines = (tmp_path / f"run{count}" / "metrics.jsonl").read_text().splitlines()
        (row,) = [json.loads(line) for line in lines if '"valid"' in line]
        assert (row["num_scored"], row["num_videos"]) == (6, 7)
        rows.append(row)
    for row in rows[1:]:
        assert row["top1"] == rows[0]["top1"]
        assert row["loss"] == pytest.approx(rows[0]["loss"], abs=1e-5)


@pytest.mark.parametrize(
    ("deed", "rank", "error"),
    [
        ("raise RuntimeError('the moon is full')", 1, "the moon is full"),
        ("os.kill(os.getpid(), 9)", 0, "process 1 of the run has ended"),
    ],
)
def test_when_one_process_ends_all_end_and_the_reason_is_written(launch, tmp_path, deed, rank, error):
    (tmp_path / "bad_train.py").write_text(MISBEHAVING.format(root=str(ROOT), deed=deed))
    started = time.monotonic()
    code, output = launch(
        2, str(tmp_path / "bad_train.py"), "--pretrain=none", "--valid_interval=0", "--save_dir=run", "--epoch=500"
    )
    assert code not in (0, 75), output
    assert time.monotonic() - started < 60, "start included"
    failure = json.loads((tmp_path / "run" / "failure.json").read_text())
    assert failure["rank"] == rank
    assert error in failure["message"]
    assert failure["log"] == ("run/train.rank1.log" if rank else "run/train.log")
    assert re.search(r"see run/failure\.json", output)
    assert "Traceback" in "".join(failure["traceback"])


@pytest.mark.slow
def test_a_process_that_cannot_start_is_explained(launch, tmp_path):
    script = MISBEHAVING.format(root=str(ROOT), deed="pass")
    script = script.replace(
        "if __name__",
        """
import engine.training.run
start = engine.training.run.start_training
def start_training(*args, **kwargs):
    if os.environ["PADDLE_TRAINER_ID"] == "1":
        raise FileNotFoundError(2, "gone", "weights")
    return start(*args, **kwargs)
engine.training.run.start_training = start_training
if __name__""",
    )
    (tmp_path / "late_train.py").write_text(script)
    code, output = launch(2, str(tmp_path / "late_train.py"), "--pretrain=none", "--save_dir=run")
    assert code != 0, output
    failure = json.loads((tmp_path / "run" / "failure.json").read_text())
    assert (failure["rank"], failure["error"]) == (1, "FileNotFoundError")


@pytest.mark.slow
def test_several_processes_are_profiled(launch, tmp_path):
    code, output = launch(2, "train.py", "--pretrain=none", "--profile=2", "--save_dir=run")
    assert code == 0, output
    assert re.search(r"exchange +\d", output) and "over 2 iterations" in output
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_slow_process_is_waited_for(launch, tmp_path):
    """Longer than the 30 seconds after which gloo gives up."""
    (tmp_path / "slow_train.py").write_text(
        MISBEHAVING.format(root=str(ROOT), deed="import time; time.sleep(35); print('slept')")
    )
    code, output = launch(
        2, str(tmp_path / "slow_train.py"), "--pretrain=none", "--valid_interval=0", "--save_dir=run", "--epoch=2"
    )
    assert code == 0, output
    assert "slept" in output


@pytest.mark.slow
@pytest.mark.parametrize(("receiver", "end"), [("process", 75), ("launcher", signal.SIGTERM)])
def test_a_signal_stops_all_and_the_run_goes_on(launch, tmp_path, receiver, end):
    """To one process; or to the launcher, which sends each three of them, and ends with the signal's number.

    The first process ends last: the launcher would kill it if another one had ended with an exit code.
    """
    (tmp_path / "slow_to_end.py").write_text(SLOW_TO_END.format(root=str(ROOT)))
    arguments = ("--pretrain=none", "--valid_interval=0", "--log_interval=1", "--epoch=4", "--resume=auto")
    overrides = ["TRAIN.batch_size=2"]
    code, output = launch(2, "train.py", "--save_dir=whole", *arguments, overrides=overrides)
    assert code == 0, output
    script = str(tmp_path / "slow_to_end.py")
    process = launch(2, script, "--save_dir=part", *arguments, overrides=overrides, wait=False)
    log = tmp_path / "part" / "train.log"
    while not (log.is_file() and "iteration 5/16" in log.read_text()):
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(children_of(process)[-1] if receiver == "process" else process.pid, signal.SIGTERM)
    process.communicate(timeout=100)
    assert process.returncode == end
    assert "goes on from here" in log.read_text()
    code, output = launch(2, "train.py", "--save_dir=part", *arguments, overrides=overrides)
    assert code == 0, output
    assert "resuming part/NONLOCAL_" in output
    whole, part = load_weights(str(tmp_path / "whole")), load_weights(str(tmp_path / "part"))
    for name, value in whole.parameters.values.items():
        np.testing.assert_array_equal(part.parameters.values[name], value, err_msg=name)


def children_of(process):
    found = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout
    return [int(pid) for pid in found.split()]


def is_store(port, pid):
    """Whether a port is that of the store through which Paddle's processes find each other."""
    variables = dict(pair.partition("=")[::2] for pair in Path(f"/proc/{pid}/environ").read_text().split("\0"))
    return port in {int(variables[name].rpartition(":")[2]) for name in ("PADDLE_MASTER", "PADDLE_CURRENT_ENDPOINT")}


@pytest.mark.slow
def test_strangers_at_every_port_do_not_disturb_a_run(launch, tmp_path):
    """Those of Paddle's store as soon as it is there, and all others once the processes have found each other."""
    arguments = ("--pretrain=none", "--valid_interval=0", "--epoch=12")
    code, output = launch(2, "train.py", "--save_dir=alone", *arguments)
    assert code == 0, output
    process = launch(2, "train.py", "--save_dir=visited", *arguments, wait=False)
    visited, log = set(), tmp_path / "visited" / "train.log"
    while process.poll() is None:
        for port, pid in listening_ports([process.pid, *children_of(process)]).items():
            if port not in visited and (log.is_file() or is_store(port, pid)):
                visited.add(port)
                visit(("127.0.0.1", port), seconds=1, seed=port)
        time.sleep(0.05)
    code, output = end_of(process, tmp_path)
    assert code == 0, output
    assert visited
    alone, disturbed = load_weights(str(tmp_path / "alone")), load_weights(str(tmp_path / "visited"))
    for name, value in alone.parameters.values.items():
        np.testing.assert_array_equal(disturbed.parameters.values[name], value, err_msg=name)


@pytest.mark.slow
def test_a_stranger_who_takes_the_place_of_a_process_is_explained(launch, tmp_path):
    """At the start, gloo takes the first who comes to some ports, for a few milliseconds, for another process."""
    process = launch(2, "train.py", "--pretrain=none", "--valid_interval=0", "--save_dir=run", wait=False)
    visited, log = set(), tmp_path / "run" / "train.log"
    while process.poll() is None and not log.is_file():
        for port in set(listening_ports(children_of(process))) - visited:
            visited.add(port)
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=2).close()
    code, output = end_of(process, tmp_path)
    assert visited
    if code != 0:  # it was there in time
        assert re.search("error: the exchange of addresses failed: .* start the run again", output), output
        assert "Traceback" not in output


def test_a_batch_that_cannot_be_shared_out_is_refused(narrow_config, tmp_path):
    from small_trainer import make_trainer

    from engine.distributed import Processes
    from utils.errors import ConfigError

    with pytest.raises(ConfigError, match=r"batch_size \(4\) must be divisible by the number of processes \(3\)"):
        make_trainer(narrow_config(), tmp_path, processes=Processes(0, 3))


def test_synchronised_bn_keeps_names_and_values(narrow):
    """Its forward pass needs a GPU; what is saved does not."""
    network, _ = narrow()
    before = {name: value.numpy() for name, value in network.state_dict().items()}
    after = synchronised(network).state_dict()
    assert list(after) == list(before)
    for name, value in before.items():
        np.testing.assert_array_equal(after[name].numpy(), value)
    kinds = {type(layer).__name__ for layer in network.sublayers()}
    assert "SyncBatchNorm" in kinds and "BatchNorm3D" not in kinds


@pytest.mark.slow
def test_the_scripts_launch_several_processes(shapes, tmp_path):
    overrides = [f"-o{override}" for override in [*NARROW, *list_overrides(shapes), "TRAIN.max_iter=1"]]
    environment = {
        **os.environ, "PYTHONWARNINGS": "ignore", "PYTHON": sys.executable, "PRETRAIN": "none",
        "LAUNCH": f"--nproc_per_node 2 --log_dir {tmp_path}/log", "SAVE_DIR": f"{tmp_path}/run",
        "WEIGHTS": f"{tmp_path}/run",
    }  # fmt: skip
    for script, more in (("train", []), ("test", [f"--save_dir={tmp_path}/test"])):
        command = ["bash", str(ROOT / "scripts" / script / f"{script}_nonlocal.sh"), *overrides, *more]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stdout + done.stderr
        assert (tmp_path / "log" / "workerlog.1").is_file()
    assert (tmp_path / "run" / "train.rank1.log").is_file()
    assert (tmp_path / "test" / "results.json").is_file()
