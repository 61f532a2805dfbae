"""Weight files that are foreign, damaged, or made to do harm: one clear error each, and nothing run or filled."""

import contextlib
import gzip
import io
import pickle
import struct
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import pytest
from conftest import ROOT
from foreign_writers import (
    fluid_variable,
    python2_pickle,
    safetensors_bytes,
    write_fluid_folder,
    write_torch_legacy,
    write_torch_zip,
)
from loaded_weights import load_weights
from network_files import WHOLE, seeded, write_archive, write_bytes

from engine.network_loading import load_for_scoring
from utils.errors import ArchiveError, WeightsError

UNKNOWN = {
    "empty": (b"", "is empty"),
    "text": (b"conv1_weights\n" * 99, "not a readable weights file"),
    "HTML": (b"\n<!DOCTYPE html><html>404</html>" * 20, "an HTML or XML page"),
    "LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "a Git LFS pointer"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(600), r"an HDF5 file\. Known: checkpoints of this toolkit"),
    "NumPy": (b"\x93NUMPY\x01\x00", "not a readable weights file"),
    "list": (pickle.dumps([1, 2]), "holds a list, not parameters by name"),
    "no arrays": (
        pickle.dumps({"epoch": 1, "cfg": "x"}),
        "a pickle with epoch, cfg; none of its 2 entries is an array",
    ),
    "other network": (
        python2_pickle({"fc6_w": np.zeros(3, np.float32), "fc7_w": np.zeros(3, np.float32)}),
        "a pickle of 2 arrays, but 2 of their names belong to no known network: fc6_w, fc7_w. Known: checkpoints",
    ),
    "one variable": (fluid_variable(np.zeros((4, 3), np.float32)), "one variable of Paddle 1.x; name the folder"),
}


@pytest.mark.parametrize("title", UNKNOWN)
def test_unknown_content(title, tmp_path):
    content, message = UNKNOWN[title]
    path = write_bytes(tmp_path / "weights", content)
    with pytest.raises(WeightsError, match=message):
        load_weights(str(path))


def test_unknown_folders(tmp_path):
    (tmp_path / "a.txt").touch()
    with pytest.raises(WeightsError, match=r"no checkpoint of this toolkit.*found: a\.txt\. Name a file"):
        load_weights(str(tmp_path))
    for name in ("a.pth", "b.pth"):
        (tmp_path / name).touch()
    with pytest.raises(WeightsError, match="2 weights files where one would do"):
        load_weights(str(tmp_path))


def test_an_archive_of_something_else(tmp_path):
    with tarfile.open(tmp_path / "w.tar.gz", "w:gz") as archive:
        for name in ("pretrained_model", "pretrained_model/r50.pkl"):
            member = tarfile.TarInfo(name)
            member.type = tarfile.REGTYPE if name.endswith("pkl") else tarfile.DIRTYPE
            archive.addfile(member)
    with pytest.raises(WeightsError, match=r"without Paddle 1\.x variables; unpack it and name one of: .*/r50\.pkl"):
        load_weights(str(tmp_path / "w.tar.gz"))


def evil(path, protocol):
    class Evil:
        def __reduce__(self):
            import os

            return os.system, (f"touch {path}",)

    return pickle.dumps({"conv1_w": Evil()}, protocol)


def torch_zip_of(path, pickled):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", pickled)
    return path


def test_no_file_runs_code(tmp_path):
    harm = tmp_path / "harm"
    legacy = write_torch_legacy(tmp_path / "legacy", {})
    head = legacy.read_bytes()
    files = [
        write_bytes(tmp_path / "w.pkl", evil(harm, 2)),
        write_bytes(tmp_path / "w0.pkl", evil(harm, 0)),
        torch_zip_of(tmp_path / "w.pt", evil(harm, 2)),
        write_bytes(tmp_path / "w.pth", head[: head.index(b"\x80\x02ccollections")] + evil(harm, 2)),
    ]
    for path in files:
        with pytest.raises(WeightsError, match=r"asks for (posix|nt)\.system, which is not data"):
            load_weights(str(path))
    assert not harm.exists()


CUT = ["Paddle 1.x archive", "Caffe2", "Caffe2, bare", "SlowFast", "SlowFast, older PyTorch", "Paddle 2"]


@pytest.mark.parametrize("title", [*CUT, "safetensors, released names"])
def test_files_that_are_cut_off_or_damaged(title, narrow, tmp_path):
    """One clear error wherever the file ends; a flipped byte is an error or another value, never a crash."""
    network, config = narrow("MODEL.width_mult=0.02")
    content = WHOLE[title](tmp_path / "weights", seeded(network)).read_bytes()
    path = tmp_path / "part"
    random = np.random.default_rng(0)
    for length in [*range(1, 40, 3), *random.integers(40, len(content) - 1, 25)]:
        path.write_bytes(content[:length])
        with pytest.raises((WeightsError, ArchiveError)):
            load_for_scoring(network, config, str(path))
    for position in random.integers(0, len(content), 40):
        damaged = bytearray(content)
        damaged[position] ^= 1 << random.integers(8)
        path.write_bytes(damaged)
        with contextlib.suppress(WeightsError, ArchiveError):
            load_for_scoring(network, config, str(path))


def test_a_damaged_variable(narrow, tmp_path):
    network, config = narrow()
    values = seeded(network)
    folder = write_fluid_folder(tmp_path / "w", values, lod=((0, 3),))
    load_for_scoring(network, config, str(folder))
    good = (folder / "pred_b").read_bytes()
    body = good[12 + 8 + 16 :]
    bad = {
        "cut off": good[:-1],
        "too long": good + b"\x00",
        "empty": b"",
        "version": b"\x01" + good[1:],
        "levels": good[:4] + struct.pack("<Q", 1 << 60) + good[12:],
        "level size": good[:12] + struct.pack("<Q", 1 << 60) + good[20:],
        "description": good[:36] + struct.pack("<Ii", 0, 1 << 30) + body[8:],
        "negative": good[:36] + struct.pack("<Ii", 0, -1) + body[8:],
        "type": fluid_variable(values["pred_b"], element_type=99),
        "shape": fluid_variable(values["pred_b"]).replace(b"\x10\x04", b"\x10\x7f"),
    }
    for what, content in bad.items():
        (folder / "pred_b").write_bytes(content)
        with pytest.raises(WeightsError, match=r"pred_b: not a whole Paddle 1\.x variable"):
            load_for_scoring(network, config, str(folder))
        assert what


def test_torch_files_that_are_not_weights(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("readme.txt", "x")
    with pytest.raises(WeightsError, match=r"a zip archive, but not one that torch\.save wrote"):
        load_weights(str(tmp_path / "a.zip"))
    with zipfile.ZipFile(tmp_path / "b.pt", "w") as archive:
        archive.writestr("b/data.pkl", b"\x80\x02N.")
        archive.writestr("b/constants.pkl", b"\x80\x02N.")
    with pytest.raises(WeightsError, match="a TorchScript program, not weights"):
        load_weights(str(tmp_path / "b.pt"))
    path = write_torch_zip(tmp_path / "c.pt", {"conv1.weight": np.zeros(9)}, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(WeightsError, match="compressed"):
        load_weights(str(path))


def test_absurd_sizes_cost_no_memory(tmp_path):
    """Lengths, shapes and memo numbers far beyond the file: refused at once, by a process with little memory to use."""
    huge = struct.pack("<Q", 1 << 40)
    cases = {
        "bytes": b"\x80\x04\x8e" + huge + b"x.",
        "bytearray": b"\x80\x05\x96" + huge + b"x.",
        "frame": b"\x80\x04\x95" + huge + b"x.",
        "memo": b"\x80\x04Nr\xff\xff\xff\xf0.",
        "array": python2_pickle({"a": np.zeros(3, np.float32)}).replace(b"(K\x03t", b"(J\x00\x00\x00\x7ft"),
        "safetensors": struct.pack("<Q", 1 << 60) + b'{"a": 1}',
        "safetensors shape": safetensors_bytes({"a": np.zeros(3, np.float32)}).replace(b"[3]", b"[9]"),
    }
    for what, content in cases.items():
        path = write_bytes(tmp_path / "w", content)
        with pytest.raises(WeightsError):
            load_weights(str(path))
        assert what


@pytest.mark.parametrize(
    ("what", "content"),
    [
        ("a deep key", b"\x80\x04})" + b"\x85" * 1_000_000 + b"K\x01s."),
        ("a shared key", b"\x80\x04})" + b"2\x86" * 45 + b"K\x01s."),
        ("a deep member", b"\x80\x04\x8f()" + b"\x85" * 1_000_000 + b"\x90."),
        ("a shared member", b"\x80\x04()" + b"2\x86" * 45 + b"\x91."),
        ("a deep list", b"\x80\x04" + b"]" * 100_000 + b"a" * 99_999 + b"."),
        ("a shared dtype", b"\x80\x04cnumpy\ndtype\n)" + b"2\x86" * 60 + b"\x85R."),
        ("many steps", b"\x80\x04" + b"]0" * 2_000_000 + b"N."),
        ("texts by the thousand", b"\x80\x02(c_codecs\nencode\n0X\x40\x42\x0f\x00" + b"x" * 1_000_000 + b"q\x010"
         + b"c_codecs\nencode\nh\x01U\x06latin1\x86R" * 3000 + b"l."),
        ("a large size", b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR(K\x01("
         b"\x8b\x10\x27\x00\x00" + b"\x7f" * 10_000 + b"q\x02" + b"h\x02" * 20_000 + b"tNNNtb."),
    ],
)  # fmt: skip
def test_pickles_made_to_exhaust(what, content, tmp_path):
    """A megabyte or less, made to crash the interpreter, to run for ever, or to fill the memory."""
    path = write_bytes(tmp_path / "w.pkl", content)
    code = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (1 << 31, 1 << 31))
sys.path.insert(0, sys.argv[2])
from utils.errors import WeightsError
from utils.pickles import load_data_pickle
try:
    load_data_pickle(sys.argv[1])
    print("read")
except WeightsError as error:
    print(len(str(error)) < 1000)
"""
    command = [sys.executable, "-c", code, str(path), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-500:]
    assert done.stdout.strip() in ("read", "True"), what


def test_compressed_parts_of_a_zip_are_not_read(tmp_path):
    for name in ("x/data.pkl", "x/byteorder"):
        with zipfile.ZipFile(tmp_path / "w.pt", "w") as archive:
            archive.writestr("x/data.pkl", b"\x80\x02N.", zipfile.ZIP_DEFLATED if "pkl" in name else zipfile.ZIP_STORED)
            archive.writestr(name.replace("data.pkl", "other"), b"little" * 99, zipfile.ZIP_DEFLATED)
        with pytest.raises(WeightsError, match="is compressed, or too large"):
            load_weights(str(tmp_path / "w.pt"))


def test_an_archive_that_is_damaged_inside_is_not_believed(narrow, tmp_path):
    """A flipped bit in a header looks like the end to the library; one in a value shows in gzip's checksum alone."""
    network, config = narrow("MODEL.width_mult=0.02")
    values = seeded(network)
    plain = gzip.decompress(write_archive(tmp_path / "w.tar.gz", values).read_bytes())
    header = plain.index(b"nonlocal_kinetics/bn4a_branch1_mean")
    damaged = bytearray(plain)
    damaged[header] ^= 1
    (tmp_path / "header.tar").write_bytes(damaged)
    whole = bytearray(gzip.compress(plain, mtime=0))
    whole[-6] ^= 1  # the checksum itself
    (tmp_path / "value.tar.gz").write_bytes(whole)
    for name in ("header.tar", "value.tar.gz"):
        with pytest.raises(ArchiveError, match="a damaged archive"):
            load_for_scoring(network, config, str(tmp_path / name))


def test_an_archive_made_to_fill_the_memory(tmp_path):
    with tarfile.open(tmp_path / "w.tar.bz2", "w:bz2") as archive:
        member = tarfile.TarInfo("net/conv1_weights")
        member.size = 200 << 20
        archive.addfile(member, io.BytesIO(bytes(200 << 20)))
    with pytest.raises(ArchiveError, match="refused, it would unpack to more than 64 MiB"):
        load_weights(str(tmp_path / "w.tar.bz2"))


def test_other_files_in_a_folder_are_not_read(narrow, tmp_path):
    network, config = narrow()
    folder = write_fluid_folder(tmp_path / "w", seeded(network))
    with open(folder / "other.dat", "wb") as handle:
        handle.truncate(1 << 40)  # zeros, on no disk
    (folder / "fc_1.w_0").write_bytes(fluid_variable(np.zeros((2, 3), np.float32)))
    load_for_scoring(network, config, str(folder))
    assert load_weights(str(folder)).parameters.unknown == ["fc_1.w_0"]


def test_numbers_too_large_for_the_network(narrow, tmp_path):
    network, config = narrow()
    values = seeded(network)
    values["conv1_weights"] = values["conv1_weights"].astype(np.float64)
    values["conv1_weights"].flat[3] = 1e300
    path = write_bytes(tmp_path / "w.pdparams", pickle.dumps(values))
    with pytest.raises(WeightsError, match="conv1_weights must be finite, as float32 too"):
        load_for_scoring(network, config, str(path))
