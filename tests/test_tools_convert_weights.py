"""The converter, run as a user runs it; what it writes is read by the libraries of the formats."""

import json
import pickle
import subprocess
import sys

import foreign_names
import numpy as np
import pytest
from conftest import NARROW, ROOT
from foreign_writers import python2_pickle, write_torch_zip
from safetensors.numpy import load_file
from seeded_values import parameter
from small_trainer import make_trainer

from models.registry import build_model
from models.weights.safetensors_file import read


def convert(*arguments):
    command = [sys.executable, str(ROOT / "tools" / "convert_weights.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.fixture
def values(narrow_config):
    network = build_model(narrow_config())
    return {name: parameter(name, value.shape) for name, value in network.state_dict().items()}


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].shape == value.shape, name
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_there_and_back(values, tmp_path):
    names = foreign_names.caffe2()
    blobs = {names[name]: value for name, value in values.items()}
    blobs["pred_w"] = np.ascontiguousarray(values["pred_w"].T)
    (tmp_path / "authors.pkl").write_bytes(python2_pickle({"blobs": blobs}))
    for source, target in (
        ("authors.pkl", "a.safetensors"),
        ("a.safetensors", "b.pdparams"),
        ("b.pdparams", "c.safetensors"),
    ):
        done = convert(tmp_path / source, tmp_path / target)
        assert done.returncode == 0, done.stderr
    assert (
        "(pickle, Caffe2 names of the authors): 327 arrays to"
        in convert(tmp_path / "authors.pkl", tmp_path / "a.pdparams").stderr
    )
    assert_equal(load_file(tmp_path / "a.safetensors"), values)
    assert_equal(load_file(tmp_path / "c.safetensors"), values)
    pickled = pickle.loads((tmp_path / "b.pdparams").read_bytes())
    assert pickled.pop("cfg") == "MODEL:\n  name: NONLOCAL\n"
    assert_equal(pickled, values)
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "b.pdparams").stat().st_mode


def test_two_dimensional_kernels_stay_so_without_a_network(values, tmp_path):
    names = foreign_names.torchvision()
    image = {name: value[:, :, 0] if value.ndim == 5 else value for name, value in values.items() if name in names}
    tensors = {names[name]: np.ascontiguousarray(v.T) if name == "pred_w" else v for name, v in image.items()}
    write_torch_zip(tmp_path / "r50.pth", tensors | {"bn1.num_batches_tracked": np.array(1), "odd.name": np.ones(2)})
    done = convert(tmp_path / "r50.pth", tmp_path / "a.safetensors")
    assert done.returncode == 0, done.stderr
    assert "1 without a place: odd.name" in done.stderr
    assert_equal(load_file(tmp_path / "a.safetensors"), image)


def test_a_safetensors_file_whose_metadata_is_null(values, tmp_path):
    header = json.dumps({"__metadata__": None, "pred_b": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}})
    content = len(header).to_bytes(8, "little") + header.encode() + np.ones(2, "<f4").tobytes()
    (tmp_path / "a.safetensors").write_bytes(content)
    assert_equal(read(tmp_path / "a.safetensors")["state_dict"], {"pred_b": np.ones(2, "f4")})


def test_a_save_of_a_network_that_is_not_known(narrow_config, tmp_path):
    make_trainer(narrow_config("TRAIN.epoch=1"), tmp_path / "run").run()
    description = tmp_path / "run" / "NONLOCAL_epoch0.json"
    description.write_text(
        description.read_text().replace("NONLOCAL", "MINE", 1).replace("name = NONLOCAL", "name = MINE")
    )
    done = convert(tmp_path / "run", tmp_path / "a.safetensors")
    assert done.returncode == 0, done.stderr
    assert len(load_file(tmp_path / "a.safetensors")) > 100


def test_fitted_to_a_network(values, tmp_path):
    (tmp_path / "a.pdparams").write_bytes(pickle.dumps(values))
    overrides = [word for override in [*NARROW, "MODEL.video_arc_choice=2"] for word in ("-o", override)]
    config = ("--config", ROOT / "configs" / "nonlocal.txt", *overrides)
    done = convert(tmp_path / "a.pdparams", tmp_path / "b.safetensors", *config)
    assert done.returncode == 0, done.stderr
    found = load_file(tmp_path / "b.safetensors")
    np.testing.assert_allclose(found["conv1_weights"], np.repeat(values["conv1_weights"] / 5, 5, axis=2), rtol=1e-6)


def test_errors(tmp_path):
    for arguments, message in (
        (("absent", tmp_path / "a.pdparams"), "weights 'absent': no such file"),
        ((__file__, tmp_path / "a.pdparams"), "not a readable weights file"),
        ((__file__, tmp_path / "a.onnx"), "its suffix must be one of .pdparams, .safetensors"),
    ):
        done = convert(*arguments)
        assert done.returncode == 2
        assert message in done.stderr
        assert not list(tmp_path.iterdir())


def test_a_checkpoint_is_not_overwritten(values, tmp_path):
    (tmp_path / "in.pdparams").write_bytes(pickle.dumps(values))
    for suffix in ("pdparams", "pdopt", "json"):
        (tmp_path / f"NONLOCAL_epoch1.{suffix}").write_bytes(b"a save")
    done = convert(tmp_path / "in.pdparams", tmp_path / "NONLOCAL_epoch1.pdparams")
    assert done.returncode == 2
    assert "a checkpoint has this name" in done.stderr
    assert (tmp_path / "NONLOCAL_epoch1.pdparams").read_bytes() == b"a save"
