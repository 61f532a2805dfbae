"""Milliseconds of the full network on the CPU: one test clip (8x256x256), one training step (batch 2, 8x224x224).

    python benchmarks/network.py [--repeats 5] [--json FILE]

In one run, with the same weights: the network as it is, other formulations of its layers, the same network in PyTorch
where that is installed (`pip install torch`), and the rate of matrix products that Paddle and NumPy reach here.
The cases take turns, so that what else the machine does falls on all of them. 'difference' is the largest change of a
logit of the test clip.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a program, from any folder

import numpy as np
import paddle
from paddle.nn import functional as F

from benchmarks.formulations import FORMULATIONS, apply_formulation
from benchmarks.measuring import median_seconds, print_table, write_rows
from configs.loading import load_config
from engine.device import use_all_cores
from engine.training.optimizer import build_optimizer
from models.registry import NETWORKS, build_model

_CONFIG = Path(__file__).resolve().parents[1] / "configs" / "nonlocal.txt"


class Case:
    """One implementation: how it scores the test clip, and how it makes a training step."""

    def __init__(self, name: str, score: Callable[[], np.ndarray], step: Callable[[], None] | None) -> None:
        self.name = name
        self.score = score
        self.step = step
        self.score_seconds: list[float] = []
        self.step_seconds: list[float] = []

    def measure(self) -> None:
        """Time each once more."""
        for run, seconds in ((self.score, self.score_seconds), (self.step, self.step_seconds)):
            if run is not None:
                started = time.perf_counter()
                run()
                seconds.append(time.perf_counter() - started)


def paddle_case(name: str, values: dict[str, np.ndarray], inputs: dict[str, np.ndarray]) -> Case:
    """The network of this project in one formulation."""
    config = load_config(_CONFIG, ["TRAIN.dropout_rate=0"], networks=NETWORKS)
    network = build_model(config)
    network.set_state_dict(values)
    trains = apply_formulation(network, name)
    optimizer = build_optimizer(network, config.TRAIN)
    clip, batch, labels = (paddle.to_tensor(inputs[key]) for key in ("clip", "batch", "labels"))

    def score() -> np.ndarray:
        network.eval()
        with paddle.no_grad():
            return network.logits(clip).numpy()

    def step() -> None:
        network.train()
        loss = F.cross_entropy(network(batch), labels)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        float(loss)

    return Case(name, score, step if trains else None)


def torch_case(values: dict[str, np.ndarray], inputs: dict[str, np.ndarray]) -> Case | None:
    """The same in PyTorch, or None where it is not installed."""
    try:
        import torch
    except ImportError:
        return None
    from benchmarks.torch_network import TorchNetwork

    network = TorchNetwork(values, window=(4, 7, 7))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-4)
    clip, batch, labels = (torch.from_numpy(inputs[key]) for key in ("clip", "batch", "labels"))

    def score() -> np.ndarray:
        network.eval()
        with torch.no_grad():
            return network(clip).numpy()

    def step() -> None:
        network.train()
        loss = torch.nn.functional.cross_entropy(network(batch).mean(dim=(1, 2, 3)), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        float(loss)

    return Case(f"PyTorch {torch.__version__}", score, step)


def matmul_rates() -> list[dict[str, object]]:
    """Matrix products of 2048 x 2048, GFLOP/s."""
    a = np.random.default_rng(0).random((2048, 2048), np.float32)
    on_paddle = paddle.to_tensor(a)
    runs = {"Paddle": lambda: paddle.matmul(on_paddle, on_paddle), "NumPy": lambda: a @ a}
    return [
        {"matrix product": name, "GFLOP/s": 2 * 2048**3 / median_seconds(run, repeats=5) / 1e9}
        for name, run in runs.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    use_all_cores()
    random = np.random.default_rng(0)
    inputs = {
        "clip": random.standard_normal((1, 3, 8, 256, 256), np.float32),
        "batch": random.standard_normal((2, 3, 8, 224, 224), np.float32),
        "labels": np.array([3, 7]),
    }
    paddle.seed(0)
    values = {
        name: value.numpy() for name, value in build_model(load_config(_CONFIG, networks=NETWORKS)).state_dict().items()
    }
    for name in values:  # as initialised, the ends of branches and blocks are 0, which hides differences
        if name.endswith("_scale"):
            values[name] = random.uniform(0.2, 0.6, values[name].shape).astype(np.float32)
    cases = [paddle_case(name, values, inputs) for name in FORMULATIONS]
    if (torch := torch_case(values, inputs)) is not None:
        cases.append(torch)
    reference = cases[0].score()
    differences = {case.name: float(np.abs(case.score() - reference).max()) for case in cases}
    for case in cases:
        case.measure()  # warm-up
        case.score_seconds.clear()
        case.step_seconds.clear()
    for _ in range(args.repeats):
        for case in cases:
            case.measure()
    rows = [describe(case, cases[-1], differences[case.name]) for case in cases]
    rates = matmul_rates()
    print_table(rows)
    print()
    print_table(rates)
    write_rows(args.json, [*rows, *rates])


def describe(case: Case, last: Case, difference: float) -> dict[str, object]:
    """Row of the table; ratios are to the last case (PyTorch where installed)."""
    row: dict[str, object] = {"case": case.name}
    for label, seconds, others in (
        ("test clip", case.score_seconds, last.score_seconds),
        ("training step", case.step_seconds, last.step_seconds),
    ):
        row[f"{label} ms"] = statistics.median(seconds) * 1e3 if seconds else "-"
        row[f"{label} / {last.name.split()[0]}"] = (
            statistics.median(seconds) / statistics.median(others) if seconds and others else "-"
        )
    row["difference"] = f"{difference:.1e}"
    return row


if __name__ == "__main__":
    main()
