"""What a view costs in each family, with and without non-local blocks: parameters, multiply-adds, ms in every engine.

    python benchmarks/families.py [--networks C2D TSM] [--repeats 5] [--json FILE]

Full-size networks with random weights, a test view at a time. Each engine has a process of its own, one alive at a
time; engines take turns, network by network, and the whole is done `--rounds` times. ms are medians over all of them.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a program, from any folder

import numpy as np

from benchmarks.measuring import in_new_process, machine, median_seconds, print_table, write_rows
from benchmarks.nonlocal_gain import NETWORKS
from configs.arguments import positive_integer
from configs.loading import load_config
from configs.schema import Config
from engine.device import select_device
from engine.network_loading import new_network
from engine.scoring.scorers import open_scorer
from models.registry import NETWORKS as REGISTRY
from models.registry import network_costs
from utils.logging import setup_logging

_CONFIGS = Path(__file__).resolve().parents[1] / "configs"
_ENGINES = ("openvino", "onnxruntime", "paddle", "dygraph")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), metavar="NAME")
    parser.add_argument("--repeats", type=positive_integer, default=5, help="views that count, a process (%(default)s)")
    parser.add_argument("--rounds", type=positive_integer, default=2, help="processes an engine (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--case", nargs=2, metavar=("NETWORK", "ENGINE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    setup_logging()
    if args.case:
        print(json.dumps(measure(*args.case, args.repeats)))
        return
    rows = []
    for name in args.networks:
        config = config_of(name)
        stages = network_costs(config, config.TEST.view_size)
        row = {
            "network": name,
            "view": "x".join(map(str, config.TEST.view_size)),
            "parameters, M": sum(stage.parameters for stage in stages) / 1e6,
            "multiply-adds, G": sum(stage.macs for stage in stages) / 1e9,
        }
        found: dict[str, list[float]] = {engine: [] for engine in _ENGINES}
        for _ in range(args.rounds):
            for engine in _ENGINES:
                result = in_new_process(__file__, ["--case", name, engine, "--repeats", str(args.repeats)])
                if "failed" in result:
                    print(f"{name}, {engine}: {result['failed']}", file=sys.stderr)
                else:
                    found[engine].append(1000 * result["seconds"])
        row |= {f"{engine}, ms": statistics.median(times) if times else "-" for engine, times in found.items()}
        rows.append(row)
        print(f"{name} done", file=sys.stderr)
    print(f"{machine()}\n")
    print_table(rows)
    write_rows(args.json, rows)


def config_of(name: str) -> Config:
    """The config of a network of `benchmarks/nonlocal_gain.py`, at full size."""
    config, nonlocal_blocks = NETWORKS[name]
    keys = [f"NONLOCAL.conv{stage}_nonlocal={nonlocal_blocks}" for stage in (3, 4)]
    return load_config(_CONFIGS / f"{config}.txt", keys, networks=REGISTRY)


def measure(name: str, engine: str, repeats: int) -> dict[str, float]:
    """Median seconds of a view."""
    select_device("false")
    config = config_of(name)
    network = new_network(config)
    network.eval()
    scorer = open_scorer(network, config, config.TEST, engine, "fp32")
    views = np.random.default_rng(0).integers(0, 256, (1, 3, *config.TEST.view_size), dtype=np.uint8)
    return {"seconds": median_seconds(lambda: scorer(views), repeats=repeats)}


if __name__ == "__main__":
    main()
