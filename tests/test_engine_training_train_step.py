"""One update: against the same arithmetic in one piece, and what it does with numbers that are not finite."""

import json
import re

import numpy as np
import paddle
import pytest
from small_trainer import make_trainer

from engine.training.losses import classification_losses
from engine.training.reader_advice import ReaderCost
from utils.errors import ConfigError, DeviceError, TrainingError

STEADY = ("TRAIN.freeze_bn=True", "TRAIN.dropout_rate=0", "MODEL.bn_init_gamma=0.5", "NONLOCAL.bn_init_gamma=0.5")


def trained(narrow_config, folder, *overrides, num_steps=2):
    """Parameters and statistics after some steps, and the last result."""
    trainer = make_trainer(narrow_config("TRAIN.epoch=9", f"TRAIN.max_iter={num_steps}", *overrides), folder)
    results = []
    run = trainer.step.run
    trainer.step.run = lambda *args, **kwargs: results.append(run(*args, **kwargs)) or results[-1]
    trainer.run()
    return {name: value.numpy() for name, value in trainer.step.network.state_dict().items()}, results[-1]


@pytest.mark.parametrize("parts", [2, 4])
def test_a_batch_in_parts_is_the_batch(narrow_config, tmp_path, parts):
    whole, result = trained(narrow_config, tmp_path / "whole", *STEADY)
    split, split_result = trained(narrow_config, tmp_path / "split", *STEADY, f"TRAIN.accumulate_steps={parts}")
    np.testing.assert_allclose(split_result.losses, result.losses, rtol=1e-5, atol=1e-5)  # as the logits: one is near 0
    np.testing.assert_allclose(split_result.logits, result.logits, atol=1e-5)
    assert split_result.gradient_norm == pytest.approx(result.gradient_norm, rel=1e-4)
    for name, value in whole.items():
        np.testing.assert_allclose(split[name], value, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("overrides", [(), ("TRAIN.freeze_stages=1",), ("TRAIN.freeze_stages=3",), STEADY])
def test_recomputation_changes_nothing(narrow_config, tmp_path, overrides):
    """Parameters and BN's running statistics, which the second pass must leave alone, bit for bit."""
    overrides = ("MODEL.bn_init_gamma=0.5", "NONLOCAL.bn_init_gamma=0.5", *overrides)
    plain, _ = trained(narrow_config, tmp_path / "plain", *overrides)
    recomputed, _ = trained(narrow_config, tmp_path / "recomputed", *overrides, "TRAIN.recompute=True")
    for name, value in plain.items():
        np.testing.assert_array_equal(recomputed[name], value, err_msg=name)


def test_recomputation_keeps_less(narrow, monkeypatch):
    """Every residual and non-local block is passed twice, the stem and the head once."""
    network, _ = narrow()
    network.set_recompute(True)
    network.train()
    calls = []
    for name, layer in network.named_sublayers():
        layer.register_forward_post_hook(lambda layer, x, y, name=name: calls.append(name))
    network(paddle.rand([1, 3, 8, 32, 32])).sum().backward()
    blocks = [name for name in set(calls) if name.startswith("res") and name.count(".") == 1]
    assert len(blocks) == 16 + 5
    assert {calls.count(name) for name in blocks} == {2}
    assert {calls.count(name) for name in ("conv1.0", "pool1.0", "head")} == {1}


def test_the_gradient_norm_and_its_clipping_by_hand(narrow_config, tmp_path):
    """One step without momentum and decay moves the parameters by the rate times the clipped gradient."""
    overrides = (
        "TRAIN.momentum=0", "TRAIN.nesterov=False", "TRAIN.weight_decay=0", "TRAIN.learning_rate=0.5", *STEADY
    )  # fmt: skip
    start = make_trainer(narrow_config(*overrides), tmp_path / "start").step.network.state_dict()
    trainable = [name for name, value in start.items() if not value.stop_gradient]
    start = {name: value.numpy().astype(np.float64) for name, value in start.items()}

    def movement(clip):
        end, result = trained(
            narrow_config, tmp_path / f"{clip}", *overrides, f"TRAIN.clip_gradient_norm={clip}", num_steps=1
        )
        gradient = np.concatenate([((start[name] - end[name]) / 0.5).ravel() for name in trainable])
        return gradient, result.gradient_norm

    free, norm = movement(0)
    assert norm == pytest.approx(np.linalg.norm(free), rel=1e-4)
    clipped, same_norm = movement(norm / 4)
    assert same_norm == norm, "it is the one before clipping"
    np.testing.assert_allclose(clipped, free / 4, atol=1e-6 * norm)
    loose, _ = movement(norm * 4)
    np.testing.assert_array_equal(loose, free)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.4])
def test_label_smoothing_by_hand(smoothing):
    logits = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    labels = np.array([0, 6, 3, 3, 1])
    log = logits - np.log(np.exp(logits.astype(np.float64)).sum(axis=1, keepdims=True))
    targets = np.full((5, 7), smoothing / 7)
    targets[np.arange(5), labels] += 1 - smoothing
    found = classification_losses(paddle.to_tensor(logits), paddle.to_tensor(labels), smoothing=smoothing)
    np.testing.assert_allclose(found.numpy(), -(targets * log).sum(axis=1), rtol=1e-5)


def spoil(trainer, name="pred_b", value=np.nan):
    parameter = trainer.step.network.state_dict()[name]
    parameter.set_value(np.full(parameter.shape, value, np.float32))


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_batch(narrow_config, tmp_path):
    trainer = make_trainer(narrow_config(), tmp_path)
    spoil(trainer)
    with pytest.raises(
        TrainingError, match=r"loss is nan at iteration 0, that of 4 of 4 clips is not finite: videos/.*on_nonfinite"
    ):
        trainer.run()
    report = json.loads((tmp_path / "nonfinite_0.json").read_text())
    assert len(report["clips"]) == 4
    clip = report["clips"][0]
    assert clip["path"].startswith("videos/") and clip["loss"] == "nan" and 0 <= clip["pixels_mean"] <= 255
    assert not list(tmp_path.glob("NONLOCAL*"))


def poison_gradient(trainer, name, at=None):
    """Make one gradient infinite, at iteration `at` or always; losses stay finite."""
    unscale = trainer.step.precision.unscale

    def poisoned(optimizer):
        unscale(optimizer)
        if at is None or trainer.position.iteration == at:
            parameter = trainer.step._parameters[name]
            parameter.grad.set_value(np.full(parameter.shape, np.inf, np.float32))

    trainer.step.precision.unscale = poisoned


def test_a_gradient_that_is_not_finite_stops_the_run_and_is_named(narrow_config, tmp_path):
    trainer = make_trainer(narrow_config(), tmp_path)
    poison_gradient(trainer, "res3a_branch2b_weights", 1)
    with pytest.raises(TrainingError, match=r"gradients of res3a_branch2b_weights are not finite at iteration 1"):
        trainer.run()
    report = json.loads((tmp_path / "nonfinite_1.json").read_text())
    assert report["parameters_without_finite_gradient"] == ["res3a_branch2b_weights"]


def test_an_update_that_is_skipped_leaves_everything_as_it_was(narrow_config, tmp_path, logged):
    config = narrow_config("TRAIN.max_iter=2", "TRAIN.on_nonfinite=skip")
    skipping = make_trainer(config, tmp_path / "skipping")
    poison_gradient(skipping, "pred_w", 1)
    skipping.run()
    one, _ = trained(narrow_config, tmp_path / "one", num_steps=1)
    for name, value in one.items():
        np.testing.assert_array_equal(skipping.step.network.state_dict()[name].numpy(), value, err_msg=name)
    assert skipping.step.guard.num_skipped == 1
    assert "update skipped: the gradients of pred_w are not finite at iteration 1" in logged()
    assert "skipped 1, reader_cost" in logged()


def test_a_run_of_skipped_updates_ends(narrow_config, tmp_path, monkeypatch):
    monkeypatch.setattr("engine.training.finite_guard._LONGEST_ROW", 4)
    trainer = make_trainer(narrow_config("TRAIN.epoch=99", "TRAIN.on_nonfinite=skip"), tmp_path)
    poison_gradient(trainer, "pred_w")
    with pytest.raises(TrainingError, match=r"5 updates in a row were skipped"):
        trainer.run()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("TRAIN.amp=O1", r"TRAIN\.amp \(O1\) needs a GPU: Paddle has no mixed precision on cpu"),
        ("TRAIN.sync_bn=True", r"TRAIN\.sync_bn needs GPUs"),
    ],
)
def test_what_needs_a_gpu_says_so(narrow_config, tmp_path, override, message):
    with pytest.raises(DeviceError, match=message):
        make_trainer(narrow_config(override), tmp_path)


def test_parts_must_divide_the_batch(narrow_config):
    with pytest.raises(ConfigError, match=r"accumulate_steps \(3\) must divide TRAIN\.batch_size \(4\)"):
        narrow_config("TRAIN.accumulate_steps=3")


def test_profile_says_what_the_reader_processes_cost(narrow_config, tmp_path):
    trainer = make_trainer(narrow_config("TRAIN.batch_size=2", "TRAIN.num_reader_threads=2"), tmp_path, profile=3)
    line = next(line for line in trainer.profile().splitlines() if line.startswith("readers"))
    found = re.fullmatch(r"readers +([\d.]+) ms of CPU time an iteration in \d processes, ([\d.]+) of \d+ cores", line)
    assert found and float(found[1]) > 0


@pytest.mark.parametrize(
    ("cost", "advice"),
    [
        # workers, CPU seconds, waiting seconds of 10, cores, on the CPU
        ((2, 1.0, 0.1, 8, True), ""),
        ((2, 4.0, 0.1, 2, True), "the readers take 20 % of the cores that the network computes on, which shows as"),
        ((2, 4.0, 0.1, 2, False), ""),
        (
            (2, 19.0, 3.0, 8, False),
            "training waits for the readers 30 % of the time: raise TRAIN.num_reader_threads (n",
        ),
        ((8, 70.0, 3.0, 8, False), "training waits for the readers 30 % of the time: all cores are busy; copies with"),
        (
            (4, 5.0, 4.0, 8, False),
            "training waits for the readers 40 % of the time: they wait themselves, for the disk",
        ),
        ((0, 0.0, 5.0, 2, True), ""),
    ],
)
def test_advice_on_readers(cost, advice):
    num_processes, cpu, waiting, cores, is_cpu = cost
    lines = ReaderCost(20, num_processes, cpu, 10.0, waiting, cores, is_cpu).lines()
    assert [line.partition("advice: ")[2][: len(advice)] for line in lines[1:]] == [advice] * bool(advice)
    if num_processes:
        assert f"{1e3 * cpu / 20:.1f} ms of CPU time an iteration in {num_processes} processes" in lines[0]


def test_profile_measures_and_saves_nothing(narrow_config, tmp_path):
    trainer = make_trainer(narrow_config("TRAIN.batch_size=2", "TRAIN.accumulate_steps=2"), tmp_path, profile=5)
    table = trainer.profile()
    assert [line.split()[0] for line in table.splitlines()] == [
        "phase", "reader", "copy", "forward", "backward", "update", "all", "readers"
    ]  # fmt: skip
    assert "over 5 iterations" in table
    shares = [float(line.split()[-1].rstrip("%")) for line in table.splitlines()[1:-2]]
    assert sum(shares) == pytest.approx(100, abs=0.3)
    assert not list(tmp_path.iterdir())
