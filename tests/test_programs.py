"""train.py, test.py and infer.py, run as a user runs them."""

import argparse
import ast
import contextlib
import importlib
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from network_configs import load_config

from configs import arguments
from configs.arguments import config_from_arguments
from engine.run_folder import claimed_folder
from models.registry import NETWORKS
from utils.commandline import ProgramParser
from utils.errors import ConfigError

PROGRAMS = ("train.py", "test.py", "infer.py")


@pytest.mark.parametrize("program", PROGRAMS)
def test_help(program):
    done = subprocess.run([sys.executable, str(ROOT / program), "--help"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0
    assert "example" in done.stdout
    check = "import sys; sys.argv = ['x', '--help']; import runpy\n"
    check += f"try: runpy.run_path({str(ROOT / program)!r}, run_name='__main__')\nexcept SystemExit: pass\n"
    check += "print(*{'paddle', 'numpy', 'cv2', 'av'} & set(sys.modules))"
    quiet = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, cwd=ROOT)
    assert quiet.stdout.splitlines()[-1] == "", "no heavy import"


@pytest.mark.parametrize("program", PROGRAMS)
def test_without_its_packages_a_program_says_what_to_do(program):
    command = [sys.executable, "-S", str(ROOT / program), "--config", str(ROOT / "configs" / "nonlocal.txt")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)  # -S: as in another environment
    assert done.returncode == 2
    assert "No module named" in done.stderr and "source .venv/bin/activate" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("program", [*PROGRAMS, "tools/make_filelist.py"])
def test_a_working_directory_that_was_removed(program, tmp_path):
    (tmp_path / "gone").mkdir()
    script = f"cd gone && rmdir ../gone && exec {sys.executable} {ROOT / program} folders"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert "the working directory has been removed: change into" in done.stderr
    assert "Traceback" not in done.stderr


TOOLS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "tools").glob("[a-z]*.py"))


@pytest.mark.parametrize("program", [*PROGRAMS, *(tool for tool in TOOLS if "_table" not in tool)])
def test_help_has_groups_and_examples(program):
    """Every flag stands in a group that says what it is about; --help and --debug may stand alone."""
    arguments = ["folders", "--help"] if "make_filelist" in program else ["--help"]
    done = subprocess.run([sys.executable, str(ROOT / program), *arguments], capture_output=True, text=True, cwd=ROOT)
    ours = subprocess.run([sys.executable, str(ROOT / program), "--help"], capture_output=True, text=True, cwd=ROOT)
    assert "example" in ours.stdout.lower()
    assert f"python {program}" in ours.stdout
    groups = re.findall(r"^([a-z ]+):$", done.stdout, re.MULTILINE)
    assert set(groups) - {"options", "positional arguments", "examples"}
    options = done.stdout.partition("\noptions:\n")[2].partition("\n\n")[0]
    if "make_filelist" not in program:
        assert "positional arguments:" not in done.stdout
        assert set(re.findall(r"^  (-\S+)", options, re.MULTILINE)) <= {"-h,", "--debug"}


@pytest.fixture(scope="module")
def trained(shapes, tmp_path_factory):
    """A folder with a short run in it, made by train.py."""
    from conftest import NARROW, list_overrides

    folder = tmp_path_factory.mktemp("trained")
    command = [sys.executable, str(ROOT / "train.py"), "--model_name=nonlocal", f"--config={ROOT}/configs/nonlocal.txt"]
    command += ["--save_dir=run", "--log_interval=1", "--valid_interval=1", "--pretrain=none", "--epoch_num=2"]
    command += [
        "--batch_size=4",
        "--learning_rate=0.02",
        "--use_gpu=False",
        "--no_use_pyreader",
        "--fix_random_seed=True",
    ]
    for override in [*NARROW, *list_overrides(shapes)]:
        command += ["-o", override]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "run", done


def test_train_writes_what_it_says(trained):
    folder, done = trained
    assert {path.name for path in folder.iterdir()} == {
        *(f"NONLOCAL_epoch{epoch}.{suffix}" for epoch in (0, 1) for suffix in ("pdparams", "pdopt", "json")),
        "latest", "best", "train.log", "train_config.txt", "metrics.jsonl", ".lock",
    }  # fmt: skip
    config = load_config(folder / "train_config.txt")
    assert (config.TRAIN.epoch, config.TRAIN.learning_rate, config.VALID.batch_size) == (2, 0.02, 4)
    assert "without effect today: --no_use_pyreader" in done.stderr
    assert len(re.findall(r"iteration \d/4, loss", done.stderr)) == 4
    for line in done.stderr.splitlines():
        if line.startswith("[INFO"):
            assert line.partition("] ")[2] in (folder / "train.log").read_text()


def test_test_and_infer(trained, run_program, tmp_path):
    folder, _ = trained
    done = run_program("test.py", f"--weights={folder}/NONLOCAL_epoch1", "--model_name=NONLOCAL", "--log_interval=1")
    assert done.returncode == 0, done.stderr
    assert "videos scored   4 of 4, 6 views each" in done.stdout
    results = json.loads((tmp_path / "output" / "results.json").read_text())
    assert results["metrics"]["num_scored"] == 4
    assert load_config(tmp_path / "output" / "test_config.txt").TEST.num_test_clips == 6
    assert (tmp_path / "output" / "results_probs.pkl").is_file()
    assert "the list holds 4 videos, TEST.dataset_size says 19761" in done.stderr

    done = run_program(
        "infer.py", f"--weights={folder}/best", "--infer_topk=2", "--save_dir=answers", "--log_interval=1",
        "--features=features", "--feature_views=all",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = pickle.loads((tmp_path / "answers" / "NONLOCAL_infer_result").read_bytes())
    assert [len(classes) for _, _, classes in rows] == [2] * 4
    assert [np.load(file).shape for file in (tmp_path / "features").rglob("*.npy")] == [(6, 128)] * 4
    assert {name for *_, name in map(str.split, done.stdout.splitlines()) if name.startswith(("disc", "square"))}


def test_views_and_resume_of_a_test(trained, run_program, tmp_path):
    folder, _ = trained
    done = run_program("test.py", f"--weights={folder}/best", "--views", "1x1")
    assert done.returncode == 0, done.stderr
    assert "4 of 4, 1 view each" in done.stdout
    first = json.loads((tmp_path / "output" / "results.json").read_text())
    assert first["scored_before"] == 0
    done = run_program("test.py", f"--weights={folder}/best", "--views", "1x1", "--resume")
    assert "4 of 4 videos are scored already" in done.stderr
    second = json.loads((tmp_path / "output" / "results.json").read_text())
    assert (second["metrics"], second["scored_before"]) == (first["metrics"], 4)
    with claimed_folder(tmp_path / "output"):
        done = run_program("test.py", f"--weights={folder}/best")
    assert done.returncode == 2
    assert "the folder output is used by a live run" in done.stderr


def test_weights_of_another_config(trained, run_program):
    folder, _ = trained
    done = run_program("infer.py", f"--weights={folder}/best", "-o", "MODEL.width_mult=0.125", "a.mp4")
    assert done.returncode == 2
    assert "MODEL.width_mult was 0.0625, is 0.125. Name its own, --config .../train_config.txt" in done.stderr


def test_infer_one_video_with_names(trained, run_program, shapes, tmp_path):
    folder, _ = trained
    video = shapes / (shapes / "test.txt").read_text().split()[0]
    labels = f"INFER.kinetics_labels={shapes}/classes.json"
    done = run_program("infer.py", f"--weights={folder}", f"--video_path={video}", "-o", labels)
    assert done.returncode == 0, done.stderr
    assert "disc_sideways" in done.stdout
    (row,) = pickle.loads((tmp_path / "NONLOCAL_infer_result").read_bytes())
    assert row[0] == str(video)


def test_infer_files_folders_and_standard_input(trained, run_program, shapes, tmp_path):
    folder, _ = trained
    videos = sorted(str(path) for path in (shapes / "videos").rglob("test_*.mp4"))
    classes = sorted({str(Path(video).parent) for video in videos})
    arguments = ("infer.py", f"--weights={folder}", "--format=jsonl", f"--class_names={shapes}/classes.json")
    done = run_program(*arguments, videos[0], classes[1], f"--video_path={videos[2]}")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    inside = sorted(str(path) for path in Path(classes[1]).glob("*.mp4"))
    assert [row["path"] for row in rows] == [videos[0], *inside, videos[2]]
    assert rows[0]["predictions"][0]["name"] in json.loads((shapes / "classes.json").read_text())
    assert "engine: " in done.stderr
    done = run_program(
        *arguments, "--filelist=-", "--engine=dygraph", "--views=10x1", stdin=f"{videos[1]}\n{videos[3]} 2\n"
    )
    assert [json.loads(line)["path"] for line in done.stdout.splitlines()] == [videos[1], videos[3]]
    assert "engine: dygraph fp32" in done.stderr
    done = run_program(*arguments, "--filelist=-", stdin="")
    assert done.returncode == 2
    assert "error: file list '-' is empty" in done.stderr


@pytest.mark.parametrize("closed", [">&-", "<&-", ">&- <&- 2>&-"])
def test_closed_standard_streams(trained, shapes, tmp_path, closed):
    """As a daemon may start it."""
    from conftest import NARROW

    video = next((shapes / "videos").rglob("test_*.mp4"))
    flags = " ".join(f"-o '{override}'" for override in NARROW)
    command = f"{sys.executable} {ROOT}/infer.py --config {ROOT}/configs/nonlocal.txt --weights {trained[0]} {flags}"
    done = subprocess.run(["bash", "-c", f"{command} {video} {closed}"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "NONLOCAL_infer_result").is_file()


def test_infer_in_windows(trained, run_program, shapes, tmp_path):
    folder, _ = trained
    video = next(path for path in (shapes / "videos").rglob("test_*.mp4"))
    done = run_program(
        "infer.py", f"--weights={folder}", str(video), "--window=1", "--stride=0.5", "gone.mp4", "--annotate=a"
    )
    assert done.returncode == 1
    assert "cannot be read: gone.mp4: no such file" in done.stderr
    assert f"{video}  0:00.5 - 0:01.5" in done.stdout
    assert {path.suffix for path in tmp_path.glob("timeline*")} == {".csv", ".png"}
    assert [path.name for path in (tmp_path / "a").rglob("*.mp4")] == [video.name]


def test_old_test_lists(trained, run_program, shapes, tmp_path):
    folder, _ = trained
    paths = [line.rpartition(" ")[0] for line in (shapes / "test.txt").read_text().splitlines()]
    views = [f"{shapes}/{path} {v} {c} {k}" for v, path in enumerate(paths) for c in range(10) for k in range(3)]
    (tmp_path / "testlist.txt").write_text("\n".join(views))
    arguments = ("-o", "TEST.filelist=testlist.txt", "-o", f"TEST.filename_gt={shapes}/test.txt", f"--weights={folder}")
    done = run_program("test.py", *arguments)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "output" / "results.json").read_text())
    assert [video["label"] for video in results["videos"]] == [0, 1, 2, 3]


def test_unscored_videos_give_exit_code_1(trained, run_program, shapes, tmp_path):
    folder, _ = trained
    first = (shapes / "test.txt").read_text().splitlines()[0]
    (tmp_path / "list.txt").write_text(f"{shapes}/{first}\nabsent.mp4 1\n")
    done = run_program("test.py", f"--weights={folder}", "--filelist=list.txt")
    assert done.returncode == 1
    assert "not scored: absent.mp4: no such file; tried" in done.stderr
    assert "videos scored   1 of 2" in done.stdout
    done = run_program("infer.py", f"--weights={folder}", "--filelist=list.txt")
    assert done.returncode == 1
    assert "cannot be read: absent.mp4: no such file" in done.stderr


def test_file_names_that_are_no_utf8(trained, run_program, shapes, tmp_path):
    folder, _ = trained
    odd = os.fsencode(tmp_path) + b"/old\xe9.mp4"
    Path(os.fsdecode(odd)).write_bytes((shapes / (shapes / "test.txt").read_text().split()[0]).read_bytes())
    (tmp_path / "list.txt").write_bytes(odd + b" 0\n" + odd[:-4] + b"absent.mp4 1\n")
    for program in ("test.py", "infer.py"):
        done = run_program(program, f"--weights={folder}", "--filelist=list.txt")
        assert done.returncode == 1, done.stderr
    results = json.loads((tmp_path / "output" / "results.json").read_text())
    assert os.fsencode(results["videos"][0]["path"]) == odd
    (row,) = pickle.loads((tmp_path / "NONLOCAL_infer_result").read_bytes())
    assert os.fsencode(row[0]) == odd


TRAIN_NONE = ("train.py", "--pretrain=none", "--save_dir=run")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ((*TRAIN_NONE, "-o", "TRAIN.filelist=absent.txt"), "file list 'absent.txt' cannot be read: No such file"),
        ((*TRAIN_NONE, "-o", "TRAIN.filelist=empty.txt"), "file list 'empty.txt' is empty"),
        ((*TRAIN_NONE, "-o", "TRAIN.filelist=label.txt"), r"label\.txt:1: label \(4\) must be in \[0, 4\)"),
        ((*TRAIN_NONE, "-o", "VALID.filelist=absent.txt"), "file list 'absent.txt' cannot be read"),
        ((*TRAIN_NONE, "-o", "TRAIN.filelist=gone.txt"), r"cannot be read.*gone\.mp4: no such file; tried"),
        ((*TRAIN_NONE, "-o", "TRAIN.filelist=text.txt"), r"text\.mp4: not a video that FFmpeg can open"),
        ((*TRAIN_NONE, "--batch_size=-4"), r"TRAIN\.batch_size: batch_size \(-4\) must be at least 1"),
        ((*TRAIN_NONE, "--batch_size=many"), r"TRAIN\.batch_size = many must be an integer"),
        ((*TRAIN_NONE, "--use_gpu=true"), "--use_gpu true: "),
        (
            (*TRAIN_NONE, "--model_name=TSN"),
            "unknown network MODEL.name = 'TSN'; did you mean TSM",
        ),
        (("train.py", "--save_dir=run"), r"--pretrain is missing.*MODEL\.width_mult = 1\.0, this config 0\.0625"),
        (("train.py", "--save_dir=run", "--resume=absent"), "weights 'absent': no such file, folder or checkpoint"),
        (("test.py",), "--weights is missing"),
        (("test.py", "--weights=absent"), "weights 'absent': no such file, folder or checkpoint prefix"),
        (("test.py", "--weights=text.mp4"), r"text\.mp4: not a readable weights file"),
        (
            ("test.py", "--weights=RUN", "-o", "MODEL.num_classes=9"),
            r"a classifier of 4 classes, MODEL\.num_classes is 9",
        ),
        (
            ("test.py", "--weights=RUN", "-o", "TEST.filelist=gone.txt"),
            r"none of the 4 videos .*gone\.mp4: no such file",
        ),
        (("test.py", "--weights=RUN", "-o", "TEST.filelist=text.txt"), r"text\.mp4: not a video"),
        (("infer.py", "--weights=RUN", "--video_path=gone.mp4"), r"no video could be read; gone\.mp4: no such file"),
        (("infer.py", "--weights=RUN", "--video_path=text.mp4"), r"text\.mp4: not a video"),
        (("infer.py", "--weights=RUN", "--stride=5", "a.mp4"), "--stride says how far --window moves: give both"),
        (("infer.py", "--weights=RUN", "--engine=paddle", "--precision=bf16", "a.mp4"), "needs --engine openvino"),
        (("infer.py", "--weights=RUN", "--filelist=absent.txt"), "file list 'absent.txt' cannot be read"),
        (("infer.py", "--weights=RUN", "--save_dir=text.mp4"), "output folder text.mp4 cannot be written: File exists"),
        (("test.py", "--weights=RUN", "--save_dir=text.mp4"), "output folder text.mp4 cannot be written: File exists"),
    ],
)
def test_errors_are_one_line_with_exit_code_2(trained, run_program, tmp_path, command, message):
    (tmp_path / "empty.txt").touch()
    (tmp_path / "label.txt").write_text("a.mp4 4\n")
    (tmp_path / "gone.txt").write_text("gone.mp4 0\n" * 4)
    (tmp_path / "text.txt").write_text("text.mp4 0\n" * 4)
    (tmp_path / "text.mp4").write_text("no video\n" * 50)
    before = set(tmp_path.rglob("*"))
    done = run_program(*(part.replace("RUN", str(trained[0])) for part in command))
    assert done.returncode == 2, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "error: " in line]
    assert re.search(message, line)
    assert "Traceback" not in done.stderr
    left = {path.name for path in set(tmp_path.rglob("*")) - before}
    assert left <= {
        "run",
        "output",
        "train.log",
        "train_config.txt",
        "test.log",
        "test_config.txt",
        "quarantine.txt",
        "metrics.jsonl",
        "failure.json",
        ".lock",
    } | {"infer.log", "infer_config.txt"}


def test_wrong_flags_are_refused(run_program):
    for flag in ("--use_gpu=maybe", "--log_interval=0", "--sav_dir=x"):
        assert run_program("train.py", flag).returncode == 2


@pytest.mark.parametrize(
    ("views", "expected"), [("1x1", (1, 0)), ("10x3", (30, 1)), ("2X6", (12, 2)), ("5x1", (5, 0)), ("1x10", (10, 3))]
)
def test_views_are_clips_times_crops(views, expected):
    import infer
    import test

    for program, section in ((test, "TEST"), (infer, "INFER")):
        config = config_from_arguments(program.parse_arguments(["--views", views]), NETWORKS)
        found = getattr(config, section)
        assert (found.num_test_clips, found.use_multi_crop) == expected
    with pytest.raises(ConfigError, match="3x2 must be CLIPSxCROPS"):
        test.parse_arguments(["--views", "3x2"])


@pytest.mark.slow
def test_killed_in_the_middle_and_resumed(trained, run_program, shapes, tmp_path):
    """SIGKILL after the second checkpoint; the resumed run ends with the parameters of the undisturbed one."""
    from conftest import NARROW, list_overrides

    arguments = ["--pretrain=none", "--epoch=6", "--valid_interval=0"]
    assert run_program("train.py", *arguments, "--save_dir=whole").returncode == 0
    command = [sys.executable, str(ROOT / "train.py"), "--config", str(ROOT / "configs" / "nonlocal.txt"), *arguments]
    for override in [*NARROW, *list_overrides(shapes)]:
        command += ["-o", override]
    process = subprocess.Popen([*command, "--save_dir=part"], cwd=tmp_path, stderr=subprocess.DEVNULL)
    while not (tmp_path / "part" / "NONLOCAL_epoch1.json").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "part" / "NONLOCAL_epoch5.json").exists()
    done = run_program("train.py", *arguments, "--save_dir=part", "--resume=part")
    assert done.returncode == 0, done.stderr
    assert re.search(r"resuming part/NONLOCAL_epoch\d after \d+ iterations", done.stderr)
    whole, part = (
        json.loads((tmp_path / folder / "NONLOCAL_epoch5.json").read_text())["files"]["pdparams"]["sha256"]
        for folder in ("whole", "part")
    )
    assert whole == part


def train_command(shapes, *arguments):
    from conftest import NARROW, list_overrides

    command = [sys.executable, str(ROOT / "train.py"), "--config", str(ROOT / "configs" / "nonlocal.txt")]
    for override in [*NARROW, *list_overrides(shapes)]:
        command += ["-o", override]
    return [*command, *arguments]


def final_hash(folder, epoch):
    return json.loads((folder / f"NONLOCAL_epoch{epoch}.json").read_text())["files"]["pdparams"]["sha256"]


LONG = ["--pretrain=none", "--epoch=60", "--valid_interval=9", "-o", "TRAIN.save_interval=1", "--batch_size=2"]


@pytest.mark.slow
def test_killed_ten_times_at_random(run_program, shapes, tmp_path):
    """SIGKILL at random moments, resumed each time: the same parameters in the end, bit for bit."""
    assert run_program("train.py", *LONG, "--save_dir=whole").returncode == 0
    random = np.random.default_rng(0)
    command = train_command(shapes, *LONG, "--save_dir=part", "--resume=auto")
    kills = 0
    for _ in range(10):
        with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
            for line in process.stderr:
                if "training on 8 videos" in line:
                    break
            time.sleep(random.uniform(0, 0.3))
            kills += process.poll() is None
            process.kill()
    assert kills > 4, "the others came after the end of the run"
    done = run_program("train.py", *LONG, "--save_dir=part", "--resume=auto")
    assert done.returncode == 0, done.stderr
    assert final_hash(tmp_path / "whole", 59) == final_hash(tmp_path / "part", 59)


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_ends_with_75(run_program, shapes, tmp_path, end):
    arguments = ["--pretrain=none", "--epoch=12", "--valid_interval=4", "--batch_size=2"]
    assert run_program("train.py", *arguments, "--save_dir=whole").returncode == 0
    command = train_command(shapes, *arguments, "--save_dir=part")
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if "saved part/NONLOCAL_epoch2" in line:
                process.send_signal(end)
            if "saving, then stopping; once more" in line:
                break
        rest = process.stderr.read()
    assert process.returncode == 75, rest
    assert f"stopped by {end.name}; --resume auto goes on from here" in rest
    assert "Traceback" not in rest
    saved = (tmp_path / "part" / "latest").read_text().strip()
    progress = json.loads((tmp_path / "part" / f"{saved}.json").read_text())["progress"]
    assert f" {progress['iteration']} iterations in " in rest
    assert run_program("train.py", *arguments, "--save_dir=part", "--resume=auto").returncode == 0
    assert final_hash(tmp_path / "whole", 11) == final_hash(tmp_path / "part", 11)


@pytest.mark.slow
def test_the_script_starts_a_stopped_run_again(run_program, shapes, tmp_path):
    """SIGTERM to train.py: the script goes on; to the script: both end."""
    arguments = train_command(shapes, "--epoch=30", "--valid_interval=0", "--batch_size=2")[4:]
    environment = {**os.environ, "PYTHON": sys.executable, "SAVE_DIR": str(tmp_path / "run"), "PRETRAIN": "none"}
    command = ["bash", str(ROOT / "scripts" / "train" / "train_nonlocal.sh"), *arguments]
    stops, resumed = 0, False
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as script:
        for line in script.stderr:
            if re.search(r"saved .*NONLOCAL_epoch(2|5)\b", line):
                stops += 1
                (child,) = subprocess.run(
                    ["pgrep", "-P", str(script.pid)], capture_output=True, text=True
                ).stdout.split()
                os.kill(int(child) if stops == 1 else script.pid, signal.SIGTERM)
            resumed = resumed or "resuming" in line
    assert script.returncode == 75
    assert (stops, resumed) == (2, True)


def test_a_disk_that_is_full_while_saving(trained, run_program, shapes, tmp_path):
    """Files may not grow past 100 kB: one clear error, and the save before it as it was."""
    shutil.copytree(trained[0], tmp_path / "run")
    command = train_command(
        shapes, "--epoch=4", "--learning_rate=0.02", "--valid_interval=0", "--save_dir=run", "--resume=run"
    )
    limit = "import resource, os, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
    limit += "os.execv(sys.argv[1], sys.argv[1:])"
    done = subprocess.run([sys.executable, "-c", limit, *command], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "error: " in line]
    assert "run/NONLOCAL_epoch2: the checkpoint cannot be written (File too large); those before it are intact" in line
    assert not list((tmp_path / "run").glob("*.tmp")) + list((tmp_path / "run").glob(".*.tmp"))
    done = run_program(
        "train.py", "--epoch=3", "--learning_rate=0.02", "--valid_interval=0", "--save_dir=run", "--resume=auto"
    )
    assert done.returncode == 0, done.stderr
    assert "resuming run/NONLOCAL_epoch1" in done.stderr


def flags_of(parser):
    """(name, help) of every argument of a parser and of those below it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from flags_of(below)
        elif action.dest not in ("help", "override"):
            yield action.dest


@pytest.mark.parametrize("program", [*PROGRAMS, *TOOLS])
def test_every_flag_that_is_parsed_is_read(program, monkeypatch):
    """By name, in the program, in what all programs share, or (--debug) on the raw command line."""
    parsers = []
    monkeypatch.setattr(ProgramParser, "parse_known_args", lambda self, *args: parsers.append(self) or (None, []))
    monkeypatch.setattr(argparse, "Namespace", dict)
    module = importlib.import_module(program.removesuffix(".py").replace("/", "."))
    with contextlib.suppress(Exception):
        module.parse_arguments([])
    (parser,) = parsers[:1]
    sources = [(ROOT / name).read_text() for name in (program, "configs/arguments.py", "utils/commandline.py")]
    read = {
        node.attr for source in sources for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)
    } | {"debug", "mode", "config_file"}
    computed = ("_csv", "_videos")  # of make_filelist.py: getattr by split
    old = arguments._MEANINGLESS
    unread = {dest for dest in flags_of(parser) if dest not in read and dest not in old and not dest.endswith(computed)}
    assert not unread


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        (["train.py", "--batchsize=3"], "unknown flag --batchsize; did you mean --batch_size?"),
        (["train.py", "--lr=3"], "unknown flag --lr; did you mean --learning_rate?"),
        (["test.py", "--weigths", "x"], "unknown flag --weigths; did you mean --weights?"),
        (["infer.py", "--topk=3", "a.mp4"], "unknown flag --topk; did you mean --infer_topk?"),
        (["tools/check_videos.py", "list.txt", "--worker=1"], "unknown flag --worker; did you mean --workers?"),
        (["tools/export.py", "--ouput=x", "--out=y", "--format=onnx"], "unknown flag --ouput; did you mean --out?"),
        (["train.py", "--valid_interval=-1"], "-1 must be an integer of at least 0"),
        (["train.py", "--log_interval"], "expected one argument"),
        (["tools/make_filelist.py", "folder"], "invalid choice: 'folder'"),
        (["tools/make_filelist.py", "folders", "x", "--ot=y"], "unknown flag --ot; did you mean --out?"),
        (["train.py", "--config="], "--config is empty"),
        (["train.py", "--save_dir="], "the name of the folder is empty"),
        (["infer.py", "--save_dir", " ", "a.mp4"], "the name of the folder is empty"),
        (
            ["test.py", f"--config={ROOT}/configs/nonlocal.txt", "--save_dir="],
            "TEST.checkpoint_dir: checkpoint_dir is empty",
        ),
        (["tools/make_shapes_dataset.py", "x", "--seed=-1"], "-1 must be an integer of at least 0"),
    ],
)
def test_a_mistyped_flag_is_one_line(command, hint, tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / command[0]), *command[1:]], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert hint in line


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["train.py", "--pretrain=none"], "no list is named, and the default of TRAIN.filelist"),
        (["test.py", "--weights=x"], "of TEST.filelist, dataset/nonlocal/testlist.txt, is not there: --filelist FILE"),
        (["infer.py", "--weights=x"], "no video is named: name videos or folders, or a list with --filelist"),
        (
            ["infer.py", "--weights=x", "--filelist=dataset/nonlocal/inferlist.txt"],  # as the script names it
            "no video is named: name videos or folders, or a list with --filelist",
        ),
        (["train.py", "--config=auto", "--pretrain=x"], "the keys that 'python tools/check_weights.py FILE' prints"),
    ],
)
def test_a_list_that_nobody_named(command, message, tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / command[0]), "--config", str(ROOT / "configs" / "nonlocal.txt"), *command[1:]],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert message in done.stderr


def test_old_forms_of_the_tools_stay(trained, tmp_path, shapes):
    """CONFIG without a flag, and --video."""
    folder, _ = trained
    config = folder / "train_config.txt"
    first = next((shapes / "videos").rglob("*.mp4"))
    for command in (
        ["tools/model_info.py", config], ["tools/model_info.py", "--config", config],
        ["tools/export.py", config, "--weights", folder, "--format=paddle", "--out=one/net"],
        ["tools/export.py", "--config", config, "--weights", folder, "--format=paddle", "--out=two/net"],
        ["tools/show_attention.py", "--video", first, "--config", config, "--weights", folder, "--out=three"],
        ["tools/show_attention.py", first, "--config", config, "--weights", folder, "--out=four"],
    ):  # fmt: skip
        done = subprocess.run(
            [sys.executable, str(ROOT / command[0]), *map(str, command[1:])],
            cwd=tmp_path, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    for a, b in (("one", "two"), ("three", "four")):
        assert {path.name for path in (tmp_path / a).iterdir()} == {path.name for path in (tmp_path / b).iterdir()}
