"""Saves: what is in them, how they are found, and what is wrong with those that are not believed."""

import errno
import json
import pickle

import numpy as np
import paddle
import pytest
from loaded_weights import load_weights, newest_prefix
from seeded_values import fill
from small_trainer import begin

from configs.loading import dump_config
from engine.checkpoint import RunPosition, write_save
from engine.network_loading import load_for_scoring
from engine.save_folder import point_to
from engine.training.optimizer import build_optimizer, full_precision_state
from models.registry import build_model
from models.weights.writing import write_pickle
from utils.atomic_file import write_json
from utils.errors import TrainingError, WeightsError

POSITION = RunPosition(epoch=3, batch=2, iteration=17, best_value=0.5, best_epoch=1)


def write(folder, name, config, *, parameters, optimizer, position=POSITION):
    write_save(
        folder / name,
        parameters=parameters,
        optimizer=optimizer,
        position=position,
        config_text=dump_config(config),
        train_list_sha256="of no list",
    )
    point_to(folder, "latest", name)


@pytest.fixture
def saved(tmp_path, narrow_config):
    """A network, and its save NONLOCAL_epoch2 in a folder."""
    config = narrow_config()
    network = fill(build_model(config))
    velocity = {"pred_b": np.ones(4, np.float32)}
    parameters = full_precision_state(network, build_optimizer(network, config.TRAIN))
    write(tmp_path, "NONLOCAL_epoch2", config, parameters=parameters, optimizer=velocity)
    return tmp_path, network


@pytest.mark.parametrize(
    "argument",
    ["", "latest", "NONLOCAL_epoch2", "NONLOCAL_epoch2.pdparams", "NONLOCAL_epoch2.json", "NONLOCAL_epoch2.pdopt"],
)
def test_a_save_is_found_by_folder_pointer_prefix_and_file(saved, argument):
    folder, network = saved
    weights = load_weights(str(folder / argument))
    assert weights.position == POSITION
    assert weights.optimizer["pred_b"].tolist() == [1, 1, 1, 1]
    assert list(weights.parameters.file_names.values()) == list(network.state_dict())
    for neutral, name in weights.parameters.file_names.items():
        np.testing.assert_array_equal(weights.parameters.values[neutral], network.state_dict()[name].numpy())


def test_best_is_a_pointer(saved):
    folder, _ = saved
    with pytest.raises(WeightsError, match="no such file"):
        load_weights(str(folder / "best"))
    point_to(folder, "best", "NONLOCAL_epoch2")
    assert load_weights(str(folder / "best")).source.endswith("NONLOCAL_epoch2")


def test_paddle_itself_reads_our_parameters(saved):
    folder, network = saved
    values = paddle.load(str(folder / "NONLOCAL_epoch2.pdparams"), return_numpy=True)
    assert values.keys() == network.state_dict().keys()


def test_parameters_that_paddle_saved_are_weights_only(saved, tmp_path, narrow_config):
    _, network = saved
    file = tmp_path / "other" / "model.pdparams"
    paddle.save(network.state_dict(), str(file))
    argument = str(file.with_suffix(""))
    assert load_weights(argument).position is None
    load_for_scoring(network, narrow_config(), argument)


def damage(path, position=-100):
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def spoil_progress(file, key, value):
    description = json.loads(file.read_text())
    description["progress"][key] = value
    file.write_text(json.dumps(description))


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda folder: damage(folder / "NONLOCAL_epoch2.pdparams"), "damaged: size or SHA-256 differ"),
        (lambda folder: (folder / "NONLOCAL_epoch2.pdopt").write_bytes(b""), "damaged"),
        (lambda folder: (folder / "NONLOCAL_epoch2.pdopt").unlink(), r"NONLOCAL_epoch2\.pdopt: missing"),
        (lambda folder: (folder / "NONLOCAL_epoch2.json").write_text("{}"), "not the description of a checkpoint"),
        (lambda folder: (folder / "NONLOCAL_epoch2.json").write_text('{"files": [1]}'), "not the description"),
        (
            lambda folder: spoil_progress(folder / "NONLOCAL_epoch2.json", "iteration", -5),
            "its progress must be counts",
        ),
        (lambda folder: spoil_progress(folder / "NONLOCAL_epoch2.json", "epoch", "3"), "its progress must be counts"),
        (
            lambda folder: (folder / "latest").write_text("NONLOCAL_epoch7"),
            "latest: names the checkpoint 'NONLOCAL_epoch7'",
        ),
        (lambda folder: (folder / "latest").write_text("../x/NONLOCAL_epoch2"), "which is not in its folder"),
        (lambda folder: (folder / "latest").write_bytes(b""), "names the checkpoint '', which is not in its folder"),
        (lambda folder: (folder / "latest").write_bytes(b"\xff"), "which is not in its folder"),
    ],
)
def test_a_torn_save_is_not_believed(saved, break_it, message):
    folder, _ = saved
    break_it(folder)
    with pytest.raises(WeightsError, match=message):
        load_weights(str(folder))


@pytest.mark.parametrize(
    "change",
    [
        {"epoch_is_saved": "x"},
        {"loss_scale": "1"},
        {"loss_scale": float("nan")},
        {"best_epoch": "2"},
        {"best_epoch": ""},
        {"best_iteration": []},
        {"epoch": True},
    ],
)
def test_progress_of_the_wrong_kind_is_no_description(saved, change):
    folder, _ = saved
    file = folder / "NONLOCAL_epoch2.json"
    description = json.loads(file.read_text())
    description["progress"] |= change
    file.write_text(json.dumps(description))
    assert newest_prefix(folder) is None


def test_the_description_comes_last(saved, narrow_config, monkeypatch):
    """A save that is interrupted before its description is none, and the pointer still names the one before."""
    folder, _ = saved
    import engine.checkpoint

    def interrupted(path, value):
        raise KeyboardInterrupt

    monkeypatch.setattr(engine.checkpoint, "write_json", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(folder, "NONLOCAL_epoch3", narrow_config(), parameters={}, optimizer={})
    assert not (folder / "NONLOCAL_epoch3.json").exists()
    assert load_weights(str(folder)).source.endswith("NONLOCAL_epoch2")


@pytest.mark.parametrize("what", ["the second part", "the description", "the folder"])
def test_a_disk_that_is_full_keeps_no_part_of_a_save(saved, narrow_config, monkeypatch, what):
    """The first part may take the room that is left; a save of the same name is void either way."""
    folder, _ = saved
    import engine.checkpoint

    def full(path, value):
        if what == "the description" or str(path).endswith("pdopt"):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        if what == "the folder":  # when all is written
            write_json(path, value)
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write_pickle(path, value)

    monkeypatch.setattr(engine.checkpoint, "write_pickle" if what == "the second part" else "write_json", full)
    before = {path.name for path in folder.iterdir()}
    with pytest.raises(TrainingError, match=r"cannot be written .No space left on device.; those before it are intact"):
        write(folder, "NONLOCAL_epoch3", narrow_config(), parameters={}, optimizer={})
    assert {path.name for path in folder.iterdir()} == before
    assert load_weights(str(folder)).source.endswith("NONLOCAL_epoch2")


def test_the_description_holds_config_versions_and_hashes(saved):
    folder, _ = saved
    description = json.loads((folder / "NONLOCAL_epoch2.json").read_text())
    assert "width_mult = 0.0625" in description["config"]
    assert description["versions"]["paddle"] == paddle.__version__
    assert set(description["files"]) == {"pdparams", "pdopt"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not a pickle", "not a readable weights file"),
        (pickle.dumps([1, 2]), "holds a list, not parameters by name"),
        (pickle.dumps({"a": 1}), "none of its 1 entries is an array"),
        (
            pickle.dumps({"s1.conv.weight": np.zeros(3)}),
            "a pickle of 1 arrays, but 1 of their names belong to no known network: s1.conv.weight",
        ),
    ],
)
def test_foreign_files(tmp_path, narrow_config, content, message):
    (tmp_path / "w.pdparams").write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        load_for_scoring(build_model(narrow_config()), narrow_config(), str(tmp_path / "w.pdparams"))


def test_missing_weights(tmp_path, narrow_config):
    network = build_model(narrow_config())
    with pytest.raises(WeightsError, match=r"--weights is missing.* has MODEL\.width_mult = 1\.0, this config 0\.0625"):
        load_for_scoring(network, narrow_config(), None)
    with pytest.raises(WeightsError, match="no such file, folder or checkpoint prefix"):
        load_for_scoring(network, narrow_config(), str(tmp_path / "nothing"))
    with pytest.raises(WeightsError, match="holds no checkpoint"):
        load_for_scoring(network, narrow_config(), str(tmp_path))
    for argument in (".", "/"):
        with pytest.raises(WeightsError, match="holds no checkpoint"):
            load_for_scoring(network, narrow_config(), argument)
    with pytest.raises(WeightsError, match="--resume is empty"):
        begin(network, None, narrow_config(), pretrain="none", resume=" ")
    with pytest.raises(WeightsError, match=r"--pretrain is missing.* has MODEL\.width_mult = 1\.0, this"):
        begin(network, None, narrow_config(), pretrain=None, resume=None)


@pytest.mark.parametrize(
    "value", [np.full(4, np.nan, np.float32), np.zeros(4, complex), np.array(["a"] * 4), np.zeros(())]
)
def test_values_that_are_no_weights(saved, tmp_path, narrow_config, value):
    _, network = saved
    values = {name: tensor.numpy() for name, tensor in network.state_dict().items()} | {"pred_b": value}
    (tmp_path / "w.pdparams").write_bytes(pickle.dumps(values))
    with pytest.raises(WeightsError, match=r"pred_b (must be f|has shape \(\))|1 missing \(pred_b\)"):
        load_for_scoring(build_model(narrow_config()), narrow_config(), str(tmp_path / "w.pdparams"))


def test_other_floating_point_types_are_converted(saved, tmp_path, narrow_config):
    _, network = saved
    values = {name: tensor.numpy().astype(np.float64) for name, tensor in network.state_dict().items()}
    (tmp_path / "w.pdparams").write_bytes(pickle.dumps(values))
    other = build_model(narrow_config())
    load_for_scoring(other, narrow_config(), str(tmp_path / "w.pdparams"))
    np.testing.assert_array_equal(other.state_dict()["pred_w"].numpy(), network.state_dict()["pred_w"].numpy())


def test_another_class_count(saved, narrow_config):
    folder, _ = saved
    network = build_model(narrow_config("MODEL.num_classes=7"))
    with pytest.raises(WeightsError, match=r"has a classifier of 4 classes, MODEL\.num_classes is 7"):
        load_for_scoring(network, narrow_config(), str(folder))
    head = network.state_dict()["pred_w"].numpy().copy()
    begin(network, None, narrow_config("MODEL.num_classes=7"), pretrain=str(folder), resume=None)
    np.testing.assert_array_equal(network.state_dict()["pred_w"].numpy(), head)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["NONLOCAL.conv3_nonlocal=False"], "of another network: 24 unexpected .nonlocal_conv3_1_g_w"),
        (["MODEL.width_mult=0.125"], r"of another shape \(conv1_weights \(4, 3, 1, 7, 7\), here \(8, 3, 1, 7, 7\)"),
        (
            ["MODEL.video_arc_choice=2"],
            r"10 of another shape \(conv1_weights \(4, 3, 1, 7, 7\), here \(4, 3, 5",
        ),
    ],
)
def test_weights_of_another_network_change_nothing(saved, narrow_config, overrides, message):
    folder, _ = saved
    network = build_model(narrow_config(*overrides))
    before = {name: value.numpy().copy() for name, value in network.state_dict().items()}
    with pytest.raises(WeightsError, match=message):
        load_for_scoring(network, narrow_config(), str(folder))
    for name, value in network.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name])
