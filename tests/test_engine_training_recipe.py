"""The recipe of a run: schedules, rates by kind, freezing, precise BN, balanced classes; against arithmetic by hand."""

import dataclasses

import numpy as np
import paddle
import pytest
from small_trainer import make_trainer

from configs.schema import TrainSection
from datareader.epoch_order import balanced_order, shuffled_epoch
from engine.distributed import ALONE
from engine.training.freezing import training_mode
from engine.training.precise_bn import measure_statistics
from engine.training.schedule import learning_rate
from models.normalisation import batch_norms


def rates(num_iterations, **keys):
    section = dataclasses.replace(TrainSection(), **keys)
    return [learning_rate(iteration, section, num_iterations=num_iterations) for iteration in range(num_iterations)]


def test_warm_up_to_a_step_schedule_by_hand():
    found = rates(
        8, learning_rate=0.4, warmup_iters=4, warmup_start_lr=0.04, step_sizes=(5, 9), learning_rate_decay=0.5
    )
    assert found == pytest.approx([0.04, 0.13, 0.22, 0.31, 0.4, 0.2, 0.2, 0.2])


def test_cosine_by_hand():
    found = rates(6, learning_rate=0.8, schedule="cosine")
    expected = [0.8, 0.4 * (1 + 3**0.5 / 2), 0.6, 0.4, 0.2, 0.4 * (1 - 3**0.5 / 2)]
    assert found == pytest.approx(expected)


def test_warm_up_to_a_cosine_meets_it():
    plain = rates(10, learning_rate=0.1, schedule="cosine")
    warm = rates(10, learning_rate=0.1, schedule="cosine", warmup_iters=4)
    assert warm[4:] == plain[4:]
    assert warm[:4] == pytest.approx([0, plain[4] / 4, plain[4] / 2, 3 * plain[4] / 4])


def test_the_rate_scales_with_the_batch_when_asked():
    keys = {"learning_rate": 0.01, "warmup_iters": 2, "warmup_start_lr": 0.002, "step_sizes": (3, 9)}
    plain = rates(5, batch_size=16, **keys)
    scaled = rates(5, batch_size=16, scale_lr=True, **keys)
    assert scaled == pytest.approx([rate / 4 for rate in plain])
    assert rates(5, batch_size=64, scale_lr=True, **keys) == pytest.approx(plain)


def test_the_trainer_follows_the_schedule(narrow_config, tmp_path):
    config = narrow_config("TRAIN.epoch=3", "TRAIN.schedule=cosine", "TRAIN.learning_rate=0.04", "TRAIN.warmup_iters=2")
    trainer = make_trainer(config, tmp_path)
    used = []
    step = trainer.step.optimizer.step
    trainer.step.optimizer.step = lambda: (used.append(trainer.step.optimizer.get_lr()), step())
    trainer.run()
    by_hand = [0.02 * (1 + np.cos(np.pi * i / 6)) for i in range(6)]
    assert used == pytest.approx([0, by_hand[2] / 2, *by_hand[2:]])


def one_step(narrow_config, folder, *overrides):
    """Parameters and statistics before and after one step without momentum and decay."""
    trainer = make_trainer(
        narrow_config(
            "TRAIN.max_iter=1", "TRAIN.momentum=0", "TRAIN.nesterov=False", "TRAIN.weight_decay=0",
            "TRAIN.dropout_rate=0", "MODEL.bn_init_gamma=0.5", "NONLOCAL.bn_init_gamma=0.5", *overrides,
        ),
        folder,
    )  # fmt: skip
    state = trainer.step.network.state_dict()
    before = {name: value.numpy() for name, value in state.items()}
    trainer.run()
    return before, {name: value.numpy() for name, value in state.items()}


def test_rates_by_kind_of_parameter(narrow_config, tmp_path):
    before, plain = one_step(narrow_config, tmp_path / "plain")
    _, factors = one_step(
        narrow_config, tmp_path / "factors", "TRAIN.head_lr_factor=10", "TRAIN.nonlocal_lr_factor=0.5"
    )
    for name, start in before.items():
        factor = 10 if name.startswith("pred_") else 0.5 if name.startswith("nonlocal_") else 1
        if name.endswith(("_mean", "_variance")):
            factor = 1
        step = plain[name].astype(np.float64) - start
        np.testing.assert_allclose(factors[name] - start, factor * step, atol=2e-6, err_msg=name)
    assert np.abs(plain["pred_w"] - before["pred_w"]).max() > 1e-4
    assert np.abs(plain["nonlocal_conv3_1_g_w"] - before["nonlocal_conv3_1_g_w"]).max() > 1e-6


@pytest.mark.parametrize(
    ("count", "frozen"),
    [(0, ()), (1, ("conv1", "bn_conv1")), (3, ("conv1", "bn_conv1", "res2", "bn2", "res3", "bn3", "nonlocal_conv3"))],
)
def test_frozen_stages_stay_as_they_are(narrow_config, tmp_path, count, frozen):
    """Their parameters and their running statistics; everything else moves."""
    before, after = one_step(narrow_config, tmp_path, f"TRAIN.freeze_stages={count}")
    for name, start in before.items():
        is_frozen = name.startswith(frozen) if frozen else False
        # A bias before a softmax over keys, or before BN, has no gradient worth the name.
        if not is_frozen and name.endswith(("_phi_b", "_out_b", "_g_b", "_theta_b")):
            continue
        assert np.array_equal(after[name], start) == is_frozen, name


def test_frozen_bn_keeps_statistics_and_trains_scales(narrow_config, tmp_path):
    before, after = one_step(narrow_config, tmp_path, "TRAIN.freeze_bn=True")
    for name, start in before.items():
        if name.endswith(("_mean", "_variance")):
            np.testing.assert_array_equal(after[name], start, err_msg=name)
    assert not np.array_equal(after["bn2a_branch2a_scale"], before["bn2a_branch2a_scale"])


def test_frozen_bn_stays_frozen_after_a_validation(narrow_config, tmp_path):
    config = narrow_config("TRAIN.freeze_bn=True", "TRAIN.epoch=2")
    trainer = make_trainer(config, tmp_path, valid_interval=1)
    state = trainer.step.network.state_dict()
    before = {name: value.numpy() for name, value in state.items() if name.endswith(("_mean", "_variance"))}
    trainer.run()
    for name, start in before.items():
        np.testing.assert_array_equal(state[name].numpy(), start, err_msg=name)


def test_precise_statistics_by_hand(narrow_config, tmp_path):
    """Of conv1's BN over three batches of equal size: the mean, and the biased variance, of all its inputs."""
    trainer = make_trainer(narrow_config("TRAIN.batch_size=2"), tmp_path)
    network = trainer.step.network
    training_mode(network, trainer.section)
    batches = list(trainer.batches.of_epoch(0, 0, 3))
    inputs = []
    hook = network.conv1[0].norm.register_forward_pre_hook(lambda layer, x: inputs.append(x[0].numpy()))
    parameters = {name: value.numpy() for name, value in network.state_dict().items() if not value.stop_gradient}
    momenta = [norm._momentum for norm in batch_norms(network)]
    measure_statistics(network, iter(batches), ALONE, trainer.step.precision)
    hook.remove()
    values = np.concatenate(inputs).transpose(1, 0, 2, 3, 4).reshape(4, -1).astype(np.float64)
    state = network.state_dict()
    np.testing.assert_allclose(state["bn_conv1_mean"].numpy(), values.mean(axis=1), atol=1e-5)
    np.testing.assert_allclose(state["bn_conv1_variance"].numpy(), values.var(axis=1), rtol=1e-4)
    for name, value in parameters.items():
        np.testing.assert_array_equal(state[name].numpy(), value)
    assert [norm._momentum for norm in batch_norms(network)] == momenta


def test_precise_statistics_are_what_is_validated_and_saved(narrow_config, tmp_path):
    """A run that is interrupted while it measures keeps its running statistics."""
    plain = make_trainer(narrow_config("TRAIN.epoch=1"), tmp_path / "plain", valid_interval=1)
    plain.run()
    precise = make_trainer(narrow_config("TRAIN.epoch=1", "TRAIN.precise_bn_iters=2"), tmp_path / "p", valid_interval=1)
    precise.run()
    running, measured = plain.step.network.state_dict(), precise.step.network.state_dict()
    np.testing.assert_array_equal(measured["res5c_branch2c_weights"].numpy(), running["res5c_branch2c_weights"].numpy())
    name = "bn5c_branch2c_variance"
    assert not np.allclose(measured[name].numpy(), running[name].numpy())
    before = {name: value.numpy() for name, value in running.items()}

    def interrupted():
        yield from plain.batches.of_epoch(0, 0, 1)
        raise KeyboardInterrupt

    training_mode(plain.step.network, plain.section)
    with pytest.raises(KeyboardInterrupt):
        measure_statistics(plain.step.network, interrupted(), ALONE, plain.step.precision)
    for name, value in before.items():
        np.testing.assert_array_equal(running[name].numpy(), value, err_msg=name)


def test_balanced_classes_by_hand():
    """20 videos, 12 of class 0, 5 of class 3, 3 of class 7: each class 6 or 7 times, no video before its turn."""
    labels = np.array([0] * 12 + [3] * 5 + [7] * 3)
    order = balanced_order(labels, np.random.default_rng(0))
    assert order.shape == (20,)
    drawn = labels[order]
    for start in range(0, 18, 3):
        assert sorted(drawn[start : start + 3]) == [0, 3, 7]
    counts = np.bincount(order, minlength=20)
    assert counts[:12].max() == 1, "12 videos for 7 draws"
    assert set(counts[12:17]) <= {1, 2}
    assert set(counts[17:]) <= {2, 3}
    assert len({tuple(drawn[start : start + 3]) for start in range(0, 18, 3)}) > 1, "in random order"


def test_balanced_epochs_follow_from_seed_and_epoch():
    labels = np.array([0] * 9 + [1])

    def epoch(**keys):
        requests = shuffled_epoch(10, seed=1, balanced_labels=labels, **keys)
        return [request.index for request in requests]

    assert epoch(epoch=0) == epoch(epoch=0) != epoch(epoch=1)
    assert epoch(epoch=0).count(9) == 5
    shares = [epoch(epoch=0, rank=rank, num_ranks=2) for rank in range(2)]
    assert [index for pair in zip(*shares, strict=True) for index in pair] == epoch(epoch=0)


def test_the_trainer_balances_when_asked(narrow_config, tmp_path, shapes):
    lines = (shapes / "train.txt").read_text().splitlines()
    listing = tmp_path / "rare.txt"
    of_first = [line for line in lines if line.endswith(" 0")][:1]
    listing.write_text(
        "\n".join(
            f"{shapes}/{line}"
            for line in [
                *of_first,
                *(line for line in lines[1:] if line.endswith(" 1")),
                *([line for line in lines if line.endswith(" 1")] * 3),
            ]
        )
    )
    config = narrow_config(f"TRAIN.filelist={listing}", "TRAIN.balanced_sampling=True", "TRAIN.batch_size=2")
    trainer = make_trainer(config, tmp_path / "run")
    for batch in trainer._train_batches():
        assert sorted(batch.labels.tolist()) == [0, 1]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("TRAIN.label_smoothing=1", r"label_smoothing \(1\.0\) must be less than 1"),
        ("TRAIN.schedule=linear", r"must be one of step, cosine"),
        ("TRAIN.warmup_iters=-1", r"warmup_iters \(-1\) must be at least 0"),
    ],
)
def test_what_makes_no_sense_is_refused(narrow_config, override, message):
    from utils.errors import ConfigError

    with pytest.raises(ConfigError, match=message):
        narrow_config(override)


def test_more_stages_than_there_are_cannot_be_frozen(narrow_config, tmp_path):
    from utils.errors import ConfigError

    message = r"freeze_stages \(6\) must be at most 5, the stages of this network: conv1, res2, res3, res4, res5"
    with pytest.raises(ConfigError, match=message):
        make_trainer(narrow_config("TRAIN.freeze_stages=6"), tmp_path)


def test_bn_that_is_frozen_needs_no_precise_statistics(narrow_config):
    from utils.errors import ConfigError

    with pytest.raises(ConfigError, match="precise_bn_iters must be 0 where freeze_bn"):
        narrow_config("TRAIN.freeze_bn=True", "TRAIN.precise_bn_iters=3")


def test_frozen_bn_normalises_with_its_running_statistics(narrow):
    """In training mode too: conv1's BN with statistics by hand."""
    network, config = narrow("TRAIN.freeze_bn=True")
    norm = network.conv1[0].norm
    norm._mean.set_value(np.arange(4, dtype=np.float32))
    norm._variance.set_value(np.arange(1, 5, dtype=np.float32))
    training_mode(network, config.TRAIN)
    assert network.training and not norm.training
    x = np.random.default_rng(0).normal(size=(2, 4, 3, 5, 5)).astype(np.float32)
    expected = (x - np.arange(4).reshape(-1, 1, 1, 1)) / np.sqrt(np.arange(1, 5).reshape(-1, 1, 1, 1) + 1e-5)
    np.testing.assert_allclose(norm(paddle.to_tensor(x)).numpy(), expected, rtol=1e-4, atol=1e-5)
