"""SLOWONLY, SLOWFAST and TSM, and the lineages of all: layers by hand, and everything that a network must do."""

import numpy as np
import paddle
import pytest
from conftest import ROOT, list_overrides
from network_configs import config_from, load_config
from seeded_values import fill
from small_trainer import make_trainer

from engine.scoring.exporting import export_network
from engine.scoring.runtimes import RUNTIMES
from engine.scoring.scorers import DygraphScorer, open_scorer
from models.lineages import LINEAGES
from models.registry import build_model
from models.slowfast import slow_frames
from models.temporal_shift import TemporalShift
from utils.errors import ConfigError

CONFIGS = ("slowonly_nl_r50_8x8", "slowfast_r50_8x8", "tsm_r50_8")
NARROW = [
    "MODEL.width_mult=0.125", "MODEL.num_classes=4", "TRAIN.dropout_rate=0",
    *(f"{section}.{key}" for section in ("TRAIN", "VALID", "TEST", "INFER") for key in (
        "video_length=8", "crop_size=32", "jitter_scales=[32,40]", "num_reader_threads=0",
    )),
]  # fmt: skip


def filled(network):
    """Seeded values. Those of a dot product are made small: it grows with the third power of its input."""
    for name, value in fill(network).state_dict().items():
        if name.endswith("_theta_w"):
            value.set_value(1e-3 * value)
    network.eval()
    return network


@pytest.fixture(params=CONFIGS)
def config_of(request, shapes):
    """The narrow config of a network; call it with more overrides."""
    path = ROOT / "configs" / f"{request.param}.txt"
    return lambda *overrides: load_config(path, [*NARROW, *list_overrides(shapes), *overrides])


def naive_shift(x, direction):
    """Frame by frame and channel by channel."""
    out, (channels, frames) = np.zeros_like(x), x.shape[1:3]
    first, second = channels // 8, 2 * (channels // 8) if direction == "next_previous" else 2 * channels // 8
    for channel in range(channels):
        for frame in range(frames):
            step = 0 if channel >= second else 1 if (channel < first) == (direction == "next_previous") else -1
            if 0 <= frame + step < frames:
                out[:, channel, frame] = x[:, channel, frame + step]
    return out


@pytest.mark.parametrize("direction", ["next_previous", "previous_next"])
@pytest.mark.parametrize("channels", [3, 4, 8, 12, 16, 20])
@pytest.mark.parametrize("frames", [1, 2, 5])
def test_the_temporal_shift(direction, channels, frames):
    x = np.random.default_rng(0).standard_normal((2, channels, frames, 3, 2)).astype(np.float32)
    found = TemporalShift(channels, direction)(paddle.to_tensor(x)).numpy()
    np.testing.assert_array_equal(found, naive_shift(x, direction))


@pytest.mark.parametrize(
    ("frames", "alpha", "rule", "expected"),
    [
        (32, 4, "linspace", [0, 4, 8, 13, 17, 22, 26, 31]), (32, 8, "linspace", [0, 10, 20, 31]),
        (16, 4, "linspace", [0, 5, 10, 15]), (16, 8, "linspace", [0, 15]), (8, 8, "linspace", [0]),
        (32, 4, "strided", [0, 4, 8, 12, 16, 20, 24, 28]), (16, 8, "strided", [0, 8]),
    ],
)  # fmt: skip
def test_which_frames_the_slow_pathway_sees(frames, alpha, rule, expected):
    assert slow_frames(frames, alpha, rule) == expected


def test_frames_of_the_map_of_a_non_local_block(config_of):
    network = build_model(config_of())
    expected = [0, 4, 8, 13, 17, 22, 26, 31] if hasattr(network, "t_conv1") else [2, 6, 10, 14, 18, 22, 26, 30]
    assert network.frames_of_map(32, 8) == expected


def test_frames_that_only_the_fast_pathway_sees(shapes):
    """The slow pathway alone answers to a frame of its own where the fast one's classifier weights are 0."""
    config = load_config(ROOT / "configs" / "slowfast_r50_8x8.txt", [*NARROW, *list_overrides(shapes)])
    network = fill(build_model(config))
    for name, value in network.state_dict().items():
        if name.startswith("lateral") and name.endswith(("_scale", "_offset")):
            value.set_value(np.zeros(value.shape, np.float32))  # nothing comes from the fast pathway
    weight = network.state_dict()["pred_w"]
    slow_channels = 2048 // 8
    weight.set_value(np.concatenate([weight.numpy()[:slow_channels], 0 * weight.numpy()[slow_channels:]]))
    network.eval()
    clip = np.random.default_rng(0).standard_normal((1, 3, 8, 32, 32)).astype(np.float32)
    before = network(paddle.to_tensor(clip)).numpy()
    for frame in range(8):
        changed = clip.copy()
        changed[:, :, frame] *= -1
        is_seen = (network(paddle.to_tensor(changed)).numpy() != before).any()
        assert is_seen == (frame in (0, 7)), frame


def test_recomputation_gives_the_same_bits(config_of, tmp_path):
    def after_training(folder, *overrides):
        trainer = make_trainer(config_of("TRAIN.batch_size=4", "TRAIN.epoch=1", *overrides), tmp_path / folder)
        trainer.run()
        return trainer.step.network.state_dict()

    plain, again = after_training("plain"), after_training("again", "TRAIN.recompute=True")
    for key, value in plain.items():
        np.testing.assert_array_equal(again[key].numpy(), value.numpy(), err_msg=key)


def test_stages_freeze(config_of, tmp_path):
    trainer = make_trainer(config_of("TRAIN.freeze_stages=1", "TRAIN.batch_size=4", "TRAIN.epoch=1"), tmp_path)
    before = {name: value.numpy() for name, value in trainer.step.network.state_dict().items()}
    trainer.run()
    moved = {name for name, value in trainer.step.network.state_dict().items() if (value.numpy() != before[name]).any()}
    assert "conv1_weights" not in moved
    assert {"res2a_branch2a_weights", "pred_w"} <= moved


@pytest.mark.parametrize("engine", RUNTIMES)
def test_engines_agree(config_of, engine):
    if not RUNTIMES[engine].is_installed:
        pytest.skip(f"{engine} is not installed")
    config = config_of()
    network = filled(build_model(config))
    views = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 32, 32), np.uint8)
    expected = DygraphScorer(network).with_features(views)
    np.testing.assert_array_equal(DygraphScorer(network)(views), expected[0])
    found = open_scorer(network, config, config.TEST, engine).with_features(views)
    for values, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(values, wanted, atol=1e-5 * max(1, np.abs(wanted).max()))
        assert wanted.std() > 1e-3


def test_normalisation_is_folded(config_of, tmp_path):
    config = config_of()
    network = filled(build_model(config))
    clips = paddle.to_tensor(np.random.default_rng(0).standard_normal((1, 3, 8, 32, 32)).astype(np.float32))
    before = network(clips).numpy()
    assert export_network(network, config, tmp_path / "net", "paddle", num_frames=8)
    network.fold_normalisation()
    np.testing.assert_allclose(network(clips).numpy(), before, atol=1e-5)
    assert not [name for name in network.state_dict() if "_mean" in name]


def test_larger_crops_follow_the_head_of_the_lineage():
    """Windows of probabilities, windows of logits, or the whole map."""
    clips = paddle.to_tensor(np.random.default_rng(0).standard_normal((1, 3, 8, 64, 64)).astype(np.float32))
    sizes = ["MODEL.name=SLOWONLY", *NARROW[:3], *(f"{s}.video_length=8" for s in ("TRAIN", "VALID", "TEST", "INFER"))]
    sizes += ["TRAIN.crop_size=32", "TRAIN.jitter_scales=[32,32]"]
    found = {}
    for lineage in LINEAGES["SLOWONLY"]:
        network = fill(build_model(config_from([*sizes, f"MODEL.lineage={lineage}", "NONLOCAL.pairwise=gaussian"])))
        network.eval()
        places = network.logits(clips).numpy()
        softmax = np.exp(places) / np.exp(places).sum(axis=-1, keepdims=True)
        mean = places.mean(axis=(1, 2, 3))
        expected = {
            "pyslowfast": softmax.mean(axis=(1, 2, 3)),
            "pytorchvideo": np.exp(mean) / np.exp(mean).sum(axis=-1, keepdims=True),
            "mmaction2": softmax[:, 0, 0, 0],
        }[lineage]
        found[lineage] = places.shape[1:4]
        np.testing.assert_allclose(network(clips).numpy(), expected, atol=1e-5)
    assert found == {"pyslowfast": (1, 2, 2), "pytorchvideo": (1, 2, 2), "mmaction2": (1, 1, 1)}


def test_a_mean_for_each_channel():
    """The lineage decides it unless the config does."""
    config = config_from(["MODEL.name=TSM", *NARROW])
    assert config.MODEL.image_mean == (123.675, 116.28, 103.53)
    assert config_from(["MODEL.name=TSM", *NARROW, "MODEL.image_mean=100"]).MODEL.image_mean == 100.0
    network = build_model(config)
    frames = np.random.default_rng(0).integers(0, 256, (1, 3, 8, 4, 4), np.uint8)
    expected = (frames - np.reshape([123.675, 116.28, 103.53], (1, 3, 1, 1, 1))) / np.reshape(
        [58.395, 57.12, 57.375], (1, 3, 1, 1, 1)
    )
    np.testing.assert_allclose(network.normalised(paddle.to_tensor(frames)).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["MODEL.name=TSM", "MODEL.lineage=gluoncv"],
            r"lineage \(gluoncv\) must be one of tsm, mmaction2, pad",
        ),
        (["MODEL.lineage=tsm"], r"lineage \(tsm\) must be one of authors, pyslowfast, .*, for C2D"),
        (["MODEL.lineage=pyslowfast", "MODEL.pool1_padding=1"], "pool1_padding varies the networks of the authors"),
        (["NONLOCAL.conv3_positions=[1,4]"], r"conv3_positions \(\[1, 4\]\) must ascend, from 0 to at most 3"),
        (["NONLOCAL.conv4_positions=[3,1]"], "must ascend"),
        (["MODEL.name=SLOWFAST", "SLOWFAST.alpha=3"], "must be a multiple of 3: the slow pathway sees one frame of"),
        (
            ["MODEL.name=SLOWFAST", "TEST.video_length=16"],
            r"video_length \(16\) must be TRAIN\.video_length \(8\)",
        ),
        (["MODEL.image_std=[1,2]"], "image_std must be one number, or three"),
        (["MODEL.image_std=[1,2,0]"], "must be greater than 0"),
        (["MODEL.image_mean=[1,a,2]"], "must be a number, or a list of numbers"),
    ],
)
def test_what_no_lineage_has(overrides, message):
    with pytest.raises(ConfigError, match=message):
        config_from(overrides)


def test_positions_as_a_list():
    names = build_model(
        config_from([*NARROW, "NONLOCAL.conv3_positions=[0,3]", "NONLOCAL.conv4_positions=[5]"])
    ).nonlocal_blocks
    assert list(names) == ["nonlocal_conv3_0", "nonlocal_conv3_3", "nonlocal_conv4_5"]
