"""The saves of a folder: pointers that can be rebuilt, the best that is never lost, lists that are compared."""

import json
import os
import shutil

import pytest
from loaded_weights import load_weights
from small_trainer import make_trainer
from test_engine_training_trainer import give_accuracies

import engine.checkpoint
import engine.training.saver
from engine.save_folder import described_saves, rebuild_pointers
from utils.errors import ConfigError


def name_of(pointer):
    return pointer.read_text().strip() if pointer.exists() else None


def run_with(config, folder, top1, **options):
    trainer = make_trainer(config, folder, valid_interval=1, **options)
    give_accuracies(trainer, top1)
    trainer.run()
    return trainer


class Killed(BaseException):
    """The process is gone at this place."""


@pytest.mark.parametrize("place", ["before latest", "before best"])
@pytest.mark.parametrize("keep_last", [0, 1])
def test_a_run_killed_between_a_save_and_its_pointers_keeps_the_best(
    narrow_config, tmp_path, monkeypatch, place, keep_last
):
    config = narrow_config("TRAIN.epoch=4", f"TRAIN.keep_last={keep_last}")
    trainer = make_trainer(config, tmp_path, valid_interval=1)
    give_accuracies(trainer, [0.5, 0.9, 0.2, 0.1])

    def point_to(folder, pointer, name):
        if name.endswith("epoch1") and (place == "before latest" or pointer == "best"):
            raise Killed
        point(folder, pointer, name)

    point = engine.training.saver.point_to
    with monkeypatch.context() as patch:
        patch.setattr(engine.training.saver, "point_to", point_to)
        with pytest.raises(Killed):
            trainer.run()
    assert name_of(tmp_path / "best") == "NONLOCAL_epoch0", "stale"
    run_with(config, tmp_path, [0.2, 0.1], resume="auto")
    assert name_of(tmp_path / "best") == "NONLOCAL_epoch1"
    assert name_of(tmp_path / "latest") == "NONLOCAL_epoch3"
    assert load_weights(tmp_path / "best").position.best_value == 0.9


def test_a_finished_run_removes_what_it_could_not_before(narrow_config, tmp_path, monkeypatch):
    """Ended after its last save, before the save that is too many was removed: nothing is left to do but that."""
    config = narrow_config("TRAIN.epoch=3", "TRAIN.keep_last=1")

    def killed(folder, **keys):
        if (folder / "NONLOCAL_epoch2.json").exists():
            raise Killed
        remove(folder, **keys)

    remove = engine.training.saver.remove_old_saves
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(engine.training.saver, "remove_old_saves", killed)
        run_with(config, tmp_path, [0.1, 0.2, 0.3])
    assert (tmp_path / "NONLOCAL_epoch1.json").exists()
    run_with(config, tmp_path, [], resume="auto")
    assert [prefix.name for prefix, _ in described_saves(tmp_path)] == ["NONLOCAL_epoch2"]
    assert not list(tmp_path.glob("NONLOCAL_epoch1*"))


def test_pointers_are_rebuilt_from_the_saves(narrow_config, tmp_path):
    run_with(narrow_config("TRAIN.epoch=4", "TRAIN.save_interval=1"), tmp_path, [0.1, 0.4, 0.4, 0.3])
    for content in (None, "NONLOCAL_epoch0\n", "nonsense", ""):
        for pointer in ("latest", "best"):
            (tmp_path / pointer).unlink(missing_ok=True)
            if content is not None:
                (tmp_path / pointer).write_text(content)
        rebuild_pointers(tmp_path)
        assert name_of(tmp_path / "latest") == "NONLOCAL_epoch3"
        assert name_of(tmp_path / "best") == "NONLOCAL_epoch2", "of equals the later"
    for prefix, _ in described_saves(tmp_path):
        prefix.with_name(f"{prefix.name}.json").unlink()
    rebuild_pointers(tmp_path)
    assert name_of(tmp_path / "latest") is name_of(tmp_path / "best") is None


def test_the_best_of_a_run_that_max_iter_ends_inside_an_epoch(narrow_config, tmp_path):
    run_with(narrow_config("TRAIN.epoch=9", "TRAIN.max_iter=3"), tmp_path, [0.1, 0.4])
    (tmp_path / "best").unlink()
    rebuild_pointers(tmp_path)
    assert name_of(tmp_path / "best") == "NONLOCAL_end3"


def test_a_run_that_continues_in_another_folder_takes_the_best_along(narrow_config, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    run_with(narrow_config("TRAIN.epoch=3"), first, [0.1, 0.9, 0.3])
    run_with(narrow_config("TRAIN.epoch=5", "TRAIN.keep_last=1"), second, [0.2, 0.4], resume=str(first))
    assert name_of(second / "best") == "NONLOCAL_epoch1"
    assert {prefix.name for prefix, _ in described_saves(second)} == {"NONLOCAL_epoch1", "NONLOCAL_epoch4"}
    assert not list(second.glob("earlier*"))
    best = load_weights(second / "best")
    assert best.position.best_value == 0.9
    for suffix in ("json", "pdparams", "pdopt"):
        name = f"NONLOCAL_epoch1.{suffix}"
        assert (second / name).read_bytes() == (first / name).read_bytes()


def test_where_the_best_is_gone_the_next_validation_is_the_best(narrow_config, tmp_path, logged):
    first, second = tmp_path / "first", tmp_path / "second"
    run_with(narrow_config("TRAIN.epoch=3"), first, [0.1, 0.9, 0.3])
    (tmp_path / "alone").mkdir()
    for suffix in ("json", "pdparams", "pdopt"):
        shutil.copy(first / f"NONLOCAL_epoch2.{suffix}", tmp_path / "alone")
    run_with(narrow_config("TRAIN.epoch=5"), second, [0.2, 0.1], resume=str(tmp_path / "alone" / "NONLOCAL_epoch2"))
    assert name_of(second / "best") == "NONLOCAL_epoch3"
    assert "the best checkpoint so far, of epoch 1, is not in" in logged()


def test_a_damaged_best_is_not_taken_along(narrow_config, tmp_path, logged):
    first, second = tmp_path / "first", tmp_path / "second"
    run_with(narrow_config("TRAIN.epoch=3"), first, [0.1, 0.9, 0.3])
    (first / "NONLOCAL_epoch1.pdopt").write_bytes(b"torn")
    run_with(narrow_config("TRAIN.epoch=5"), second, [0.2, 0.1], resume=str(first))
    assert name_of(second / "best") == "NONLOCAL_epoch3" and not (second / "NONLOCAL_epoch1.json").exists()
    assert "the best checkpoint so far, of epoch 1, is not in" in logged()


def test_a_longer_run_may_validate_an_epoch_twice(narrow_config, tmp_path):
    run_with(narrow_config("TRAIN.epoch=9", "TRAIN.max_iter=3"), tmp_path, [0.1, 0.9])
    assert name_of(tmp_path / "best") == "NONLOCAL_end3"
    run_with(narrow_config("TRAIN.epoch=3"), tmp_path, [0.2, 0.3], resume="auto")
    rebuild_pointers(tmp_path)
    assert name_of(tmp_path / "best") == "NONLOCAL_end3", "NONLOCAL_epoch1 ends the same epoch and is worse"


def test_a_run_that_goes_on_from_an_earlier_save_sets_the_later_ones_aside(narrow_config, tmp_path, logged):
    run_with(narrow_config("TRAIN.epoch=4"), tmp_path, [0.1, 0.3, 0.9, 0.2])
    trainer = make_trainer(narrow_config("TRAIN.epoch=4"), tmp_path, resume=str(tmp_path / "NONLOCAL_epoch1"))
    trainer.saver.prepare_folder(trainer.position, trainer.resumed)  # and killed here
    assert "the checkpoints after NONLOCAL_epoch1 are now in" in logged()
    assert name_of(tmp_path / "latest") == name_of(tmp_path / "best") == "NONLOCAL_epoch1"
    assert [prefix.name for prefix, _ in described_saves(tmp_path / "earlier1")] == [
        "NONLOCAL_epoch2",
        "NONLOCAL_epoch3",
    ]
    run_with(narrow_config("TRAIN.epoch=4"), tmp_path, [0.2, 0.1], resume="auto")
    assert name_of(tmp_path / "best") == "NONLOCAL_epoch1" and name_of(tmp_path / "latest") == "NONLOCAL_epoch3"


def test_a_best_that_was_removed_since_is_forgotten(narrow_config, tmp_path, logged):
    run_with(narrow_config("TRAIN.epoch=4", "TRAIN.keep_last=2"), tmp_path, [0.5, 0.6, 0.1, 0.9])
    run_with(narrow_config("TRAIN.epoch=4"), tmp_path, [0.4], resume=str(tmp_path / "NONLOCAL_epoch2"))
    assert "the best checkpoint so far, of epoch 1, is not in" in logged()
    assert (
        name_of(tmp_path / "best") == "NONLOCAL_epoch3" and load_weights(tmp_path / "best").position.best_value == 0.4
    )


def test_a_run_that_continues_in_a_used_folder_sets_its_saves_aside(narrow_config, tmp_path, logged):
    first, second = tmp_path / "first", tmp_path / "second"
    run_with(narrow_config("TRAIN.epoch=3"), first, [0.1, 0.9, 0.3])
    run_with(narrow_config("TRAIN.epoch=5"), second, [0.1, 0.2, 0.3, 0.4, 0.99])
    trainer = make_trainer(narrow_config("TRAIN.epoch=4"), second, resume=str(first))
    trainer.saver.prepare_folder(trainer.position, trainer.resumed)  # and killed here
    assert "held checkpoints of an earlier run" in logged()
    assert len(described_saves(second / "earlier1")) == 5 and (second / "earlier1" / "metrics.jsonl").is_file()
    assert name_of(second / "latest") == "NONLOCAL_epoch2" and name_of(second / "best") == "NONLOCAL_epoch1"
    run_with(narrow_config("TRAIN.epoch=4"), second, [0.2], resume="auto")
    assert name_of(second / "latest") == "NONLOCAL_epoch3" and name_of(second / "best") == "NONLOCAL_epoch1"


def test_resume_auto_reads_a_save_once(narrow_config, tmp_path, monkeypatch):
    make_trainer(narrow_config("TRAIN.epoch=1"), tmp_path).run()
    read = []
    sha256 = engine.checkpoint.sha256
    monkeypatch.setattr(engine.checkpoint, "sha256", lambda path: read.append(path.name) or sha256(path))
    make_trainer(narrow_config("TRAIN.epoch=2"), tmp_path, resume="auto")
    assert sorted(read) == ["NONLOCAL_epoch0.pdopt", "NONLOCAL_epoch0.pdparams"]


@pytest.fixture
def list_of(shapes, narrow_config, tmp_path):
    """A config whose training list holds these lines."""
    lines = (shapes / "train.txt").read_text().splitlines()

    def write(name, change):
        path = tmp_path / name
        path.write_text("\n".join(change([f"{shapes}/{line}" for line in lines])))
        return narrow_config(f"TRAIN.filelist={path}", "TRAIN.epoch=2")

    return write


def relabelled(lines):
    return [f"{lines[0].rpartition(' ')[0]} 3", *lines[1:]]


@pytest.mark.parametrize("change", [relabelled, lambda lines: lines[::-1], lambda lines: [lines[1], *lines[1:]]])
def test_a_run_does_not_go_on_with_another_training_list(list_of, tmp_path, change):
    make_trainer(list_of("a.txt", lambda lines: lines), tmp_path / "run").run()
    other = list_of("b.txt", change)
    with pytest.raises(ConfigError, match=r"trained on another list: TRAIN\.filelist.* --allow_other_list continues"):
        make_trainer(other, tmp_path / "run", resume="auto")
    assert make_trainer(other, tmp_path / "run", resume="auto", allow_other_list=True).position.iteration == 4


def test_the_same_list_in_another_place_is_the_same(list_of, shapes, tmp_path):
    make_trainer(list_of("a.txt", lambda lines: lines), tmp_path / "run").run()
    shutil.copytree(shapes / "videos", tmp_path / "moved" / "videos")
    moved = list_of("b.txt", lambda lines: [line.replace(str(shapes), f"{tmp_path}/moved") for line in lines])
    assert make_trainer(moved, tmp_path / "run", resume="auto").position.iteration == 4


def test_a_save_that_does_not_know_its_list_is_continued_with_a_warning(narrow_config, tmp_path, logged):
    make_trainer(narrow_config("TRAIN.epoch=1"), tmp_path).run()
    file = tmp_path / "NONLOCAL_epoch0.json"
    description = json.loads(file.read_text())
    assert len(description.pop("train_list_sha256")) == 64
    file.write_text(json.dumps(description))
    assert make_trainer(narrow_config("TRAIN.epoch=2"), tmp_path, resume="auto").position.iteration == 2
    assert "does not say which training list it is of" in logged()


def test_copies_of_a_save_belong_to_the_user(narrow_config, tmp_path):
    run_with(narrow_config("TRAIN.epoch=2"), tmp_path, [0.1, 0.2])
    for suffix in ("json", "pdparams", "pdopt"):
        shutil.copy(tmp_path / f"NONLOCAL_epoch1.{suffix}", tmp_path / f"kept.{suffix}")
    os.mkfifo(tmp_path / "NONLOCAL_epoch9.json")
    run_with(narrow_config("TRAIN.epoch=5", "TRAIN.keep_last=1"), tmp_path, [0.3, 0.4, 0.5], resume="auto")
    assert load_weights(tmp_path / "kept").position.epoch == 2
    run_with(narrow_config("TRAIN.epoch=1"), tmp_path, [0.1])
    assert make_trainer(narrow_config("TRAIN.epoch=2"), tmp_path, resume="auto").position.epoch == 1


@pytest.mark.parametrize("damage", ["json", "pdparams", "pdopt"])
def test_a_best_that_is_gone_or_torn_is_forgotten(narrow_config, tmp_path, logged, damage):
    run_with(narrow_config("TRAIN.epoch=2"), tmp_path, [0.9, 0.2])
    assert name_of(tmp_path / "best") == "NONLOCAL_epoch0"
    if damage == "json":
        (tmp_path / "NONLOCAL_epoch0.json").unlink()
    else:
        (tmp_path / f"NONLOCAL_epoch0.{damage}").write_bytes(b"torn")
    run_with(narrow_config("TRAIN.epoch=3", "TRAIN.keep_last=1"), tmp_path, [0.3], resume="auto")
    assert "the best checkpoint so far, of epoch 0, is not in" in logged()
    assert name_of(tmp_path / "best") == "NONLOCAL_epoch2"
    assert load_weights(tmp_path / "best").position.best_value == 0.3
