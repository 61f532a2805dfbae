"""The programs that `benchmarks/chaos.py` kills: how each begins, how it goes on, and small inputs for it."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.striking import Subject, differences, files_of

_ROOT = Path(__file__).resolve().parents[1]
_SECTIONS = ("TRAIN", "VALID", "TEST", "INFER")
_NARROW = [
    "MODEL.width_mult=0.0625",
    "MODEL.num_classes=4",
    *(f"{section}.crop_size=32" for section in _SECTIONS),
    *(f"{section}.jitter_scales=[32,40]" for section in _SECTIONS),
    *(f"{section}.sample_rate=2" for section in _SECTIONS),
    "TRAIN.num_reader_threads=2",
    "VALID.num_reader_threads=0",
    "TEST.num_reader_threads=2",
    "INFER.num_reader_threads=2",
    "TEST.num_test_clips=6",
    "INFER.num_test_clips=6",
    "TRAIN.batch_size=4",
]
# Everything that a recipe may ask for, on the CPU, together.
_RECIPE = [
    "TRAIN.batch_size=8", "TRAIN.epoch=9", "TRAIN.save_interval=2", "TRAIN.keep_last=2", "TRAIN.ema_decay=0.9",
    "TRAIN.early_stop=9",
    "TRAIN.mixup_alpha=0.2", "TRAIN.cutmix_alpha=0.5", "TRAIN.color_jitter=0.3", "TRAIN.rand_augment_ops=1",
    "TRAIN.erasing_probability=0.3", "TRAIN.resized_crop_area=0.5", "TRAIN.balanced_sampling=True",
    "TRAIN.label_smoothing=0.1", "TRAIN.class_weights=balanced", "TRAIN.schedule=cosine", "TRAIN.warmup_iters=3",
    "TRAIN.clip_gradient_norm=5", "TRAIN.accumulate_steps=2", "TRAIN.on_nonfinite=skip",
]  # fmt: skip


def prepare(data: Path) -> Path:
    """Write videos, lists, a narrow config, weights and tests into `data`; return its path."""
    import paddle

    from configs.loading import dump_config, load_config
    from models.registry import NETWORKS, build_model

    shutil.rmtree(data, ignore_errors=True)
    run = [sys.executable, str(_ROOT / "tools" / "make_shapes_dataset.py"), str(data)]
    subprocess.run([*run, "--train", "3", "--val", "1", "--test", "3"], check=True, capture_output=True)
    lists = dict(zip(_SECTIONS, ("train", "val", "test", "test"), strict=True))
    keys = [*_NARROW, *(f"{section}.filelist={data}/{name}.txt" for section, name in lists.items())]
    config = load_config(_ROOT / "configs" / "nonlocal.txt", keys, networks=NETWORKS)
    (data / "narrow.txt").write_text(dump_config(config), encoding="utf-8")
    for number in (1, 2):
        paddle.seed(number)
        network = build_model(config)
        for name, value in network.state_dict().items():
            if name.endswith("_scale"):  # as initialised, the ends of branches are 0
                value.set_value(paddle.full(value.shape, 0.5))
        paddle.save(network.state_dict(), str(data / f"w{number}.pdparams"))
        test = [
            sys.executable,
            str(_ROOT / "test.py"),
            f"--config={data}/narrow.txt",
            f"--save_dir={data}/test{number}",
        ]
        subprocess.run([*test, f"--weights={data}/w{number}.pdparams"], check=True, capture_output=True)
    write_stream(data / "stream.ts", num_frames=150)
    return data


def write_stream(path: Path, *, num_frames: int) -> None:
    """Write a video of 25 frames a second, 64 x 48, that slowly becomes brighter."""
    import av

    with av.open(str(path), "w", format="mpegts" if path.suffix == ".ts" else None) as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "25"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(num_frames):
            picture = np.full((48, 64, 3), (20 + number) % 256, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def _train(data: Path) -> list[str]:
    command = [str(_ROOT / "train.py"), f"--config={data}/narrow.txt", "--save_dir=run", "--pretrain=none"]
    command += ["--log_interval=1", "--valid_interval=1", "--resume=auto", *(f"-o{key}" for key in _RECIPE)]
    return command


def _train_two(data: Path) -> list[str]:
    program, *arguments = _train(data)
    launcher = ["-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", "log"]
    return [*launcher, program, *arguments, "--use_gpu=false"]


def _test(data: Path) -> list[str]:
    command = [str(_ROOT / "test.py"), f"--config={data}/narrow.txt", f"--weights={data}/w1.pdparams", "--save_dir=out"]
    return [*command, "--resume"]


def _infer(*arguments: str) -> Callable[[Path], list[str]]:
    def commands(data: Path) -> list[str]:
        command = [str(_ROOT / "infer.py"), f"--config={data}/narrow.txt", f"--weights={data}/w1.pdparams"]
        return [*command, "--save_dir=out", *arguments]

    return commands


def _stream(data: Path) -> list[str]:
    return _infer("--stream=-", "--window=1", "--engine=dygraph", "--views=1x1")(data)


def _check_videos(data: Path) -> list[str]:
    return [str(_ROOT / "tools" / "check_videos.py"), f"{data}/train.txt", f"{data}/test.txt", "--full", "--out=out"]


def _resize_videos(data: Path) -> list[str]:
    return [str(_ROOT / "tools" / "resize_videos.py"), f"{data}/train.txt", "small", "--short_side=64"]


def _make_filelist(data: Path) -> list[str]:
    return [str(_ROOT / "tools" / "make_filelist.py"), "folders", f"{data}/videos", "--out=lists", "--test=0.2"]


def _merge_results(data: Path) -> list[str]:
    return [str(_ROOT / "tools" / "merge_results.py"), f"{data}/test1", f"{data}/test2", "--out=both"]


def _reproduce(data: Path) -> list[str]:
    from models.weights.published import published_rows

    row = next(row for row in published_rows() if row["lineage"] == "pyslowfast" and "config" not in row)
    name = row["url"].rpartition("/")[2]
    (data / "weights").mkdir(exist_ok=True)
    shutil.copyfile(data / "w1.pdparams", data / "weights" / name)
    command = [str(_ROOT / "tools" / "reproduce.py"), f"--list={data}/test.txt", f"--weights_dir={data}/weights"]
    command += [f"--rows={name}", "--out=out", *(f"-o{key}" for key in _NARROW)]
    return command


def _export(data: Path) -> list[str]:
    command = [str(_ROOT / "tools" / "export.py"), f"--config={data}/narrow.txt", f"--weights={data}/w1.pdparams"]
    command += ["--format=onnx", "--out=out/network.onnx"]
    return command


def _judge_train(reference: Path, found: Path, attempts: int) -> list[str]:
    """All is the same but saves inside an epoch, of which a signal makes one; the launcher's own logs do not count."""
    faults = differences(reference, found)
    return [fault for fault in faults if "_iter" not in fault and " log/" not in fault and not fault.startswith("log/")]


def _judge_stream(reference: Path, found: Path, attempts: int) -> list[str]:
    """Every answer is one that the undisturbed run gave, on a line of its own; a kill may tear one line."""
    name = Path("out") / "NONLOCAL_stream_result.jsonl"
    wanted = {}
    for line in (reference / name).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        wanted[row["start_seconds"], row["end_seconds"]] = row["predictions"]
    faults, torn = [], 0
    for line in (found / name).read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            torn += 1
            continue
        answer = wanted.get((row["start_seconds"], row["end_seconds"]))
        if answer is not None and answer != row["predictions"]:
            faults.append(f"another answer from {row['start_seconds']} s on")
    if torn >= attempts:
        faults.append(f"{torn} torn lines after {attempts - 1} signals")
    names = [{str(path.relative_to(folder)) for path in files_of(folder)} for folder in (reference, found)]
    return [*faults, *(f"missing or too much: {name}" for name in sorted(names[0] ^ names[1]))]


SUBJECTS = (
    Subject("train", _train, judge=_judge_train),
    Subject("train, two processes", _train_two, judge=_judge_train),
    Subject("test", _test),
    Subject("infer, files", _infer("--engine=dygraph", "--resume")),
    Subject("infer, windows", _infer("--window=1", "--stride=0.5", "--resume")),
    Subject("infer, features", _infer("--features=f.npz", "--engine=dygraph", "--resume")),
    Subject("infer, annotate", _infer("--annotate=copies", "--engine=dygraph", "--resume")),
    Subject("infer, stream", _stream, stdin="stream.ts", judge=_judge_stream),
    Subject("check_videos", _check_videos),
    Subject("resize_videos", _resize_videos),
    Subject("make_filelist", _make_filelist),
    Subject("merge_results", _merge_results),
    Subject("reproduce", _reproduce),
    Subject("export", _export),
)
