"""TRAIN.ema_decay, mixup_alpha, cutmix_alpha, class_weights: against arithmetic by hand, and resumed bit for bit."""

import numpy as np
import paddle
import pytest
from small_trainer import make_trainer

from engine.checkpoint import read_save
from engine.training.losses import class_weights, classification_losses, multi_label_losses
from engine.training.mixing import Mixing, cut_box
from engine.training.start import start_training
from engine.training.weight_average import start_average
from utils.errors import ConfigError, WeightsError


def state(network):
    return {name: value.numpy().copy() for name, value in network.state_dict().items()}


def test_the_average_by_hand(narrow_config, tmp_path):
    trainer = make_trainer(narrow_config("TRAIN.epoch=3", "TRAIN.ema_decay=0.3"), tmp_path)
    by_hand = state(trainer.step.network)
    run, number = trainer.step.run, 0

    def step(*arguments, **settings):
        nonlocal by_hand, number
        result = run(*arguments, **settings)
        number += 1
        decay = min(0.3, number / (9 + number))
        weights = state(trainer.step.network)
        by_hand = {name: decay * value + (1 - decay) * weights[name] for name, value in by_hand.items()}
        return result

    trainer.step.run = step
    trainer.run()
    assert number == 6
    saved = read_save(tmp_path / "NONLOCAL_epoch2").parameters.arrays
    weights = state(trainer.step.network)
    for name, value in by_hand.items():
        np.testing.assert_allclose(saved[name], value, rtol=1e-5, atol=1e-6, err_msg=name)
    assert any((weights[name] != saved[name]).any() for name in saved)
    raw = read_save(tmp_path / "NONLOCAL_epoch2").optimizer
    for name, value in weights.items():
        np.testing.assert_array_equal(raw[f"raw/{name}"], value)


def test_the_average_is_validated_and_training_goes_on_from_the_weights(narrow_config, tmp_path):
    trainer = make_trainer(narrow_config("TRAIN.epoch=1", "TRAIN.ema_decay=0.9"), tmp_path, valid_interval=1)
    seen, run = [], trainer.validator.run

    def validate(**settings):
        seen.append(state(trainer.step.network))
        return run(**settings)

    trainer.validator.run = validate
    trainer.run()
    average, after = trainer.average.values(), state(trainer.step.network)
    for name, value in average.items():
        np.testing.assert_array_equal(seen[0][name], value, err_msg=name)
    assert any((seen[0][name] != after[name]).any() for name in after)


def test_skipped_updates_leave_the_average(narrow_config, tmp_path):
    trainer = make_trainer(narrow_config("TRAIN.epoch=1", "TRAIN.ema_decay=0.9"), tmp_path)
    run = trainer.step.run

    def step(*arguments, **settings):
        result = run(*arguments, **settings)
        result.is_skipped = True
        return result

    trainer.step.run = step
    before = trainer.average.values()
    before = {name: value.copy() for name, value in before.items()}
    trainer.run()
    for name, value in trainer.average.values().items():
        np.testing.assert_array_equal(value, before[name])


COMFORTS = [
    "TRAIN.ema_decay=0.5", "TRAIN.mixup_alpha=0.4", "TRAIN.cutmix_alpha=1.0", "TRAIN.class_weights=balanced",
    "TRAIN.color_jitter=0.4", "TRAIN.rand_augment_ops=2", "TRAIN.erasing_probability=0.5",
    "TRAIN.resized_crop_area=0.3", "TRAIN.label_smoothing=0.1", "TRAIN.accumulate_steps=2",
]  # fmt: skip


def test_a_resumed_run_with_all_of_it_equals_an_uninterrupted_one(narrow_config, tmp_path):
    whole = make_trainer(narrow_config("TRAIN.epoch=3", *COMFORTS), tmp_path / "whole")
    whole.run()
    make_trainer(narrow_config("TRAIN.epoch=3", "TRAIN.max_iter=3", *COMFORTS), tmp_path / "part").run()
    config = narrow_config("TRAIN.epoch=3", *COMFORTS)
    resumed = make_trainer(config, tmp_path / "part", resume=str(tmp_path / "part"))
    assert resumed.position.iteration == 3
    resumed.run()
    first, second = (read_save(tmp_path / name / "NONLOCAL_epoch2") for name in ("whole", "part"))
    assert first.parameters.arrays.keys() == second.parameters.arrays.keys()
    for name, value in first.parameters.arrays.items():
        np.testing.assert_array_equal(value, second.parameters.arrays[name], err_msg=name)
    assert first.optimizer.keys() == second.optimizer.keys()
    for name, value in first.optimizer.items():
        np.testing.assert_array_equal(value, second.optimizer[name], err_msg=name)


def test_a_save_that_lacks_the_weights_is_refused(narrow_config, tmp_path):
    trainer = make_trainer(narrow_config("TRAIN.epoch=1", "TRAIN.ema_decay=0.5"), tmp_path)
    trainer.run()
    save = read_save(tmp_path / "NONLOCAL_epoch0")
    for broken in ({}, {name: value[:1] for name, value in save.optimizer.items()}):
        save.optimizer.clear()
        save.optimizer.update(broken)
        with pytest.raises(WeightsError, match="ema_decay"):
            start_average(trainer.step.network, 0.5, save)
    assert start_average(trainer.step.network, 0.0, save) is None
    with pytest.raises(ConfigError, match=r"ema_decay was 0\.5, is 0\.0"):
        make_trainer(narrow_config("TRAIN.epoch=2"), tmp_path, resume=str(tmp_path))


@pytest.mark.parametrize("keys", [("TRAIN.ema_decay=0.5", "TRAIN.precise_bn_iters=2"), ("TRAIN.ema_decay=1",)])
def test_averages_that_make_no_sense_are_refused(narrow_config, keys):
    with pytest.raises(ConfigError, match="ema_decay"):
        narrow_config(*keys)


def clips_and_labels(count=6):
    random = np.random.default_rng(0)
    clips = random.integers(0, 256, (count, 3, 2, 20, 24), np.uint8)
    return clips, np.arange(count)


def mixed(key, *, labels=None, count=6, **alphas):
    clips, classes = clips_and_labels(count)
    mixing = Mixing(
        **{"mixup_alpha": 0.0, "cutmix_alpha": 0.0, **alphas}, num_classes=8, multi_label=labels is not None
    )
    found = mixing.mix(paddle.to_tensor(clips), paddle.to_tensor(classes if labels is None else labels), key=key)
    assert [value.dtype for value in found] == [paddle.uint8, paddle.float32]
    return clips, found[0].numpy(), found[1].numpy()


def partners(targets):
    """Which clip each one is mixed with, and its own share, as the targets tell."""
    for number, row in enumerate(targets):
        assert row.sum() == pytest.approx(1)
        others = [k for k in np.flatnonzero(row > 1e-7) if k != number]
        yield number, others[0] if others else number, row[number] if others else None


@pytest.mark.parametrize("iteration", range(5))
def test_mixup_by_hand(iteration):
    clips, found, targets = mixed((0, iteration, 0, 0), mixup_alpha=0.8)
    shares = set()
    for number, other, share in partners(targets):
        if share is None:
            np.testing.assert_array_equal(found[number], clips[number])
            continue
        shares.add(round(float(share), 5))
        by_hand = share * clips[number].astype(float) + (1 - share) * clips[other]
        assert np.abs(found[number] - by_hand).max() <= 0.501
    assert len(shares) <= 1, "one share for all"


@pytest.mark.parametrize("iteration", range(5))
def test_cutmix_by_hand(iteration):
    clips, found, targets = mixed((0, iteration, 0, 0), cutmix_alpha=1.0)
    for number, other, share in partners(targets):
        if share is None:
            continue
        is_own = (found[number] == clips[number]).all(axis=(0, 1))
        is_other = (found[number] == clips[other]).all(axis=(0, 1))
        assert (is_own | is_other).all()
        rows, columns = np.flatnonzero(is_other.any(axis=1)), np.flatnonzero(is_other.any(axis=0))
        assert is_other[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all(), "a box"
        assert is_other.mean() == pytest.approx(1 - share, abs=1e-5)


def test_both_have_half_of_the_batches_and_all_follows_from_the_key():
    kinds = []
    for iteration in range(60):
        clips, found, targets = mixed((1, iteration, 0, 0), mixup_alpha=1.0, cutmix_alpha=1.0, count=4)
        again = mixed((1, iteration, 0, 0), mixup_alpha=1.0, cutmix_alpha=1.0, count=4)
        np.testing.assert_array_equal(found, again[1])
        np.testing.assert_array_equal(targets, again[2])
        pairs = [(k, other) for k, other, share in partners(targets) if share is not None and 0.05 < share < 0.95]
        if pairs:
            number, other = pairs[0]
            is_one = (found[number] == clips[number]) | (found[number] == clips[other])
            kinds.append(bool(is_one.all()))
    assert 0.25 < np.mean(kinds) < 0.75
    assert (mixed((1, 0, 0, 0), mixup_alpha=1.0)[1] != mixed((1, 0, 1, 0), mixup_alpha=1.0)[1]).any(), "another rank"


def test_several_labels_are_mixed_too():
    labels = np.eye(6, 8, dtype=np.uint8) + np.eye(6, 8, k=1, dtype=np.uint8)
    _, _, targets = mixed((0, 3, 0, 0), labels=labels, mixup_alpha=0.8)
    np.testing.assert_allclose(targets.sum(axis=1), 2, rtol=1e-6)
    assert ((targets > 0).sum(axis=1) >= 2).all()


def test_the_box_of_cutmix_is_cut_off_at_the_edges():
    sizes = [cut_box(20, 30, 0.25, np.random.default_rng(k)).sum() for k in range(300)]
    assert max(sizes) == 10 * 15
    assert min(sizes) < 75
    assert cut_box(20, 30, 0.0, np.random.default_rng(0)).sum() == 0
    assert cut_box(20, 30, 1.0, np.random.default_rng(0)).sum() > 0


def test_clips_that_are_alone_cannot_be_mixed(narrow_config, tmp_path):
    with pytest.raises(ConfigError, match=r"mixup_alpha and cutmix_alpha mix clips"):
        make_trainer(narrow_config("TRAIN.mixup_alpha=0.2", "TRAIN.accumulate_steps=4"), tmp_path)


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def test_losses_of_mixed_targets_by_hand():
    random = np.random.default_rng(0)
    logits, targets = random.normal(size=(5, 4)), random.dirichlet(np.ones(4), 5)
    tensors = [paddle.to_tensor(value.astype("float32")) for value in (logits, targets)]
    by_hand = -(targets * np.log(softmax(logits))).sum(axis=1)
    np.testing.assert_allclose(classification_losses(*tensors, smoothing=0).numpy(), by_hand, rtol=1e-5)
    smooth = 0.9 * targets + 0.1 / 4
    by_hand = -(smooth * np.log(softmax(logits))).sum(axis=1)
    np.testing.assert_allclose(classification_losses(*tensors, smoothing=0.1).numpy(), by_hand, rtol=1e-5)
    p = 1 / (1 + np.exp(-logits))
    by_hand = -(targets * np.log(p) + (1 - targets) * np.log(1 - p)).mean(axis=1)
    np.testing.assert_allclose(multi_label_losses(*tensors).numpy(), by_hand, rtol=1e-5)


def test_class_weights_by_hand():
    labels = np.array([0, 0, 0, 1, 3, 3])
    weights = class_weights(labels, 4)
    np.testing.assert_allclose(weights, [6 / 3 / 3, 6 / 1 / 3, 1, 6 / 2 / 3])
    assert weights[labels].mean() == pytest.approx(1)
    logits = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")
    found = classification_losses(
        paddle.to_tensor(logits), paddle.to_tensor(labels), smoothing=0, weights=paddle.to_tensor(weights)
    )
    by_hand = -np.log(softmax(logits))[np.arange(6), labels] * weights[labels]
    np.testing.assert_allclose(found.numpy(), by_hand, rtol=1e-5)


def test_class_weights_reach_the_loss(narrow_config, tmp_path):
    plain = make_trainer(narrow_config("TRAIN.epoch=1"), tmp_path / "plain")
    weighted = make_trainer(narrow_config("TRAIN.epoch=1", "TRAIN.class_weights=balanced"), tmp_path / "weighted")
    weights = class_weights(weighted.batches.loader.dataset.videos.labels, 4)
    batch = next(iter(plain.batches.of_epoch(0, 0, 1)))
    without, found = (t.step.run(batch, iteration=0, learning_rate=0.0).losses for t in (plain, weighted))
    np.testing.assert_allclose(found, without * weights[batch.labels], rtol=1e-5)


@pytest.mark.parametrize("key", ["TRAIN.class_weights=balanced"])
def test_what_is_for_one_label_is_refused_for_several(narrow_config, key):
    with pytest.raises(ConfigError, match="class_weights"):
        narrow_config("MODEL.multi_label=True", key)


def test_weights_for_fine_tuning_are_the_averages(narrow_config, tmp_path):
    """--pretrain and test.py read the .pdparams file: nothing else has to know of averages."""
    trainer = make_trainer(narrow_config("TRAIN.epoch=1", "TRAIN.ema_decay=0.5"), tmp_path)
    trainer.run()
    other = make_trainer(narrow_config("TRAIN.epoch=1"), tmp_path / "other")
    start_training(
        other.step.network, other.step.optimizer, narrow_config("TRAIN.epoch=1"), pretrain=str(tmp_path / "latest"),
        resume=None, save_dir=tmp_path / "other", train_list_sha256="",
    )  # fmt: skip
    for name, value in trainer.average.values().items():
        np.testing.assert_array_equal(other.step.network.state_dict()[name].numpy(), value)
