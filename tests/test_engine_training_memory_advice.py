"""What is said when memory is out: an estimate that agrees with the tensors, and settings that fit by it."""

import re
import resource
import subprocess
import sys

import numpy as np
import paddle
import pytest
from conftest import NARROW, ROOT, list_overrides
from network_configs import load_config

from engine.distributed import ALONE, Processes
from engine.training.memory_advice import training_memory_advice, usable_memory
from models.complexity import training_bytes_per_clip
from models.nonlocal_block import NonLocalBlock
from models.registry import build_model, network_costs
from models.resnet_video import Bottleneck

ERROR = MemoryError("\n(ResourceExhausted) Fail to alloc memory of 9 size.\n  [Hint: more]")


@pytest.mark.parametrize(
    "override", ["MODEL.video_arc_choice=1", "MODEL.video_arc_choice=2", "NONLOCAL.use_maxpool=False"]
)
def test_the_estimate_counts_the_tensors_that_are_kept(narrow, override):
    """By hooks: outputs of convolutions, pools and blocks, of BN before ReLU, y, and the affinities."""
    network, config = narrow(override)
    kept = []  # (name of the layer, elements)
    inputs = []  # of blocks
    positions = {}  # of the theta and phi of a block

    def count(name, tensor):
        kept.append((name, int(np.prod(tensor.shape))))
        block, _, part = name.rpartition(".")
        if part in ("theta", "phi"):
            positions.setdefault(block, []).append(int(np.prod(tensor.shape[2:])))

    for name, layer in network.named_sublayers():
        is_block = isinstance(layer, Bottleneck | NonLocalBlock)
        if is_block:
            layer.register_forward_pre_hook(lambda layer, x: inputs.append(int(np.prod(x[0].shape))))
        if (
            is_block
            or isinstance(layer, paddle.nn.Conv3D | paddle.nn.MaxPool3D)
            or name.endswith(("conv1.0.norm", "bn2a", "bn2b"))
        ):
            layer.register_forward_post_hook(lambda layer, x, y, name=name: count(name, y))
        if name.endswith(".out"):
            layer.register_forward_pre_hook(lambda layer, x, name=name: count(f"{name}.y", x[0]))
    network.train()
    network(paddle.rand([1, 3, 8, 32, 32]))
    kept += [(f"{block}.affinity", queries * keys) for block, (queries, keys) in positions.items()]
    assert len(positions) == 5
    assert training_bytes_per_clip(costs(config), recompute=False) == 4 * sum(elements for _, elements in kept)

    blocks = re.compile(r"(res\d\.\d+)")
    in_block = {}
    for name, elements in kept:
        if match := blocks.match(name):
            in_block[match.group(1)] = in_block.get(match.group(1), 0) + elements
    outside = sum(elements for name, elements in kept if not blocks.match(name))
    found = training_bytes_per_clip(costs(config), recompute=True)
    expected = 4 * (outside + sum(inputs) + max(in_block.values()))
    assert found == pytest.approx(expected, rel=0.2), "it takes the output of a stage for the input of its blocks"
    assert found < training_bytes_per_clip(costs(config), recompute=False)


def costs(config):
    return network_costs(config, (config.TRAIN.video_length, config.TRAIN.crop_size, config.TRAIN.crop_size))


def advice(config, **known):
    """The line for a config's network, none of whose parameters is allocated."""
    with paddle.LazyGuard():
        network = build_model(config)
    return training_memory_advice(config.TRAIN, network, ERROR, **known)


def needed(config, clips, recompute=False):
    parameters = sum(stage.parameters for stage in costs(config))
    return 12 * parameters + clips * training_bytes_per_clip(costs(config), recompute=recompute)


def full(*overrides):
    return load_config(ROOT / "configs" / "nonlocal.txt", overrides)


def test_the_advice_fits_and_names_every_key():
    config = full("NONLOCAL.use_maxpool=False")
    text = advice(config, processes=ALONE, memory=16e9)
    assert text.startswith("out of memory with 64 clips of 8 x 224 x 224 at once in each process ((ResourceExhausted)")
    parts = int(re.search(r"TRAIN\.accumulate_steps=(\d+) \(the same batch, \d+ clips at once\)", text).group(1))
    assert 64 % parts == 0
    assert needed(config, 64 // parts) < 16e9 < needed(config, 2 * 64 // parts)
    batch = int(re.search(r"TRAIN\.batch_size=(\d+) with TRAIN\.scale_lr=True", text).group(1))
    assert batch == 64 // parts
    with_parts = int(re.search(r"TRAIN\.recompute=True with TRAIN\.accumulate_steps=(\d+)", text).group(1))
    assert with_parts < parts
    assert needed(config, 64 // with_parts, True) < 16e9
    chunk = int(re.search(r"NONLOCAL\.chunk_size=(\d+)", text).group(1))
    assert 64 * 4 * chunk * 3136 <= 64e6 < 64 * 4 * (chunk + 1) * 3136, "64 clips, 3136 keys of res3, 64 MB"


def test_the_advice_counts_processes_and_parts_there_are():
    config = full("TRAIN.accumulate_steps=2")
    text = advice(config, processes=Processes(0, 8), memory=2.5e9)
    assert text.startswith("out of memory with 4 clips")
    assert "TRAIN.accumulate_steps=8 (the same batch, 1 clips at once)" in text
    assert "TRAIN.batch_size=16 with" in text, "8 processes, 2 parts, 1 clip"


def test_when_not_even_one_clip_fits():
    text = advice(full(), processes=ALONE, memory=1e9)
    assert "a smaller TRAIN.crop_size or TRAIN.video_length, or a narrower network: not one clip fits" in text
    assert "accumulate_steps=" not in text


def test_memory_is_what_this_process_may_have(tmp_path, monkeypatch):
    (tmp_path / "memory.max").write_text("123456789\n")
    assert usable_memory("cpu", tmp_path / "memory.max") == 123456789
    (tmp_path / "memory.max").write_text("max\n")
    whole = usable_memory("cpu", tmp_path / "memory.max")
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (10**8, resource.RLIM_INFINITY))
    assert usable_memory("cpu", tmp_path / "memory.max") == 10**8 < whole


@pytest.mark.slow
def test_a_run_that_is_out_of_memory_says_what_would_fit(shapes, tmp_path):
    """A full network on frames of 224 pixels with 6 GB of addresses; and then the advice is taken."""
    overrides = [*NARROW, *list_overrides(shapes), "MODEL.width_mult=1", "TRAIN.batch_size=8", "TRAIN.max_iter=1"]
    for section in ("TRAIN", "VALID", "TEST", "INFER"):
        overrides += [f"{section}.crop_size=224", f"{section}.jitter_scales=[224,224]"]
    limit = "import resource, os, sys; resource.setrlimit(resource.RLIMIT_AS, (4_500_000_000, 4_500_000_000))\n"
    limit += "os.execv(sys.argv[1], sys.argv[1:])"

    def train(*more):
        command = [sys.executable, "-c", limit, sys.executable, str(ROOT / "train.py"), "--pretrain=none"]
        command += ["--config", str(ROOT / "configs" / "nonlocal.txt"), "--valid_interval=0", "--save_dir=run"]
        for override in [*overrides, *more]:
            command += ["-o", override]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)

    done = train()
    assert done.returncode == 2, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "error: " in line]
    assert "out of memory with 8 clips of 8 x 224 x 224" in line
    (parts,) = re.findall(r"TRAIN\.accumulate_steps=\d+(?= \()", line)
    done = train(parts)
    assert done.returncode == 0, done.stderr
