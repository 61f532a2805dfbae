"""Exported networks and the engines that run them: the probabilities of dygraph, free and fixed sizes, fallbacks."""

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from seeded_values import clip, fill

from engine.scoring import runtimes, scorers
from engine.scoring.agreement import largest_difference, video_like_views
from engine.scoring.exporting import export_network
from engine.scoring.runtimes import RUNTIMES, Runtime, load_runtime
from engine.scoring.scorers import DygraphScorer, verify_files
from models.registry import build_model
from utils.errors import DeviceError
from utils.processor import has_vnni, processor_description

ROOT = Path(__file__).resolve().parents[1]
INSTALLED = [name for name, runtime in RUNTIMES.items() if runtime.is_installed]
VARIANTS = {
    "C2D-NL": [],
    "I3D-NL": ["MODEL.video_arc_choice=2"],
    "no maxpool, gaussian": ["NONLOCAL.pairwise=gaussian", "NONLOCAL.use_maxpool=False"],
    "dot product": ["NONLOCAL.pairwise=dot_product", "NONLOCAL.use_softmax=False"],
    "concatenation": ["NONLOCAL.pairwise=concatenation", "NONLOCAL.use_softmax=False"],
    "chunks": ["NONLOCAL.chunk_size=7"],
    "affine, groups of 4": ["MODEL.use_affine=True", "NONLOCAL.use_bn=False"],
    "affine blocks": ["NONLOCAL.use_bn=False", "NONLOCAL.use_affine=True", "NONLOCAL.no_bias=True"],
    "stem of the paper": [
        "MODEL.stem_temporal_stride=2",
        "MODEL.pool1_padding=1",
        *(f"{section}.video_length=16" for section in ("TRAIN", "VALID", "TEST", "INFER")),
    ],
}


def seeded_network(narrow_config, *overrides):
    config = narrow_config(*overrides)
    network = fill(build_model(config))
    if config.NONLOCAL.pairwise == "dot_product":  # not bounded: seeded values would grow beyond float32
        for name, value in network.state_dict().items():
            if name.startswith("nonlocal") and "_theta_" in name:
                value.set_value(0.01 * value)
    return network, config


def set_engines(monkeypatch, table):
    monkeypatch.setattr(runtimes, "RUNTIMES", table)
    monkeypatch.setattr(scorers, "RUNTIMES", table)


def in_paddle(loader, package="paddle"):
    """A runtime of a test's own."""
    return Runtime(package, "paddle", ("fp32",), ("cpu",), loader)


def open_scorer(network, config, *names):
    """`open_scorer` for the views of TEST."""
    return scorers.open_scorer(network, config, config.TEST, *names)


def pixels(shape):
    """Views that are smooth and noisy at once, uint8."""
    values = clip("pixels", shape)
    return ((values - values.min()) / np.ptp(values) * 255).astype(np.uint8)


@pytest.mark.parametrize("variant", VARIANTS)
def test_folded_networks_compute_the_same(narrow_config, variant):
    network, config = seeded_network(narrow_config, *VARIANTS[variant])
    folded = build_model(config)
    folded.set_state_dict(network.state_dict())
    folded.fold_normalisation()
    left = [name for name in folded.state_dict() if name.endswith(("_scale", "_variance", "_affine_s"))]
    assert left == []
    views = paddle.to_tensor(pixels((2, 3, config.TEST.video_length, 48, 64)))
    np.testing.assert_allclose(folded(views).numpy(), network(views).numpy(), atol=1e-5)


@pytest.mark.parametrize("engine", INSTALLED)
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_engine_computes_what_dygraph_does(narrow_config, engine, variant):
    """Other batches and other frame sizes, also odd ones, through one exported file."""
    network, config = seeded_network(narrow_config, *VARIANTS[variant])
    frames = config.TEST.video_length
    if (variant, engine) == ("concatenation", "paddle"):
        # Paddle Inference 3.3 gets a shape of it wrong; what matters is that this is noticed, and said.
        with contextlib.suppress(DeviceError):
            open_scorer(network, config, engine)
        return
    scorer = open_scorer(network, config, engine)
    assert (scorer.engine, scorer.precision) == (engine, "fp32")
    for shape in ((1, 3, frames, 32, 32), (3, 3, frames, 64, 64), (2, 3, frames, 45, 71)):
        views = pixels(shape)
        expected = network(paddle.to_tensor(views)).numpy()
        assert expected.std() > 0.01
        np.testing.assert_allclose(scorer(views), expected, atol=2e-5)
        probabilities, features = scorer.with_features(views)
        np.testing.assert_allclose(probabilities, expected, atol=2e-5)
        expected = network.features(paddle.to_tensor(views)).numpy()
        np.testing.assert_allclose(features, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("engine", INSTALLED)
def test_fixed_sizes(narrow_config, tmp_path, engine):
    network, config = seeded_network(narrow_config)
    path = tmp_path / "fixed.onnx"
    file_format = RUNTIMES[engine].file_format
    files = export_network(network, config, path, file_format, num_frames=8, batch_size=2, frame_size=(48, 64))
    score = load_runtime(engine, files, "fp32")
    views = pixels((2, 3, 8, 48, 64))
    np.testing.assert_allclose(score(views)[0], network(paddle.to_tensor(views)).numpy(), atol=2e-5)
    if file_format == "onnx":
        with pytest.raises(DeviceError, match=f"{engine} cannot run this network"):
            score(pixels((2, 3, 8, 32, 32)))


@pytest.mark.skipif("openvino" not in INSTALLED, reason="OpenVINO is not installed")
def test_openvino_tells_nobody(tmp_path):
    """Its import would send an event to Google, and write an identity of the user into HOME."""
    code = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from engine.scoring.runtimes import load_runtime
        from utils.errors import DeviceError
        try:
            load_runtime("openvino", [Path("none.onnx")], "fp32")
        except DeviceError as error:
            print(error)
        print("openvino" in sys.modules, [name for name in sys.modules if "backend_ga" in name])
        """
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "HOME": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    assert "openvino cannot load this network" in done.stdout
    assert done.stdout.splitlines()[-1] == "True []"
    assert not list(tmp_path.iterdir())


def can_compute_bf16():
    """Asked in a process of its own: OpenVINO does not survive two cores in one."""
    code = "import sys; sys.modules['openvino_telemetry'] = None; import openvino\n"
    code += "print(openvino.Core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES'))"
    return "BF16" in subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif("openvino" not in INSTALLED, reason="OpenVINO is not installed")
def test_bf16(narrow_config, tmp_path):
    network, config = seeded_network(narrow_config)
    if not can_compute_bf16():
        with pytest.raises(DeviceError, match="this processor cannot compute in bf16"):
            open_scorer(network, config, "openvino", "bf16")
        return
    scorer = open_scorer(network, config, "auto", "bf16")
    assert (scorer.engine, scorer.precision) == ("openvino", "bf16")
    views = pixels((2, 3, 8, 64, 64))
    expected = network(paddle.to_tensor(views)).numpy()
    difference = np.abs(scorer(views) - expected).max()
    assert 1e-6 < difference < 0.1, "it is bf16, and near"


@pytest.mark.parametrize("engine", INSTALLED)
def test_without_features_there_is_one_output(narrow_config, tmp_path, engine):
    network, config = seeded_network(narrow_config)
    file_format = RUNTIMES[engine].file_format
    path = tmp_path / ("network.onnx" if file_format == "onnx" else "network")
    files = export_network(network, config, path, file_format, num_frames=8, with_features=False)
    views = pixels((2, 3, 8, 48, 64))
    (probabilities,) = load_runtime(engine, files, "fp32")(views)
    np.testing.assert_allclose(probabilities, network(paddle.to_tensor(views)).numpy(), atol=2e-5)
    assert verify_files(files, file_format, network, [views.shape], with_features=False)[engine] < 1e-2


@pytest.mark.parametrize("engine", INSTALLED)
def test_a_signal_after_two_networks_were_let_go(engine, narrow_config, tmp_path):
    """OpenVINO ends the process at it where each network has a core of its own."""
    network, config = seeded_network(narrow_config)
    files = export_network(network, config, tmp_path / "exported", RUNTIMES[engine].file_format, num_frames=8)
    code = f"""
        import gc, signal
        from pathlib import Path
        from engine.scoring.runtimes import load_runtime
        first, second = (load_runtime({engine!r}, [Path(p) for p in {[*map(str, files)]}], "fp32") for _ in range(2))
        del first
        gc.collect()
        del second
        gc.collect()
        signal.signal(signal.SIGTERM, lambda *_: print("handled", flush=True))
        signal.raise_signal(signal.SIGTERM)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "handled"


def test_bf16_is_openvinos(narrow_config):
    network, config = seeded_network(narrow_config)
    with pytest.raises(DeviceError, match="--precision bf16 needs --engine openvino, not paddle"):
        open_scorer(network, config, "paddle", "bf16")


def test_unknown_engines(narrow_config):
    network, config = seeded_network(narrow_config)
    for engine, precision in (("foo", "fp32"), ("paddle", "fp64")):
        with pytest.raises(
            DeviceError, match=f"known are auto, dygraph, {', '.join(RUNTIMES)}; fp32, bf16, int8, auto"
        ):
            open_scorer(network, config, engine, precision)


def test_auto_takes_the_first_that_is_there_and_says_why(narrow_config, monkeypatch, logged):
    network, config = seeded_network(narrow_config)
    assert open_scorer(network, config).engine == INSTALLED[0]

    def refuses(files, precision, device):
        raise RuntimeError("no such\ninstruction")

    def is_wrong(files, precision, device):
        return lambda views: [np.full((len(views), 4), 0.25, np.float32)] * 2

    set_engines(
        monkeypatch,
        {
            "absent": in_paddle(refuses, "no_such_package"), "broken": in_paddle(refuses),
            "wrong": in_paddle(is_wrong), "good": RUNTIMES["paddle"],
        },
    )  # fmt: skip
    assert open_scorer(network, config).engine == "good"
    line = logged().splitlines()[-1]
    assert line.startswith("engine: good fp32 (not installed: absent; pip install -r requirements-engines.txt; ")
    assert "broken cannot load this network: no such instruction; " in line
    assert "wrong computes something else than dygraph: the logarithm of a probability differs by " in line
    for name, message in (
        ("absent", "not installed"),
        ("broken", "no such instruction"),
        ("wrong", "something else than dygraph"),
    ):
        with pytest.raises(DeviceError, match=message):
            open_scorer(network, config, name)
    set_engines(monkeypatch, {"broken": in_paddle(refuses)})
    assert isinstance(open_scorer(network, config), DygraphScorer)
    assert isinstance(open_scorer(network, config, "dygraph"), DygraphScorer)


@pytest.mark.parametrize(
    "fault",
    [RuntimeError("std::bad_alloc"), OSError(12, "Cannot allocate memory"), MemoryError("Unable to allocate 1 TiB")],
)
def test_auto_tries_no_other_engine_where_memory_is_out(narrow_config, monkeypatch, fault):
    network, config = seeded_network(narrow_config)
    tried = []

    def is_short(files, precision, device):
        tried.append(files)
        raise fault

    loadable = Runtime("paddle", "paddle", ("fp32",), ("cpu",), is_short)
    set_engines(monkeypatch, {"first": loadable, "second": loadable})
    assert open_scorer(network, config).engine == "dygraph"
    assert len(tried) == 1


def test_an_engine_of_another_device(narrow_config, monkeypatch, logged):
    network, config = seeded_network(narrow_config)

    def is_never_asked(files, precision, device):
        raise AssertionError

    elsewhere = Runtime("no_such_package", "paddle", ("fp32",), ("gpu",), is_never_asked)
    here = Runtime("paddle", "paddle", ("fp32",), ("gpu",), is_never_asked)
    set_engines(monkeypatch, {"elsewhere": elsewhere, "here": here})
    assert isinstance(open_scorer(network, config), DygraphScorer)
    assert logged().splitlines()[-1] == "engine: dygraph fp32"
    with pytest.raises(DeviceError, match="here does not run on a cpu: add --use_gpu true"):
        open_scorer(network, config, "here")


class FakeOnnxRuntime:
    """What `_load_onnxruntime` uses of the package; its session keeps the providers that it can use."""

    SessionOptions = SimpleNamespace

    def __init__(self, available, usable):
        self.available, self.usable, self.asked = available, usable, None

    def get_available_providers(self):
        return self.available

    def InferenceSession(self, content, options, providers):  # noqa: N802 - the package's name
        self.asked = providers
        names = [provider if isinstance(provider, str) else provider[0] for provider in providers]
        return SimpleNamespace(get_providers=lambda: [name for name in names if name in self.usable], run=None)


CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


@pytest.mark.parametrize(
    ("device", "precision", "available", "usable", "outcome"),
    [
        ("cpu", "fp32", [CPU], [CPU], [CPU]),
        ("cpu", "int8", [CUDA, CPU], [CUDA, CPU], [CPU]),
        ("gpu:1", "fp32", [CUDA, CPU], [CUDA, CPU], [(CUDA, {"device_id": 1, "use_tf32": 0}), CPU]),
        ("gpu:0", "fp32", [CPU], [CPU], "is a CPU build: pip install onnxruntime-gpu"),
        ("gpu:0", "fp32", [CUDA, CPU], [CPU], "ONNX Runtime cannot use the GPU"),  # it would go on without a word
        ("gpu:0", "int8", [CUDA, CPU], [CUDA, CPU], "int8 with --engine onnxruntime needs a CPU"),
    ],
)
def test_onnxruntime_on_a_gpu(monkeypatch, tmp_path, device, precision, available, usable, outcome):
    """Not run on a GPU: what is asked of ONNX Runtime, and what is made of its answers."""
    fake = FakeOnnxRuntime(available, usable)
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)
    (file := tmp_path / "network.onnx").write_bytes(b"")
    if isinstance(outcome, str):
        with pytest.raises(DeviceError, match=outcome):
            load_runtime("onnxruntime", [file], precision, device)
    else:
        load_runtime("onnxruntime", [file], precision, device)
        assert fake.asked == outcome


def test_auto_when_a_network_cannot_be_exported(narrow_config, monkeypatch, logged):
    network, config = seeded_network(narrow_config)

    def no_room(*args, **keys):
        raise OSError(28, "No space left on device")

    def refuses(*args, **keys):
        raise RuntimeError("no static graph\nof this")

    with monkeypatch.context() as patch:
        patch.setattr(scorers, "export_network", no_room)
        assert isinstance(open_scorer(network, config), DygraphScorer)
        assert "paddle needs room for its files in the temporary folder: No space left on device" in logged()
    monkeypatch.setattr(paddle.jit, "to_static", refuses)
    assert isinstance(open_scorer(network, config), DygraphScorer)
    assert "the network cannot be exported: no static graph of this" in logged()


def test_auto_keeps_to_chunks(narrow_config, logged):
    network, config = seeded_network(narrow_config, "NONLOCAL.chunk_size=7")
    assert isinstance(open_scorer(network, config), DygraphScorer)
    assert "engine: dygraph fp32 (in an exported network NONLOCAL.chunk_size is not kept" in logged()
    open_scorer(network, config, "paddle")
    assert "paddle: NONLOCAL.chunk_size is not kept: its non-local blocks are computed whole" in logged()


def test_exporting_leaves_the_network_as_it_is(narrow_config, tmp_path, capfd):
    network, config = seeded_network(narrow_config)
    before = {name: value.numpy().copy() for name, value in network.state_dict().items()}
    files = export_network(network, config, tmp_path / "deep" / "net", "paddle", num_frames=8)
    assert all(file.is_file() for file in files)
    assert len(files) == 2
    for name, value in network.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name], err_msg=name)
    assert verify_files(files, "paddle", network, [(2, 3, 8, 40, 32)], with_features=True)["paddle"] < 1e-3
    capfd.readouterr()
    if importlib.util.find_spec("paddle2onnx"):
        export_network(network, config, tmp_path / "net.onnx", "onnx", num_frames=8)
        assert capfd.readouterr().out == "", "standard output is for results"


def test_views_like_those_of_videos():
    """The same every time, with the mean and contrast of videos, smooth in space, moving in time."""
    views = video_like_views((2, 3, 4, 64, 48))
    assert (views.shape, views.dtype) == ((2, 3, 4, 64, 48), np.uint8)
    np.testing.assert_array_equal(views, video_like_views((2, 3, 4, 64, 48)))
    assert 90 < views.mean() < 130
    assert 35 < views.std() < 75
    steps = np.diff(views.astype(float), axis=-1)
    assert steps.std() < 0.7 * np.sqrt(2) * views.std(), "neighbours are alike"
    assert (views[:, :, 0] != views[:, :, 1]).mean() > 0.5
    assert (views[0] != views[1]).mean() > 0.5


def saturated(network, config):
    """As a trained network: one class has nearly all of the probability."""
    state = network.state_dict()
    views = paddle.to_tensor(video_like_views((1, 3, config.TEST.video_length, 32, 32)))
    spread = float(network.logits(views).std())
    state["pred_w"].set_value(state["pred_w"] * (12 / spread))
    return views


@pytest.mark.parametrize(
    "layer", ["conv1_weights", "res3b_branch2b_weights", "nonlocal_conv4_3_out_w", "res5c_branch2c_weights"]
)
def test_a_network_with_one_perturbed_layer_is_refused(narrow_config, monkeypatch, layer):
    """Its probabilities are saturated: compared themselves, most would look alike."""
    network, config = seeded_network(narrow_config)
    saturated(network, config)
    other, _ = seeded_network(narrow_config)
    other.set_state_dict(network.state_dict())
    values = other.state_dict()[layer]
    random = np.random.default_rng(0)
    values.set_value(values.numpy() * (1 + 0.2 * random.standard_normal(values.shape)).astype("float32"))
    set_engines(monkeypatch, {"other": in_paddle(lambda files, precision, device: DygraphScorer(other).with_features)})
    with pytest.raises(DeviceError, match="other computes something else than dygraph"):
        open_scorer(network, config, "other")
    set_engines(monkeypatch, {"same": in_paddle(lambda files, precision, device: DygraphScorer(network).with_features)})
    assert open_scorer(network, config, "same").engine == "same"


def test_an_engine_with_other_features_is_refused(narrow_config, monkeypatch):
    """Though its probabilities are the right ones."""
    network, config = seeded_network(narrow_config)

    def halved(views):
        probabilities, features = DygraphScorer(network).with_features(views)
        return probabilities, features * np.float32(0.5)

    set_engines(monkeypatch, {"other": in_paddle(lambda files, precision, device: halved)})
    with pytest.raises(DeviceError, match="other computes other features than dygraph: one differs by"):
        open_scorer(network, config, "other")


def test_differences_of_sigmoids_near_1_are_seen():
    assert largest_difference(np.array([[0.9995]]), np.array([[0.998]])) == pytest.approx(np.log(4))
    nearly = np.array([[1 - 6e-8]], np.float32)
    assert largest_difference(nearly, np.ones((1, 1), np.float32)) < 1e-6, "rounding of float32"


def test_differences_are_those_of_logarithms():
    found, expected = np.array([[0.999, 0.001, 0.0]]), np.array([[0.998, 0.002, 0.0]])
    assert largest_difference(found, expected) == pytest.approx(np.log(2))
    assert np.isnan(largest_difference(np.array([[np.nan]]), np.array([[1.0]])))
    assert largest_difference(np.array([[1e-30, 1.0]]), np.array([[1e-9, 1.0]])) < 1e-8, "rounding"


def test_what_a_processor_can_do(tmp_path):
    (tmp_path / "with").write_text(
        "processor : 0\nmodel name : A\nflags : fpu avx512_vnni\n\nprocessor : 1\nflags : x\n"
    )
    (tmp_path / "arm").write_text("CPU part : 0xd0c\nFeatures : fp asimddp\n")
    (tmp_path / "without").write_text("flags : fpu avx512f\n")
    assert [has_vnni(tmp_path / name) for name in ("with", "arm", "without", "absent")] == [True, True, False, False]
    assert processor_description(tmp_path / "with") == "model name : A\nflags : fpu avx512_vnni"
    assert processor_description(tmp_path / "arm") == "CPU part : 0xd0c\nFeatures : fp asimddp"
    assert processor_description(tmp_path / "absent")


@pytest.mark.parametrize("half", ["program", "parameters"])
def test_a_network_that_was_written_half_is_not_converted(narrow_config, monkeypatch, tmp_path, half):
    """Paddle writes what a full disk takes, without a word; what read it then ended the process, or named itself."""
    network, config = seeded_network(narrow_config)
    save = paddle.jit.save

    def saved(traced, path):
        save(traced, path)
        suffix = ".pdiparams" if half == "parameters" else ".json" if Path(f"{path}.json").is_file() else ".pdmodel"
        file = Path(f"{path}{suffix}")
        file.write_bytes(file.read_bytes()[: 100 if half == "parameters" else 0])

    monkeypatch.setattr(paddle.jit, "save", saved)
    for file_format in ("onnx", "paddle"):
        with pytest.raises(OSError, match="not written whole: is the disk full"):
            export_network(network, config, tmp_path / "n", file_format, num_frames=8)


def test_a_home_that_cannot_be_written_does_not_matter(narrow_config, monkeypatch, tmp_path):
    """Paddle's tracing writes below it."""
    network, config = seeded_network(narrow_config)
    (tmp_path / "home").write_text("a file")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert all(file.is_file() for file in export_network(network, config, tmp_path / "n", "paddle", num_frames=8))
    assert os.environ["HOME"] == str(tmp_path / "home")


@pytest.mark.skipif(not INSTALLED, reason="no engine is installed")
def test_ctrl_c_during_an_export_is_heard(narrow_config, monkeypatch):
    """Paddle's tracing may make an error of its own of it: another engine was taken, and the program went on."""
    config = narrow_config()
    network = build_model(config)
    with_features = type(network).with_features

    def interrupted(self, clips):
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
        except KeyboardInterrupt as error:
            raise SystemError("a function returned a result with an exception set") from error
        return with_features(self, clips)

    monkeypatch.setattr(type(network), "with_features", interrupted)
    with pytest.raises(KeyboardInterrupt):
        open_scorer(network, config)
