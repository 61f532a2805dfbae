"""Files kept under a key: whole or not at all, whoever else is at work, and never more than the folder may hold."""

import errno
import json
import os
import signal
import subprocess
import sys

import pytest
from conftest import ROOT

from utils.kept_files import KeptFiles


@pytest.fixture
def made(tmp_path):
    """Two files that took long to make."""
    (tmp_path / "made").mkdir()
    files = [tmp_path / "made" / "b.onnx", tmp_path / "made" / "a.bin"]
    files[0].write_bytes(b"network" * 100)
    files[1].write_bytes(b"")
    return files


@pytest.fixture
def store(tmp_path):
    return KeptFiles(tmp_path / "home" / "kept", most_bytes=10_000)


def contents(kept):
    return [(file.name, file.read_bytes()) for file in kept.files]


def test_what_was_kept_is_found_in_its_order(store, made):
    assert store.find("k") is None
    assert store.keep("k", made, {"engine": "é"}) == ""
    kept = store.find("k")
    assert contents(kept) == [("b.onnx", b"network" * 100), ("a.bin", b"")]
    assert kept.facts == {"engine": "é"}
    assert store.find("other") is None
    assert [path.name for path in store.folder.iterdir()] == ["k"]


def _cut(place):
    file = place / "b.onnx"
    file.write_bytes(file.read_bytes()[:-1])


def _flip(place):
    (place / "b.onnx").write_bytes(b"Network" + b"network" * 99)


def _link(place):
    (place / "b.onnx").rename(place / "c")
    (place / "b.onnx").symlink_to("c")


def _climb(place):
    description = json.loads((place / "kept.json").read_text())
    description["files"]["../../secret"] = description["files"].pop("b.onnx")
    (place / "kept.json").write_text(json.dumps(description))


@pytest.mark.parametrize(
    "damage",
    [
        _cut,
        _flip,
        _link,
        _climb,
        lambda place: (place / "a.bin").unlink(),
        lambda place: (place / "kept.json").unlink(),
        lambda place: (place / "kept.json").write_text("{"),
        lambda place: (place / "kept.json").write_text("[]"),
        lambda place: (place / "kept.json").write_text('{"key": "k", "files": {}, "facts": {}}'),
        lambda place: (place / "kept.json").write_text('{"key": "k", "files": {"b.onnx": 3}, "facts": {}}'),
        lambda place: (place / "kept.json").write_bytes(b"\xff\xfe"),
        lambda place: (place / "kept.json").write_text("[" * 100_000),
    ],
)
def test_what_is_damaged_is_removed_and_can_be_kept_anew(store, made, damage):
    store.keep("k", made, {})
    damage(store.folder / "k")
    assert store.find("k") is None
    assert list(store.folder.iterdir()) == []
    assert store.keep("k", made, {}) == ""
    assert store.find("k") is not None


def test_a_set_under_another_key_is_not_taken(store, made):
    store.keep("k", made, {})
    (store.folder / "k").rename(store.folder / "l")
    assert store.find("l") is None


def test_the_first_writer_stays(store, made):
    store.keep("k", made, {"writer": 1})
    assert store.keep("k", made, {"writer": 2}) == ""
    assert store.find("k").facts == {"writer": 1}
    assert [path.name for path in store.folder.iterdir()] == ["k"]


def test_many_writers_and_readers_at_once(store, made):
    code = """if True:
        import sys
        from pathlib import Path
        from utils.kept_files import KeptFiles
        store = KeptFiles(Path(sys.argv[1]), most_bytes=2_000)  # room for two sets
        for number in range(60):
            key = f"k{(number * int(sys.argv[3])) % 5}"
            assert store.keep(key, [Path(sys.argv[2])], {"key": key}) == ""
            kept = store.find(key)
            assert kept is None or kept.facts == {"key": key}
    """
    command = [sys.executable, "-c", code, str(store.folder), str(made[0])]
    running = [
        subprocess.Popen([*command, str(step)], cwd=ROOT, stderr=subprocess.PIPE, text=True) for step in (1, 2, 3, 4)
    ]
    for process in running:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
    assert not list(store.folder.glob(".*"))


def test_the_folder_never_holds_more_than_it_may(store, made):
    """700 bytes each and 10,000 in all: the least recently used go."""
    for number in range(20):
        store.keep(f"k{number}", made, {})
        os.utime(store.folder / f"k{number}" / "kept.json", (number, number))
        if number == 12:
            assert store.find("k3") is not None, "it is used now"
    kept = {path.name for path in store.folder.iterdir()}
    assert "k3" in kept and "k4" not in kept and "k19" in kept
    assert sum(file.stat().st_size for file in store.folder.rglob("*") if file.is_file()) <= 10_000
    small = KeptFiles(store.folder, most_bytes=600)
    assert small.keep("large", made, {}) == "0 MB are more than the 0 MB of the folder"


def test_what_a_killed_process_left_is_removed_by_the_next(store, made):
    program = """
import os, shutil, signal, sys
from pathlib import Path
from utils.kept_files import KeptFiles
shutil.copyfile = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
KeptFiles(Path(sys.argv[1]), most_bytes=10_000).keep("k", [Path(sys.argv[2])], {})
"""
    command = [sys.executable, "-c", program, str(store.folder), str(made[0])]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    assert len(list(store.folder.iterdir())) == 1
    store.keep("l", made, {})
    assert [path.name for path in store.folder.iterdir()] == ["l"]


@pytest.mark.parametrize("call", ["copyfile", "rename"])
def test_a_full_disk_leaves_nothing(store, made, monkeypatch, call):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("shutil.copyfile" if call == "copyfile" else "pathlib.Path.rename", full)
    assert store.keep("k", made, {}) == f"{store.folder}: No space left on device"
    monkeypatch.undo()
    assert list(store.folder.iterdir()) == []
    assert store.find("k") is None


def test_a_folder_that_cannot_be_made_is_told(made):
    store = KeptFiles(made[0] / "kept", most_bytes=10_000)
    assert store.find("k") is None
    assert store.keep("k", made, {}) == f"{made[0]}/kept: Not a directory"


def test_a_folder_that_cannot_be_entered_is_an_empty_one(store, made, tmp_path, monkeypatch):
    long = KeptFiles(tmp_path / ("n" * 300), most_bytes=10_000)
    assert long.find("k") is None
    assert "File name too long" in long.keep("k", made, {})

    def forbidden(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("pathlib.Path.is_dir", forbidden)
    assert store.find("k") is None
