"""Weight files of a whole network in every format, made by the independent writers."""

import io
import pickle
import tarfile

import foreign_names
import numpy as np
from foreign_writers import (
    fluid_variable,
    python2_pickle,
    python2_pickle_protocol_0,
    safetensors_bytes,
    write_fluid_folder,
    write_torch_legacy,
    write_torch_zip,
)
from seeded_values import parameter


def seeded(network, *, drop=()):
    return {
        name: parameter(name, value.shape) for name, value in network.state_dict().items() if not name.startswith(drop)
    }


def renamed(values, names, *, two_dimensional=False):
    """`values` under the names of another system, its classifier [classes, channels]."""
    out = {names[name]: value for name, value in values.items()}
    if "pred_w" in values:
        out[names["pred_w"]] = np.ascontiguousarray(values["pred_w"].T)
    if two_dimensional:
        out = {name: value[:, :, 0] if value.ndim == 5 else value for name, value in out.items()}
    return out


def assert_holds(network, values):
    own = network.state_dict()
    for name, value in values.items():
        np.testing.assert_array_equal(own[name].numpy(), value, err_msg=name)


def write_released_folder(path, values):
    write_fluid_folder(path, values)
    (path / "conv1_weights_velocity_0").write_bytes(b"of the optimiser, never read")
    (path / "@LR_DECAY_COUNTER@").write_bytes(fluid_variable(np.zeros(1, np.int64), element_type=3))
    (path / "learning_rate_0").write_bytes(fluid_variable(np.zeros(1, np.float32)))
    return path


def write_archive(path, values):
    with tarfile.open(path, "w:gz") as archive:
        for name, value in values.items():
            content = fluid_variable(value, packed=True)
            member = tarfile.TarInfo(f"nonlocal_kinetics/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def write_bytes(path, content):
    path.write_bytes(content)
    return path


def as_kernel(values):
    """The classifier as in a test checkpoint of Paddle 1.x."""
    return values | {"pred_w": np.ascontiguousarray(values["pred_w"].T)[:, :, None, None, None]}


def caffe2_blobs(values):
    blobs = renamed(values, foreign_names.caffe2())
    momentum = {f"{name}_momentum": np.zeros_like(value) for name, value in blobs.items()}
    return blobs | momentum | {"lr": 0.01, "model_iter": np.zeros(1, np.int64)}


def slowfast(values):
    tensors = renamed(values, foreign_names.slowfast())
    return tensors | {"s1.pathway0_stem.bn.num_batches_tracked": np.array(7)}


WHOLE = {
    "Paddle 1.x folder": lambda path, v: write_released_folder(path, v),
    "Paddle 1.x folder of a test": lambda path, v: write_released_folder(path, as_kernel(v)),
    "Paddle 1.x archive": lambda path, v: write_archive(path, v),
    "Paddle 1.8 by Python 2": lambda path, v: write_bytes(path, python2_pickle(v)),
    "Paddle 1.8 by Python 3": lambda path, v: write_bytes(path, pickle.dumps(v, 2)),
    "Paddle 2": lambda path, v: write_bytes(path, pickle.dumps(v | {"StructuredToParameterName@@": {"a": "b"}}, 4)),
    "Paddle 2, nested": lambda path, v: write_bytes(path, pickle.dumps({"model": {k: (k, v[k]) for k in v}}, 4)),
    "Caffe2": lambda path, v: write_bytes(path, python2_pickle({"blobs": caffe2_blobs(v)})),
    "Caffe2, bare": lambda path, v: write_bytes(path, python2_pickle_protocol_0(caffe2_blobs(v))),
    "SlowFast": lambda path, v: write_torch_zip(
        path, {"epoch": 3, "model_state": slowfast(v), "optimizer_state": {"x": np.ones(3)}, "cfg": "A: 1"}
    ),
    "SlowFast, older PyTorch": lambda path, v: write_torch_legacy(path, {"model_state": slowfast(v)}),
    "SlowFast, wrapped": lambda path, v: write_torch_zip(path, {f"module.{k}": t for k, t in slowfast(v).items()}),
    "safetensors, SlowFast names": lambda path, v: write_bytes(path, safetensors_bytes(slowfast(v))),
    "safetensors that begins like a pickle": lambda path, v: write_bytes(
        path, safetensors_bytes(v, header_multiple=0x8080)
    ),
    "safetensors, released names": lambda path, v: write_bytes(path, safetensors_bytes(v)),
}  # fmt: skip
