"""The checks of tests/gpu_self_test.py: the same code on a GPU and on the CPU."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring import median_seconds

ROOT = Path(__file__).resolve().parents[1]
FIXTURES = ROOT / "tests" / "fixtures"
SMALL = [
    "MODEL.width_mult=0.0625", "MODEL.num_classes=4",
    *(f"{section}.crop_size=32" for section in ("TRAIN", "VALID", "TEST", "INFER")),
    *(f"{section}.jitter_scales=[32,40]" for section in ("TRAIN", "VALID", "TEST", "INFER")),
]  # fmt: skip
STEADY = ["TRAIN.dropout_rate=0", "MODEL.bn_init_gamma=0.5", "NONLOCAL.bn_init_gamma=0.5"]


@dataclass
class Row:
    """What a check found. `is_right` is None where nothing is demanded, or nothing could be run."""

    check: str
    found: str
    wanted: str = ""
    is_right: bool | None = None

    @property
    def verdict(self) -> str:
        """For the table."""
        return {True: "right", False: "WRONG", None: ""}[self.is_right]


@dataclass(frozen=True)
class Context:
    """Where a check runs: a device as Paddle names it, small networks or full ones, a folder of its own, videos."""

    device: str
    small: bool
    folder: Path
    videos: Path

    @property
    def is_gpu(self) -> bool:
        """Whether it runs on a GPU."""
        return self.device.startswith("gpu")

    def load_config(self, *overrides: str) -> Any:
        """The released config, small if that was asked for."""
        from configs.loading import load_config
        from models.registry import NETWORKS

        small = SMALL if self.small else []
        return load_config(ROOT / "configs" / "nonlocal.txt", [*small, *overrides], networks=NETWORKS)

    def run_program(self, *command: str, environment: dict[str, str] | None = None) -> None:
        """Run Python with arguments, in the folder.

        Raises:
            RuntimeError: it failed; with the end of what it printed.
        """
        done = subprocess.run(
            [sys.executable, *command], cwd=self.folder, env={**os.environ, **(environment or {})},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        if done.returncode:
            logs = "".join(file.read_text()[-2000:] for file in sorted(self.folder.glob("log/workerlog.*")))
            raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout[-3000:]}{logs}")


def within(check: str, found: float, bound: float) -> Row:
    """A row for a difference that must not exceed a bound; NaN does."""
    return Row(check, f"{found:.2g}", f"at most {bound:g}", bool(found <= bound))


def networks_and_blocks(context: Context, *, tf32: bool) -> Iterator[Row]:
    """Against results that other programs computed (tests/fixtures)."""
    import paddle
    from seeded_values import clip, fill

    from models.nonlocal_block import NonLocalBlock

    reference = np.load(FIXTURES / "nonlocal_block.npz")
    largest = 0.0
    for case in [name for name in reference.files if name != "input"]:
        pairwise, pool, scale = case.split(".")
        pool = "before" if pool == "pool1" else "none"
        block = fill(NonLocalBlock(12, pairwise, pool=pool, use_scale=scale == "scale1"))
        found = block(paddle.to_tensor(reference["input"])).numpy()
        largest = max(largest, float(np.abs(found - reference[case]).max()))
    yield within("non-local blocks, all forms: largest difference to the reference", largest, 2e-2 if tf32 else 1e-4)
    if context.small:
        return
    from models.registry import build_model

    for case in ("c2d_nl_r50_224", "c2d_nl_r50_256"):
        expected = json.loads((FIXTURES / f"{case}.json").read_text())
        network = fill(build_model(context.load_config()))
        with paddle.no_grad():
            found = network(paddle.to_tensor(clip(expected["input"], expected["shape"]))).numpy()
        values = np.array(expected["probabilities"])
        likely = values > 1e-4
        difference = float(np.abs(np.log(found[likely]) - np.log(values[likely])).max())
        yield within(
            f"{case}: largest difference of the logarithm of a probability", difference, 5e-2 if tf32 else 1e-3
        )


def training_step(context: Context) -> Iterator[Row]:
    """One update on the device beside one on the CPU: losses, gradients (by the momentum they leave), parameters."""
    here, there = one_step(context, context.device), one_step(context, "cpu")
    yield within(
        "a training step: largest difference of a loss to the CPU's", largest_difference(here, there, "loss"), 1e-3
    )
    for kind, name in (("gradient", "a gradient"), ("parameter", "a parameter")):
        sizes = {key: np.abs(value).max() for key, value in there.items() if key.startswith(kind)}
        share = max(np.abs(here[key] - there[key]).max() / max(size, 1e-6) for key, size in sizes.items())
        yield within(f"the same of {name}, divided by the largest value of its tensor", float(share), 2e-2)


def largest_difference(one: dict[str, np.ndarray], other: dict[str, np.ndarray], key: str) -> float:
    """Of the values under a key."""
    return float(np.abs(one[key] - other[key]).max())


def one_step(context: Context, device: str) -> dict[str, np.ndarray]:
    """What an update leaves: the losses, momentum and parameters."""
    import paddle

    paddle.set_device(device)
    step, batch = step_and_batch(context, device, "TRAIN.batch_size=2", "TRAIN.freeze_bn=True", "TRAIN.dropout_rate=0")
    result = step.run(batch, iteration=0, learning_rate=0.01)
    left = {"loss": result.losses}
    left |= {f"parameter {name}": value.numpy() for name, value in step.network.state_dict().items()}
    names = {value.name: name for name, value in step.network.state_dict().items()}
    for key, value in step.optimizer.state_dict().items():
        if "_velocity_" in key:
            left[f"gradient {names[key.partition('_velocity_')[0]]}"] = value.numpy()
    return left


def step_and_batch(context: Context, device: str, *overrides: str) -> tuple[Any, Any]:
    """A training step of a network with seeded values, and a batch of waves."""
    import paddle
    from seeded_values import clip, fill

    from datareader.loader import Batch
    from engine.distributed import ALONE
    from engine.training.finite_guard import FiniteGuard
    from engine.training.losses import build_losses
    from engine.training.mixed_precision import MixedPrecision
    from engine.training.optimizer import build_optimizer
    from engine.training.phase_clock import PhaseClock
    from engine.training.run import build_mixing, prepare_network
    from engine.training.train_step import TrainStep
    from models.registry import build_model

    paddle.seed(0)
    config = context.load_config(*overrides)
    section = config.TRAIN
    network = prepare_network(fill(build_model(config)), section, device=device)
    network.train()
    optimizer = build_optimizer(network, section)
    waves = clip("self-test", (section.batch_size, 3, section.video_length, section.crop_size, section.crop_size))
    clips = ((waves - waves.min()) / np.ptp(waves) * 255).astype(np.uint8)[:, None]
    labels = np.arange(section.batch_size) % config.MODEL.num_classes
    precision = MixedPrecision(section, network, optimizer, device=device, loss_scale=None)
    step = TrainStep(
        network, optimizer, section, losses=build_losses(config, labels), mixing=build_mixing(config),
        precision=precision, processes=ALONE, guard=FiniteGuard(context.folder, skip=False), clock=PhaseClock(),
    )  # fmt: skip
    return step, Batch(clips, labels, labels, [f"clip {label}" for label in labels], [])


def mixed_precision(context: Context, *, level: str, dtype: str) -> Iterator[Row]:
    """A short training on generated videos: the loss falls, nothing is infinite, and a resumed run is the same."""
    name = f"amp={level}" + ("" if level == "off" else f" {dtype}")
    count = 8 if context.small else 50
    keys = [f"TRAIN.amp={level}", f"TRAIN.amp_dtype={dtype}", "TRAIN.learning_rate=0.01"]
    for folder, last, resume in (("whole", count, []), ("parts", count // 2, []), ("parts", count, ["--resume=auto"])):
        train(context, folder, *resume, overrides=[*keys, f"TRAIN.max_iter={last}"])
    losses = [row["loss"] for row in metrics(context.folder / "whole") if row["kind"] == "train"]
    few = max(1, count // 5)
    first, last = np.mean(losses[:few]), np.mean(losses[-few:])
    falls = None if context.small else bool(last < first)
    yield Row(
        f"{name}: loss of the first {few} and the last {few} of {count} steps",
        f"{first:.3f}, {last:.3f}",
        "falls",
        falls,
    )
    one, other = (saved_parameters(context.folder / folder) for folder in ("whole", "parts"))
    finite = all(np.isfinite(value).all() for value in one.values()) and bool(np.isfinite(losses).all())
    yield Row(f"{name}: losses and parameters", "finite" if finite else "not finite", "finite", finite)
    same = all(np.array_equal(one[key], other[key]) for key in one)
    yield Row(f"{name}: a run that is resumed in its middle", "the same" if same else "differs", "the same", same)


def several_devices(context: Context) -> Iterator[Row]:
    """As many processes as there are GPUs (on the CPU two) train the parameters of one; the same with SyncBN."""
    import paddle

    count = paddle.device.cuda.device_count() if context.is_gpu else 2
    if count < 2:
        yield Row("several GPUs", "not run: there is one GPU")
        return
    keys = [*STEADY, f"TRAIN.batch_size={2 * count}", "TRAIN.max_iter=3", "TRAIN.learning_rate=0.005"]
    train(context, "start", overrides=[*keys, "TRAIN.max_iter=1", "TRAIN.learning_rate=1e-12"])
    start = saved_parameters(context.folder / "start")
    variants = {"frozen BN": ("TRAIN.freeze_bn=True", "TRAIN.freeze_bn=True", 1e-3)}  # several, one, and a bound
    if context.is_gpu:  # there is no SyncBN on CPUs
        variants["SyncBN"] = ("TRAIN.sync_bn=True", "TRAIN.sync_bn=False", 2e-2)
    for name, (of_several, of_one, bound) in variants.items():
        train(context, f"one, {name}", overrides=[*keys, of_one])
        launcher = ["-m", "paddle.distributed.launch", "--log_dir", "log"]
        launcher += ["--gpus", ",".join(map(str, range(count)))] if context.is_gpu else ["--nproc_per_node", str(count)]
        train(context, f"several, {name}", launcher=launcher, overrides=[*keys, of_several])
        one, several = (saved_parameters(context.folder / f"{which}, {name}") for which in ("one", "several"))
        moved = max(np.abs(one[key] - start[key]).max() for key in one)
        share = max(np.abs(several[key] - one[key]).max() for key in one) / moved
        yield within(
            f"{count} processes, {name}: difference to one process, as a share of what training moved", share, bound
        )


def speed(context: Context, *, tf32: bool, level: str) -> Iterator[Row]:
    """Clips a second in training, without a reader and with one, and memory."""
    import paddle

    name = {"off": "TF32" if tf32 else "fp32"}.get(level, f"amp={level} float16")
    keys = [f"TRAIN.amp={level}", "TRAIN.amp_dtype=float16", "TRAIN.batch_size=8"]
    step, batch = step_and_batch(context, context.device, *keys)
    iterations = iter(range(10**6))
    repeats = 2 if context.small else 20
    seconds = median_seconds(
        lambda: step.run(batch, iteration=next(iterations), learning_rate=1e-6), repeats=repeats, warm_up=repeats // 2
    )
    memory = f", {paddle.device.cuda.max_memory_allocated() / 1e9:.1f} GB" if context.is_gpu else ""
    yield Row(f"training, batch 8, {name}, no reader", f"{8 / seconds:.1f} clips/s{memory}")
    count = 4 if context.small else 40
    more = ["TRAIN.num_reader_threads=8", f"TRAIN.max_iter={count}", "TRAIN.save_interval=100"]
    train(context, "speed", f"--log_interval={count // 2}", overrides=[*keys, *more])
    last = [row for row in metrics(context.folder / "speed") if row["kind"] == "train"][-1]
    yield Row(
        f"the same with a reader, {os.cpu_count()} cores",
        f"{last['clips_per_second']:.1f} clips/s, {100 * last['reader_share']:.0f} % waiting for the reader",
    )


def engines(context: Context) -> Iterator[Row]:
    """Milliseconds of a view and the difference to dygraph, in every engine that runs on the device."""
    from seeded_values import clip, fill

    from engine.scoring.agreement import largest_difference as of_logarithms
    from engine.scoring.runtimes import RUNTIMES
    from engine.scoring.scorers import DygraphScorer, open_scorer
    from models.registry import build_model
    from utils.errors import DeviceError

    config = context.load_config()
    network = fill(build_model(config))
    waves = clip("self-test", (1, 3, *config.TEST.view_size))
    view = ((waves - waves.min()) / np.ptp(waves) * 255).astype(np.uint8)
    expected = DygraphScorer(network)(view)
    for name in ("dygraph", *(name for name, runtime in RUNTIMES.items() if context.device[:3] in runtime.devices)):
        try:
            scorer = open_scorer(network, config, config.TEST, name)
        except DeviceError as error:
            yield Row(f"engine {name}", f"not run: {error}")
            continue
        seconds = median_seconds(lambda: scorer(view), repeats=5, warm_up=3)  # noqa: B023 - called here
        difference = of_logarithms(scorer(view), expected)
        yield within(f"engine {name}, {1e3 * seconds:.1f} ms a view: difference of a logarithm", difference, 1e-2)


def train(context: Context, folder: str, *flags: str, launcher: Sequence[str] = (), overrides: Sequence[str]) -> None:
    """Run train.py on the generated videos, with results that do not depend on the order of sums."""
    from conftest import list_overrides

    sampling = [f"{section}.sample_rate=2" for section in ("TRAIN", "VALID")]
    all_overrides = [
        *(SMALL if context.small else ["MODEL.num_classes=4"]), *sampling, *list_overrides(context.videos),
        "TRAIN.batch_size=4", "TRAIN.num_reader_threads=1", "TRAIN.epoch=1000", *overrides,
    ]  # fmt: skip
    command = [*launcher, str(ROOT / "train.py"), "--config", str(ROOT / "configs" / "nonlocal.txt")]
    command += ["--save_dir", folder, "--pretrain=none", "--valid_interval=0", "--log_interval=1", *flags]
    command += [f"--use_gpu={'true' if context.is_gpu else 'false'}"]
    for override in all_overrides:
        command += ["-o", override]
    context.run_program(*command, environment={"FLAGS_cudnn_deterministic": "1", "PYTHONWARNINGS": "ignore"})


def metrics(folder: Path) -> list[dict[str, Any]]:
    """Rows of the run's metrics.jsonl."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def saved_parameters(run: Path) -> dict[str, np.ndarray]:
    """Of the newest save of a run."""
    from loaded_weights import load_weights

    return dict(load_weights(str(run)).parameters.values)
