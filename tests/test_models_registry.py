"""The gate for networks: one that is registered by a test, with nothing patched outside it, does everything.

`toy_network.py` is all that somebody writes who adds a network.
"""

import csv
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import paddle
import pytest
import toy_network
from conftest import ROOT, list_overrides
from network_configs import load_config, parse_config
from paddle import nn
from paddle.nn import functional as F
from small_trainer import begin, make_trainer
from toy_network import ENTRIES

from configs.loading import dump_config
from engine.distributed import ALONE
from engine.network_loading import load_for_scoring, new_network
from engine.scoring.exporting import export_network
from engine.scoring.runtimes import RUNTIMES
from engine.scoring.scorers import DygraphScorer, open_scorer
from engine.training.memory_advice import training_memory_advice
from models.head import SlidingHead
from models.layers import Convolution, with_names
from models.network import VideoNetwork
from models.nonlocal_config import NonlocalConfig
from models.registry import NETWORKS, NetworkEntry, build_model, network_costs
from utils.errors import ConfigError, DeviceError, WeightsError

SIZES = [
    line
    for section in ("TRAIN", "VALID", "TEST", "INFER")
    for line in (
        f"{section}.crop_size=36",  # a size that NONLOCAL refuses: its geometry is its own
        f"{section}.jitter_scales=[36,40]",
        f"{section}.sample_rate=2",
        f"{section}.video_length=5",
        f"{section}.num_reader_threads=0",
    )
]
RUN = ["TRAIN.batch_size=4", "TRAIN.epoch=2", "TEST.num_test_clips=6", "INFER.num_test_clips=6", "MODEL.num_classes=4"]


@pytest.fixture(params=["TOY", "PLAIN"])
def name(request, monkeypatch):
    """Both toy networks, registered: with a section of its own, and without."""
    for key, entry in ENTRIES.items():
        monkeypatch.setitem(NETWORKS, key, entry)
    return request.param


@pytest.fixture
def toy_config(name, shapes, tmp_path):
    """The config of a toy network; call it with more overrides."""
    path = tmp_path / "toy.txt"
    path.write_text(f"[MODEL]\nname = {name.lower()}\n" + ("[TOY]\nchannels = 5\n" if name == "TOY" else ""))
    return lambda *overrides: load_config(path, [*SIZES, *RUN, *list_overrides(shapes), *overrides])


@pytest.fixture
def program(name, shapes, tmp_path):
    """Start a program on a toy network, as a user does."""
    (tmp_path / "toy.txt").write_text(f"[MODEL]\nname = {name}\n")

    def start(program, *arguments):
        command = [sys.executable, str(ROOT / "tests" / "toy_network.py"), program, "--config=toy.txt"]
        for override in [*SIZES, *RUN, *list_overrides(shapes)]:
            command += ["-o", override]
        return subprocess.Popen(
            [*command, *map(str, arguments)], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "PYTHONWARNINGS": "ignore", "PYTHONPATH": f"{ROOT}:{ROOT}/tests"},
        )  # fmt: skip

    return start


def finished(process):
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    return output


def test_a_config_of_the_network(toy_config, name):
    config = toy_config()
    assert config.MODEL.name == name
    assert parse_config(dump_config(config), "dump") == config
    if name == "TOY":
        assert config.TOY.channels == 5
        with pytest.raises(ConfigError, match=r"TOY\.channels: channels \(0\) must be at least 1"):
            toy_config("TOY.channels=0")
    with pytest.raises(ConfigError, match=f"unknown section .NONLOCAL. for {name}"):
        toy_config("NONLOCAL.layer_mod=2")
    with pytest.raises(ConfigError, match=rf"unknown key MODEL\.depth for {name}"):
        toy_config("MODEL.depth=50")


def test_it_trains_and_a_killed_run_comes_to_the_same_bits(program, name, tmp_path):
    train = ("train.py", "--pretrain=none", "--use_gpu=false", "--valid_interval=1")
    finished(program(*train, "--save_dir=whole"))
    interval = ("-o", "TRAIN.save_interval=1")
    killed = program(*train, "--save_dir=part", *interval)
    deadline = time.monotonic() + 100
    while not (tmp_path / "part" / f"{name}_iter1.json").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert not (tmp_path / "part" / f"{name}_epoch1.json").exists(), "it was killed before its end"
    finished(program(*train, "--save_dir=part", "--resume=auto", *interval))
    for suffix in ("pdparams", "pdopt"):
        whole, part = ((tmp_path / run / f"{name}_epoch1.{suffix}").read_bytes() for run in ("whole", "part"))
        assert whole == part, suffix
    output = finished(program("test.py", "--weights=part", "--use_gpu=false", "--save_dir=test"))
    assert "videos scored   4 of 4, 6 views each" in output
    finished(program("infer.py", "--weights=part", "--use_gpu=false", "--save_dir=infer"))
    rows = pickle.loads((tmp_path / "infer" / f"{name}_infer_result").read_bytes())
    assert len(rows) == 4
    with open(tmp_path / "test" / "results.csv") as handle:
        by_path = {row["path"]: int(row["predicted"]) for row in csv.DictReader(handle)}
    assert {path: classes[0] for path, _, classes in rows} == by_path


@pytest.mark.parametrize("engine", [*RUNTIMES, "auto"])
def test_it_is_scored_in_every_engine(toy_config, engine):
    if engine in RUNTIMES and not RUNTIMES[engine].is_installed:
        pytest.skip(f"{engine} is not installed")
    config = toy_config()
    network = trained_a_little(config)
    scorer = open_scorer(network, config, config.TEST, engine)
    views = np.random.default_rng(0).integers(0, 256, (3, 3, 5, 36, 36), np.uint8)
    expected = DygraphScorer(network)(views)
    assert scorer.engine == (engine if engine != "auto" else next(k for k, r in RUNTIMES.items() if r.is_installed))
    np.testing.assert_allclose(scorer(views), expected, atol=1e-5)
    assert expected.std() > 0.01
    features = network.features(paddle.to_tensor(views)).numpy()
    np.testing.assert_allclose(scorer.with_features(views)[1], features, atol=1e-5)


def trained_a_little(config):
    """Its BN has seen something, so that folding it counts."""
    network = new_network(config)
    network.state_dict()["toy_head_w"].set_value(
        np.random.default_rng(1).standard_normal(network.head.pred.weight.shape).astype("float32")
    )
    network.train()
    network(paddle.to_tensor(np.random.default_rng(2).integers(0, 256, (2, 3, 5, 36, 36), np.uint8)))
    network.eval()
    return network


def test_it_is_exported_with_its_normalisation_folded(toy_config, tmp_path):
    config = toy_config()
    files = export_network(trained_a_little(config), config, tmp_path / "net", "paddle", num_frames=5)
    assert all(file.is_file() for file in files)
    folded = build_model(config)
    folded.fold_normalisation()
    assert not [name for name in folded.state_dict() if "norm" in name]


def test_its_cost_is_counted(toy_config):
    """By hand: 1x5x5 of 3 and 3x3x3 of 4 channels, at every place of their output."""
    config = toy_config()
    width = config.TOY.channels if config.MODEL.name == "TOY" else 6
    first, second, head = network_costs(config, (5, 36, 36))
    assert [cost.name for cost in (first, second, head)] == ["first", "second", "head"]
    assert (first.output, second.output, head.output) == ((4, 5, 9, 9), (width, 3, 5, 5), (4, 1, 1, 1))
    assert first.macs == 4 * 3 * 25 * 5 * 9 * 9
    assert second.macs == width * 4 * 27 * 3 * 5 * 5
    assert head.macs == width * 4
    assert (first.parameters, second.parameters) == (4 * 75 + 8, width * 108 + 2 * width)


def test_features_are_what_the_classifier_sees(toy_config):
    network = trained_a_little(toy_config())
    views = paddle.to_tensor(np.random.default_rng(0).integers(0, 256, (2, 3, 5, 36, 36), np.uint8))
    state = {name: value.numpy() for name, value in network.state_dict().items()}
    scores = np.exp(network.features(views).numpy() @ state["toy_head_w"] + state["toy_head_b"])
    np.testing.assert_allclose(network(views).numpy(), scores / scores.sum(axis=1, keepdims=True), rtol=1e-4)


def test_stages_freeze(toy_config, tmp_path):
    trainer = make_trainer(toy_config("TRAIN.freeze_stages=1", "TRAIN.learning_rate=1.0"), tmp_path)
    before = {name: value.numpy() for name, value in trainer.step.network.state_dict().items()}
    trainer.run()
    moved = {name for name, value in trainer.step.network.state_dict().items() if (value.numpy() != before[name]).any()}
    assert {name for name in before if name.startswith("toy_first")}.isdisjoint(moved)
    assert {"toy_second_weights", "toy_second_norm_scale", "toy_second_norm_mean", "toy_head_w"} <= moved
    with pytest.raises(ConfigError, match="must be at most 2, the stages of this network: first, second"):
        make_trainer(toy_config("TRAIN.freeze_stages=3"), tmp_path / "other")


def test_rates_and_decay_by_the_kind_of_parameter(toy_config, tmp_path):
    config = toy_config("TRAIN.head_lr_factor=0", "TRAIN.weight_decay=0", "TRAIN.weight_decay_bn=0.9")
    trainer = make_trainer(config, tmp_path)
    before = {name: value.numpy() for name, value in trainer.step.network.state_dict().items()}
    trainer.run()
    after = {name: value.numpy() for name, value in trainer.step.network.state_dict().items()}
    np.testing.assert_array_equal(after["toy_head_w"], before["toy_head_w"])
    assert (after["toy_first_norm_scale"] < 1).all(), "they decay"


def test_recomputation_gives_the_same_bits(toy_config, tmp_path):
    def after_training(folder, *overrides):
        trainer = make_trainer(toy_config(*overrides), tmp_path / folder)
        trainer.run()
        return trainer.step.network.state_dict()

    plain, again = after_training("plain"), after_training("again", "TRAIN.recompute=True")
    for key, value in plain.items():
        np.testing.assert_array_equal(again[key].numpy(), value.numpy(), err_msg=key)


def test_advice_when_memory_is_out(toy_config):
    config = toy_config("TRAIN.batch_size=4096")
    text = training_memory_advice(
        config.TRAIN, build_model(config), MemoryError("no room"), processes=ALONE, memory=7.5e8
    )
    assert text.startswith("out of memory with 4096 clips of 5 x 36 x 36 at once in each process (no room); about ")
    assert re.search(r"TRAIN\.accumulate_steps=\d+ \(the same batch", text)


def test_weights_of_another_network_are_refused(toy_config, narrow_config, shapes, tmp_path):
    toy = toy_config()
    make_trainer(toy, tmp_path / "toy").run()
    make_trainer(narrow_config("TRAIN.epoch=1"), tmp_path / "nonlocal").run()
    for config, folder in ((toy, "nonlocal"), (narrow_config(), "toy")):
        network = new_network(config)
        before = {name: value.numpy() for name, value in network.state_dict().items()}
        for read in (
            lambda network=network, config=config, folder=folder: load_for_scoring(
                network, config, str(tmp_path / folder)
            ),
            lambda network=network, config=config, folder=folder: begin(
                network, None, config, pretrain=str(tmp_path / folder), resume=None
            ),
        ):
            with pytest.raises(WeightsError):
                read()
        for key, value in network.state_dict().items():
            np.testing.assert_array_equal(value.numpy(), before[key])
    with pytest.raises(WeightsError, match=r"is of another network: \d+ missing .* MODEL\.name was 'NONLOCAL', is"):
        load_for_scoring(new_network(toy), toy, str(tmp_path / "nonlocal"))


def test_its_own_weights_without_a_run_around_them(toy_config, tmp_path):
    """By exact name: no dialect knows them. A classifier of another class count starts anew."""
    config = toy_config()
    network = trained_a_little(config)
    paddle.save(network.state_dict(), str(tmp_path / "w.pdparams"))
    other = new_network(config)
    load_for_scoring(other, config, str(tmp_path / "w.pdparams"))
    for key, value in network.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[key].numpy(), value.numpy())
    more = toy_config("MODEL.num_classes=7")
    larger = new_network(more)
    with pytest.raises(WeightsError, match=r"a classifier of 4 classes, MODEL\.num_classes is 7"):
        load_for_scoring(larger, more, str(tmp_path / "w.pdparams"))
    begin(larger, None, more, pretrain=str(tmp_path / "w.pdparams"), resume=None)
    np.testing.assert_array_equal(
        larger.state_dict()["toy_first_weights"].numpy(), network.state_dict()["toy_first_weights"].numpy()
    )


def test_nothing_is_released_for_it(toy_config):
    config = toy_config()
    with pytest.raises(WeightsError, match="--weights is missing: nothing is released for"):
        load_for_scoring(new_network(config), config, None)
    with pytest.raises(WeightsError, match="--pretrain is missing: nothing is released for"):
        begin(new_network(config), None, config, pretrain=None, resume=None)


class Unexportable(VideoNetwork):
    """A network that cannot be exported: it has no static graph."""

    def feature_map(self, x):
        if not paddle.in_dynamic_mode():
            raise RuntimeError("values are needed here")
        return super().feature_map(x)


class Unfoldable(VideoNetwork):
    def fold_normalisation(self):
        raise NotImplementedError("not written yet")


class Uncounted(VideoNetwork):
    def costs(self, size):
        raise NotImplementedError("not written yet")


def build_incomplete(config):
    whole = toy_network.build_toy(config)
    kind = {"UNEXPORTABLE": Unexportable, "UNFOLDABLE": Unfoldable, "UNCOUNTED": Uncounted}[config.MODEL.name]
    return kind(whole.all_stages, whole.head, config.MODEL)


@pytest.mark.parametrize(
    ("lacking", "reason"),
    [
        ("UNEXPORTABLE", "cannot be exported"),
        ("UNFOLDABLE", "normalisation cannot be folded for the export: not written"),
    ],
)
def test_auto_falls_back_whatever_a_network_lacks(toy_config, monkeypatch, logged, lacking, reason):
    monkeypatch.setitem(NETWORKS, lacking, NetworkEntry(builder="test_models_registry:build_incomplete"))
    config = toy_config()
    config = replace(config, MODEL=replace(config.MODEL, name=lacking))
    network = build_model(config)
    scorer = open_scorer(network, config, config.TEST, "auto")
    assert scorer.engine == "dygraph"
    assert reason in logged()
    with pytest.raises((DeviceError, WeightsError), match=reason):
        open_scorer(network, config, config.TEST, "paddle")


def test_advice_without_figures(toy_config, monkeypatch):
    monkeypatch.setitem(NETWORKS, "UNCOUNTED", NetworkEntry(builder="test_models_registry:build_incomplete"))
    config = toy_config()
    config = replace(config, MODEL=replace(config.MODEL, name="UNCOUNTED"))
    text = training_memory_advice(
        config.TRAIN, build_model(config), MemoryError("no room"), processes=ALONE, memory=1e9
    )
    assert "a larger TRAIN.accumulate_steps, TRAIN.recompute=True" in text
    assert "no figures: not written yet" in text


@pytest.mark.parametrize("text", ["NONLOCAL", "nonlocal", "NonLocal"])
def test_names_in_any_case(text):
    config = load_config(ROOT / "configs" / "nonlocal.txt", [f"MODEL.name={text}"])
    assert config.MODEL.name == "NONLOCAL"
    assert type(config) is NonlocalConfig


def test_the_first_network_is_that_of_configs_that_name_none(tmp_path):
    (tmp_path / "run.txt").write_text("[TRAIN]\nepoch = 3\n")
    assert load_config(tmp_path / "run.txt").MODEL.name == "NONLOCAL"


class Own(nn.Layer):
    """A layer that somebody wrote: a gain of its own, and noise from a function."""

    def __init__(self, convolution, *, is_named):
        super().__init__()
        self.convolution = convolution
        self.gain = self.create_parameter([1], default_initializer=nn.initializer.Constant(1.0))
        if is_named:
            with_names(self, gain="own_gain")

    def forward(self, x):
        return F.dropout(self.convolution(x), 0.5, training=self.training) * self.gain


def network_of(layer, config):
    return VideoNetwork({"only": [layer]}, SlidingHead(4, config.MODEL.num_classes), config.MODEL)


def test_a_parameter_without_a_saved_name_is_refused(toy_config):
    """It would be neither trained nor saved."""
    config = toy_config()
    named = Convolution("own", 3, 4, (1, 3, 3))
    network_of(Own(named, is_named=True), config)
    with pytest.raises(ValueError, match=r"the parameter only\.0\.gain has no saved name"):
        network_of(Own(named, is_named=False), config)
    with pytest.raises(ValueError, match=r"the parameter only\.0\.weight has no saved name"):
        network_of(nn.Conv3D(3, 4, 3), config)
    half = nn.Sequential(named, with_names(nn.BatchNorm3D(4), weight="s", bias="b"))
    with pytest.raises(ValueError, match=r"the parameter only\.0\.1\._mean has no saved name"):
        network_of(half, config)


def test_recomputation_repeats_the_random_numbers_of_any_layer(toy_config):
    gradients = []
    for recompute in (False, True):
        paddle.seed(3)
        network = network_of(Own(Convolution("own", 3, 4, (1, 3, 3)), is_named=True), toy_config())
        network.set_recompute(recompute)
        network.train()
        clips = paddle.to_tensor(np.random.default_rng(0).standard_normal((2, 3, 2, 8, 8)).astype(np.float32))
        clips.stop_gradient = False
        network(clips).sum().backward()
        gradients.append(network.state_dict()["own_weights"].grad.numpy())
    np.testing.assert_array_equal(*gradients)
    assert np.abs(gradients[0]).max() > 0
