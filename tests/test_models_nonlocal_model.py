"""Whole networks: reference probabilities, released names, published sizes, the config's switches."""

import json

import numpy as np
import paddle
import pytest
from conftest import ROOT
from network_configs import load_config
from seeded_values import clip, fill

from models.lineages import LINEAGES
from models.nonlocal_block import NonLocalBlock
from models.nonlocal_config import FAMILIES
from models.registry import build_model
from models.resnet_video import BLOCKS, STAGE_CHANNELS, nonlocal_positions, res5_size
from utils.errors import ConfigError

FIXTURES = ROOT / "tests" / "fixtures"
NARROW = "MODEL.width_mult=0.0625"


def build(*overrides):
    return build_model(load_config(ROOT / "configs" / "nonlocal.txt", overrides))


def names_and_shapes():
    for line in (FIXTURES / "c2d_nl_r50_224.params.tsv").read_text().splitlines():
        name, shape = line.split("\t")
        yield name, [int(size) for size in shape.split(",")]


@pytest.mark.parametrize(
    ("case", "overrides"),
    [
        ("c2d_nl_r50_224", ()),
        ("c2d_nl_r50_256", ()),
        pytest.param("i3d_nl_r50_224", ("MODEL.video_arc_choice=2",), marks=pytest.mark.slow),
    ],
)
def test_reference_probabilities(case, overrides):
    reference = json.loads((FIXTURES / f"{case}.json").read_text())
    network = fill(build(*overrides))
    with paddle.no_grad():
        found = network(paddle.to_tensor(clip(reference["input"], reference["shape"]))).numpy()
    expected = np.array(reference["probabilities"])
    np.testing.assert_allclose(found, expected, atol=1e-4)
    likely = expected > 1e-4
    # The file states seven decimals: half a unit of the last is 5e-4 of a probability of 1e-4.
    np.testing.assert_allclose(np.log(found[likely]), np.log(expected[likely]), atol=1e-3)


def test_released_names_and_shapes_in_order():
    network = build()
    found = [(name, list(value.shape)) for name, value in network.state_dict().items()]
    assert found == list(names_and_shapes())
    assert trainable(network) == 31_686_096


def trainable(network):
    return sum(int(np.prod(value.shape)) for value in network.parameters() if not value.stop_gradient)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "count"),
    [
        (("NONLOCAL.conv3_nonlocal=False", "NONLOCAL.conv4_nonlocal=False"), 24_327_632),
        (("MODEL.video_arc_choice=2", "NONLOCAL.conv3_nonlocal=False", "NONLOCAL.conv4_nonlocal=False"), 28_043_472),
        (("MODEL.video_arc_choice=2",), 35_401_936),
        (("MODEL.video_arc_choice=3", "MODEL.depth=101"), 50_678_224),
        (("MODEL.video_arc_choice=4", "MODEL.depth=101"), 59_112_656),
    ],
)
def test_published_parameter_counts(overrides, count):
    assert trainable(build(*overrides)) == count


def test_nonlocal_blocks_can_be_left_out_stage_by_stage():
    def stages(*overrides):
        return {name[:14] for name in build(NARROW, *overrides).state_dict() if name.startswith("nonlocal")}

    assert stages() == {"nonlocal_conv3", "nonlocal_conv4"}
    assert stages("NONLOCAL.conv3_nonlocal=False") == {"nonlocal_conv4"}
    assert stages("NONLOCAL.conv3_nonlocal=False", "NONLOCAL.conv4_nonlocal=False") == set()


def test_r101_names_and_positions():
    names = set(build(NARROW, "MODEL.video_arc_choice=3", "MODEL.depth=101").state_dict())
    assert {
        "res4a_branch1_weights",
        "res4b1_branch2a_weights",
        "res4b22_branch2c_weights",
        "res3d_branch2a_weights",
    } <= names
    assert {name.rsplit("_", 2)[0] for name in names if name.startswith("nonlocal_conv4") and name.endswith("g_w")} == {
        "nonlocal_conv4_6", "nonlocal_conv4_13", "nonlocal_conv4_20",
    }  # fmt: skip


def test_affine_networks():
    network = build(NARROW, "MODEL.use_affine=True", "NONLOCAL.use_bn=False", "NONLOCAL.use_zero_init_conv=True")
    names = set(network.state_dict())
    assert "nonlocal_conv3_group_1_theta_w" in names
    assert "nonlocal_conv4_1_theta_w" in names
    assert not [name for name in names if name.endswith(("_mean", "_variance"))]
    assert network.state_dict()["bn_conv1_scale"].stop_gradient
    trained = build(NARROW, "MODEL.use_affine=True", "MODEL.train_affine=True")
    assert not trained.state_dict()["bn_conv1_scale"].stop_gradient


def test_i3d_kernels_stand_where_the_paper_puts_them():
    shapes = {name: value.shape for name, value in build(NARROW, "MODEL.video_arc_choice=2").state_dict().items()}
    inflated = {name[3:5] for name, shape in shapes.items() if name.endswith("branch2a_weights") and shape[2] == 3}
    assert inflated == {"2a", "2b", "2c", "3a", "3c", "4a", "4c", "4e", "5b"}
    assert shapes["conv1_weights"][2:] == [5, 7, 7]
    assert {shape[2] for name, shape in shapes.items() if name.startswith("res") and "2a_w" not in name} == {1}


def test_uint8_is_normalised_inside():
    network = fill(build(NARROW, "TRAIN.crop_size=32"))
    frames = np.random.default_rng(0).integers(0, 256, (1, 3, 8, 32, 32), np.uint8)
    by_hand = ((frames - 114.75) / 57.375).astype(np.float32)
    found = network(paddle.to_tensor(frames)).numpy()
    np.testing.assert_allclose(found, network(paddle.to_tensor(by_hand)).numpy(), rtol=1e-4)


def test_training_gives_logits_of_the_same_scores():
    network = fill(build(NARROW, "TRAIN.crop_size=32", "TRAIN.dropout_rate=0"))
    x = paddle.to_tensor(clip("any", (2, 3, 8, 32, 32)))
    logits = network.logits(x).numpy().reshape(2, -1)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(network(x).numpy(), expected, rtol=1e-4)
    network.train()
    assert network(x).shape == [2, 400]


def test_a_larger_crop_is_the_mean_over_windows_of_the_map():
    """Pool and classify every 2x2 window of the res5 map by hand."""
    network = fill(build(NARROW, "TRAIN.crop_size=64"))
    x = paddle.to_tensor(clip("any", (1, 3, 8, 128, 96)))
    values = {name: value.numpy() for name, value in network.state_dict().items()}
    feature_map = network.feature_map(x).numpy()[0]  # (C, 4, 4, 3)
    assert feature_map.shape[1:] == (4, 4, 3)
    rows = []
    for top in range(3):
        for left in range(2):
            pooled = feature_map[:, :, top : top + 2, left : left + 2].mean(axis=(1, 2, 3))
            scores = np.exp(pooled @ values["pred_w"] + values["pred_b"])
            rows.append(scores / scores.sum())
    np.testing.assert_allclose(network(x).numpy()[0], np.mean(rows, axis=0), rtol=1e-3)


def test_dropout_is_scaled_up_in_training_and_absent_in_tests():
    network = build(NARROW, "TRAIN.crop_size=32", "TRAIN.dropout_rate=0.5")
    ones = paddle.ones([512, network.head.pred.weight.shape[0], 4, 1, 1])
    network.head.pred.weight.set_value(paddle.ones_like(network.head.pred.weight))
    network.train()
    dropped = network.head(ones).numpy()
    assert dropped.mean() == pytest.approx(network.head.pred.weight.shape[0], rel=0.05)
    assert dropped.std() > 0
    network.eval()
    np.testing.assert_allclose(network.head(ones).numpy(), network.head.pred.weight.shape[0], rtol=1e-5)


def test_initial_values():
    values = {name: value.numpy() for name, value in build("MODEL.width_mult=0.5").state_dict().items()}
    kernel = values["res4a_branch2b_weights"]
    bound = np.sqrt(6 / np.prod(kernel.shape[1:]))  # uniform He: fan_in = in * t * h * w
    assert np.abs(kernel).max() <= bound
    assert kernel.std() == pytest.approx(bound / np.sqrt(3), rel=0.02)
    assert not values["bn4a_branch2c_scale"].any()
    assert (values["bn4a_branch2b_scale"] == 1).all()
    assert values["pred_w"].std() == pytest.approx(0.01, rel=0.02)


@pytest.mark.parametrize(("width", "channels"), [(0.25, 16), (0.125, 8), (2.0, 128)])
def test_width_mult_scales_every_layer(width, channels):
    shapes = {
        name: value.shape
        for name, value in build(f"MODEL.width_mult={width}", "MODEL.num_classes=7").state_dict().items()
    }
    for name, shape in names_and_shapes():
        out = shape[-1] if name == "pred_w" else shape[0]
        expected = 7 if name.startswith("pred") and out == 400 else out * width
        assert (shapes[name][-1] if name == "pred_w" else shapes[name][0]) == expected, name
    assert shapes["conv1_weights"][0] == channels


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("MODEL.pool1_padding=1",),
        ("MODEL.stem_temporal_stride=2",),
        ("MODEL.stem_temporal_stride=2", "MODEL.pool1_padding=1"),
        *((f"MODEL.lineage={name}",) for name in ("pyslowfast", "pyslowfast_nopool", "pytorchvideo", "mmaction2")),
        *((f"MODEL.lineage={name}",) for name in ("mmaction2_heavy", "gluoncv", "pytorch_resnet3d")),
    ],
)
@pytest.mark.parametrize("choice", [1, 2])
def test_res5_size_is_what_the_network_gives(overrides, choice):
    family = FAMILIES[choice][0]
    lineage = overrides[0].rpartition("=")[2] if overrides and "lineage" in overrides[0] else "authors"
    if lineage not in LINEAGES[family]:
        return
    given = (NARROW, "TRAIN.crop_size=32", f"MODEL.video_arc_choice={choice}", *overrides)
    network, config = build(*given), load_config(ROOT / "configs" / "nonlocal.txt", given)
    for frames, crop in ((8, 224), (8, 256), (16, 96), (32, 64), (8, 32)):
        found = network.feature_map(paddle.zeros([1, 3, frames, crop, crop])).shape
        assert tuple(found[2:]) == res5_size(frames, crop, family, config.layers)


def test_the_stems_by_hand():
    """conv1 and pool1 of each stem against a maximum over windows written out."""
    x = paddle.to_tensor(clip("any", (1, 3, 8, 16, 16)))
    for temporal, padding in ((1, 0), (1, 1), (2, 0)):
        overrides = (f"MODEL.stem_temporal_stride={temporal}", f"MODEL.pool1_padding={padding}")
        network = fill(build(NARROW, "TRAIN.crop_size=32", *overrides))
        conv1 = network.conv1[0].convolution(x).numpy()  # (1, C, 8 / temporal, 8, 8)
        assert conv1.shape[2:] == (8 // temporal, 8, 8)
        padded = np.pad(conv1, [(0, 0)] * 3 + [(padding, padding)] * 2, constant_values=-np.inf)
        size = (padded.shape[3] - 3) // 2 + 1
        expected = np.empty((*conv1.shape[:2], conv1.shape[2] // temporal, size, size), np.float32)
        for t, y, x_ in np.ndindex(*expected.shape[2:]):
            window = padded[:, :, t * temporal : (t + 1) * temporal, 2 * y : 2 * y + 3, 2 * x_ : 2 * x_ + 3]
            expected[:, :, t, y, x_] = window.max(axis=(2, 3, 4))
        np.testing.assert_array_equal(network.pool1(paddle.to_tensor(conv1)).numpy(), expected)


def test_settings_of_the_blocks_reach_the_blocks():
    network = build(NARROW, "NONLOCAL.chunk_size=50", "NONLOCAL.pairwise=concatenation", "NONLOCAL.use_maxpool=False")
    blocks = [layer for layer in network.sublayers() if isinstance(layer, NonLocalBlock)]
    assert len(blocks) == 5
    assert {(block.chunk_size, block.pairwise, block.pool) for block in blocks} == {(50, "concatenation", None)}


def test_mean_and_deviation_of_the_config_normalise_the_frames():
    network = fill(build(NARROW, "TRAIN.crop_size=32", "MODEL.image_mean=100.0", "MODEL.image_std=50.0"))
    frames = np.random.default_rng(0).integers(0, 256, (1, 3, 8, 32, 32), np.uint8)
    by_hand = ((frames - 100.0) / 50.0).astype(np.float32)
    # Some versions of Paddle multiply by the inverse: the last bit differs.
    np.testing.assert_allclose(network.normalised(paddle.to_tensor(frames)).numpy(), by_hand, rtol=3e-7)
    expected = network(paddle.to_tensor(by_hand)).numpy()
    np.testing.assert_allclose(network(paddle.to_tensor(frames)).numpy(), expected, rtol=1e-5)


def test_the_deviation_of_the_classifier_s_first_weights():
    values = build("MODEL.width_mult=0.5", "MODEL.fc_init_std=0.03").state_dict()
    assert values["pred_w"].numpy().std() == pytest.approx(0.03, rel=0.02)
    assert not values["pred_b"].numpy().any()


def test_the_momentum_of_running_statistics():
    """running = momentum * running + (1 - momentum) * batch, from 0: of the backbone, and of the non-local blocks."""
    x = paddle.to_tensor(clip("any", (2, 3, 8, 32, 32)))

    def means(*overrides):
        network = fill(build(NARROW, "TRAIN.crop_size=32", *overrides))
        for name, value in network.state_dict().items():
            if name.endswith("_mean"):
                value.set_value(paddle.zeros_like(value))
        network.train()
        network(x)
        state = network.state_dict()
        return {name: state[name].numpy() for name in ("bn_conv1_mean", "nonlocal_conv3_1_bn_mean")}

    whole = means("MODEL.bn_momentum=0.0", "NONLOCAL.bn_momentum=0.0")
    part = means("MODEL.bn_momentum=0.75", "NONLOCAL.bn_momentum=0.5")
    np.testing.assert_allclose(part["bn_conv1_mean"], 0.25 * whole["bn_conv1_mean"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        part["nonlocal_conv3_1_bn_mean"], 0.5 * whole["nonlocal_conv3_1_bn_mean"], rtol=1e-3, atol=1e-6
    )


def test_groups_of_the_3x3_convolutions_by_hand():
    """ResNeXt: two groups of 64 * 1/16 * 8 / 64 channels each; a group's outputs see a group's inputs alone."""
    network = fill(build(NARROW, "TRAIN.crop_size=32", "RESNETS.num_groups=2", "RESNETS.width_per_group=32"))
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert shapes["res2a_branch2b_weights"] == (4, 2, 1, 3, 3)
    assert shapes["res5a_branch2b_weights"] == (32, 16, 1, 3, 3)
    assert shapes["res5a_branch2c_weights"] == (128, 32, 1, 1, 1)
    layer = network.res5[0].branch2b
    x = np.random.default_rng(0).standard_normal((1, 32, 2, 4, 4)).astype(np.float32)
    changed = x.copy()
    changed[:, :16] += 1
    before, after = (layer(paddle.to_tensor(values)).numpy() for values in (x, changed))
    np.testing.assert_array_equal(before[:, 16:], after[:, 16:])
    assert not np.isclose(before[:, :16], after[:, :16]).any()


@pytest.mark.parametrize(("width", "channels"), [(64, 4), (32, 2), (128, 8)])
def test_width_per_group_is_the_inner_width_of_res2(width, channels):
    shapes = {
        name: value.shape for name, value in build(NARROW, f"RESNETS.width_per_group={width}").state_dict().items()
    }
    assert shapes["res2a_branch2a_weights"][0] == channels
    assert shapes["res5c_branch2b_weights"][:2] == [8 * channels, 8 * channels]
    assert shapes["res2a_branch2c_weights"][0] == 16, "the outer width stays"


@pytest.mark.parametrize(
    ("layer_mod", "blocks"),
    [
        (1, ["3_0", "3_1", "3_2", "3_3", "4_0", "4_1", "4_2", "4_3", "4_4", "4_5"]),
        (2, ["3_1", "3_3", "4_1", "4_3", "4_5"]), (3, ["3_2", "4_2", "4_5"]), (5, ["4_4"]),
    ],
)  # fmt: skip
def test_layer_mod_says_where_the_blocks_stand(layer_mod, blocks):
    network = build(NARROW, f"NONLOCAL.layer_mod={layer_mod}")
    assert list(network.nonlocal_blocks) == [f"nonlocal_conv{block}" for block in blocks]


def test_in_r101_the_blocks_of_res4_stand_after_every_seventh():
    network = build(NARROW, "MODEL.video_arc_choice=3", "MODEL.depth=101", "NONLOCAL.layer_mod=2")
    assert list(network.nonlocal_blocks) == [f"nonlocal_conv{block}" for block in ("3_1", "3_3", "4_6", "4_13", "4_20")]


def test_features_of_one_place_give_the_probabilities():
    network = fill(build(NARROW, "TRAIN.crop_size=64"))
    x = paddle.to_tensor(clip("any", (2, 3, 8, 64, 64)))
    values = {name: value.numpy() for name, value in network.state_dict().items()}
    scores = np.exp(network.features(x).numpy() @ values["pred_w"] + values["pred_b"])
    np.testing.assert_allclose(network(x).numpy(), scores / scores.sum(axis=1, keepdims=True), rtol=1e-3)
    larger = network.features(paddle.to_tensor(clip("any", (2, 3, 8, 128, 64))))
    assert larger.shape == [2, 128], "the mean over the places"


def test_kinds_of_parameters():
    kind = build(NARROW).parameter_kind
    assert kind("conv1_weights") == ("backbone", False)
    assert kind("bn4c_branch2a_offset") == ("backbone", True)
    assert kind("nonlocal_conv3_1_theta_b") == ("nonlocal", False)
    assert kind("nonlocal_conv3_1_bn_scale") == ("nonlocal", True)
    assert kind("pred_w") == kind("pred_b") == ("head", False)
    kind = build(NARROW, "MODEL.use_affine=True", "NONLOCAL.use_bn=False", "NONLOCAL.use_affine=True").parameter_kind
    assert kind("bn_conv1_scale") == ("backbone", True)
    assert kind("nonlocal_conv3_group_1_affine_s") == ("nonlocal", True)


def test_the_tables():
    assert BLOCKS[50] == (3, 4, 6, 3)
    assert STAGE_CHANNELS[5] == 2048
    assert nonlocal_positions(50, 3, 2) == (1, 3)


def test_two_networks_in_one_process():
    first, second = build(NARROW), build(NARROW)
    assert list(first.state_dict()) == list(second.state_dict())
    second.set_state_dict(first.state_dict())
    for name, value in first.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), second.state_dict()[name].numpy())


def test_a_wrong_shape_is_refused_and_missing_names_are_returned():
    network = build(NARROW)
    with pytest.raises(ValueError, match="pred_b has shape"):
        network.set_state_dict({"pred_b": np.zeros(3, np.float32)})
    missing, unexpected = network.set_state_dict({"pred_b": np.zeros(400, np.float32), "other": np.zeros(1)})
    assert "pred_w" in missing
    assert unexpected == ["other"]


def test_an_unknown_name_lists_the_known():
    with pytest.raises(ConfigError, match=r"MODEL.name=nonlocl': unknown network .* did you mean NONLOCAL\?"):
        load_config(ROOT / "configs" / "nonlocal.txt", ["MODEL.name=nonlocl"])
