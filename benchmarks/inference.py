"""Whole videos through a test, 10 clips x 3 crops, decoding included: videos a minute, agreement, accuracy.

    python benchmarks/inference.py FILELIST [--weights W] [--calibrate LIST] [--videos 8] [--chunk 2] [--json FILE]

With the same weights and videos: every engine and precision that this machine has, and the network of
configs/nonlocal.txt in PyTorch where that is installed (`pip install torch`). Each has a process of its own, one alive
at a time; they take turns, a chunk of videos each, so that what else the machine does falls on all of them. The network
is ready and a video has been scored before the clock starts; videos are decoded by a reader process ahead of the
network, as in test.py.

'change' is the largest change of a view's probability to Paddle's dygraph, 'views' and 'videos' the share of them with
the same best class. With labels in the list, 'top-1' is the accuracy over videos. With --full, everything is measured
with whole frames (spatial = full) beside the three crops too.

Without --weights the network is random, its classifier scaled so that the classes it sees differ: the time is the same
for any weights, the agreement is not.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a program, from any folder

import numpy as np

from benchmarks.measuring import in_new_process, machine, print_table, write_rows
from configs.arguments import positive_integer
from configs.loading import load_config
from configs.schema import Config
from datareader.building import build_loader, build_test_plan, infer_videos
from datareader.dataset import ClipDataset
from datareader.list_reading import read_any_list
from datareader.processes.job import SampleRequest
from engine.scoring.runtimes import RUNTIMES
from engine.scoring.video_scores import score_views
from engine.scoring.view_scorer import ExportedScorer, ViewScorer
from engine.scoring.views_at_once import ViewsAtOnce
from models.registry import NETWORKS
from utils.commandline import run_program

_CONFIG = str(Path(__file__).resolve().parents[1] / "configs" / "nonlocal.txt")
_TORCH = "PyTorch"


@dataclass
class Case:
    """What computes, the seconds it took for each chunk, and the probabilities of every video's views (V, K)."""

    engine: str
    precision: str
    spatial: str
    seconds: list[float] = field(default_factory=list)
    probabilities: list[np.ndarray] = field(default_factory=list)
    failed: str = ""

    @property
    def name(self) -> str:
        """Of its row."""
        return f"{self.engine} {self.precision}{', whole frames' if self.spatial == 'full' else ''}"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("filelist", help="a path a line; with labels, the accuracy is measured too")
    parser.add_argument("--config", default=_CONFIG, help="of the network (configs/nonlocal.txt)")
    parser.add_argument("--weights", help="as for test.py (random)")
    parser.add_argument("--calibrate", metavar="LIST", help="videos for int8; best others than those of FILELIST")
    parser.add_argument("--engines", nargs="+", metavar="NAME", help="only these")
    parser.add_argument("--full", action="store_true", help="whole frames beside crops")
    parser.add_argument("--videos", type=positive_integer, help="the first so many (all)")
    parser.add_argument("--chunk", type=positive_integer, default=2, help="videos a process scores (%(default)s)")
    parser.add_argument("-o", "--override", action="append", default=[], metavar="SECTION.key=value")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_args(arguments)
    if args.case:
        print(json.dumps(run_case(json.loads(args.case))))
        return 0
    overrides = [f"INFER.filelist={args.filelist}", *args.override]
    videos = infer_videos(load_config(args.config, overrides, networks=NETWORKS).INFER)
    count = min(args.videos or len(videos), len(videos))
    cases = list_cases(args)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NETWORK_CACHE_HOME"] = folder
        job = {"config": args.config, "overrides": overrides, "calibrate": args.calibrate or args.filelist}
        job |= {"weights": args.weights or f"{folder}/random.pdparams", "out": f"{folder}/found.npy"}
        if not args.weights:
            in_new_process(__file__, ["x", "--case", json.dumps(job | {"engine": "random"})])
        for first in range(0, count, args.chunk):
            for case in [case for case in cases if not case.failed]:
                measure(case, job | {"first": first, "count": min(args.chunk, count - first)})
            print(f"{min(first + args.chunk, count)} of {count} videos", file=sys.stderr)
    listed = read_any_list(args.filelist)
    labels = listed.labels[:count] if listed.is_labelled and not listed.has_label_sets else None
    rows = [describe(case, cases, labels) for case in cases if not case.failed]
    print(machine())
    print(f"{Path(args.config).stem}, {count} videos, {args.chunk} at a time\n")
    print_table(rows)
    write_rows(args.json, rows)
    for case in [case for case in cases if case.failed]:
        print(f"without {case.name}: {case.failed}", file=sys.stderr)
    return 0


def list_cases(args: argparse.Namespace) -> list[Case]:
    """Dygraph first, PyTorch last."""
    known = [("dygraph", "fp32")]
    known += [(engine, precision) for engine, runtime in reversed(RUNTIMES.items()) for precision in runtime.precisions]
    known += [(_TORCH, "fp32")]
    spatials = ("crops", "full") if args.full else ("crops",)
    cases = [Case(engine, precision, spatial) for spatial in spatials for engine, precision in known]
    return [case for case in cases if not args.engines or case.engine in args.engines]


def measure(case: Case, job: dict[str, Any]) -> None:
    """Score a chunk of videos in a process of its own."""
    overrides = [*job["overrides"], f"INFER.spatial={case.spatial}"]
    job = job | {"engine": case.engine, "precision": case.precision, "overrides": overrides}
    found = in_new_process(__file__, ["x", "--case", json.dumps(job)])
    if "failed" in found:
        case.failed = found["failed"]
        return
    case.seconds.append(found["seconds"])
    case.probabilities.extend(np.load(job["out"]))


def run_case(job: dict[str, Any]) -> dict[str, Any]:
    """Score the videos of a job in this process; with the engine 'random', only write weights."""
    config = load_config(job["config"], job["overrides"], networks=NETWORKS)
    if job["engine"] == "random":
        write_random_weights(config, job["weights"])
        return {}
    scorer = open_case(config, job)
    dataset = ClipDataset(infer_videos(config.INFER), build_test_plan(config.INFER))
    views_at_once = ViewsAtOnce(config.INFER.batch_size)
    with build_loader(dataset, config.INFER, batch_size=1) as loader:
        ready = next(iter(loader.batches([SampleRequest(0, job["first"], job["first"])])))
        scorer(ready.clips[0][: max(1, config.INFER.batch_size)])
        requests = [SampleRequest(0, index, index) for index in range(job["first"], job["first"] + job["count"])]
        started = time.perf_counter()
        scored = list(score_views(scorer, loader.batches(requests), views_at_once=views_at_once))
        seconds = time.perf_counter() - started
    np.save(job["out"], np.concatenate([batch.probabilities for batch in scored]))
    return {"seconds": seconds}


def open_case(config: Config, job: dict[str, Any]) -> ViewScorer:
    """Make the network of a job ready; what a chunk before this one has exported is used again."""
    if job["engine"] == _TORCH:
        return torch_scorer(config, job["weights"])
    from engine.scoring.calibration import calibration_of
    from engine.scoring.ready_network import start_scoring

    ready, _ = start_scoring(
        config, config.INFER, job["weights"], use_gpu="false", engine=job["engine"], precision=job["precision"],
        calibration=calibration_of(job["calibrate"], config.INFER, None), use_cache=True,
    )  # fmt: skip
    return ready.scorer


def write_random_weights(config: Config, path: str) -> None:
    """Values under which the branches and non-local blocks count, and the classes differ."""
    import paddle

    from models.registry import build_model

    paddle.seed(0)
    values = {name: value.numpy() for name, value in build_model(config).state_dict().items()}
    random = np.random.default_rng(0)
    for name, value in values.items():
        if name.endswith("branch2c_scale") or (name.startswith("nonlocal") and name.endswith("_scale")):  # 0 as made
            values[name] = random.uniform(0.2, 0.6, value.shape).astype("float32")
        elif name == "pred_w":
            values[name] = (random.standard_normal(value.shape) * 4 / np.sqrt(value.shape[0])).astype("float32")
    paddle.save({name: paddle.to_tensor(value) for name, value in values.items()}, path)


def torch_scorer(config: Config, weights: str) -> ViewScorer:
    """The same network in PyTorch; Paddle, which reads the weights, computes nothing in this process."""
    import torch

    from benchmarks.torch_network import TorchNetwork
    from engine.network_loading import load_for_scoring, new_network

    network = new_network(config)
    load_for_scoring(network, config, weights)
    values = {name: value.numpy() for name, value in network.state_dict().items()}
    theirs = TorchNetwork(values, window=network.head.window).eval()

    def score(views: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with torch.no_grad():
            clips = (torch.from_numpy(views).float() - config.MODEL.image_mean) / config.MODEL.image_std
            return torch.softmax(theirs(clips), dim=-1).mean(dim=(1, 2, 3)).numpy(), np.empty(0)

    return ExportedScorer(_TORCH, "fp32", score)


def describe(case: Case, cases: list[Case], labels: np.ndarray | None) -> dict[str, object]:
    """Row of the table; ratios are to PyTorch where it is there, else to dygraph."""
    first = cases[0]
    other = next((other for other in cases if other.engine == _TORCH and not other.failed), first)
    ours, theirs = np.stack(case.probabilities), np.stack(first.probabilities)  # (N, V, K)
    ratios = [b / a for a, b in zip(case.seconds, other.seconds, strict=True)]
    best, expected = ours.mean(axis=1).argmax(axis=1), theirs.mean(axis=1).argmax(axis=1)
    row: dict[str, object] = {
        "engine": case.name,
        "videos a minute": 60 * len(ours) / sum(case.seconds),
        f"times {other.name}, median of {len(ratios)} turns": f"{statistics.median(ratios):.2f}",
        "lowest to highest": f"{min(ratios):.2f} to {max(ratios):.2f}",
        "change": "-",
        "views %": "-",
        "videos %": f"{100 * (best == expected).mean():.1f}",
    }
    if ours.shape == theirs.shape:
        row["change"] = f"{np.abs(ours - theirs).max():.1e}"
        row["views %"] = f"{100 * (ours.argmax(axis=2) == theirs.argmax(axis=2)).mean():.2f}"
    if labels is not None:
        hits = int((best == labels).sum())
        row["top-1"] = f"{100 * hits / len(best):.1f} % ({hits} of {len(best)})"
    return row


if __name__ == "__main__":
    sys.exit(run_program(main))
