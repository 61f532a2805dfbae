"""Every format a user can bring, from files that independent writers made, into a network, value for value."""

import json
import pickle
import re

import foreign_names
import numpy as np
import paddle
import pytest
from conftest import ROOT
from foreign_writers import (
    python2_pickle,
    safetensors_bytes,
    write_fluid_folder,
    write_torch_legacy,
    write_torch_zip,
)
from loaded_weights import load_weights
from network_configs import load_config
from network_files import WHOLE, assert_holds, renamed, seeded, slowfast, write_bytes
from seeded_values import clip, fill, parameter
from small_trainer import begin, make_trainer

from engine.network_loading import load_for_scoring
from models.registry import build_model
from utils.errors import WeightsError


@pytest.mark.parametrize("title", WHOLE)
def test_a_whole_network(title, narrow, tmp_path):
    network, config = narrow()
    values = seeded(network)
    path = WHOLE[title](tmp_path / "weights", values)
    load_for_scoring(network, config, str(path))
    assert_holds(network, values)


@pytest.mark.slow
@pytest.mark.parametrize("title", ["Caffe2", "SlowFast"])
def test_the_full_network_gives_the_reference_result(title, tmp_path):
    """A file of the full-size network, in another system's names and format, and the expected probabilities."""
    config = load_config(ROOT / "configs" / "nonlocal.txt")
    network = build_model(config)
    path = WHOLE[title](tmp_path / "weights", seeded(network))
    load_for_scoring(network, config, str(path))
    network.eval()
    expected = json.loads((ROOT / "tests" / "fixtures" / "c2d_nl_r50_224.json").read_text())
    with paddle.no_grad():
        probabilities = network(paddle.to_tensor(clip(expected["input"], expected["shape"]))).numpy()
    np.testing.assert_allclose(probabilities, expected["probabilities"], atol=1e-4)


@pytest.mark.parametrize("bits", [16, "bfloat16"])
def test_half_precision(bits, narrow, tmp_path):
    network, config = narrow()
    values = seeded(network)
    if bits == 16:
        stored = {name: value.astype(np.float16) for name, value in values.items()}
        expected = {name: value.astype(np.float32) for name, value in stored.items()}
        path = write_torch_zip(tmp_path / "w.pt", slowfast(stored))
    else:
        stored = {name: (value.view(np.uint32) >> 16).astype(np.uint16) for name, value in values.items()}
        expected = {name: (value.astype(np.uint32) << 16).view(np.float32) for name, value in stored.items()}
        path = write_torch_zip(tmp_path / "w.pt", slowfast(stored))
    load_for_scoring(network, config, str(path))
    assert_holds(network, expected)
    if bits == "bfloat16":
        tensors = renamed(stored, foreign_names.slowfast())
        (tmp_path / "w.safetensors").write_bytes(safetensors_bytes(tensors, dict.fromkeys(tensors, "BF16")))
        load_for_scoring(network, config, str(tmp_path / "w.safetensors"))
        assert_holds(network, expected)


def test_views_share_a_storage(tmp_path):
    """A tensor of PyTorch may be a transposed part of a larger storage."""
    import utils.pickles as pickles

    storage = np.arange(24, dtype=np.float32)
    view = pickles._strided(storage, 2, (3, 4), (1, 5))
    np.testing.assert_array_equal(view, [[2 + i + 5 * j for j in range(4)] for i in range(3)])
    for size, stride in [((3, 5), (1, 5)), ((4, 4), (3, -1)), ((25,), (0,)), ((2,), (1, 1))]:
        with pytest.raises(ValueError, match=r"a tensor|an array"):
            pickles._strided(storage, 2, size, stride)


IMAGENET = {
    "torchvision": lambda path, v: write_torch_zip(
        path, renamed(v, foreign_names.torchvision(), two_dimensional=True)
    ),
    "torchvision, older": lambda path, v: write_torch_legacy(
        path, renamed(v, foreign_names.torchvision(), two_dimensional=True)
    ),
    "torchvision, safetensors": lambda path, v: write_bytes(
        path, safetensors_bytes(renamed(v, foreign_names.torchvision(), two_dimensional=True))
    ),
    "paddle.vision": lambda path, v: write_bytes(
        path,
        pickle.dumps(renamed(v, foreign_names.paddle_vision(), two_dimensional=True) | {"fc.weight": v["pred_w"]}, 4),
    ),
    "Caffe2": lambda path, v: write_bytes(
        path,
        python2_pickle(
            renamed({k: a for k, a in v.items() if "pred" not in k}, foreign_names.caffe2(), two_dimensional=True)
        ),
    ),
    "Paddle 1.x": lambda path, v: write_fluid_folder(
        path, {k: a[:, :, 0] if a.ndim == 5 else a for k, a in v.items() if "pred" not in k}
    ),
}  # fmt: skip


@pytest.mark.parametrize("family", ["C2D", "I3D"])
@pytest.mark.parametrize("title", IMAGENET)
def test_an_image_network_starts_a_video_network(title, family, narrow, tmp_path, logged):
    network, config = narrow(f"MODEL.video_arc_choice={1 if family == 'C2D' else 2}")
    image_network, _ = narrow("MODEL.num_classes=10", "NONLOCAL.conv3_nonlocal=False", "NONLOCAL.conv4_nonlocal=False")
    values = seeded(image_network)
    path = IMAGENET[title](tmp_path / "weights", values)
    before = {name: value.numpy().copy() for name, value in network.state_dict().items()}
    begin(network, None, config, pretrain=str(path), resume=None)
    own = network.state_dict()
    for name, value in values.items():
        if not name.startswith("pred"):
            frames = own[name].shape[2] if len(own[name].shape) == 5 else 1
            expected = np.repeat(value / np.float32(frames), frames, axis=2) if value.ndim == 5 else value
            np.testing.assert_array_equal(own[name].numpy(), expected, err_msg=name)
    for name, value in before.items():
        if name.startswith(("nonlocal", "pred")):
            np.testing.assert_array_equal(own[name].numpy(), value, err_msg=name)
    if family == "I3D":
        assert "; 10 inflated;" in logged()
        assert "weights: inflated: res5b_branch2a_weights" in logged()
    assert ("MODEL.pool1_padding=1" in logged()) == ("vision" in title)
    assert "missing: nonlocal_conv3_1_g_w" in logged()


def test_an_image_network_cannot_be_tested(narrow, tmp_path):
    network, config = narrow("NONLOCAL.conv3_nonlocal=False", "NONLOCAL.conv4_nonlocal=False")
    path = IMAGENET["Paddle 1.x"](tmp_path / "weights", seeded(network))
    with pytest.raises(WeightsError, match=r"2 missing \(pred_w, pred_b\).*use --pretrain"):
        load_for_scoring(network, config, str(path))
    with pytest.raises(WeightsError, match=r"2 missing \(pred_w, pred_b\).*use --pretrain"):
        begin(network, None, config, pretrain=None, resume=str(path))


def test_a_resnet_of_paddle_vision_on_a_still_video(tmp_path):
    """Paddle's own image network, saved by Paddle: on a video that does not move, C2D gives the image's logits."""
    paddle.seed(0)
    image_network = paddle.vision.models.resnet50(num_classes=7)
    for name, value in image_network.state_dict().items():
        if name.endswith(("_mean", "_variance")):
            value.set_value(parameter(name, value.shape))
    image_network.eval()
    paddle.save(image_network.state_dict(), str(tmp_path / "r50.pdparams"))
    overrides = ["NONLOCAL.conv3_nonlocal=False", "NONLOCAL.conv4_nonlocal=False", "MODEL.pool1_padding=1"]
    overrides += ["MODEL.num_classes=7", "TRAIN.crop_size=64", "TRAIN.jitter_scales=[64,80]", "TRAIN.video_length=2"]
    config = load_config(ROOT / "configs" / "nonlocal.txt", overrides)
    network = build_model(config)
    load_for_scoring(network, config, str(tmp_path / "r50.pdparams"))
    network.eval()
    image = paddle.to_tensor(clip("still", (2, 3, 1, 64, 64))[:, :, 0])
    with paddle.no_grad():
        expected = image_network(image).numpy()
        found = network.logits(image.unsqueeze(2).tile([1, 1, 2, 1, 1])).numpy()[:, 0, 0, 0]
    assert np.abs(expected[0] - expected[1]).max() > 0.05 * np.abs(expected).max(), "the image matters"
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


AFFINE = ["MODEL.use_affine=True", "NONLOCAL.use_bn=False", "NONLOCAL.use_zero_init_conv=True"]
CLIP_16 = [f"{section}.video_length=16" for section in ("TRAIN", "VALID", "TEST", "INFER")]


@pytest.mark.parametrize("spelling", ["nonlocal_conv3_", "nonlocal_conv3_group_"])
def test_affine_networks_of_the_authors(spelling, narrow, tmp_path):
    """Scales and offsets only; the grouped blocks under plain names, and under their own."""
    network, config = narrow(*AFFINE, *CLIP_16)
    values = seeded(network)
    assert "nonlocal_conv3_group_1_g_w" in values
    names = foreign_names.caffe2()
    plain = {name.replace("_group_", "_"): value for name, value in values.items()}
    blobs = renamed(plain, names) if spelling == "nonlocal_conv3_" else None
    content = python2_pickle({"blobs": blobs}) if blobs else pickle.dumps(values)
    load_for_scoring(network, config, str(write_bytes(tmp_path / "w.pkl", content)))
    assert_holds(network, values)


def test_affine_non_local_blocks(narrow, tmp_path):
    """A non-local affine is called ..._bn_s and ..._bn_b by the authors."""
    network, config = narrow(*AFFINE, *CLIP_16, "NONLOCAL.use_affine=True")
    values = seeded(network)
    blobs = {}
    for name, value in values.items():
        plain = name.replace("_group_", "_")
        if "_affine_" in name:
            blobs[plain.replace("_affine_s", "_bn_s").replace("_affine_b", "_bn_b")] = value
        else:
            blobs |= renamed({plain: value}, foreign_names.caffe2())
    load_for_scoring(network, config, str(write_bytes(tmp_path / "w.pkl", python2_pickle(blobs))))
    assert_holds(network, values)


def test_batch_norm_is_folded_for_an_affine_network(narrow, tmp_path, logged):
    plain, _ = narrow(*CLIP_16, "NONLOCAL.conv3_nonlocal=False", "NONLOCAL.conv4_nonlocal=False")
    network, config = narrow(*AFFINE, *CLIP_16, "MODEL.bn_epsilon=0.001")
    values = seeded(plain)
    path = write_bytes(tmp_path / "w.pkl", python2_pickle(renamed(values, foreign_names.caffe2())))
    begin(network, None, config, pretrain=str(path), resume=None)
    own = network.state_dict()
    for name in ("bn_conv1", "bn2a_branch1", "bn4f_branch2b", "bn5c_branch2c"):
        scale, offset, mean, variance = (values[f"{name}_{part}"].astype(float) for part in foreign_names.BN)
        np.testing.assert_allclose(own[f"{name}_scale"].numpy(), scale / np.sqrt(variance + 0.001), rtol=1e-6)
        expected = offset - mean * scale / np.sqrt(variance + 0.001)
        np.testing.assert_allclose(own[f"{name}_offset"].numpy(), expected, rtol=1e-5, atol=1e-6)
    assert "107 converted" in logged()


@pytest.mark.parametrize("spelling", ["letters", "numbers"])
def test_resnet_101_in_both_spellings(spelling, narrow, tmp_path):
    network, config = narrow("MODEL.video_arc_choice=3", "MODEL.depth=101")
    values = seeded(network)
    assert "res4b22_branch2a_weights" in values

    def spell(name):
        letter = lambda match: f"{match[1]}4{foreign_names.LETTERS[int(match[2])]}_"  # noqa: E731
        return re.sub(r"^(res|bn)4b(\d+)_", letter, name) if spelling == "letters" else name

    path = write_fluid_folder(tmp_path / "w", {spell(name): value for name, value in values.items()})
    load_for_scoring(network, config, str(path))
    assert_holds(network, values)


def test_resnet_101_of_the_authors(narrow, tmp_path):
    network, config = narrow("MODEL.video_arc_choice=4", "MODEL.depth=101")
    values = seeded(network)
    blocks = foreign_names.BLOCKS | {4: 23}
    positions = [(3, 1), (3, 3), (4, 6), (4, 13), (4, 20)]
    names = foreign_names.caffe2(blocks, nonlocal_blocks=positions)
    letters = {re.sub(r"^(res|bn)4b(\d+)_", lambda m: f"{m[1]}4{foreign_names.LETTERS[int(m[2])]}_", n): v
               for n, v in values.items()}  # fmt: skip
    path = write_bytes(tmp_path / "w.pkl", python2_pickle({"blobs": renamed(letters, names)}))
    load_for_scoring(network, config, str(path))
    assert_holds(network, values)


def test_more_than_half_missing(narrow, tmp_path):
    network, config = narrow()
    values = seeded(network, drop=("res3", "res4", "res5", "bn4", "bn5"))
    path = write_bytes(tmp_path / "w.pdparams", pickle.dumps(values))
    with pytest.raises(WeightsError, match=r"of the backbone's 265 parameters are missing \(res3a_branch2a_weights"):
        begin(network, None, config, pretrain=str(path), resume=None)


def test_weights_of_another_width_to_start_from(narrow, narrow_config, tmp_path):
    """The error says what differs, as it does when they are tested."""
    make_trainer(narrow_config("TRAIN.epoch=1"), tmp_path / "run").run()
    config = narrow_config("MODEL.width_mult=0.125")
    with pytest.raises(WeightsError, match=r"has shape .*the checkpoint is of another config: MODEL\.width_mult was"):
        begin(build_model(config), None, config, pretrain=str(tmp_path / "run"), resume=None)


def test_old_weights_and_dropout(narrow, tmp_path, logged):
    network, config = narrow()
    path = write_fluid_folder(tmp_path / "w", seeded(network))
    begin(network, None, config, pretrain=str(path), resume=None)
    assert "Paddle 1.x did not scale up what dropout leaves" in logged()


def test_a_folder_with_one_weights_file(narrow, tmp_path):
    network, config = narrow()
    values = seeded(network)
    (tmp_path / "readme.txt").touch()
    write_bytes(tmp_path / "NONLOCAL.pdparams", pickle.dumps(values))
    load_for_scoring(network, config, str(tmp_path))
    assert_holds(network, values)


def test_half_precision_is_folded_in_full_precision(narrow, tmp_path):
    plain, _ = narrow(*CLIP_16, "NONLOCAL.conv3_nonlocal=False", "NONLOCAL.conv4_nonlocal=False")
    network, config = narrow(*AFFINE, *CLIP_16)
    values = {name: value.astype(np.float16) for name, value in seeded(plain).items()}
    values |= {name: np.full_like(v, 1.1e-4) for name, v in values.items() if name.endswith("_variance")}
    begin(network, None, config, pretrain=str(write_bytes(tmp_path / "w", pickle.dumps(values))), resume=None)
    scale, variance = (values[f"bn4a_branch1_{part}"].astype(float) for part in ("scale", "variance"))
    found = network.state_dict()["bn4a_branch1_scale"].numpy()
    np.testing.assert_allclose(found, scale / np.sqrt(variance + 1e-5), rtol=1e-6)


@pytest.mark.parametrize("part", ["shape", "sign"])
def test_statistics_that_cannot_be_folded(part, narrow, tmp_path):
    plain, _ = narrow(*CLIP_16, "NONLOCAL.conv3_nonlocal=False", "NONLOCAL.conv4_nonlocal=False")
    network, config = narrow(*AFFINE, *CLIP_16)
    values = seeded(plain)
    variance = values["bn4a_branch1_variance"]
    values["bn4a_branch1_variance"] = variance[:3] if part == "shape" else -variance
    path = write_bytes(tmp_path / "w", pickle.dumps(values))
    with pytest.raises(WeightsError, match=r"statistics of bn4\.0_branch1 differ in shape, or a variance is negative"):
        begin(network, None, config, pretrain=str(path), resume=None)


def test_what_stands_beside_the_weights(tmp_path):
    """Harmless things of training checkpoints are passed over; sets and odd keys too."""
    from collections import Counter, defaultdict, deque
    from pathlib import PurePosixPath

    content = {
        "state_dict": {"conv1_weights": np.ones(3, np.float32)}, "schedule": Counter([3, 3]), "seen": {1, 2},
        "frozen": frozenset("a"), "path": PurePosixPath("/x"), "queue": deque([1]), ("a", 1): 2, "b": b"", "n": 1 << 99,
        "default": defaultdict(list), "empty": np.zeros(0), "text": np.array(["a"]), "object": np.array([None]),
    }  # fmt: skip
    for protocol in (0, 2, 4):
        path = write_bytes(tmp_path / "w", pickle.dumps(content, protocol))
        assert load_weights(str(path)).parameters.values["conv1_weights"].tolist() == [1, 1, 1]
    text = re.sub(rb"cpathlib(\._local)?\n", b"cpathlib._local\n", pickle.dumps(content, 0))  # as Python 3.13 writes it
    assert b"_local" in text
    loaded = load_weights(str(write_bytes(tmp_path / "w", text)))
    assert loaded.parameters.values["conv1_weights"].tolist() == [1, 1, 1]


def test_round_trip_of_a_filled_network(narrow, tmp_path):
    """What Paddle itself saves, of a network and nested, is read."""
    network, config = narrow()
    fill(network)
    paddle.save(network.state_dict(), str(tmp_path / "a.pdparams"))
    paddle.save({"state_dict": network.state_dict(), "epoch": 1}, str(tmp_path / "b.pdparams"))
    values = {name: value.numpy() for name, value in network.state_dict().items()}
    for name in ("a.pdparams", "b.pdparams"):
        other, _ = narrow()
        load_for_scoring(other, config, str(tmp_path / name))
        assert_holds(other, values)
