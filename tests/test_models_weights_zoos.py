"""Weights of the video zoos: told by their content, and loaded into the network that they are of, and no other."""

import io
import json
import shlex
import tarfile
from functools import partial

import numpy as np
import paddle
import pytest
import zoo_names
from conftest import ROOT, write_counting_video
from foreign_writers import fluid_variable, python2_pickle, write_torch_legacy, write_torch_zip
from network_configs import config_from
from seeded_values import fill, parameter
from small_trainer import make_trainer

import infer
from datareader.dataset import ClipDataset
from datareader.filelist import unlabelled_videos
from datareader.processes.job import SampleRequest
from datareader.views import MultiView
from engine.auto_config import config_of_weights
from engine.network_loading import fit_to_network, load_for_scoring
from engine.predictor import Predictor
from engine.weights_argument import read_weights_argument
from models.registry import NETWORKS, build_model
from models.weights.fitting import load_into
from models.weights.recognition import recognise
from models.weights.settings import settings_of
from tools.check_weights import main as check_weights
from tools.convert_weights import main as convert_weights
from utils.errors import ArchiveError, ConfigError, WeightsError

PEERS = ROOT.parent / "shared" / "reference" / "peers"
SIZE = [
    *(f"{section}.{key}" for section in ("TRAIN", "VALID", "TEST", "INFER")
      for key in ("video_length=8", "crop_size=32", "jitter_scales=[32,32]")),
    "MODEL.width_mult=0.125", "MODEL.num_classes=5",
]  # fmt: skip
PLAIN = ["NONLOCAL.conv3_nonlocal=False", "NONLOCAL.conv4_nonlocal=False"]
FIRST = ((3, 0), (3, 2), (4, 0), (4, 2), (4, 4))


def torch_zip(path, values):
    write_torch_zip(path, values)


def wrapped(key):
    return lambda path, values: write_torch_zip(path, {key: values, "epoch": 3})


def paddle_pickle(path, values):
    values = {
        name: value.T if name.endswith(("projection.weight", "fc.weight")) else value for name, value in values.items()
    }
    paddle.save({name: paddle.to_tensor(value) for name, value in values.items()}, str(path))


def fluid_archive(path, values):
    with tarfile.open(path, "w:gz") as archive:
        for name, value in values.items():
            content = fluid_variable(np.ascontiguousarray(value.T if name == "fc_0.w_0" else value))
            entry = tarfile.TarInfo(f"tsm_kinetics/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def old_zoo_tsm(name):
    return {"pred_w": "fc_0.w_0", "pred_b": "fc_0.b_0"}.get(name, name)


# Title: overrides of the network, its names there, the writer, whether kernels are stored 2D, what stays to be chosen.
FILES = {
    "MMAction2 C2D": (
        ["MODEL.lineage=mmaction2", *PLAIN], zoo_names.mmaction2, wrapped("state_dict"), True, {},
    ),
    "MMAction2 I3D, Gaussian": (
        ["MODEL.lineage=mmaction2", "MODEL.video_arc_choice=2", "NONLOCAL.pairwise=gaussian"], zoo_names.mmaction2,
        wrapped("state_dict"), False, {},
    ),
    "MMAction2 I3D heavy": (
        ["MODEL.lineage=mmaction2_heavy", "MODEL.video_arc_choice=2", *PLAIN], zoo_names.mmaction2,
        wrapped("state_dict"), False, {},
    ),
    "MMAction2 SlowOnly": (
        ["MODEL.name=SLOWONLY", "MODEL.lineage=mmaction2"], zoo_names.mmaction2, wrapped("state_dict"), False,
        {"NONLOCAL.pairwise": "embedded_gaussian"},
    ),
    "MMAction2 SlowFast": (
        ["MODEL.name=SLOWFAST", "MODEL.lineage=mmaction2", *PLAIN], partial(zoo_names.mmaction2, two=True),
        wrapped("state_dict"), False, {"SLOWFAST.alpha": "8"},
    ),
    "MMAction2 TSM": (
        ["MODEL.name=TSM", "MODEL.lineage=mmaction2"],
        partial(zoo_names.mmaction2, shifted=True, nonlocal_blocks=FIRST),
        wrapped("state_dict"), True, {"NONLOCAL.pairwise": "embedded_gaussian"},
    ),
    "PyTorchVideo I3D": (
        ["MODEL.lineage=pytorchvideo", "MODEL.video_arc_choice=2", *PLAIN], partial(zoo_names.pytorchvideo, pool2=True),
        wrapped("model_state"), False, {},
    ),
    "PyTorchVideo Slow": (
        ["MODEL.name=SLOWONLY", "MODEL.lineage=pytorchvideo", *PLAIN], zoo_names.pytorchvideo, wrapped("model_state"),
        False, {},
    ),
    "PyTorchVideo SlowFast": (
        ["MODEL.name=SLOWFAST", "MODEL.lineage=pytorchvideo", *PLAIN], partial(zoo_names.pytorchvideo, two=True),
        wrapped("model_state"), False, {"SLOWFAST.alpha": "8"},
    ),
    "GluonCV": (
        ["MODEL.lineage=gluoncv", "MODEL.video_arc_choice=2", "NONLOCAL.conv3_positions=[0,1,2,3]"], zoo_names.gluoncv,
        torch_zip, False, {},
    ),
    "pytorch-resnet3d": (
        ["MODEL.lineage=pytorch_resnet3d", "MODEL.video_arc_choice=2"], zoo_names.pytorch_resnet3d,
        write_torch_legacy, False, {},
    ),
    "TSM": (
        ["MODEL.name=TSM"], partial(zoo_names.tsm, nonlocal_blocks=FIRST),
        lambda path, values: write_torch_legacy(path, {"state_dict": values, "arch": "resnet50"}), True, {},
    ),
    "SlowFast": (
        ["MODEL.name=SLOWFAST", "SLOWFAST.fusion_kernel=7", "SLOWFAST.alpha=4"], zoo_names.slowfast,
        wrapped("model_state"), False, {"SLOWFAST.alpha": "4", "NONLOCAL.pairwise": "embedded_gaussian"},
    ),
    "Caffe2 SlowFast": (
        ["MODEL.name=SLOWFAST", *PLAIN], zoo_names.caffe2_two_pathways,
        lambda path, values: path.write_bytes(python2_pickle({"blobs": values})), False, {"SLOWFAST.alpha": "8"},
    ),
    "PaddleVideo SlowFast": (
        ["MODEL.name=SLOWFAST", "MODEL.lineage=paddlevideo", *PLAIN], partial(zoo_names.slowfast, paddle=True),
        paddle_pickle, False, {"SLOWFAST.alpha": "8"},
    ),
    "PaddleVideo TSM": (
        ["MODEL.name=TSM", "MODEL.lineage=paddlevideo", *PLAIN], zoo_names.paddlevideo_tsm, paddle_pickle, True, {},
    ),
    "TSM of the old Paddle zoo": (
        ["MODEL.name=TSM", "MODEL.lineage=paddlevideo", *PLAIN], old_zoo_tsm, fluid_archive, True, {},
    ),
    "PaddleVideo TSM R101": (
        ["MODEL.name=TSM", "MODEL.lineage=paddlevideo", "MODEL.depth=101", *PLAIN],
        partial(zoo_names.paddlevideo_tsm, deep=True), paddle_pickle, True, {},
    ),
}  # fmt: skip


def values_of(network):
    """Seeded values of every parameter, the classifier as others store it."""
    values = {name: parameter(name, value.shape) for name, value in network.state_dict().items()}
    return {**values, "pred_w": np.ascontiguousarray(values["pred_w"].T)}


def write(title, path, overrides=()):
    """Write the file; return its network, filled."""
    given, names, writer, two_dimensional, _ = FILES[title]
    network = fill(build_model(config_from([*SIZE, *given, *overrides])))
    values = {}
    for name, value in values_of(network).items():
        flat = two_dimensional and value.ndim == 5 and value.shape[2] == 1 and not name.startswith("nonlocal")
        values[names(name)] = value[:, :, 0] if flat else value
    assert len(values) == len(network.state_dict())
    writer(path, values)
    return network


def read(path):
    return read_weights_argument(str(path), None).file


@pytest.mark.parametrize("title", FILES)
def test_a_file_is_told_and_loaded(title, tmp_path):
    network = write(title, tmp_path / "weights")
    file = read(tmp_path / "weights")
    found = recognise(file)
    choice = FILES[title][4]
    assert found.choices.keys() == choice.keys()
    keys = [f"{key}={value}" for key, value in {**found.keys, **choice}.items()]
    config = config_from([f"MODEL.name={found.network}", *keys, *SIZE])
    other = build_model(config)
    load_into(other, file, NETWORKS[found.network].weight_dialects())
    for name, value in network.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name].numpy(), value.numpy(), err_msg=name)
    assert other.is_of_lineage(config.MODEL.lineage)
    network.eval(), other.eval()
    clip = paddle.to_tensor(np.random.default_rng(0).standard_normal((1, 3, 8, 32, 32)).astype(np.float32))
    np.testing.assert_array_equal(other(clip).numpy(), network(clip).numpy())


@pytest.mark.parametrize("title", FILES)
def test_no_network_takes_the_weights_of_another(title, tmp_path):
    """Of all networks only those with the file's own layers take it."""
    write(title, tmp_path / "weights")
    file, given = read(tmp_path / "weights"), FILES[title][0]
    tried = 0
    for overrides in (
        ["MODEL.lineage=authors"], ["MODEL.lineage=pyslowfast"], ["MODEL.lineage=pyslowfast_nopool"],
        ["MODEL.video_arc_choice=2", "MODEL.lineage=authors"], ["MODEL.video_arc_choice=2", "MODEL.lineage=mmaction2"],
        ["MODEL.video_arc_choice=2", "MODEL.lineage=gluoncv"], ["MODEL.name=SLOWONLY", "MODEL.lineage=pyslowfast"],
        ["MODEL.name=SLOWONLY", "MODEL.lineage=mmaction2"], ["MODEL.name=TSM", "MODEL.lineage=tsm"],
        ["MODEL.name=TSM", "MODEL.lineage=mmaction2"], ["MODEL.name=TSM", "MODEL.lineage=paddlevideo"],
        ["MODEL.name=SLOWFAST", "MODEL.lineage=pyslowfast"], ["MODEL.name=SLOWFAST", "MODEL.lineage=mmaction2"],
    ):  # fmt: skip
        rest = [key for key in given if key.startswith("NONLOCAL")]
        config = config_from([*SIZE, *rest, *overrides])
        network = build_model(config)
        own = build_model(config_from([*SIZE, *given]))
        if type(own) is type(network) and own._family == network._family and own._layers == network._layers:
            continue
        if title == "MMAction2 C2D" and overrides == ["MODEL.lineage=authors"]:
            continue  # the same layers; the head and the normalisation differ
        same_without_blocks = (
            rest == PLAIN and own._family == network._family and own.is_of_lineage(config.MODEL.lineage)
        )
        if same_without_blocks:
            continue
        with pytest.raises(WeightsError):
            load_into(network, file, NETWORKS[config.MODEL.name].weight_dialects())
        tried += 1
    assert tried >= 10


@pytest.mark.parametrize("title", FILES)
def test_what_is_torn_or_mixed_is_loaded_by_nobody(title, tmp_path):
    """Cut short anywhere, one array of another size or missing, or the names of two networks in one file."""
    path = tmp_path / "w.pth"
    network = write(title, path)
    before = {name: value.numpy() for name, value in network.state_dict().items()}
    content = path.read_bytes()
    for share in (0.1, 0.5, 0.9, 0.999):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises((WeightsError, ArchiveError)):
            recognise(read(path))

    given, names, writer, *_ = FILES[title]
    values = {names(name): value for name, value in values_of(network).items()}
    other = next(title_ for title_ in ("GluonCV", "TSM") if title_ != title)
    names_of_other = FILES[other][1]
    others = values_of(build_model(config_from([*SIZE, *FILES[other][0]])))
    largest = max(values, key=lambda name: values[name].size)
    spoilt = {
        "of another size": {**values, largest: values[largest][:-1]},
        "missing": {name: value for name, value in values.items() if name != largest},
        "of two networks": {**values, **{names_of_other(name): value for name, value in others.items()}},
    }
    for what, arrays in spoilt.items():
        writer(path, arrays)
        with pytest.raises(WeightsError):
            load_for_scoring(network, config_from([*SIZE, *given]), str(path))
            pytest.fail(what)
    for name, value in network.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name])


def test_two_names_of_one_parameter_must_agree(tmp_path):
    given, names, *_ = FILES["GluonCV"]
    network = fill(build_model(config_from([*SIZE, *given])))
    values = {names(name): value for name, value in values_of(network).items()}
    prefix = "res_layers.1.0.nonlocal_block."
    twice = {**values, f"{prefix}W_bn.0.weight": values[f"{prefix}W.weight"], "head.1.bias": values["fc.bias"]}
    write_torch_zip(tmp_path / "same.pth", twice)
    assert recognise(read(tmp_path / "same.pth")).keys["MODEL.lineage"] == "gluoncv"
    twice["head.1.bias"] = twice["head.1.bias"] + 1
    write_torch_zip(tmp_path / "differ.pth", twice)
    with pytest.raises(WeightsError, match=r"fc\.bias and head\.1\.bias are two names of one parameter, and differ"):
        recognise(read(tmp_path / "differ.pth"))


def test_a_whole_training_checkpoint_of_mmengine(tmp_path):
    """Beside the weights it holds the last losses, objects that ask for `getattr`; nothing of it is called."""
    buffer = b"cmmengine.logging.history_buffer\nHistoryBuffer\n"
    method = b"c__builtin__\ngetattr\n(" + buffer + b"X\x03\x00\x00\x00mintR"
    losses = buffer + b")\x81}(X\x07\x00\x00\x00methods}X\x03\x00\x00\x00min" + method + b"sub"
    given, names, *_ = FILES["MMAction2 SlowOnly"]
    values = {names(name): value for name, value in values_of(build_model(config_from([*SIZE, *given]))).items()}
    write_torch_zip(tmp_path / "weights.pth", {"state_dict": values})
    path = write_torch_zip(tmp_path / "epoch_1.pth", {
        "meta": {"epoch": 1}, "message_hub": {"log_scalars": {"train/loss": losses}}, "state_dict": values,
        "optimizer": {"state": {}},
    })  # fmt: skip
    assert recognise(read(path)).keys == recognise(read(tmp_path / "weights.pth")).keys


def test_settings_beside_the_weights_tell_the_form(tmp_path):
    given, names, *_ = FILES["MMAction2 TSM"]
    network = fill(build_model(config_from([*SIZE, *given])))
    values = {names(name): value for name, value in values_of(network).items()}
    text = "a = 1\nmodel = dict(\n    backbone=dict(\n        non_local_cfg=dict(\n            mode='dot_product',\n"
    for end in ("            use_scale=False)))\n", "            use_sc"):  # whole, and cut short
        write_torch_zip(tmp_path / "w.pth", {"state_dict": values, "meta": {"cfg": text + end}})
        assert recognise(read(tmp_path / "w.pth")).keys["NONLOCAL.pairwise"] == "dot_product"
    given, names, *_ = FILES["SlowFast"]
    network = fill(build_model(config_from([*SIZE, *given])))
    values = {names(name): value for name, value in values_of(network).items()}
    cfg = "NONLOCAL:\n  INSTANTIATION: dot_product\nSLOWFAST:\n  ALPHA: 8\n"
    write_torch_zip(tmp_path / "w.pyth", {"model_state": values, "cfg": cfg})
    found = recognise(read(tmp_path / "w.pyth"))
    assert (found.keys["NONLOCAL.pairwise"], found.keys["SLOWFAST.alpha"], found.choices) == ("dot_product", 8, {})


@pytest.mark.parametrize(
    "content",
    [
        {"cfg": "a: [1"}, {"cfg": "a: &x [1]\nb: *x"}, {"cfg": "- 1"}, {"cfg": "a: !!python/object/apply:os.getcwd []"},
        {"meta": {"cfg": "model = __import__('os').getcwd()"}}, {"meta": {"cfg": "model = dict(**x)"}},
        {"meta": {"cfg": "(" * 5000}}, {"meta": {"cfg": 3}}, {"meta": None}, {"cfg": "x" * (1 << 21)}, [1], {},
    ],
)  # fmt: skip
def test_settings_are_data_or_nothing(content):
    assert not settings_of(content).get("model")
    assert settings_of(content).get("a") is None


def test_what_is_no_network(tmp_path):
    given, names, *_ = FILES["MMAction2 I3D heavy"]
    network = fill(build_model(config_from([*SIZE, *given])))
    values = {names(name): value for name, value in values_of(network).items()}
    broken = {
        "its stages have 3, 4, 5, 3 blocks": {
            k: v for k, v in values.items() if not k.startswith("backbone.layer3.5.")
        },
        "holds no whole network": {k: v for k, v in values.items() if "fc_cls" not in k},
        "temporal convolutions are those of no known network": {
            k: v[:, :, :1] if k == "backbone.layer1.1.conv1.conv.weight" else v for k, v in values.items()
        },
        "has the shape": {k: v[:, None] if k.endswith("fc_cls.bias") else v for k, v in values.items()},
        "no such parameter": {k: v[0, 0, 0, 0] if "conv1.conv" in k else v for k, v in values.items()},
        "belong to no known network": {f"x.{k}": v for k, v in values.items()},
    }
    for message, content in broken.items():
        write_torch_zip(tmp_path / "w.pth", content)
        with pytest.raises(WeightsError, match=message):
            recognise(read(tmp_path / "w.pth"))


class TestCheckWeights:
    """The program."""

    def files(self, title, folder, *overrides):
        network = write(title, folder / "w", overrides)
        network.eval()
        clip = np.random.default_rng(0).standard_normal((2, 3, 8, 32, 32)).astype(np.float32)
        np.save(folder / "clip.npy", clip)
        logits = network.logits(paddle.to_tensor(clip)).numpy().mean(axis=(1, 2, 3))
        np.save(folder / "logits.npy", logits)
        return ["--input", str(folder / "clip.npy")], ["--logits", str(folder / "logits.npy")]

    @pytest.mark.parametrize("title", ["MMAction2 SlowOnly", "MMAction2 SlowFast", "PyTorchVideo I3D"])
    def test_without_a_clip_the_keys_of_the_network_are_printed(self, title, tmp_path, capsys):
        write(title, tmp_path / "w")
        choice = [word for key, value in FILES[title][4].items() for word in ("-o", f"{key}={value}")]
        assert check_weights([str(tmp_path / "w"), *choice]) == 0
        (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("keys: "))
        keys = shlex.split(line.removeprefix("keys: "))[1::2]
        config = config_from([*keys, "MODEL.num_classes=3"])
        network = build_model(config)
        fit_to_network(network, config, read_weights_argument(str(tmp_path / "w"), None), partial=True)
        same = [f"{key}={value}" for key, value in recognise(read(tmp_path / "w")).keys.items() if "classes" not in key]
        assert config.MODEL == config_from([*keys, *same, "MODEL.num_classes=3"]).MODEL
        with pytest.raises(ConfigError, match="name it with --input"):
            check_weights([str(tmp_path / "w"), "--logits", "x.npy"])

    def test_a_network_that_starts_from_another_lineage_says_so(self, tmp_path, caplog):
        write("MMAction2 SlowOnly", tmp_path / "w")
        weights = read_weights_argument(str(tmp_path / "w"), None)
        keys = [f"{key}={value}" for key, value in recognise(weights.file).keys.items() if key != "MODEL.lineage"]
        for lineage, is_told in (("pyslowfast", True), ("mmaction2", False)):
            caplog.clear()
            config = config_from(["MODEL.name=SLOWONLY", *keys, f"MODEL.lineage={lineage}"])
            fit_to_network(build_model(config), config, weights, partial=True)
            assert ("MODEL.lineage=mmaction2 builds theirs" in caplog.text) == is_told

    def test_the_logits_tell_what_the_file_does_not(self, tmp_path, capsys):
        clip, logits = self.files("MMAction2 SlowOnly", tmp_path, "NONLOCAL.pairwise=dot_product")
        assert check_weights([str(tmp_path / "w"), *clip, *logits]) == 0
        assert "network SLOWONLY, lineage mmaction2 (NONLOCAL.pairwise=dot_product)" in capsys.readouterr().out
        given = ["-o", "NONLOCAL.pairwise=embedded_gaussian"]
        assert check_weights([str(tmp_path / "w"), *clip, *logits, *given]) == 1
        assert "largest difference " in capsys.readouterr().out
        with pytest.raises(WeightsError, match=r"does not tell NONLOCAL\.pairwise: give one of -o NONLOCAL\."):
            check_weights([str(tmp_path / "w"), *clip])
        assert check_weights([str(tmp_path / "w"), *clip, "-o", "NONLOCAL.pairwise=dot_product"]) == 0
        assert "clip 1: class " in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("array", "message"),
        [
            (np.zeros((3, 8, 32, 32), "f4"), "must be an array of numbers with 5 dimensions"),
            (np.zeros((1, 1, 8, 32, 32), "f4"), r"the clip has shape \(1, 1, 8, 32, 32\)"),
            (np.full((1, 3, 8, 32, 32), np.nan, "f4"), "must be finite"),
            (np.array("x"), "must be an array of numbers"),
        ],
    )
    def test_clips_that_are_none(self, tmp_path, array, message):
        self.files("PyTorchVideo Slow", tmp_path)
        np.save(tmp_path / "bad.npy", array)
        with pytest.raises(WeightsError, match=message):
            check_weights([str(tmp_path / "w"), "--input", str(tmp_path / "bad.npy")])

    def test_logits_of_another_shape(self, tmp_path):
        clip, _ = self.files("PyTorchVideo Slow", tmp_path)
        np.save(tmp_path / "bad.npy", np.zeros((2, 400)))
        with pytest.raises(WeightsError, match=r"has shape \(2, 400\), the network gives \(2, 5\)"):
            check_weights([str(tmp_path / "w"), *clip, "--logits", str(tmp_path / "bad.npy")])


SMALL = ["INFER.crop_size=32", "INFER.jitter_scales=[32,40]", "INFER.num_test_clips=6", "TRAIN.crop_size=32"]


@pytest.mark.parametrize(
    ("title", "overrides", "message"),
    [
        (
            "MMAction2 SlowOnly",
            [],
            r"; it is of SLOWONLY, and MODEL\.name is NONLOCAL: --config auto builds",
        ),
        (
            "pytorch-resnet3d",
            PLAIN,
            r"its network has .*MODEL\.video_arc_choice=2 \(here 1\), MODEL\.lineage=py",
        ),
        ("pytorch-resnet3d", ["MODEL.video_arc_choice=2", *PLAIN], r"NONLOCAL\.conv3_nonlocal=True \(here False\)"),
        ("GluonCV", ["MODEL.video_arc_choice=2", "MODEL.lineage=gluoncv"], r"\d+ unexpected"),
    ],
)
def test_what_a_file_is_of_when_it_does_not_fit(title, overrides, message, tmp_path):
    write(title, tmp_path / "w")
    config = config_from([*SIZE, *overrides])
    with pytest.raises(WeightsError, match=message):
        load_for_scoring(build_model(config), config, str(tmp_path / "w"))


@pytest.mark.parametrize("title", ["MMAction2 TSM", "PyTorchVideo SlowFast"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pdparams"])
def test_a_file_is_converted(title, suffix, tmp_path):
    """The new file says what its names and shapes do not, and no other network takes it."""
    network = write(title, tmp_path / "w")
    path = str(tmp_path / f"out{suffix}")
    convert_weights([str(tmp_path / "w"), path])
    config = config_from([*SIZE, *FILES[title][0]])
    other = build_model(config)
    load_for_scoring(other, config, path)
    for name, value in network.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name].numpy(), value.numpy(), err_msg=name)
    found = recognise(read(tmp_path / f"out{suffix}"))
    assert (found.network, found.keys["MODEL.lineage"]) == (config.MODEL.name, config.MODEL.lineage)
    convert_weights([path, str(tmp_path / "again.safetensors")])
    assert recognise(read(tmp_path / "again.safetensors")).keys == found.keys
    lineage = "paddlevideo" if config.MODEL.name == "TSM" else "mmaction2"
    config = config_from([*SIZE, *FILES[title][0], f"MODEL.lineage={lineage}"])
    with pytest.raises(WeightsError, match=r"its network had MODEL\.lineage=.* \(here .*compute something else"):
        load_for_scoring(build_model(config), config, path)


def test_a_file_of_names_that_two_networks_have_is_not_said_to_be_of_one(tmp_path):
    """The released names are C2D's and TSM's; the layers of I3D are of one alone."""
    for overrides, stated in (([], {}), (["MODEL.video_arc_choice=2"], {"name": "NONLOCAL"})):
        network = build_model(config_from([*SIZE, *PLAIN, *overrides]))
        paddle_pickle(tmp_path / "in.pdparams", {**values_of(network), "pred_w": network.head.pred.weight.numpy()})
        convert_weights([str(tmp_path / "in.pdparams"), str(tmp_path / "out.pdparams")])
        assert read(tmp_path / "out.pdparams").settings.get("MODEL", {}) == stated


def test_names_of_other_systems_in_the_settings_do_not_count(tmp_path):
    given, names, *_ = FILES["MMAction2 SlowOnly"]
    values = {names(name): value for name, value in values_of(build_model(config_from([*SIZE, *given]))).items()}
    cfg = "MODEL:\n  name: slow_r50\n  lineage: [3]\n"
    for text in (cfg, cfg.replace("[3]", "mine")):
        write_torch_zip(tmp_path / "w.pth", {"state_dict": values, "cfg": text})
        assert recognise(read(tmp_path / "w.pth")).network == "SLOWONLY"
        config = config_from([*SIZE, *given])
        load_for_scoring(build_model(config), config, str(tmp_path / "w.pth"))


@pytest.mark.parametrize("convert", [False, True])
def test_the_same_layers_with_another_input_are_told(convert, tmp_path, caplog, capsys):
    write("MMAction2 C2D", tmp_path / "w.pth")
    path = str(tmp_path / "w.pth")
    if convert:
        convert_weights([path, str(tmp_path / "w.pdparams")])
        path = str(tmp_path / "w.pdparams")
    given = FILES["MMAction2 C2D"][0]
    config = config_from([*SIZE, *given])
    load_for_scoring(build_model(config), config, path)
    assert "have MODEL.image_mean" not in caplog.text + capsys.readouterr().err
    config = config_from([*SIZE, *given, "MODEL.lineage=authors"])
    load_for_scoring(build_model(config), config, path)
    assert (
        "networks of lineage mmaction2 have MODEL.image_mean=(123.675, 116.28, 103.53) (here 114.75), MODEL.image_std="
        "(58.395, 57.12, 57.375) (here 57.375), the head 'map' (here 'probabilities'); if this one does, give "
        "MODEL.lineage=mmaction2" in caplog.text + capsys.readouterr().err
    )


def test_the_old_zoo_had_two_networks_of_these_names(tmp_path, caplog):
    write("TSM of the old Paddle zoo", tmp_path / "w.tar.gz")
    config = config_from([*SIZE, *FILES["TSM of the old Paddle zoo"][0]])
    load_for_scoring(build_model(config), config, str(tmp_path / "w.tar.gz"))
    assert "the old Paddle zoo's TSN has the same names and shapes" in caplog.text


def test_a_file_of_two_networks_is_taken_by_nobody(tmp_path):
    """Not by a training that starts from it either, and not by the converter."""
    network = write("PyTorchVideo Slow", tmp_path / "w.pth")
    _, names, writer, *_ = FILES["PyTorchVideo Slow"]
    values = {names(name): value for name, value in values_of(network).items()}
    other = build_model(config_from([*SIZE, *FILES["GluonCV"][0]]))
    gluon = FILES["GluonCV"][1]
    others = {gluon(name): value for name, value in values_of(other).items() if name.startswith(("conv1", "pred"))}
    writer(tmp_path / "w.pth", {**values, **others})
    with pytest.raises(WeightsError, match="holds a second network"):
        load_into(network, read(tmp_path / "w.pth"), NETWORKS["SLOWONLY"].weight_dialects(), partial=True)
    with pytest.raises(WeightsError, match="holds a second network"):
        convert_weights([str(tmp_path / "w.pth"), str(tmp_path / "out.pdparams")])


def test_a_file_that_says_its_pairwise_function(tmp_path):
    given, names, *_ = FILES["MMAction2 TSM"]
    values = {names(name): value for name, value in values_of(build_model(config_from([*SIZE, *given]))).items()}
    text = "model = dict(backbone=dict(non_local_cfg=dict(mode='dot_product')))\n"
    write_torch_zip(tmp_path / "w.pth", {"state_dict": values, "meta": {"cfg": text}})
    config = config_from([*SIZE, *given, "NONLOCAL.conv3_positions=[0,2]", "NONLOCAL.conv4_positions=[0,2,4]"])
    with pytest.raises(WeightsError, match=r"had NONLOCAL\.pairwise=dot_product \(here embedded_gaussian\)"):
        load_for_scoring(build_model(config), config, str(tmp_path / "w.pth"))


@pytest.mark.parametrize("key", ["MODEL.lineage=pyslowfast_nopool", "NONLOCAL.pairwise=dot_product"])
def test_a_save_of_ones_own_says_what_its_network_was(key, narrow_config, tmp_path, caplog):
    config = narrow_config("TRAIN.epoch=1")
    make_trainer(config, tmp_path / "run").run()
    load_for_scoring(build_model(config), config, str(tmp_path / "run"))
    other = narrow_config(key)
    with pytest.raises(WeightsError, match="compute something else"):
        load_for_scoring(build_model(other), other, str(tmp_path / "run"))
    other = narrow_config("NONLOCAL.use_scale=False", "MODEL.image_std=50")
    load_for_scoring(build_model(other), other, str(tmp_path / "run"))
    assert "made with another config: MODEL.image_std was 57.375, is 50.0; NONLOCAL.use_scale was True" in caplog.text


class TestConfigAuto:
    """The network of a file, with the clips that its lineage was published with."""

    def test_a_config_of_a_file(self, tmp_path):
        write("MMAction2 TSM", tmp_path / "tsm.pth")
        config = config_of_weights(str(tmp_path / "tsm.pth"), ["NONLOCAL.pairwise=gaussian", "MODEL.dataset=mine"])
        assert (config.MODEL.name, config.MODEL.lineage, config.MODEL.num_classes) == ("TSM", "mmaction2", 5)
        assert (config.INFER.video_length, config.INFER.sampling, config.TEST.sampling) == (8, "segments", "segments")
        assert config.MODEL.image_mean == (123.675, 116.28, 103.53)
        assert config.NONLOCAL.conv4_positions == (0, 2, 4)
        write("GluonCV", tmp_path / "gluon.pth")
        config = config_of_weights(str(tmp_path / "gluon.pth"), [])
        assert (config.TEST.video_length, config.TEST.sample_rate, config.MODEL.video_arc_choice) == (32, 2, 2)
        with pytest.raises(WeightsError, match=r"does not tell NONLOCAL\.pairwise: give one of -o NONLOCAL"):
            config_of_weights(str(tmp_path / "tsm.pth"), [])

    def test_a_prediction(self, tmp_path):
        """As with the config written out."""
        lengths = [f"{section}.video_length=32" for section in ("TRAIN", "VALID", "TEST", "INFER")]
        network = write("PyTorchVideo SlowFast", tmp_path / "w.pyth", lengths)
        network.eval()
        video = write_counting_video(tmp_path / "v.mp4", 30)
        predictor = Predictor.load("auto", str(tmp_path / "w.pyth"), overrides=SMALL, engine="dygraph")
        (found,) = predictor.predict(video, top_k=5)
        plan = MultiView(video_length=32, sample_rate=2, crop_size=32, short_side=32, num_clips=2, num_crops=3)
        sample = ClipDataset(unlabelled_videos([str(video)]), plan).load(SampleRequest(0, 0, 0))
        expected = network(paddle.to_tensor(sample.clips)).numpy().mean(axis=0)
        np.testing.assert_allclose(found.probabilities, np.sort(expected)[::-1], atol=1e-5)

    def test_programs(self, tmp_path, capsys, monkeypatch):
        write("PyTorchVideo Slow", tmp_path / "w.pyth")
        write_counting_video(tmp_path / "v.mp4", 40)
        monkeypatch.chdir(tmp_path)
        overrides = [word for key in SMALL for word in ("-o", key)]
        common = ["--config", "auto", "--weights", "w.pyth", "--use_gpu", "false", "--engine", "dygraph"]
        assert infer.main(["v.mp4", *common, "--save_dir", "out", *overrides]) == 0
        assert "class " in capsys.readouterr().out
        with pytest.raises(ConfigError, match="--config auto tells the network from the weights: name them"):
            infer.main(["v.mp4", "--config", "auto"])

    def test_a_save_has_its_own_config(self, narrow_config, tmp_path):
        trainer = make_trainer(narrow_config("TRAIN.epoch=1"), tmp_path / "run")
        trainer.run()
        config = config_of_weights(str(tmp_path / "run"), ["MODEL.dataset=mine"])
        assert config.MODEL.width_mult == narrow_config().MODEL.width_mult
        assert config.MODEL.dataset == "mine"


@pytest.mark.skipif(not PEERS.is_dir(), reason="the peers' own networks are not here")
@pytest.mark.parametrize("folder", sorted(PEERS.glob("*/facts.json")), ids=lambda file: file.parent.name)
def test_networks_that_the_peers_saved(folder, tmp_path, capsys):
    facts = json.loads(folder.read_text())
    clip = np.load(PEERS / "clips" / "clip.npy")[:, :, : facts["input_frames"]]
    np.save(tmp_path / "clip.npy", clip)
    arguments = ["--input", str(tmp_path / "clip.npy"), "--logits", str(folder.with_name("logits.npy"))]
    assert check_weights([str(folder.with_name(facts["checkpoint"])), *arguments]) == 0, capsys.readouterr().out
