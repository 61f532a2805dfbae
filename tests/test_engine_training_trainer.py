"""Training: the loss sequence, exact resumption, schedule, validation, checkpoints, guards."""

import logging
import re
import signal

import numpy as np
import paddle
import pytest
from loaded_weights import load_weights, newest_prefix
from small_trainer import make_trainer

from datareader.building import build_train_dataset
from datareader.dataset import BadVideo
from datareader.quarantine import Quarantine
from engine.checkpoint import RunPosition
from engine.distributed import Processes
from engine.network_loading import new_network
from engine.stopping import StopRequest
from engine.training.start import require_common_start
from engine.training.validation import Validation
from metrics.report import Accuracy
from utils.errors import ConfigError, ReaderError, TrainingError, VideoToolkitError
from utils.logging import LOGGER_NAME


@pytest.fixture
def lines(caplog):
    """What was logged, as a list of messages."""
    logger = logging.getLogger(LOGGER_NAME)
    propagate, logger.propagate = logger.propagate, True
    with caplog.at_level(logging.INFO, logger=LOGGER_NAME):
        yield lambda: [record.getMessage() for record in caplog.records]
    logger.propagate = propagate


def losses(messages):
    return [
        match.group(1) for message in messages if (match := re.search(r"iteration \d+/\d+, loss ([\d.]+)", message))
    ]


def parameters(trainer):
    return {name: value.numpy() for name, value in trainer.step.network.state_dict().items()}


def test_a_resumed_run_equals_an_uninterrupted_one(narrow_config, tmp_path, lines):
    config = narrow_config("TRAIN.epoch=4", "TRAIN.step_sizes=[3,2,9]", "TRAIN.learning_rate=0.05")
    whole = make_trainer(config, tmp_path / "whole")
    whole.run()
    expected = losses(lines())
    assert len(expected) == 8

    make_trainer(
        narrow_config("TRAIN.epoch=2", "TRAIN.step_sizes=[3,2,9]", "TRAIN.learning_rate=0.05"), tmp_path / "part"
    ).run()
    start = len(losses(lines()))
    resumed = make_trainer(config, tmp_path / "part", resume=str(tmp_path / "part"))
    assert resumed.position.iteration == 4
    resumed.run()
    assert losses(lines())[start:] == expected[4:]
    for name, value in parameters(whole).items():
        np.testing.assert_array_equal(value, parameters(resumed)[name], err_msg=name)


def test_a_run_that_max_iter_ended_inside_an_epoch_goes_on_there(narrow_config, tmp_path):
    whole = make_trainer(narrow_config("TRAIN.epoch=2"), tmp_path / "whole")
    whole.run()
    make_trainer(narrow_config("TRAIN.epoch=2", "TRAIN.max_iter=3"), tmp_path / "part").run()
    resumed = make_trainer(narrow_config("TRAIN.epoch=2"), tmp_path / "part", resume=str(tmp_path / "part"))
    assert resumed.position == RunPosition(epoch=1, batch=1, iteration=3)
    resumed.run()
    for name, value in parameters(whole).items():
        np.testing.assert_array_equal(value, parameters(resumed)[name], err_msg=name)


def test_a_finished_run_that_is_resumed_does_nothing(narrow_config, tmp_path, lines):
    make_trainer(narrow_config("TRAIN.epoch=1"), tmp_path).run()
    before = (tmp_path / "NONLOCAL_epoch0.json").read_bytes()
    make_trainer(narrow_config("TRAIN.epoch=1"), tmp_path, resume=str(tmp_path)).run()
    assert lines()[-1] == "nothing left to do: the run stands at iteration 2"
    assert (tmp_path / "NONLOCAL_epoch0.json").read_bytes() == before


def test_a_resumed_run_must_have_as_many_videos(narrow_config, tmp_path, shapes):
    make_trainer(narrow_config("TRAIN.epoch=1"), tmp_path).run()
    lines = (shapes / "train.txt").read_text().splitlines()
    (shapes / "longer.txt").write_text("\n".join([*lines, *lines]))
    config = narrow_config("TRAIN.epoch=3", f"TRAIN.filelist={shapes}/longer.txt")
    with pytest.raises(
        ConfigError, match=r"epoch 1, batch 0 after 2 iterations, which does not fit 4 batches an epoch"
    ):
        make_trainer(config, tmp_path, resume=str(tmp_path), allow_other_list=True)


def test_a_config_of_another_run_is_refused_with_the_keys_that_differ(narrow_config, tmp_path):
    make_trainer(narrow_config("TRAIN.epoch=1"), tmp_path).run()
    other = narrow_config("TRAIN.learning_rate=0.5", "NONLOCAL.pairwise=dot_product", "TRAIN.epoch=2")
    with pytest.raises(ConfigError) as caught:
        make_trainer(other, tmp_path, resume=str(tmp_path))
    for part in (
        "TRAIN.learning_rate was 0.01, is 0.5", "NONLOCAL.pairwise was 'embedded_gaussian', is 'dot_product'",
        "NONLOCAL.use_softmax was True, is False", "NONLOCAL_epoch0 belongs to a run of another config", "--pretrain",
    ):  # fmt: skip
        assert part in str(caught.value)
    assert "TRAIN.epoch" not in str(caught.value)


@pytest.mark.parametrize(
    "override",
    ["TRAIN.epoch=2", "TRAIN.save_interval=1", "NONLOCAL.chunk_size=5", "TRAIN.recompute=True", "TEST.crop_size=64"],
)
def test_what_does_not_change_the_run_may_change(narrow_config, tmp_path, override):
    make_trainer(narrow_config("TRAIN.epoch=1"), tmp_path).run()
    resumed = make_trainer(narrow_config("TEST.jitter_scales=[64,64]", override), tmp_path, resume=str(tmp_path))
    assert resumed.position.iteration == 2


def test_with_a_cosine_the_length_of_the_run_may_not_change(narrow_config, tmp_path):
    make_trainer(narrow_config("TRAIN.epoch=1", "TRAIN.schedule=cosine"), tmp_path).run()
    with pytest.raises(ConfigError, match=r"TRAIN.epoch was 1, is 2"):
        make_trainer(narrow_config("TRAIN.epoch=2", "TRAIN.schedule=cosine"), tmp_path, resume=str(tmp_path))


def test_a_new_run_in_an_old_folder_sets_the_old_one_aside(narrow_config, tmp_path, lines):
    """Nothing of it is lost, and nothing of it is taken for the new run's."""
    make_trainer(narrow_config("TRAIN.epoch=3"), tmp_path, valid_interval=1).run()
    make_trainer(narrow_config("TRAIN.epoch=1", "TRAIN.keep_last=1"), tmp_path).run()
    assert any(f"now in {tmp_path}/earlier1" in message for message in lines())
    assert not (tmp_path / "best").exists()
    assert load_weights(str(tmp_path)).source.endswith("NONLOCAL_epoch0")
    assert newest_prefix(tmp_path) == tmp_path / "NONLOCAL_epoch0"
    assert load_weights(str(tmp_path / "earlier1")).position.epoch == 3
    make_trainer(narrow_config("TRAIN.epoch=1"), tmp_path).run()
    assert saves(tmp_path / "earlier2") == ["NONLOCAL_epoch0"]


def test_what_is_set_aside_is_all_of_the_run(narrow_config, tmp_path):
    """Saves without a description, with a damaged one; numbers, and bad videos, which the new run does not have."""
    make_trainer(narrow_config("TRAIN.epoch=3"), tmp_path).run()
    (tmp_path / "NONLOCAL_epoch0.json").unlink()
    (tmp_path / "NONLOCAL_epoch1.json").write_text("{")
    (tmp_path / "quarantine.txt").write_text("a.mp4\told reason\n")
    (tmp_path / "mine.pdparams").write_text("of the user")
    (tmp_path / "earlier1").symlink_to("/nowhere")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    make_trainer(narrow_config("TRAIN.epoch=1", "TRAIN.seed=3"), tmp_path).run()
    for name in ("NONLOCAL_epoch0.pdparams", "NONLOCAL_epoch1.json", "NONLOCAL_epoch2.pdopt", "metrics.jsonl"):
        assert (tmp_path / "earlier2" / name).read_bytes() == before[name]
    assert (tmp_path / "earlier2" / "quarantine.txt").is_file() and not (tmp_path / "quarantine.txt").exists()
    assert (tmp_path / "mine.pdparams").read_text() == "of the user"


def test_a_run_that_is_refused_changes_nothing(narrow_config, tmp_path, shapes):
    make_trainer(narrow_config("TRAIN.epoch=1"), tmp_path).run()
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    (shapes / "five.txt").write_text("\n".join((shapes / "train.txt").read_text().splitlines()[:5]))
    for overrides in (("TRAIN.batch_size=2",), (f"TRAIN.filelist={shapes}/five.txt",), ("TRAIN.amp=O1",)):
        with pytest.raises(VideoToolkitError):
            make_trainer(narrow_config("TRAIN.epoch=2", *overrides), tmp_path, resume=str(tmp_path))
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_save_is_not_written_twice(narrow_config, tmp_path):
    """Resumed where it was saved and stopped there again: a kill while writing would lose the only save."""
    config = narrow_config("TRAIN.epoch=2", "TRAIN.save_interval=1")
    make_trainer(config, tmp_path).run()
    for name in ("latest", "NONLOCAL_epoch1.json"):
        (tmp_path / name).unlink()
    resumed = make_trainer(config, tmp_path, resume="auto")
    description = tmp_path / f"{newest_prefix(tmp_path).name}.json"
    before = description.stat().st_mtime_ns
    resumed.saver.save(description.stem.removeprefix("NONLOCAL_"), resumed.position)
    assert description.stat().st_mtime_ns == before
    with open(description.with_suffix(".pdparams"), "r+b") as handle:
        handle.write(b"X")
    resumed.saver.save(description.stem.removeprefix("NONLOCAL_"), resumed.position)
    assert load_weights(str(description)).position == resumed.position, "a damaged one is"


def test_several_signals_at_once_are_one_request():
    """Launchers and job schedulers send more than one; a person who insists waits five seconds."""
    with StopRequest() as request:
        for _ in range(3):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        assert request.is_set
        assert request.name == "SIGTERM"
        request._noted -= 6
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("is_told", [True, False], ids=["by another process", "by a signal"])
def test_a_signal_after_the_work_is_the_same_request(is_told):
    """The second of two signals may come when the run is saved already: then only the exit code is left to say."""
    came = []
    usual = signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
    try:
        with StopRequest() as request:
            request.note_other() if is_told else signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert not came
        request._noted -= 6
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert came == [signal.SIGTERM] * 2, "as before the run"
        with StopRequest():
            pass
        signal.raise_signal(signal.SIGTERM)
        assert len(came) == 3, "nothing was asked"
    finally:
        signal.signal(signal.SIGTERM, usual)


def test_bad_videos_are_remembered_by_a_resumed_run(narrow_config, tmp_path, shapes):
    videos = build_train_dataset(narrow_config()).videos
    quarantine = Quarantine(tmp_path / "quarantine.txt", num_videos=8, max_fraction=0.2)
    quarantine.add([BadVideo(3, videos.paths[3], "broken\tin parts")])
    again = Quarantine(tmp_path / "quarantine.txt", num_videos=8, max_fraction=0.2)
    again.remember(tmp_path / "quarantine.txt", videos)
    assert again.count_new([BadVideo(3, videos.paths[3], "again")]) == 0
    with pytest.raises(ReaderError, match="2 of 8 videos cannot be read"):
        again.add([BadVideo(5, videos.paths[5], "too")])


def test_processes_with_different_lists_are_refused(narrow_config, narrow):
    class Two(Processes):
        def gather(self, value, **wait):
            return [value, {**value, "training lists": "of the other host"}]

    config = narrow_config()
    dataset = build_train_dataset(config)
    network, _ = narrow()
    with pytest.raises(ConfigError, match="the processes of the run have different training lists"):
        require_common_start(RunPosition(), network, config, dataset, None, Two(0, 2))


def test_parameters_that_are_not_finite_are_not_saved(narrow_config, tmp_path):
    """The last update of a run is followed by no loss that would show it."""
    trainer = make_trainer(narrow_config("TRAIN.max_iter=1"), tmp_path)
    step = trainer.step.optimizer.step

    def diverging_step():
        step()
        trainer.step.network.state_dict()["pred_b"].set_value(np.full(4, np.inf, np.float32))

    trainer.step.optimizer.step = diverging_step
    with pytest.raises(TrainingError, match=r"pred_b is not finite after iteration 1: not saved"):
        trainer.run()
    assert not list(tmp_path.glob("*.pdparams"))


def test_a_validation_list_that_cannot_be_read_stops_the_run(narrow_config, tmp_path):
    (tmp_path / "absent.mp4").write_text("no video")
    (tmp_path / "list.txt").write_text("absent.mp4 0\n")
    config = narrow_config("TRAIN.epoch=1", f"VALID.filelist={tmp_path}/list.txt")
    with pytest.raises(
        ReaderError, match=r"none of the 1 videos of .*list\.txt \(VALID\.filelist\) could be read; first"
    ):
        make_trainer(config, tmp_path / "run", valid_interval=1).run()


def test_two_networks_in_one_process_one_resumed_from_the_others_checkpoint(narrow_config, tmp_path):
    first = make_trainer(narrow_config("TRAIN.epoch=1"), tmp_path)
    first.run()
    second = make_trainer(narrow_config("TRAIN.epoch=2"), tmp_path, resume=str(tmp_path / "NONLOCAL_epoch0"))
    for name, value in parameters(first).items():
        np.testing.assert_array_equal(value, parameters(second)[name])
    second.run()
    assert second.position.iteration == 4


def test_dropout_depends_on_the_seed_and_the_iteration_alone(narrow_config, tmp_path):
    def first_loss(seed, disturb):
        trainer = make_trainer(narrow_config(f"TRAIN.seed={seed}"), tmp_path)
        batch = next(iter(trainer._train_batches()))
        trainer.step.network.train()
        if disturb:
            paddle.rand([3])
        return trainer.step.run(batch, iteration=0, learning_rate=0.01).losses.tolist()

    assert first_loss(0, False) == first_loss(0, True)
    assert first_loss(0, False) != first_loss(1, False)


def test_the_first_loss_and_accuracy_of_the_log_line_by_hand(narrow_config, tmp_path, lines):
    config = narrow_config("TRAIN.dropout_rate=0", "TRAIN.max_iter=1")
    trainer = make_trainer(config, tmp_path)
    network = new_network(config)
    network.train()
    batch = next(iter(trainer._train_batches()))
    logits = network(paddle.to_tensor(batch.clips[:, 0])).numpy().astype(np.float64)
    of_label = logits[np.arange(4), batch.labels] - np.log(np.exp(logits).sum(axis=1))
    trainer.run()
    line = next(message for message in lines() if "iteration 1/1" in message)
    assert f"loss {-of_label.mean():.4f}" in line
    assert f"top-1 {np.mean(logits.argmax(axis=1) == batch.labels):.4f}, lr 0.01" in line
    for part in ("epoch 0", "reader_cost", "batch_cost", "clips/s", "ETA 0:00:00"):
        assert part in line


@pytest.mark.parametrize(("epoch", "max_iter", "end", "bound"), [(2, 100, 4, "epoch = 2"), (50, 3, 3, "max_iter = 3")])
def test_the_end_is_announced_and_kept(narrow_config, tmp_path, lines, epoch, max_iter, end, bound):
    trainer = make_trainer(narrow_config(f"TRAIN.epoch={epoch}", f"TRAIN.max_iter={max_iter}"), tmp_path)
    assert trainer.run()
    assert trainer.position.iteration == end
    announcement = next(message for message in lines() if message.startswith("training on"))
    assert "training on 8 videos: 2 iterations an epoch" in announcement
    assert f"ends after iteration {end} ({bound} comes first)" in announcement
    assert "batch 4 in all = 4 on each of 1 device" in announcement


def saves(folder):
    return sorted(path.stem for path in folder.glob("*.json"))


def test_saves_inside_an_epoch(narrow_config, tmp_path):
    """Every save_interval iterations; of those inside an epoch two stay; the loss sequence after one is the same."""
    overrides = ("TRAIN.batch_size=1", "TRAIN.epoch=2", "TRAIN.save_interval=3")
    whole = make_trainer(narrow_config(*overrides), tmp_path / "whole")
    whole.run()
    assert saves(tmp_path / "whole") == ["NONLOCAL_epoch0", "NONLOCAL_epoch1", "NONLOCAL_iter12", "NONLOCAL_iter15"]
    progress = load_weights(str(tmp_path / "whole" / "NONLOCAL_iter12")).position
    assert (progress.epoch, progress.batch, progress.iteration, progress.epoch_is_saved) == (1, 4, 12, False)
    resumed = make_trainer(
        narrow_config(*overrides), tmp_path / "part", resume=str(tmp_path / "whole" / "NONLOCAL_iter12")
    )
    resumed.run()
    for name, value in whole.step.network.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), resumed.step.network.state_dict()[name].numpy())


def test_saves_by_the_clock(narrow_config, tmp_path):
    config = narrow_config("TRAIN.batch_size=1", "TRAIN.epoch=1", "TRAIN.save_minutes=1e-9")
    make_trainer(config, tmp_path).run()
    assert saves(tmp_path) == ["NONLOCAL_epoch0", "NONLOCAL_iter6", "NONLOCAL_iter7"]


def accuracy_of(top1):
    return Accuracy(
        top1,
        None,
        mean_class_top1=top1,
        clip_top1=top1,
        top1_of_all=top1,
        num_videos=4,
        num_scored=4,
        views_per_video=1,
    )


def give_accuracies(trainer, top1):
    """Let the validations of a trainer find these accuracies, one after the other."""
    answers = iter(top1)
    trainer.validator.run = lambda **keys: Validation(1.0, accuracy_of(next(answers)))


def test_only_the_last_saves_are_kept(narrow_config, tmp_path):
    trainer = make_trainer(narrow_config("TRAIN.epoch=5", "TRAIN.keep_last=2"), tmp_path, valid_interval=1)
    give_accuracies(trainer, [0.9, 0.1, 0.2, 0.3, 0.4])
    trainer.run()
    assert saves(tmp_path) == ["NONLOCAL_epoch0", "NONLOCAL_epoch3", "NONLOCAL_epoch4"], "the best and the last two"
    assert not list(tmp_path.glob("NONLOCAL_epoch1*"))


def test_a_signal_during_validation_loses_nothing(narrow_config, tmp_path, lines):
    """The run is saved with its epoch unfinished, and validates it when it goes on."""
    config = narrow_config("TRAIN.epoch=2")
    whole = make_trainer(config, tmp_path / "whole", valid_interval=1)
    whole.run()
    part = make_trainer(config, tmp_path / "part", valid_interval=1)
    validate = part.validator.run

    def stopped(**arguments):
        part.stop_request._signal = signal.SIGTERM
        return validate(**arguments)

    part.validator.run = stopped
    assert part.run() is False
    assert saves(tmp_path / "part") == ["NONLOCAL_iter2"]
    assert "stopped by SIGTERM; --resume auto goes on from here" in lines()
    rest = make_trainer(config, tmp_path / "part", resume="auto", valid_interval=1)
    assert rest.run()
    assert rest.position == whole.position
    assert len([line for line in lines() if "validation after epoch 0" in line]) == 2, (
        "of the whole run, and of the rest"
    )
    for name, value in whole.step.network.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), rest.step.network.state_dict()[name].numpy())


def test_auto_takes_the_newest_whole_save(narrow_config, tmp_path, lines):
    config = narrow_config("TRAIN.epoch=3")
    fresh = make_trainer(config, tmp_path, resume="auto")
    assert any("no checkpoint in" in line for line in lines())
    fresh.run()
    (tmp_path / "NONLOCAL_epoch2.pdparams").write_bytes(b"torn")
    resumed = make_trainer(config, tmp_path, resume="auto")
    assert resumed.position.iteration == 4
    assert any("passed over" in line and "NONLOCAL_epoch2.pdparams: damaged" in line for line in lines())


def test_validation_best_and_latest(narrow_config, tmp_path, lines):
    trainer = make_trainer(narrow_config("TRAIN.epoch=5"), tmp_path, valid_interval=2)
    trainer.run()
    validations = [message for message in lines() if message.startswith("validation after")]
    assert [re.search(r"epoch (\d)", message).group(1) for message in validations] == ["1", "3", "4"]
    assert "over 4 of 4 videos" in validations[0]
    accuracies = [float(re.search(r"top-1 ([\d.]+)", message).group(1)) for message in validations]
    best_epoch = max(zip(accuracies, (1, 3, 4), strict=True))[1]  # of equals, the later
    assert load_weights(str(tmp_path / "best")).source.endswith(f"NONLOCAL_epoch{best_epoch}")
    assert load_weights(str(tmp_path / "latest")).source.endswith("NONLOCAL_epoch4")
    assert trainer.position.best_value == pytest.approx(max(accuracies), abs=1e-4)


def test_learning_rate_follows_the_schedule(narrow_config, tmp_path, lines):
    make_trainer(narrow_config("TRAIN.epoch=3", "TRAIN.step_sizes=[2,1,9]", "TRAIN.learning_rate=0.04"), tmp_path).run()
    rates = [match.group(1) for message in lines() if (match := re.search(r"lr ([\d.e-]+)", message))]
    assert rates == ["0.04", "0.04", "0.004", "0.0004", "0.0004", "0.0004"]


def test_bad_videos_are_replaced_up_to_a_limit(narrow_config, shapes, tmp_path, lines):
    names = (shapes / "train.txt").read_text().splitlines()
    (tmp_path / "text.mp4").write_text("no video")
    listing = tmp_path / "list.txt"
    listing.write_text("\n".join([f"{tmp_path}/text.mp4 0", *(f"{shapes}/{name}" for name in names[1:])]))
    overrides = (f"TRAIN.filelist={listing}", "TRAIN.epoch=2")
    make_trainer(narrow_config(*overrides, "TRAIN.max_bad_fraction=0.2"), tmp_path / "run").run()
    assert len([message for message in lines() if "replaced by a neighbour" in message]) == 1, "named once"
    assert "text.mp4" in (tmp_path / "run" / "quarantine.txt").read_text()
    with pytest.raises(ReaderError, match=r"1 of 8 videos cannot be read, more than TRAIN\.max_bad_fraction"):
        make_trainer(narrow_config(*overrides), tmp_path / "strict").run()


def test_a_batch_larger_than_the_list_is_refused(narrow_config, tmp_path):
    with pytest.raises(ConfigError, match=r"TRAIN\.batch_size \(9\) must not exceed the number of videos \(8\)"):
        make_trainer(narrow_config("TRAIN.batch_size=9"), tmp_path)


def test_training_learns(narrow_config, tmp_path, lines):
    """Sixty steps on eight videos bring the loss well below that of guessing, log(4)."""
    config = narrow_config("TRAIN.epoch=30", "TRAIN.mirror=False", "TRAIN.dropout_rate=0", "TRAIN.learning_rate=0.01")
    make_trainer(config, tmp_path, log_interval=10).run()
    assert float(losses(lines())[-1]) < 0.75 * np.log(4)


@pytest.mark.parametrize(
    ("accuracies", "keys", "last"),
    [
        ([0.2, 0.5, 0.5, 0.4, 0.4, 0.4], ("TRAIN.early_stop=2",), 3),  # an equal result is no better one
        ([0.2, 0.5, 0.4, 0.6, 0.5, 0.5], ("TRAIN.early_stop=2",), 5),
        ([0.5, 0.4, 0.4, 0.4, 0.4, 0.4], ("TRAIN.early_stop=0",), 5),
        ([0.5, 0.4, 0.4, 0.4, 0.4, 0.4], ("TRAIN.early_stop=1",), 1),
    ],
)
def test_a_run_ends_early_without_a_better_validation(narrow_config, tmp_path, logged, accuracies, keys, last):
    trainer = make_trainer(narrow_config("TRAIN.epoch=6", *keys), tmp_path, valid_interval=1)
    give_accuracies(trainer, accuracies)
    assert trainer.run()
    assert trainer.position.finished_epoch == last
    assert ("TRAIN.early_stop: no better validation since epoch" in logged()) == (last < 5)
    # Continued, it stays at its end; with more patience it goes on, and counts from the same best result.
    for more, end in ((keys, last), (("TRAIN.early_stop=3",), min(last + 1, 5) if last in (3, 5) else None)):
        if end is None:
            continue
        resumed = make_trainer(narrow_config("TRAIN.epoch=6", *more), tmp_path, resume="auto", valid_interval=1)
        give_accuracies(resumed, accuracies[resumed.position.epoch :])
        assert resumed.run()
        assert resumed.position.finished_epoch == end


def test_early_stop_counts_epochs_where_validations_are_rare(narrow_config, tmp_path):
    trainer = make_trainer(narrow_config("TRAIN.epoch=9", "TRAIN.early_stop=2"), tmp_path, valid_interval=3)
    give_accuracies(trainer, [0.5, 0.4, 0.3])
    trainer.run()
    assert trainer.position.finished_epoch == 5, "after a validation, not before one"


def test_early_stop_needs_validation(narrow_config, tmp_path):
    with pytest.raises(ConfigError, match=r"TRAIN\.early_stop \(2\) needs validation, and there is none"):
        make_trainer(narrow_config("TRAIN.early_stop=2"), tmp_path)
