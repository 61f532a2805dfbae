"""Whole videos through the test of configs/nonlocal.txt, 10 clips x 3 crops, decoding included: videos a minute.

    python benchmarks/inference.py FILELIST [--weights W] [--videos 8] [--chunk 4] [--json FILE]

In one run, with the same weights and videos: every engine and precision that this machine has, and the same network in
PyTorch where that is installed (`pip install torch`). The engines take turns, a chunk of videos each, so that what
else the machine does falls on all of them. Videos are decoded by a reader process ahead of the network, as in test.py.
'difference' is the largest change of a view's probability to dygraph, 'top-1' the share of views, and of videos, with
the same best class.

Without --weights the network is random, its classifier scaled so that the classes it sees differ: the time is the same
for any weights, the agreement is not.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a program, from any folder

import numpy as np

from benchmarks.measuring import print_table, write_rows
from configs.arguments import positive_integer
from configs.loading import load_config
from configs.schema import Config
from datareader.building import build_loader, build_test_plan, infer_videos
from datareader.dataset import ClipDataset
from datareader.processes.job import SampleRequest
from engine.device import select_device
from engine.network_loading import load_for_scoring, new_network
from engine.scoring.runtimes import RUNTIMES
from engine.scoring.scorers import DygraphScorer, open_scorer
from engine.scoring.video_scores import score_views
from engine.scoring.view_scorer import ExportedScorer, ViewScorer
from engine.scoring.views_at_once import ViewsAtOnce
from models.network import VideoNetwork
from models.registry import NETWORKS
from utils.errors import VideoToolkitError
from utils.logging import setup_logging

_CONFIG = Path(__file__).resolve().parents[1] / "configs" / "nonlocal.txt"


@dataclass
class Case:
    """An engine, the seconds it took for each chunk, and the probabilities of every video's views (V, K)."""

    name: str
    scorer: ViewScorer
    seconds: list[float] = field(default_factory=list)
    probabilities: list[np.ndarray] = field(default_factory=list)

    def run(self, config: Config, indices: Sequence[int]) -> None:
        """Score a chunk of videos."""
        dataset = ClipDataset(infer_videos(config.INFER), build_test_plan(config.INFER))
        with build_loader(dataset, config.INFER, batch_size=1) as loader:
            next(loader.batches([SampleRequest(0, 0, indices[0])]))  # the reader has started
            started = time.perf_counter()
            requests = [SampleRequest(0, index, index) for index in indices]
            for scored in score_views(
                self.scorer, loader.batches(requests), views_at_once=ViewsAtOnce(config.INFER.batch_size)
            ):
                self.probabilities.extend(scored.probabilities)
            self.seconds.append(time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("filelist", help="a path a line")
    parser.add_argument("--weights", help="as for test.py (random)")
    parser.add_argument("--videos", type=positive_integer, help="the first so many (all)")
    parser.add_argument("--chunk", type=positive_integer, default=4, help="videos an engine scores at a time (4)")
    parser.add_argument("-o", "--override", action="append", default=[], metavar="SECTION.key=value")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    setup_logging()
    select_device("false")
    config = load_config(_CONFIG, [f"INFER.filelist={args.filelist}", *args.override], networks=NETWORKS)
    network = new_network(config)
    if args.weights:
        load_for_scoring(network, config, args.weights)
    else:
        randomise(network)
    network.eval()
    cases = [Case(name, scorer) for name, scorer in available_scorers(network, config)]
    count = len(infer_videos(config.INFER))
    indices = list(range(min(args.videos or count, count)))
    for chunk in [indices[start : start + args.chunk] for start in range(0, len(indices), args.chunk)]:
        for case in cases:
            case.run(config, chunk)
        print(f"{chunk[-1] + 1} of {len(indices)} videos", file=sys.stderr)
    rows = [describe(case, cases[0], cases[-1]) for case in cases]
    print_table(rows)
    write_rows(args.json, rows)


def randomise(network: VideoNetwork) -> None:
    """Values under which the branches and non-local blocks count, and the classes differ."""
    random = np.random.default_rng(0)
    for name, value in network.state_dict().items():
        if name.endswith("branch2c_scale") or (name.startswith("nonlocal") and name.endswith("_scale")):  # 0 as made
            value.set_value(random.uniform(0.2, 0.6, value.shape).astype("float32"))
        elif name == "pred_w":
            value.set_value((random.standard_normal(value.shape) * 4 / np.sqrt(value.shape[0])).astype("float32"))


def available_scorers(network: VideoNetwork, config: Config) -> list[tuple[str, ViewScorer]]:
    """Dygraph first, PyTorch last."""
    found: list[tuple[str, ViewScorer]] = [("dygraph fp32", DygraphScorer(network))]
    for engine, runtime in reversed(RUNTIMES.items()):
        for precision in runtime.precisions:
            try:
                scorer = open_scorer(network, config, config.INFER, engine, precision)
                found.append((f"{engine} {precision}", scorer))
            except VideoToolkitError as error:
                print(f"without {engine} {precision}: {error}", file=sys.stderr)
    try:
        found.append(("PyTorch fp32", torch_scorer(network, config)))
    except ImportError:
        print("without PyTorch: not installed", file=sys.stderr)
    return found


def torch_scorer(network: VideoNetwork, config: Config) -> ViewScorer:
    """The same network in PyTorch."""
    import torch

    from benchmarks.torch_network import TorchNetwork

    values = {name: value.numpy() for name, value in network.state_dict().items()}
    theirs = TorchNetwork(values, window=network.head.window).eval()

    def score(views: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            clips = (torch.from_numpy(views).float() - config.MODEL.image_mean) / config.MODEL.image_std
            return torch.softmax(theirs(clips), dim=-1).mean(dim=(1, 2, 3)).numpy()

    return ExportedScorer("torch", "fp32", score)


def describe(case: Case, first: Case, last: Case) -> dict[str, object]:
    """Row of the table."""
    ours, theirs = np.stack(case.probabilities), np.stack(first.probabilities)  # (N, V, K)
    ratios = [b / a for a, b in zip(case.seconds, last.seconds, strict=True)]
    videos = (ours.mean(axis=1).argmax(axis=1) == theirs.mean(axis=1).argmax(axis=1)).mean()
    return {
        "engine": case.name,
        "videos/min": 60 * len(ours) / sum(case.seconds),
        f"x {last.name.split()[0]} (median of chunks)": statistics.median(ratios),
        "difference": f"{np.abs(ours - theirs).max():.1e}",
        "top-1 of views %": f"{100 * (ours.argmax(axis=2) == theirs.argmax(axis=2)).mean():.2f}",
        "top-1 of videos %": f"{100 * videos:.2f}",
    }


if __name__ == "__main__":
    main()
