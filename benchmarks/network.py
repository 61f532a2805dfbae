"""Milliseconds of the full network on the CPU: one test clip (8x256x256), one training step (batch 2, 8x224x224).

    python benchmarks/network.py [--cases NAME ...] [--rounds 3] [--repeats 2] [--json FILE]

With the same weights: the network as it is, other formulations of its layers, the same network in PyTorch where that is
installed (`pip install torch`), and the rate of matrix products that Paddle and NumPy reach here. Each case has a
process of its own, one alive at a time; the cases take turns, `--rounds` of them. 'difference' is the largest change of
a logit of the test clip to the network as it is.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a program, from any folder

import numpy as np

from benchmarks.measuring import in_new_process, machine, median_seconds, print_table, write_rows
from configs.arguments import positive_integer
from utils.commandline import run_program

_CONFIG = Path(__file__).resolve().parents[1] / "configs" / "nonlocal.txt"
_PRODUCTS, _TORCH, _FIRST = "matrix products", "PyTorch", "as it is"
_CASES = (
    _FIRST,
    "ReLU that copies",
    "1x1x1 as products",
    "frames folded",
    "BN folded",
    "BN and frames folded",
    _TORCH,
)  # fmt: skip; those of benchmarks/formulations.py, which imports Paddle


@dataclass
class Case:
    """One implementation, and what its processes measured, in ms."""

    name: str
    clip: list[float] = field(default_factory=list)
    step: list[float] = field(default_factory=list)
    difference: float = 0.0
    failed: str = ""


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=_CASES, default=list(_CASES), metavar="NAME", help="(all)")
    parser.add_argument("--rounds", type=positive_integer, default=3, help="processes a case (%(default)s)")
    parser.add_argument("--repeats", type=positive_integer, default=2, help="a process, after one (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_args(arguments)
    if args.case:
        print(json.dumps(run_case(**json.loads(args.case))))
        return 0
    cases = [Case(name) for name in args.cases]
    with tempfile.TemporaryDirectory() as folder:
        for round_ in range(args.rounds):
            for case in [case for case in cases if not case.failed]:
                measure(case, folder, args.repeats)
            print(f"{round_ + 1} of {args.rounds} rounds", file=sys.stderr)
        rates = in_new_process(__file__, ["--case", json.dumps({"name": _PRODUCTS, "folder": folder, "repeats": 5})])
    for case in [case for case in cases if case.failed]:
        print(f"without {case.name}: {case.failed}", file=sys.stderr)
    measured = [case for case in cases if not case.failed]
    rows = [describe(case, measured[-1]) for case in measured]
    print(machine())
    print(f"medians of {args.rounds} processes; " + "; ".join(f"{name}: {rate:.0f}" for name, rate in rates.items()))
    print()
    print_table(rows)
    write_rows(args.json, rows)
    return 0


def measure(case: Case, folder: str, repeats: int) -> None:
    """Run a process of one case."""
    job = {"name": case.name, "folder": folder, "repeats": repeats}
    found = in_new_process(__file__, ["--case", json.dumps(job)])
    if "failed" in found:
        case.failed = found["failed"]
        return
    case.clip.append(1e3 * found["clip"])
    case.difference = found["difference"]
    if found["step"] is not None:
        case.step.append(1e3 * found["step"])


def run_case(name: str, folder: str, repeats: int) -> dict[str, Any]:
    """Measure one case in this process; the values and the logits of the first one are kept in `folder`."""
    if name == _PRODUCTS:
        return matmul_rates(repeats)
    random = np.random.default_rng(0)
    inputs = {
        "clip": random.standard_normal((1, 3, 8, 256, 256), np.float32),
        "batch": random.standard_normal((2, 3, 8, 224, 224), np.float32),
        "labels": np.array([3, 7]),
    }
    values = network_values(Path(folder) / "values.npz")
    score, step = (torch_case if name == _TORCH else paddle_case)(name, values, inputs)
    expected = Path(folder) / "logits.npy"
    logits = score()
    if not expected.exists():
        np.save(expected, logits)
    return {
        "difference": float(np.abs(logits - np.load(expected)).max()),
        "clip": median_seconds(score, repeats=repeats, warm_up=0),
        "step": None if step is None else median_seconds(step, repeats=repeats),
    }


def network_values(path: Path) -> dict[str, np.ndarray]:
    """The weights of every case: from the first process, which makes them."""
    if not path.exists():
        import paddle

        from configs.loading import load_config
        from models.registry import NETWORKS, build_model

        paddle.seed(0)
        network = build_model(load_config(_CONFIG, networks=NETWORKS))
        values = {name: value.numpy() for name, value in network.state_dict().items()}
        random = np.random.default_rng(1)
        for name in values:  # as initialised, the ends of branches and blocks are 0, which hides differences
            if name.endswith("_scale"):
                values[name] = random.uniform(0.2, 0.6, values[name].shape).astype(np.float32)
        np.savez(path, **values)
    with np.load(path) as stored:
        return dict(stored)


def paddle_case(name: str, values: dict[str, np.ndarray], inputs: dict[str, np.ndarray]) -> tuple[Callable, Any]:
    """The network of this project in one formulation: what scores the clip, and what makes a training step."""
    import paddle
    from paddle.nn import functional as F

    from benchmarks.formulations import apply_formulation
    from configs.loading import load_config
    from engine.device import use_all_cores
    from engine.training.optimizer import build_optimizer
    from models.registry import NETWORKS, build_model

    use_all_cores()
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

    return score, step if trains else None


def torch_case(name: str, values: dict[str, np.ndarray], inputs: dict[str, np.ndarray]) -> tuple[Callable, Any]:
    """The same in PyTorch."""
    import torch

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
        float(loss.detach())

    return score, step


def matmul_rates(repeats: int) -> dict[str, float]:
    """Matrix products of 2048 x 2048, GFLOP/s."""
    import paddle

    from engine.device import use_all_cores

    use_all_cores()
    a = np.random.default_rng(0).random((2048, 2048), np.float32)
    on_paddle = paddle.to_tensor(a)
    runs = {"Paddle": lambda: paddle.matmul(on_paddle, on_paddle), "NumPy": lambda: a @ a}
    return {
        f"matrix product in {name}, GFLOP/s": 2 * 2048**3 / median_seconds(run, repeats=repeats) / 1e9
        for name, run in runs.items()
    }


def describe(case: Case, last: Case) -> dict[str, object]:
    """Row of the table; ratios are to the last case (PyTorch where installed), turn by turn."""
    row: dict[str, object] = {"case": case.name}
    for label, found, others in (("test clip", case.clip, last.clip), ("training step", case.step, last.step)):
        if not found:
            continue
        row[f"{label}, ms"] = f"{statistics.median(found):.0f}"
        if others:
            ratios = [ours / theirs for ours, theirs in zip(found, others, strict=True)]
            row[f"{label} / {last.name}"] = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    row["difference"] = f"{case.difference:.1e}"
    return row


if __name__ == "__main__":
    sys.exit(run_program(main))
