"""Atomic files, data-only pickles, seeds and the exit codes of programs."""

import errno
import json
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from network_configs import load_config

from datareader.split_tables import read_table
from engine.class_names import read_class_names
from tools import make_filelist
from utils.atomic_file import atomic_path, atomic_write, errors_name, write_json, write_text
from utils.errors import VideoToolkitError, WeightsError
from utils.native_output import quiet
from utils.pickles import load_data_pickle
from utils.pictures import picture_text
from utils.processor import computing_threads, use_avx2_kernels
from utils.seeding import generator, step_seed
from utils.suggestions import nearest
from utils.temporary_folder import temporary_folder
from utils.text_file import read_text


def test_launched_processes_share_the_cores(tmp_path, monkeypatch):
    """The launcher has imported Paddle, which set OMP_NUM_THREADS=1 for its children: not what the user said."""
    (tmp_path / "environ").write_bytes(b"A=1\0B=2\0")
    cores = computing_threads(tmp_path / "environ", 1)
    assert computing_threads(tmp_path / "environ", 2) == max(1, cores // 2)
    assert computing_threads(tmp_path / "environ", 1000) == 1
    (tmp_path / "environ").write_bytes(b"OMP_NUM_THREADS=7\0")
    assert computing_threads(tmp_path / "environ", 2) == 7
    monkeypatch.setenv("PADDLE_LOCAL_SIZE", "1000")
    assert computing_threads(tmp_path / "absent") == 1


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic_write(path) as handle:
        handle.write(b"new")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_an_error_while_writing_names_the_file_that_was_asked_for(tmp_path):
    for action in (lambda: write_text(Path("/proc/result.csv"), "x"), lambda: write_json(tmp_path / "folder", {})):
        (tmp_path / "folder").mkdir(exist_ok=True)
        with pytest.raises(OSError) as caught:
            action()
        assert caught.value.filename in ("/proc/result.csv", str(tmp_path / "folder"))
        assert caught.value.filename2 is None
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_temporary_folder_that_cannot_be_made_names_its_place(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "gone", tmp_path / "file"):
        with pytest.raises(OSError) as caught, temporary_folder(place, name="x.export"):
            pass
        assert caught.value.filename == str(place)


def test_many_writers_of_one_file_do_not_disturb_one_another(tmp_path):
    """Each finds a name of its own to write to, and none takes that of another away."""
    program = """
import sys
from pathlib import Path
from utils.atomic_file import write_text
for number in range(150):
    write_text(Path(sys.argv[1]), sys.argv[2] * 1000)
"""
    command = [sys.executable, "-c", program, str(tmp_path / "file")]
    writers = [subprocess.Popen([*command, letter], cwd=ROOT, stderr=subprocess.PIPE, text=True) for letter in "abcd"]
    for writer in writers:
        _, errors = writer.communicate(timeout=100)
        assert writer.returncode == 0, errors
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    content = (tmp_path / "file").read_text()
    assert content == content[0] * 1000


class UnwillingError(OSError):
    """As PyAV's: its file name cannot be set."""

    filename = property(lambda self: None)


@pytest.mark.parametrize("kind", [OSError, UnwillingError])
def test_an_error_that_names_no_file_is_given_one(tmp_path, kind):
    """A write to an open file says only that the disk is full."""
    for block in (atomic_path(tmp_path / "a.mp4"), errors_name(tmp_path / "a.mp4")):
        with pytest.raises(OSError, match="No space") as caught, block:
            raise kind(errno.ENOSPC, "No space left on device")
        assert (caught.value.filename, caught.value.errno) == (str(tmp_path / "a.mp4"), errno.ENOSPC)
    with pytest.raises(FileNotFoundError) as caught, atomic_path(tmp_path / "a.mp4"):
        (tmp_path / "other").read_text()
    assert caught.value.filename == str(tmp_path / "other")
    assert list(tmp_path.iterdir()) == []


def test_names_that_are_no_utf8(tmp_path):
    name = b"old\xe9.mp4".decode("utf-8", "surrogateescape")
    write_text(tmp_path / "a.txt", name)
    assert (tmp_path / "a.txt").read_bytes() == b"old\xe9.mp4"
    write_json(tmp_path / "a.json", {"path": name})
    assert json.loads((tmp_path / "a.json").read_text("utf-8"))["path"] == name


@pytest.mark.parametrize("size", [70 << 20, 1 << 40])
def test_text_of_any_size_is_not_held(tmp_path, size):
    """A config, class names or splits that are a video, or a device, by mistake."""
    huge = tmp_path / "huge.txt"
    with open(huge, "wb") as handle:
        handle.truncate(size)  # takes no room
    readers = (
        lambda: load_config(huge),
        lambda: read_class_names(str(huge), 4),
        lambda: make_filelist.read_classes(huge),
        lambda: list(read_table(huge, ["path"])),
    )
    for read in readers:
        with pytest.raises(VideoToolkitError, match=r"huge\.txt.*(larger than 64 MB|columns path)"):
            read()


def test_text_whoever_wrote_it(tmp_path):
    (tmp_path / "a.txt").write_bytes("\ufeff一\r\n二\r三\n\x85".encode())
    assert read_text(tmp_path / "a.txt") == "一\n二\n三\n\x85"
    (tmp_path / "a.txt").write_bytes(b"\xffa")
    assert read_text(tmp_path / "a.txt", errors="surrogateescape") == "\udcffa"
    with pytest.raises(UnicodeDecodeError):
        read_text(tmp_path / "a.txt")


def test_json_refuses_what_json_cannot_say(tmp_path):
    write_json(tmp_path / "a.json", {"ä": [1, None]})
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == {"ä": [1, None]}
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "b.json", float("nan"))
    assert not (tmp_path / "b.json").exists()


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_arrays_and_containers_come_back(tmp_path, protocol):
    value = {
        "w": np.arange(6, dtype=np.float32).reshape(2, 3),
        "scalar": np.float32(2.5),
        "list": [1, 2.5, "text", None, True, ("a", b"bytes")],
        "fortran": np.asfortranarray(np.eye(3)),
    }
    (tmp_path / "p").write_bytes(pickle.dumps(value, protocol))
    loaded = load_data_pickle(tmp_path / "p")
    np.testing.assert_array_equal(loaded["w"], value["w"])
    np.testing.assert_array_equal(loaded["fortran"], value["fortran"])
    assert loaded["list"] == value["list"]
    assert loaded["scalar"] == 2.5


class Evil:
    """Would run a command, were it unpickled by the usual means."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_runs_no_code(tmp_path, protocol):
    (tmp_path / "p").write_bytes(pickle.dumps({"w": Evil(tmp_path / "harm")}, protocol))
    with pytest.raises(WeightsError, match=r"asks for (posix|nt)\.system, which is not data"):
        load_data_pickle(tmp_path / "p")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    "global_name", [b"builtins\neval", b"builtins\nsetattr", b"numpy\nload", b"numpy.testing\nrundocs"]
)
def test_other_names_are_refused(tmp_path, global_name):
    (tmp_path / "p").write_bytes(b"c" + global_name + b"\n.")
    with pytest.raises(WeightsError, match="which is not data"):
        load_data_pickle(tmp_path / "p")


@pytest.mark.parametrize(
    "content",
    [b"", b"text", b"\x80", b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f", b"(lp0\n", bytes(range(255, 191, -1))],
)
def test_what_is_no_pickle(tmp_path, content):
    (tmp_path / "p").write_bytes(content)
    with pytest.raises(WeightsError, match="not a readable weights file"):
        load_data_pickle(tmp_path / "p")


def test_seeds_are_functions_of_their_keys():
    assert generator(1, 2).random() == generator(1, 2).random()
    assert generator(1, 2).random() != generator(2, 1).random()
    assert len({step_seed(0, iteration, 0) for iteration in range(1000)}) == 1000
    assert step_seed(3, 4) == 0x7FFFFFFF & __import__("zlib").crc32(b"(3, 4)")


@pytest.mark.parametrize(
    ("cpuinfo", "before", "after"),
    [
        ("vendor_id : AuthenticAMD\nflags : fpu avx avx2 bmi1\n", None, "5"),
        ("vendor_id : AuthenticAMD\nflags : fpu avx avx2 bmi1\n", "4", "4"),
        ("vendor_id : AuthenticAMD\nflags : fpu avx bmi1\n", None, None),
        ("vendor_id : GenuineIntel\nflags : fpu avx avx2 bmi1\n", None, None),
        (None, None, None),
    ],
)
def test_avx2_kernels_on_processors_of_other_makers(tmp_path, monkeypatch, cpuinfo, before, after):
    monkeypatch.delenv("MKL_DEBUG_CPU_TYPE", raising=False)
    if before:
        monkeypatch.setenv("MKL_DEBUG_CPU_TYPE", before)
    if cpuinfo:
        (tmp_path / "cpuinfo").write_text(cpuinfo)
    use_avx2_kernels(tmp_path / "cpuinfo")
    assert os.environ.get("MKL_DEBUG_CPU_TYPE") == after


@pytest.mark.parametrize(
    ("environment", "threads"),
    [
        (b"A=1\0OMP_NUM_THREADS=3\0", 3),
        (b"A=1\0", None),
        (b"OMP_NUM_THREADS=0\0", None),
        (b"OMP_NUM_THREADS=x\0", None),
    ],
)
def test_computing_threads(tmp_path, environment, threads):
    (tmp_path / "environ").write_bytes(environment)
    assert computing_threads(tmp_path / "environ") == (threads or len(os.sched_getaffinity(0)))
    assert computing_threads(tmp_path / "absent") == len(os.sched_getaffinity(0))


def test_what_paddle_does_to_the_variable_changes_nothing():
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import paddle\n"
    program += "from utils.processor import computing_threads; print(computing_threads())"
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    for asked_for, threads in (("1", 1), (None, len(os.sched_getaffinity(0)))):
        environment.pop("OMP_NUM_THREADS", None)
        if asked_for:
            environment["OMP_NUM_THREADS"] = asked_for
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
        assert done.stdout == f"{threads}\n"


PROGRAM = """
import sys
sys.path.insert(0, {root!r})
from utils.commandline import run_program
from utils.errors import ConfigError
def main(argv):
    {body}
sys.exit(run_program(main))
"""


@pytest.mark.parametrize(
    ("body", "arguments", "code", "stderr"),
    [
        ("return None", [], 0, ""),
        ("return 1", [], 1, ""),
        ("raise ConfigError('a.txt:3: wrong')", [], 2, "error: a.txt:3: wrong\n"),
        ("raise ConfigError('of two\\nlines')", [], 2, "error: of two lines\n"),
        ("open('/no/such/file')", [], 2, "error: /no/such/file: No such file or directory\n"),
        (
            "raise MemoryError('Unable to allocate 44.7 TiB')",
            [],
            2,
            "error: memory is out: Unable to allocate 44.7 TiB; smaller views, a smaller batch or network take less\n",
        ),
        (
            "raise OSError(12, 'Cannot allocate memory')",
            [],
            2,
            "error: memory is out: Cannot allocate memory; smaller views, a smaller batch or network take less\n",
        ),
        (
            'raise RuntimeError("can\'t start new thread")',
            [],
            2,
            "error: the system gives no more processes or threads (can't start new thread): use fewer reader "
            "processes, or raise the limit (ulimit -u; that of the container)\n",
        ),
        ("raise KeyboardInterrupt", [], 130, "error: stopped by Ctrl-C\n"),
        (
            "raise OSError(11, 'Resource temporarily unavailable')",  # what a process that cannot be started is
            [],
            2,
            "error: the system gives no more processes or threads (Resource temporarily unavailable): use fewer reader "
            "processes, or raise the limit (ulimit -u; that of the container)\n",
        ),
        (
            "import a_package",
            [],
            2,
            "error: No module named 'a_package': activate the environment that the project was installed in (source "
            ".venv/bin/activate), or pip install -r requirements.txt\n",
        ),
    ],
)
def test_exit_codes(body, arguments, code, stderr):
    program = PROGRAM.format(root=str(ROOT), body=body)
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (code, stderr)


def test_debug_shows_the_traceback():
    program = PROGRAM.format(root=str(ROOT), body="raise ConfigError('wrong')")
    done = subprocess.run([sys.executable, "-c", program, "--debug"], capture_output=True, text=True)
    assert "Traceback" in done.stderr
    assert done.returncode == 2


def test_quiet_while_threads_overlap(capfd, logged):
    """What is printed meanwhile is logged, whoever comes first; afterwards it goes to where it went before."""

    def work():
        for _ in range(20):
            with quiet():
                os.write(1, b"noise\n")
                os.write(2, b"more\n")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.write(1, b"result\n")
    assert capfd.readouterr() == ("result\n", "")
    assert logged().count("printed by a library: noise") == 80


def test_text_of_pictures():
    assert picture_text("a $b$ \udcff") == r"a \$b\$ ?"


def test_the_first_picture_on_a_machine_logs_nothing_of_its_fonts(tmp_path):
    """A library of the process may have set up Python's root logger; matplotlib then says that it found fonts."""
    code = (
        "import logging; logging.basicConfig(level=logging.INFO)\n"
        "from utils.pictures import new_figure, png_of\n"
        "figure = new_figure(1, 1); figure.suptitle('x'); assert png_of(figure)[:4] == b'\\x89PNG'"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "MPLCONFIGDIR": str(tmp_path)},
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("--batchsize", ["--batch_size", "--epoch"], "; did you mean --batch_size?"),
        ("--lr", ["--help", "--learning_rate"], "; did you mean --learning_rate?"),
        ("smoothing", ["momentum", "label_smoothing"], "; did you mean label_smoothing?"),
        ("NONLOCL", ["NONLOCAL", "TSM"], "; did you mean NONLOCAL?"),
        ("zzz", ["momentum", "depth"], "; known: momentum, depth"),
        ("zzz", [f"key{k}" for k in range(13)], ""),
        ("", ["momentum"], "; known: momentum"),
        ("zzz", [], "; known: "),
    ],
)
def test_suggestions(name, known, hint):
    assert nearest(name, known) == hint
