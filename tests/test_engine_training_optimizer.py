"""Momentum, selective decay and the step schedule, against arithmetic in NumPy."""

import doctest

import numpy as np
import paddle
import pytest
from conftest import ROOT
from network_configs import load_config

import engine.training.schedule
from engine.training.optimizer import (
    build_optimizer,
    full_precision_state,
    optimizer_state,
    restore_optimizer,
    trainable_parameters,
)
from engine.training.schedule import step_learning_rate
from models.registry import build_model
from utils.errors import WeightsError

SETTINGS = ["MODEL.width_mult=0.0625", "MODEL.num_classes=4", "TRAIN.crop_size=32", "TRAIN.weight_decay=0.1"]


def build(*overrides):
    config = load_config(ROOT / "configs" / "nonlocal.txt", [*SETTINGS, *overrides])
    network = build_model(config)
    return network, build_optimizer(network, config.TRAIN)


def gradients(network, seed):
    random = np.random.default_rng(seed)
    return {
        name: random.standard_normal(value.shape).astype(np.float32)
        for name, value in trainable_parameters(network).items()
    }


def apply(network, optimizer, given):
    """One update with given gradients."""
    loss = sum((value * paddle.to_tensor(given[name])).sum() for name, value in trainable_parameters(network).items())
    loss.backward()
    optimizer.step()
    optimizer.clear_grad()


@pytest.mark.parametrize("nesterov", [True, False])
def test_three_steps_by_hand(nesterov):
    network, optimizer = build("TRAIN.weight_decay_bn=0.02", f"TRAIN.nesterov={nesterov}", "TRAIN.momentum=0.8")
    expected = {name: value.numpy().astype(np.float64) for name, value in trainable_parameters(network).items()}
    velocity = dict.fromkeys(expected, 0.0)
    for step, rate in enumerate((0.1, 0.1, 0.01)):
        given = gradients(network, step)
        optimizer.set_lr(rate)
        apply(network, optimizer, given)
        for name in expected:
            is_bn = name.startswith("bn") or "_bn_" in name
            gradient = given[name] + (0.02 if is_bn else 0.1) * expected[name]
            velocity[name] = 0.8 * velocity[name] + gradient
            expected[name] -= rate * (gradient + 0.8 * velocity[name] if nesterov else velocity[name])
    for name, value in trainable_parameters(network).items():
        np.testing.assert_allclose(value.numpy(), expected[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_by_default_biases_decay_and_normalisation_does_not():
    network, optimizer = build()
    before = {name: value.numpy().copy() for name, value in trainable_parameters(network).items()}
    for name in ("pred_b", "nonlocal_conv3_1_theta_b", "bn_conv1_scale", "bn_conv1_offset", "conv1_weights"):
        value = trainable_parameters(network)[name]
        value.set_value(before[name] + 1)
    optimizer.set_lr(0.5)
    apply(network, optimizer, {name: np.zeros_like(value) for name, value in before.items()})
    after = trainable_parameters(network)
    # One Nesterov step with gradient g from rest moves by rate * (1 + momentum) * g, here g = 0.1 * value.
    for name in ("pred_b", "nonlocal_conv3_1_theta_b", "conv1_weights"):
        np.testing.assert_allclose(after[name].numpy(), (before[name] + 1) * (1 - 0.5 * 1.9 * 0.1), rtol=1e-4)
    for name in ("bn_conv1_scale", "bn_conv1_offset"):
        np.testing.assert_array_equal(after[name].numpy(), before[name] + 1)


def test_statistics_and_frozen_affine_values_are_not_trained():
    network, _ = build()
    assert not [name for name in trainable_parameters(network) if name.endswith(("_mean", "_variance"))]
    affine, _ = build("MODEL.use_affine=True")
    assert "bn_conv1_scale" not in trainable_parameters(affine)


def test_schedule():
    rates = {"base": 0.01, "decay": 0.1, "step_sizes": (3, 2, 4)}
    found = [step_learning_rate(iteration, **rates) for iteration in range(11)]
    np.testing.assert_allclose(found, [0.01] * 3 + [0.001] * 2 + [0.0001] * 6)
    assert doctest.testmod(engine.training.schedule).failed == 0


def test_state_moves_to_another_network_of_the_same_process():
    first, first_optimizer = build()
    apply(first, first_optimizer, gradients(first, 0))
    second, second_optimizer = build()
    second.set_state_dict(first.state_dict())
    restore_optimizer(second_optimizer, second, optimizer_state(first_optimizer, first), "a file")
    for network, optimizer in ((first, first_optimizer), (second, second_optimizer)):
        apply(network, optimizer, gradients(network, 1))
    for name, value in first.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), second.state_dict()[name].numpy(), err_msg=name)


def test_state_of_another_network_is_refused():
    network, optimizer = build()
    with pytest.raises(WeightsError, match="a file: holds the optimiser of another network; differing: "):
        restore_optimizer(optimizer, network, {"conv1_weights": np.zeros(1, np.float32)}, "a file")


class HalfPrecision:
    """Looks like Paddle's Momentum after a step in level O2: float32 copies, and buffers named after them."""

    def __init__(self, network):
        self.parameters = trainable_parameters(network)
        self.restored = None

    def state_dict(self):
        masters = {p.name: paddle.full(p.shape, 2.5) for p in self.parameters.values()}
        buffers = {f"{p.name}_fp32_master_0_velocity_0": paddle.full(p.shape, 0.5) for p in self.parameters.values()}
        return {**buffers, "master_weights": masters}

    def set_state_dict(self, state):
        self.restored = state


def test_what_is_saved_in_half_precision_is_the_float32_copy():
    """By the names that Paddle gives; Paddle itself does this on GPUs only."""
    network, _ = build()
    network.head.pred.to(dtype="float16")
    optimizer = HalfPrecision(network)
    saved = full_precision_state(network, optimizer)
    assert saved["pred_w"].dtype == np.float32
    np.testing.assert_array_equal(saved["pred_w"], np.full(saved["pred_w"].shape, 2.5))
    conv1 = network.state_dict()["conv1_weights"].numpy()
    np.testing.assert_array_equal(saved["conv1_weights"], conv1, "it is in float32 itself, and its copy is never used")
    np.testing.assert_array_equal(saved["bn_conv1_variance"], 1)
    buffers = optimizer_state(optimizer, network)
    assert buffers.keys() == optimizer.parameters.keys()
    restore_optimizer(optimizer, network, buffers, "here", half_precision=True)
    name = optimizer.parameters["pred_w"].name
    np.testing.assert_array_equal(optimizer.restored[f"{name}_fp32_master_0_velocity_0"].numpy(), buffers["pred_w"])
    master = optimizer.restored["master_weights"][name]
    assert master.name == f"{name}_fp32_master_0"
    np.testing.assert_array_equal(master.numpy(), network.state_dict()["pred_w"].numpy())
