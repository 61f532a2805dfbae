"""Costs of a network: against counting in a real run, against published figures, for every config that is shipped."""

import json
import subprocess
import sys

import numpy as np
import paddle
import pytest
from conftest import ROOT
from network_configs import load_config
from paddle import nn

from models.nonlocal_block import NonLocalBlock
from models.registry import build_model, network_costs
from utils.errors import ConfigError

CONFIGS = sorted((ROOT / "configs").glob("*_r*.txt"))
NARROW = ["MODEL.width_mult=0.0625", "MODEL.num_classes=7"]


def measure(path, *overrides, num_frames=None, side=None):
    config = load_config(path, overrides)
    side = side or config.TEST.crop_size
    return network_costs(config, (num_frames or config.TEST.video_length, side, side))


def count_in_a_run(config, shape, monkeypatch):
    """MACs and stage outputs of a real forward pass: hooks on convolutions and the classifier, and every matmul."""
    network = build_model(config)
    network.eval()
    macs, outputs = [0], {}

    def count_convolution(layer, inputs, output):
        macs[0] += output.size * int(np.prod(layer.weight.shape[1:]))

    def count_classifier(layer, inputs, output):
        macs[0] += output.size * layer.weight.shape[0]

    for layer in network.sublayers():
        if isinstance(layer, nn.Conv3D):
            layer.register_forward_post_hook(count_convolution)
        if isinstance(layer, nn.Linear):
            layer.register_forward_post_hook(count_classifier)
    for name, stage in network.all_stages.items():
        hook = lambda layer, inputs, output, name=name: outputs.update({name: tuple(output.shape[1:])})  # noqa: E731
        stage.register_forward_post_hook(hook)
    matmul = paddle.matmul

    def counting_matmul(x, y, transpose_x=False, transpose_y=False):
        out = matmul(x, y, transpose_x, transpose_y)
        macs[0] += out.size * (x.shape[-2] if transpose_x else x.shape[-1])
        return out

    monkeypatch.setattr(paddle, "matmul", counting_matmul)
    with paddle.no_grad():
        network(paddle.zeros(shape))
    monkeypatch.setattr(paddle, "matmul", matmul)
    parameters = sum(int(np.prod(value.shape)) for value in network.parameters() if not value.stop_gradient)
    return parameters, macs[0], outputs


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_costs_what_a_real_run_counts(path, monkeypatch):
    overrides = [*NARROW, "TRAIN.crop_size=32"]
    config = load_config(path, overrides)
    frames = config.TEST.video_length
    stages = measure(path, *overrides, side=64)
    parameters, macs, outputs = count_in_a_run(config, [1, 3, frames, 64, 64], monkeypatch)
    assert sum(stage.parameters for stage in stages) == parameters
    assert sum(stage.macs for stage in stages) == macs
    assert {stage.name: stage.output for stage in stages if stage.name != "head"} == outputs


@pytest.mark.parametrize("pairwise", ["gaussian", "dot_product", "concatenation"])
@pytest.mark.parametrize("use_maxpool", [True, False])
def test_the_other_pairwise_functions(pairwise, use_maxpool, monkeypatch):
    overrides = [*NARROW, "TRAIN.crop_size=32", f"NONLOCAL.pairwise={pairwise}", f"NONLOCAL.use_maxpool={use_maxpool}"]
    config = load_config(ROOT / "configs" / "nonlocal.txt", overrides)
    stages = network_costs(config, (8, 96, 64))
    parameters, macs, _ = count_in_a_run(config, [1, 3, 8, 96, 64], monkeypatch)
    assert (sum(stage.parameters for stage in stages), sum(stage.macs for stage in stages)) == (parameters, macs)


NONLOCAL_512, NONLOCAL_1024 = (4 * c * (c // 2) + 3 * (c // 2) + 3 * c for c in (512, 1024))
FIVE_BLOCKS = 2 * NONLOCAL_512 + 3 * NONLOCAL_1024
SLOW, SLOWFAST = 32_454_096, 34_566_488  # 32.45 M, 34.57 M in PyTorchVideo's model zoo
RES4_BLOCK = 1024 * 256 * 3 + 256 * 256 * 9 + 256 * 1024 + 2 * (256 + 256 + 1024)  # the first convolution over time
LATERALS = 2 * 2 * sum(c**2 for c in (8, 32, 64, 128))  # kernels of 5 frames in place of 7
PUBLISHED = {
    "c2d_r50": 24_327_632,
    "i3d_r50": 28_043_472,
    "c2d_nl_r50": 31_686_096,
    "i3d_nl_r50": 35_401_936,
    "c2d_nl_r101": 50_678_224,
    "i3d_nl_r101": 59_112_656,
    # By hand from these: what a block, a kernel of fewer frames, or one without a bias changes.
    "i3d_heavy_r50": 28_043_472 + 2 * (2 * 512 * 128 + 3 * 1024 * 256 + 1024 * 512 + 2048 * 512),
    "i3d_nl10_r50": 28_043_472 + 4 * NONLOCAL_512 + 6 * NONLOCAL_1024,
    "slowonly_r50": SLOW,
    "slowonly_r101": SLOW + 17 * RES4_BLOCK,
    "slowonly_nl_r50_8x8": SLOW + FIVE_BLOCKS,
    "slowonly_nl_r50_4x16": SLOW + FIVE_BLOCKS - 4096,  # no biases at their ends
    "slowfast_r50_8x8": SLOWFAST,
    "slowfast_r50_4x16": SLOWFAST - LATERALS,
    "slowfast_r101": SLOWFAST - LATERALS + 17 * (RES4_BLOCK + 128 * 32 * 3 + 32 * 32 * 9 + 32 * 128 + 2 * 192),
    "slowfast_nl_r50": SLOWFAST + FIVE_BLOCKS,
    "tsm_nl_r50": 24_327_632 + FIVE_BLOCKS - 4096,
    "tsm_r50": 24_327_632,  # those of the 2D network
}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_full_size_parameter_counts(path):
    found = sum(stage.parameters for stage in measure(path))
    family, _, variant = path.stem.removeprefix("charades_").rpartition("_r")
    depth = variant.split("_")[0]
    found += (400 - load_config(path).MODEL.num_classes) * (2048 + 1)  # what the published ones tell apart
    if load_config(path).MODEL.use_affine:
        # No statistics are trained: the frozen scales and offsets are missing, and the non-local blocks have no BN.
        with paddle.LazyGuard():
            network = build_model(load_config(path))
        frozen = sum(int(np.prod(value.shape)) for value in network.parameters() if value.stop_gradient)
        blocks = [layer for layer in network.sublayers() if isinstance(layer, NonLocalBlock)]
        normalised = sum(2 * block.out.weight.shape[0] for block in blocks)
        assert found + frozen + normalised == PUBLISHED[f"{family}_r{depth}"]
    elif path.stem in PUBLISHED or f"{family}_r{depth}" in PUBLISHED:
        assert found == PUBLISHED.get(path.stem, PUBLISHED.get(f"{family}_r{depth}"))
    else:  # R101 baselines: the published network less its five blocks
        assert found == PUBLISHED[f"{family}_nl_r{depth}"] - FIVE_BLOCKS
    stated = int(path.read_text().partition("Cost:")[2].split()[0].replace(",", ""))
    assert stated == sum(stage.parameters for stage in measure(path)), "the figure at the top of the file"


def test_multiply_adds_stated_in_the_configs():
    for path in CONFIGS:
        stated = float(path.read_text().partition("trained parameters; ")[2].split()[0])
        assert stated == round(sum(stage.macs for stage in measure(path)) / 1e9, 1), path.name


@pytest.mark.parametrize(
    ("name", "giga", "millions"),
    [
        ("slowonly_r50_8x8", 54.52, 32.45),
        ("slowfast_r50_8x8", 65.71, 34.57),  # PyTorchVideo; normalisation is not counted there
        ("slowfast_r101_8x8", 127.20, 62.83),
        ("slowonly_r50_4x16", 27.38, 32.45),  # MMAction2
        ("slowonly_r101_8x8", 112, 60.36),
        ("slowonly_nl_r50_4x16", 43.23, 39.81),
        ("slowfast_r50_4x16", 36.3, 34.5),
        ("i3d_heavy_r50_32x2", 166.3, 33.0),
        ("tsm_r50_8", 32.88, None),  # its parameters are stated for other classes
        ("tsm_nl_r50_8", 61.30, 31.68),
    ],
)
def test_published_costs_of_the_zoos(name, giga, millions):
    """The model zoos of PyTorchVideo and MMAction2, of one view. MMAction2 counts normalisation too."""
    stages = measure(ROOT / "configs" / f"{name}.txt")
    assert sum(stage.macs for stage in stages) / 1e9 == pytest.approx(giga, rel=0.011)
    if millions:
        assert sum(stage.parameters for stage in stages) / 1e6 == pytest.approx(millions, abs=0.03)


@pytest.mark.parametrize(("name", "published"), [("c2d_r50_8x8", 25.9), ("i3d_r50_8x8", 37.5)])
def test_published_multiply_adds(name, published):
    """The published counts are of networks with a padded pool1, and count five operations a value that BN sees."""
    path = ROOT / "configs" / f"{name}.txt"
    macs = sum(stage.macs for stage in measure(path, "MODEL.pool1_padding=1"))
    network = build_model(load_config(path, ["MODEL.pool1_padding=1", "MODEL.width_mult=0.0625"]))
    normalised = [0]
    for layer in network.sublayers():
        if isinstance(layer, nn.BatchNorm3D):
            layer.register_forward_post_hook(lambda _, __, output: normalised.append(output.size))
    network.eval()
    with paddle.no_grad():
        network(paddle.zeros([1, 3, 8, 256, 256]))
    assert (macs + 5 * 16 * sum(normalised)) / 1e9 == pytest.approx(published, abs=0.06)
    assert macs / 1e9 == pytest.approx(published, rel=0.02)


def test_affinity_memory_by_hand():
    """res3 at 256: 4 x 32 x 32 queries, a quarter as many keys; in chunks of 100; in groups of 4 of 16 frames."""
    stages = {stage.name: stage for stage in measure(ROOT / "configs" / "nonlocal.txt")}
    assert stages["res3"].affinity_bytes == 4096 * 1024 * 4
    assert stages["res4"].affinity_bytes == 1024 * 256 * 4
    assert stages["res2"].affinity_bytes == 0
    assert stages["res3"].output_bytes == 512 * 4096 * 4
    stages = {stage.name: stage for stage in measure(ROOT / "configs" / "nonlocal.txt", "NONLOCAL.chunk_size=100")}
    assert stages["res3"].affinity_bytes == 100 * 1024 * 4
    stages = {stage.name: stage for stage in measure(ROOT / "configs" / "i3d_nl_r50_32x4_affine.txt")}
    assert stages["res3"].affinity_bytes == 4 * 4096 * 1024 * 4


def model_info(*arguments):
    command = [sys.executable, str(ROOT / "tools" / "model_info.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_program(tmp_path):
    done = model_info(
        ROOT / "configs" / "nonlocal.txt", "--size", "256x320", "--frames", "16", "--json", tmp_path / "a.json"
    )
    assert done.returncode == 0, done.stderr
    assert "one clip of 16 x 256 x 320" in done.stdout
    assert "31,686,096" in done.stdout
    described = json.loads((tmp_path / "a.json").read_text())
    assert described["clip"] == [16, 256, 320]
    assert described["total"]["macs"] == sum(stage["macs"] for stage in described["stages"])
    assert [stage["name"] for stage in described["stages"]][-2:] == ["res5", "head"]
    assert described["stages"][-2]["output"] == [2048, 8, 8, 10]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size=big"], "--size 'big' must be SIDE or HEIGHTxWIDTH"),
        (["--size=1x2x3"], "must be SIDE or HEIGHTxWIDTH"),
        (["--size=128"], "the clip is too small: the last feature map is 4 x 4 x 4, and the head pools over 4 x 7 x 7"),
        (["-o", "MODEL.depth=101"], "contradicts video_arc_choice"),
    ],
)
def test_errors_of_the_program(arguments, message):
    done = model_info(ROOT / "configs" / "nonlocal.txt", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_frozen_scales_and_offsets_are_counted_apart(capsys):
    from tools.model_info import main

    main(["--config", str(ROOT / "configs" / "i3d_nl_r50_32x4_affine.txt")])
    output = capsys.readouterr().out
    assert output.splitlines()[-1] == "35,393,744 parameters in all, 35,340,624 of them trained"
    total = next(line for line in output.splitlines() if line.startswith("total"))
    assert total.split()[1:3] == ["35,340,624", "53,120"]
    main(["--config", str(ROOT / "configs" / "i3d_nl_r50_32x4_affine.txt"), "-o", "MODEL.train_affine=True"])
    assert "35,393,744 of them trained" in capsys.readouterr().out


def test_a_clip_that_is_too_small_is_an_error():
    config = load_config(ROOT / "configs" / "nonlocal.txt")
    for size in ((8, 192, 256), (6, 224, 224)):
        with pytest.raises(ConfigError, match="the clip is too small"):
            network_costs(config, size)
    with pytest.raises(ConfigError, match=r"a kernel .* does not fit into a map"):
        network_costs(config, (8, 2, 2))
