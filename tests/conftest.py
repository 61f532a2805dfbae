"""Options, and the things many tests need: generated videos, a narrow config, programs run as a user runs them."""

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from utils.logging import LOGGER_NAME
from utils.processor import use_avx2_kernels

use_avx2_kernels()  # before the first matrix product of a test; threads stay as Paddle has them

signal.signal(signal.SIGINT, signal.default_int_handler)  # shells let what runs in the background ignore it

ROOT = Path(__file__).resolve().parents[1]

NARROW = [
    "MODEL.width_mult=0.0625",
    "MODEL.num_classes=4",
    *(f"{section}.crop_size=32" for section in ("TRAIN", "VALID", "TEST", "INFER")),
    *(f"{section}.jitter_scales=[32,40]" for section in ("TRAIN", "VALID", "TEST", "INFER")),
    *(f"{section}.sample_rate=2" for section in ("TRAIN", "VALID", "TEST", "INFER")),
    *(f"{section}.num_reader_threads=0" for section in ("TRAIN", "VALID", "TEST", "INFER")),
    "TEST.num_test_clips=6",
    "INFER.num_test_clips=6",
    "TRAIN.batch_size=4",
]


def pytest_addoption(parser):
    parser.addoption("--all", action="store_true", help="run the slow tests too")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--all"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow: run with --all"))


@pytest.fixture(scope="session")
def shapes(tmp_path_factory):
    """A folder with 8 training, 4 validation and 4 test videos of moving shapes."""
    from tools.make_shapes_dataset import main

    folder = tmp_path_factory.mktemp("shapes")
    main([str(folder), "--train", "2", "--val", "1", "--test", "1"])
    return folder


@pytest.fixture
def narrow_config(shapes):
    """A config that trains in seconds, on the generated videos; call it with more overrides."""
    from network_configs import load_config

    def load(*overrides):
        return load_config(ROOT / "configs" / "nonlocal.txt", [*NARROW, *list_overrides(shapes), *overrides])

    return load


def list_overrides(folder):
    """Overrides that make every section read the lists of a generated folder."""
    names = {"TRAIN": "train", "VALID": "val", "TEST": "test", "INFER": "test"}
    return [f"{section}.filelist={folder}/{name}.txt" for section, name in names.items()]


@pytest.fixture(autouse=True)
def usual_scheduling():
    """For root, the encoder of AV1 gives its thread real-time priority, and all that it starts; take it back."""
    yield
    if os.sched_getscheduler(0) != os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@pytest.fixture(autouse=True, scope="session")
def networks_of_the_tests(tmp_path_factory):
    """A cache folder of their own: neither do they use what a user keeps, nor leave anything there."""
    before = os.environ.get("NETWORK_CACHE_HOME")
    os.environ["NETWORK_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    yield
    del os.environ["NETWORK_CACHE_HOME"]
    if before is not None:
        os.environ["NETWORK_CACHE_HOME"] = before


@pytest.fixture
def run_program(shapes, tmp_path):
    """Run train.py, test.py or infer.py in an empty folder, narrow and on the generated videos."""

    def run(program, *arguments, narrow=True, timeout=300, cwd=tmp_path, stdin=None):
        overrides = [*NARROW, *list_overrides(shapes)] if narrow else []
        command = [sys.executable, str(ROOT / program), "--config", str(ROOT / "configs" / "nonlocal.txt")]
        for override in overrides:
            command += ["-o", override]
        environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
        return subprocess.run(
            [*command, *map(str, arguments)],
            cwd=cwd, capture_output=True, text=True, timeout=timeout, env=environment, input=stdin,
        )  # fmt: skip

    return run


@pytest.fixture(scope="session")
def real_clips():
    """The folder of real videos that the developers share; tests that need it are skipped elsewhere."""
    folder = ROOT.parent / "shared" / "clips"
    if not folder.is_dir():
        pytest.skip("no folder of real clips beside the project")
    return folder


def write_counting_video(
    path, num_frames=40, *, codec="libx264", rate=25, size=(64, 48), options=None, pix_fmt="yuv420p"
):
    """A video whose frame k has brightness 5 * k + 20: decoded frames can be told apart. Returns the path."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        stream.options = options or ({"crf": "1"} if codec == "libx264" else {})
        for number in range(num_frames):
            picture = np.full((size[1], size[0], 3), 5 * number + 20, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture
def narrow(narrow_config):
    """Build a network and its config, with overrides."""

    from models.registry import build_model

    def build(*overrides):
        config = narrow_config(*overrides)
        return build_model(config), config

    return build


@pytest.fixture
def logged(caplog):
    """Call it for everything logged so far, DEBUG lines included, as one text."""
    logger = logging.getLogger(LOGGER_NAME)
    propagate, logger.propagate = logger.propagate, True
    with caplog.at_level(logging.DEBUG, logger=LOGGER_NAME):
        yield lambda: "\n".join(record.getMessage() for record in caplog.records)
    logger.propagate = propagate
