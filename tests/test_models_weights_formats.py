"""Every format a user can bring, from files that independent writers made, into a network, value for value."""

import contextlib
import gzip
import io
import json
import logging
import pickle
import re
import struct
import subprocess
import sys
import tarfile
import zipfile

import foreign_names
import numpy as np
import paddle
import pytest
from conftest import ROOT
from foreign_writers import (
    fluid_variable,
    python2_pickle,
    python2_pickle_protocol_0,
    safetensors_bytes,
    write_fluid_folder,
    write_torch_legacy,
    write_torch_zip,
)
from seeded_values import clip, fill, parameter

from configs.loading import load_config
from engine.checkpoint import load_weights
from engine.starting import load_for_scoring, start_training
from models.registry import build_model
from utils.errors import ArchiveError, WeightsError
from utils.logging import LOGGER_NAME


@pytest.fixture
def narrow(narrow_config):
    """Build a network and its config, with overrides."""

    def build(*overrides):
        config = narrow_config(*overrides)
        return build_model(config), config

    return build


@pytest.fixture
def logged(caplog):
    logger = logging.getLogger(LOGGER_NAME)
    propagate, logger.propagate = logger.propagate, True
    with caplog.at_level(logging.DEBUG, logger=LOGGER_NAME):
        yield lambda: "\n".join(record.getMessage() for record in caplog.records)
    logger.propagate = propagate


def seeded(network, *, drop=()):
    return {
        name: parameter(name, value.shape) for name, value in network.state_dict().items() if not name.startswith(drop)
    }


def renamed(values, names, *, two_dimensional=False):
    """`values` under the names of another system, its classifier [classes, channels]."""
    out = {names[name]: value for name, value in values.items()}
    if "pred_w" in values:
        out[names["pred_w"]] = np.ascontiguousarray(values["pred_w"].T)
    if two_dimensional:
        out = {name: value[:, :, 0] if value.ndim == 5 else value for name, value in out.items()}
    return out


def assert_holds(network, values):
    own = network.state_dict()
    for name, value in values.items():
        np.testing.assert_array_equal(own[name].numpy(), value, err_msg=name)


def write_released_folder(path, values):
    write_fluid_folder(path, values)
    (path / "conv1_weights_velocity_0").write_bytes(b"of the optimiser, never read")
    (path / "@LR_DECAY_COUNTER@").write_bytes(fluid_variable(np.zeros(1, np.int64), element_type=3))
    (path / "learning_rate_0").write_bytes(fluid_variable(np.zeros(1, np.float32)))
    return path


def write_archive(path, values):
    with tarfile.open(path, "w:gz") as archive:
        for name, value in values.items():
            content = fluid_variable(value, packed=True)
            member = tarfile.TarInfo(f"nonlocal_kinetics/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def write_bytes(path, content):
    path.write_bytes(content)
    return path


def as_kernel(values):
    """The classifier as in a test checkpoint of Paddle 1.x."""
    return values | {"pred_w": np.ascontiguousarray(values["pred_w"].T)[:, :, None, None, None]}


def caffe2_blobs(values):
    blobs = renamed(values, foreign_names.caffe2())
    momentum = {f"{name}_momentum": np.zeros_like(value) for name, value in blobs.items()}
    return blobs | momentum | {"lr": 0.01, "model_iter": np.zeros(1, np.int64)}


def slowfast(values):
    tensors = renamed(values, foreign_names.slowfast())
    return tensors | {"s1.pathway0_stem.bn.num_batches_tracked": np.array(7)}


WHOLE = {
    "Paddle 1.x folder": lambda path, v: write_released_folder(path, v),
    "Paddle 1.x folder of a test": lambda path, v: write_released_folder(path, as_kernel(v)),
    "Paddle 1.x archive": lambda path, v: write_archive(path, v),
    "Paddle 1.8 by Python 2": lambda path, v: write_bytes(path, python2_pickle(v)),
    "Paddle 1.8 by Python 3": lambda path, v: write_bytes(path, pickle.dumps(v, 2)),
    "Paddle 2": lambda path, v: write_bytes(path, pickle.dumps(v | {"StructuredToParameterName@@": {"a": "b"}}, 4)),
    "Paddle 2, nested": lambda path, v: write_bytes(path, pickle.dumps({"model": {k: (k, v[k]) for k in v}}, 4)),
    "Caffe2": lambda path, v: write_bytes(path, python2_pickle({"blobs": caffe2_blobs(v)})),
    "Caffe2, bare": lambda path, v: write_bytes(path, python2_pickle_protocol_0(caffe2_blobs(v))),
    "SlowFast": lambda path, v: write_torch_zip(
        path, {"epoch": 3, "model_state": slowfast(v), "optimizer_state": {"x": np.ones(3)}, "cfg": "A: 1"}
    ),
    "SlowFast, older PyTorch": lambda path, v: write_torch_legacy(path, {"model_state": slowfast(v)}),
    "SlowFast, wrapped": lambda path, v: write_torch_zip(path, {f"module.{k}": t for k, t in slowfast(v).items()}),
    "safetensors, SlowFast names": lambda path, v: write_bytes(path, safetensors_bytes(slowfast(v))),
    "safetensors that begins like a pickle": lambda path, v: write_bytes(
        path, safetensors_bytes(v, header_multiple=0x8080)
    ),
    "safetensors, released names": lambda path, v: write_bytes(path, safetensors_bytes(v)),
}  # fmt: skip


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
    start_training(network, None, config, pretrain=str(path), resume=None)
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
        start_training(network, None, config, pretrain=None, resume=str(path))


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
    start_training(network, None, config, pretrain=str(path), resume=None)
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
        start_training(network, None, config, pretrain=str(path), resume=None)


def test_old_weights_and_dropout(narrow, tmp_path, logged):
    network, config = narrow()
    path = write_fluid_folder(tmp_path / "w", seeded(network))
    start_training(network, None, config, pretrain=str(path), resume=None)
    assert "Paddle 1.x did not scale up what dropout leaves" in logged()


UNKNOWN = {
    "empty": (b"", "is empty"),
    "text": (b"conv1_weights\n" * 99, "not a readable weights file"),
    "HTML": (b"\n<!DOCTYPE html><html>404</html>" * 20, "an HTML or XML page"),
    "LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "a Git LFS pointer"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(600), r"an HDF5 file\. Known: checkpoints of this toolkit"),
    "NumPy": (b"\x93NUMPY\x01\x00", "not a readable weights file"),
    "list": (pickle.dumps([1, 2]), "holds a list, not parameters by name"),
    "no arrays": (
        pickle.dumps({"epoch": 1, "cfg": "x"}),
        "a pickle with epoch, cfg; none of its 2 entries is an array",
    ),
    "other network": (
        python2_pickle({"fc6_w": np.zeros(3, np.float32), "fc7_w": np.zeros(3, np.float32)}),
        "a pickle of 2 arrays, but 2 of their names belong to no known network: fc6_w, fc7_w. Known: checkpoints",
    ),
    "one variable": (fluid_variable(np.zeros((4, 3), np.float32)), "one variable of Paddle 1.x; name the folder"),
}


@pytest.mark.parametrize("title", UNKNOWN)
def test_unknown_content(title, tmp_path):
    content, message = UNKNOWN[title]
    path = write_bytes(tmp_path / "weights", content)
    with pytest.raises(WeightsError, match=message):
        load_weights(str(path))


def test_unknown_folders(tmp_path):
    (tmp_path / "a.txt").touch()
    with pytest.raises(WeightsError, match=r"no checkpoint of this toolkit.*found: a\.txt\. Name a file"):
        load_weights(str(tmp_path))
    for name in ("a.pth", "b.pth"):
        (tmp_path / name).touch()
    with pytest.raises(WeightsError, match="2 weights files where one would do"):
        load_weights(str(tmp_path))


def test_an_archive_of_something_else(tmp_path):
    with tarfile.open(tmp_path / "w.tar.gz", "w:gz") as archive:
        for name in ("pretrained_model", "pretrained_model/r50.pkl"):
            member = tarfile.TarInfo(name)
            member.type = tarfile.REGTYPE if name.endswith("pkl") else tarfile.DIRTYPE
            archive.addfile(member)
    with pytest.raises(WeightsError, match=r"without Paddle 1\.x variables; unpack it and name one of: .*/r50\.pkl"):
        load_weights(str(tmp_path / "w.tar.gz"))


def test_a_folder_with_one_weights_file(narrow, tmp_path):
    network, config = narrow()
    values = seeded(network)
    (tmp_path / "readme.txt").touch()
    write_bytes(tmp_path / "NONLOCAL.pdparams", pickle.dumps(values))
    load_for_scoring(network, config, str(tmp_path))
    assert_holds(network, values)


def evil(path, protocol):
    class Evil:
        def __reduce__(self):
            import os

            return os.system, (f"touch {path}",)

    return pickle.dumps({"conv1_w": Evil()}, protocol)


def torch_zip_of(path, pickled):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", pickled)
    return path


def test_no_file_runs_code(tmp_path):
    harm = tmp_path / "harm"
    legacy = write_torch_legacy(tmp_path / "legacy", {})
    head = legacy.read_bytes()
    files = [
        write_bytes(tmp_path / "w.pkl", evil(harm, 2)),
        write_bytes(tmp_path / "w0.pkl", evil(harm, 0)),
        torch_zip_of(tmp_path / "w.pt", evil(harm, 2)),
        write_bytes(tmp_path / "w.pth", head[: head.index(b"\x80\x02ccollections")] + evil(harm, 2)),
    ]
    for path in files:
        with pytest.raises(WeightsError, match=r"asks for (posix|nt)\.system, which is not data"):
            load_weights(str(path))
    assert not harm.exists()


CUT = ["Paddle 1.x archive", "Caffe2", "Caffe2, bare", "SlowFast", "SlowFast, older PyTorch", "Paddle 2"]


@pytest.mark.parametrize("title", [*CUT, "safetensors, released names"])
def test_files_that_are_cut_off_or_damaged(title, narrow, tmp_path):
    """One clear error wherever the file ends; a flipped byte is an error or another value, never a crash."""
    network, config = narrow("MODEL.width_mult=0.02")
    content = WHOLE[title](tmp_path / "weights", seeded(network)).read_bytes()
    path = tmp_path / "part"
    random = np.random.default_rng(0)
    for length in [*range(1, 40, 3), *random.integers(40, len(content) - 1, 25)]:
        path.write_bytes(content[:length])
        with pytest.raises((WeightsError, ArchiveError)):
            load_for_scoring(network, config, str(path))
    for position in random.integers(0, len(content), 40):
        damaged = bytearray(content)
        damaged[position] ^= 1 << random.integers(8)
        path.write_bytes(damaged)
        with contextlib.suppress(WeightsError, ArchiveError):
            load_for_scoring(network, config, str(path))


def test_a_damaged_variable(narrow, tmp_path):
    network, config = narrow()
    values = seeded(network)
    folder = write_fluid_folder(tmp_path / "w", values, lod=((0, 3),))
    load_for_scoring(network, config, str(folder))
    good = (folder / "pred_b").read_bytes()
    body = good[12 + 8 + 16 :]
    bad = {
        "cut off": good[:-1],
        "too long": good + b"\x00",
        "empty": b"",
        "version": b"\x01" + good[1:],
        "levels": good[:4] + struct.pack("<Q", 1 << 60) + good[12:],
        "level size": good[:12] + struct.pack("<Q", 1 << 60) + good[20:],
        "description": good[:36] + struct.pack("<Ii", 0, 1 << 30) + body[8:],
        "negative": good[:36] + struct.pack("<Ii", 0, -1) + body[8:],
        "type": fluid_variable(values["pred_b"], element_type=99),
        "shape": fluid_variable(values["pred_b"]).replace(b"\x10\x04", b"\x10\x7f"),
    }
    for what, content in bad.items():
        (folder / "pred_b").write_bytes(content)
        with pytest.raises(WeightsError, match=r"pred_b: not a whole Paddle 1\.x variable"):
            load_for_scoring(network, config, str(folder))
        assert what


def test_torch_files_that_are_not_weights(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("readme.txt", "x")
    with pytest.raises(WeightsError, match=r"a zip archive, but not one that torch\.save wrote"):
        load_weights(str(tmp_path / "a.zip"))
    with zipfile.ZipFile(tmp_path / "b.pt", "w") as archive:
        archive.writestr("b/data.pkl", b"\x80\x02N.")
        archive.writestr("b/constants.pkl", b"\x80\x02N.")
    with pytest.raises(WeightsError, match="a TorchScript program, not weights"):
        load_weights(str(tmp_path / "b.pt"))
    path = write_torch_zip(tmp_path / "c.pt", {"conv1.weight": np.zeros(9)}, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(WeightsError, match="compressed"):
        load_weights(str(path))


def test_absurd_sizes_cost_no_memory(tmp_path):
    """Lengths, shapes and memo numbers far beyond the file: refused at once, by a process with little memory to use."""
    huge = struct.pack("<Q", 1 << 40)
    cases = {
        "bytes": b"\x80\x04\x8e" + huge + b"x.",
        "bytearray": b"\x80\x05\x96" + huge + b"x.",
        "frame": b"\x80\x04\x95" + huge + b"x.",
        "memo": b"\x80\x04Nr\xff\xff\xff\xf0.",
        "array": python2_pickle({"a": np.zeros(3, np.float32)}).replace(b"(K\x03t", b"(J\x00\x00\x00\x7ft"),
        "safetensors": struct.pack("<Q", 1 << 60) + b'{"a": 1}',
        "safetensors shape": safetensors_bytes({"a": np.zeros(3, np.float32)}).replace(b"[3]", b"[9]"),
    }
    for what, content in cases.items():
        path = write_bytes(tmp_path / "w", content)
        with pytest.raises(WeightsError):
            load_weights(str(path))
        assert what


@pytest.mark.parametrize(
    ("what", "content"),
    [
        ("a deep key", b"\x80\x04})" + b"\x85" * 1_000_000 + b"K\x01s."),
        ("a shared key", b"\x80\x04})" + b"2\x86" * 45 + b"K\x01s."),
        ("a deep member", b"\x80\x04\x8f()" + b"\x85" * 1_000_000 + b"\x90."),
        ("a shared member", b"\x80\x04()" + b"2\x86" * 45 + b"\x91."),
        ("a deep list", b"\x80\x04" + b"]" * 100_000 + b"a" * 99_999 + b"."),
        ("a shared dtype", b"\x80\x04cnumpy\ndtype\n)" + b"2\x86" * 60 + b"\x85R."),
        ("many steps", b"\x80\x04" + b"]0" * 2_000_000 + b"N."),
        ("texts by the thousand", b"\x80\x02(c_codecs\nencode\n0X\x40\x42\x0f\x00" + b"x" * 1_000_000 + b"q\x010"
         + b"c_codecs\nencode\nh\x01U\x06latin1\x86R" * 3000 + b"l."),
        ("a large size", b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR(K\x01("
         b"\x8b\x10\x27\x00\x00" + b"\x7f" * 10_000 + b"q\x02" + b"h\x02" * 20_000 + b"tNNNtb."),
    ],
)  # fmt: skip
def test_pickles_made_to_exhaust(what, content, tmp_path):
    """A megabyte or less, made to crash the interpreter, to run for ever, or to fill the memory."""
    path = write_bytes(tmp_path / "w.pkl", content)
    code = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (1 << 31, 1 << 31))
sys.path.insert(0, sys.argv[2])
from utils.errors import WeightsError
from utils.pickles import load_data_pickle
try:
    load_data_pickle(sys.argv[1])
    print("read")
except WeightsError as error:
    print(len(str(error)) < 1000)
"""
    command = [sys.executable, "-c", code, str(path), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-500:]
    assert done.stdout.strip() in ("read", "True"), what


def test_compressed_parts_of_a_zip_are_not_read(tmp_path):
    for name in ("x/data.pkl", "x/byteorder"):
        with zipfile.ZipFile(tmp_path / "w.pt", "w") as archive:
            archive.writestr("x/data.pkl", b"\x80\x02N.", zipfile.ZIP_DEFLATED if "pkl" in name else zipfile.ZIP_STORED)
            archive.writestr(name.replace("data.pkl", "other"), b"little" * 99, zipfile.ZIP_DEFLATED)
        with pytest.raises(WeightsError, match="is compressed, or too large"):
            load_weights(str(tmp_path / "w.pt"))


def test_an_archive_that_is_damaged_inside_is_not_believed(narrow, tmp_path):
    """A flipped bit in a header looks like the end to the library; one in a value shows in gzip's checksum alone."""
    network, config = narrow("MODEL.width_mult=0.02")
    values = seeded(network)
    plain = gzip.decompress(write_archive(tmp_path / "w.tar.gz", values).read_bytes())
    header = plain.index(b"nonlocal_kinetics/bn4a_branch1_mean")
    damaged = bytearray(plain)
    damaged[header] ^= 1
    (tmp_path / "header.tar").write_bytes(damaged)
    whole = bytearray(gzip.compress(plain, mtime=0))
    whole[-6] ^= 1  # the checksum itself
    (tmp_path / "value.tar.gz").write_bytes(whole)
    for name in ("header.tar", "value.tar.gz"):
        with pytest.raises(ArchiveError, match="a damaged archive"):
            load_for_scoring(network, config, str(tmp_path / name))


def test_an_archive_made_to_fill_the_memory(tmp_path):
    with tarfile.open(tmp_path / "w.tar.bz2", "w:bz2") as archive:
        member = tarfile.TarInfo("net/conv1_weights")
        member.size = 200 << 20
        archive.addfile(member, io.BytesIO(bytes(200 << 20)))
    with pytest.raises(ArchiveError, match="refused, it would unpack to more than 64 MiB"):
        load_weights(str(tmp_path / "w.tar.bz2"))


def test_other_files_in_a_folder_are_not_read(narrow, tmp_path):
    network, config = narrow()
    folder = write_fluid_folder(tmp_path / "w", seeded(network))
    with open(folder / "other.dat", "wb") as handle:
        handle.truncate(1 << 40)  # zeros, on no disk
    (folder / "fc_1.w_0").write_bytes(fluid_variable(np.zeros((2, 3), np.float32)))
    load_for_scoring(network, config, str(folder))
    assert load_weights(str(folder)).parameters.unknown == ["fc_1.w_0"]


def test_numbers_too_large_for_the_network(narrow, tmp_path):
    network, config = narrow()
    values = seeded(network)
    values["conv1_weights"] = values["conv1_weights"].astype(np.float64)
    values["conv1_weights"].flat[3] = 1e300
    path = write_bytes(tmp_path / "w.pdparams", pickle.dumps(values))
    with pytest.raises(WeightsError, match="conv1_weights must be finite, as float32 too"):
        load_for_scoring(network, config, str(path))


def test_half_precision_is_folded_in_full_precision(narrow, tmp_path):
    plain, _ = narrow(*CLIP_16, "NONLOCAL.conv3_nonlocal=False", "NONLOCAL.conv4_nonlocal=False")
    network, config = narrow(*AFFINE, *CLIP_16)
    values = {name: value.astype(np.float16) for name, value in seeded(plain).items()}
    values |= {name: np.full_like(v, 1.1e-4) for name, v in values.items() if name.endswith("_variance")}
    start_training(network, None, config, pretrain=str(write_bytes(tmp_path / "w", pickle.dumps(values))), resume=None)
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
        start_training(network, None, config, pretrain=str(path), resume=None)


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
