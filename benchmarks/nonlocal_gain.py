"""What non-local blocks add on few real videos: each family with and without, narrow, from scratch, on folds of a list.

    python benchmarks/nonlocal_gain.py folds.csv --out runs/gain [--networks C2D C2D-NL] [--folds 4] [--jobs 2]

Each fold is left out once; the networks are trained on the others by train.py, with the same seed and order, and
tested on it by test.py (10 clips, centre crop). Accuracies are over all videos, each tested by networks that have not
seen its fold. What was done already is not done again. Differences are over the videos that both networks could score.
"""

import argparse
import csv
import hashlib
import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from configs.arguments import positive_integer  # noqa: E402
from datareader.list_lines import quoted  # noqa: E402
from metrics.intervals import bootstrap_interval, wilson_interval  # noqa: E402
from utils.commandline import run_program  # noqa: E402
from utils.errors import ConfigError, TrainingError  # noqa: E402
from utils.hashing import sha256  # noqa: E402

NETWORKS = {  # name: config, and whether it has non-local blocks
    "C2D": ("c2d_r50_8x8", False),
    "C2D-NL": ("c2d_nl_r50_8x8", True),
    "I3D": ("i3d_r50_8x8", False),
    "I3D-NL": ("i3d_nl_r50_8x8", True),
    "SLOWONLY": ("slowonly_r50_8x8", False),
    "SLOWONLY-NL": ("slowonly_nl_r50_8x8", True),
    "SLOWFAST": ("slowfast_r50_8x8", False),
    "SLOWFAST-NL": ("slowfast_r50_8x8", True),
    "TSM": ("tsm_r50_8", False),
    "TSM-NL": ("tsm_r50_8", True),
}
RECIPE = [
    "MODEL.width_mult=0.25",
    *(f"{section}.crop_size=64" for section in ("TRAIN", "VALID", "TEST", "INFER")),
    *(f"{section}.jitter_scales=[72,88]" for section in ("TRAIN", "VALID")),
    *(f"{section}.jitter_scales=[72,72]" for section in ("TEST", "INFER")),
    "TEST.num_test_clips=10",
    "TEST.use_multi_crop=0",
    "TRAIN.mirror=False",
    "TRAIN.batch_size=8",
    "TRAIN.learning_rate=0.02",
    "TRAIN.schedule=cosine",
    "TRAIN.dropout_rate=0.3",
    "TRAIN.epoch=100000",
    "TRAIN.keep_last=1",
]


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("list", type=Path, help="CSV with the columns path, label and the one of --column")
    parser.add_argument("--column", default="loto_fold", help="column with the fold of a video; negative: not used")
    parser.add_argument("--folds", type=positive_integer, help="join the folds to so many (as many as there are)")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), metavar="NAME")
    parser.add_argument("--data_root", type=Path, help="folder the paths start from (that of the list)")
    parser.add_argument("--out", type=Path, default=Path("runs/gain"), help="folder for the runs (%(default)s)")
    parser.add_argument("--iterations", type=positive_integer, default=600, help="of each training (%(default)s)")
    parser.add_argument("--jobs", type=positive_integer, default=1, help="trainings at a time (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of all trainings (%(default)s)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> None:
    args = parse_arguments(argv)
    rows = read_rows(args.list, args.column, args.folds)
    num_classes = 1 + max(int(row["label"]) for row in rows)
    folds = sorted({row[args.column] for row in rows})
    with ThreadPoolExecutor(args.jobs) as pool:
        runs = {
            name: [pool.submit(run_fold, args, rows, fold, name, num_classes) for fold in folds]
            for name in args.networks
        }
        scored: dict[str, list[dict]] = {}
        try:
            for name, results in runs.items():
                scored[name] = [result.result() for result in results]
                print(report(scored, num_classes), flush=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # those that run end; no other begins
            raise


def read_rows(file: Path, column: str, folds: int | None) -> list[dict[str, Any]]:
    """The rows of the CSV whose fold is not negative; the folds are numbers.

    Raises:
        ConfigError: it is not such a table.
    """
    try:
        with open(file, newline="", encoding="utf-8") as handle:
            rows: list[dict[str, Any]] = [row for row in csv.DictReader(handle) if int(row[column]) >= 0]
        labels = [int(row["label"]) for row in rows if row["path"]]
    except (UnicodeDecodeError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise ConfigError(
            f"{file}: must be a CSV with path, label (from 0) and {column} (a number): {error!r}"
        ) from error
    for row in rows:
        row[column] = int(row[column]) % folds if folds else int(row[column])
    if not rows or min(labels, default=-1) < 0 or len({row[column] for row in rows}) < 2:
        raise ConfigError(f"{file}: must hold videos with labels from 0 in two folds at least")
    return rows


def run_fold(args: argparse.Namespace, rows: list[dict[str, Any]], fold: int, network: str, num_classes: int) -> dict:
    """Train and test one network without one fold; the content of its results.json."""
    config, nonlocal_blocks = NETWORKS[network]
    overrides = [
        *RECIPE,
        *(f"NONLOCAL.conv{stage}_nonlocal={nonlocal_blocks}" for stage in (3, 4)),
        f"MODEL.num_classes={num_classes}",
    ]
    # Another list, column, number of folds, config or recipe is another experiment, in folders of its own.
    told = [sha256(args.list), args.column, str(args.folds), sha256(_config_file(config)), *overrides]
    identity = hashlib.sha256("\0".join(told).encode()).hexdigest()[:8]
    folder = args.out / f"{network}_fold{fold}_seed{args.seed}_{args.iterations}_{identity}"
    results = folder / "test" / "results.json"
    if not results.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        root = (args.data_root or args.list.parent).resolve()
        for part, chosen in (("train", False), ("test", True)):
            members = [row for row in rows if (row[args.column] == fold) is chosen]
            lines = [f"{quoted(str(root / row['path']))} {row['label']}" for row in members]
            (folder / f"{part}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        run(args, folder, "train.py", config, overrides=[
            *overrides, f"TRAIN.filelist={folder}/train.txt", f"TRAIN.max_iter={args.iterations}",
            f"TRAIN.warmup_iters={args.iterations // 20}",
        ], arguments=[
            "--pretrain=none", "--valid_interval=0", f"--save_dir={folder}", "--resume=auto", f"--seed={args.seed}",
        ])  # fmt: skip
        run(args, folder, "test.py", config, overrides=[*overrides, f"TEST.filelist={folder}/test.txt"], arguments=[
            f"--weights={folder}", f"--save_dir={folder}/test",
        ])  # fmt: skip
    return json.loads(results.read_text(encoding="utf-8"))


def run(
    args: argparse.Namespace,
    folder: Path,
    program: str,
    config: str,
    *,
    overrides: Sequence[str],
    arguments: Sequence[str],
) -> None:
    """Run one of the programs with this job's share of the cores; what it prints goes to a file in `folder`."""
    command = [sys.executable, str(ROOT / program), f"--config={_config_file(config)}", "--log_interval=20"]
    for override in overrides:
        command += ["-o", override]
    threads = max(1, len(os.sched_getaffinity(0)) // args.jobs)
    output = folder / f"{Path(program).stem}.output"
    with open(output, "w", encoding="utf-8") as handle:
        done = subprocess.run(
            [*command, *arguments],
            stdout=handle,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            check=False,
        )
    if done.returncode not in (0, 1):  # 1: some videos could not be scored
        raise TrainingError(f"{program} ended with exit code {done.returncode}: see {output}")


def _config_file(name: str) -> Path:
    return ROOT / "configs" / f"{name}.txt"


def report(scored: dict[str, list[dict]], num_classes: int) -> str:
    """The table for docs/runs.md over the networks done so far, and what non-local blocks add to each family."""
    lines = ["| network | top-1 | 95 % interval | single views |", "|---|---|---|---|"]
    correct = {
        name: {video["path"]: video["correct"] for fold in folds for video in fold["videos"]}
        for name, folds in scored.items()
    }
    for name, by_path in correct.items():
        hits = np.array(list(by_path.values()))
        low, high = wilson_interval(int(hits.sum()), len(hits))
        views = [fold["metrics"]["clip_top1"] for fold in scored[name]]
        cells = [
            name,
            f"{100 * hits.mean():.1f} % ({hits.sum()} of {len(hits)})",
            f"{100 * low:.1f} to {100 * high:.1f} %",
            f"{100 * np.average(views, weights=[len(fold['videos']) for fold in scored[name]]):.1f} %",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [f"| chance | {100 / num_classes:.1f} % | | |", ""]
    pairs = [(name, f"{name}-NL") for name in correct if f"{name}-NL" in correct]
    if pairs:
        lines += [
            "| family | difference by non-local blocks | 95 % interval | right only with, only without | p |",
            "|---|---|---|---|---|",
            *(compared(first, *_of_the_same_videos(correct, [(first, second)])) for first, second in pairs),
        ]
    if len(pairs) > 1:
        lines.append(compared("all", *_of_the_same_videos(correct, pairs), clusters=len(pairs)))
    return "\n".join(lines) + "\n"


def _of_the_same_videos(
    correct: dict[str, dict[str, bool]], pairs: Sequence[tuple[str, str]]
) -> tuple[np.ndarray, np.ndarray]:
    """The values of the first and of the second of each pair, of the videos that all of these networks could score."""
    names = [name for pair in pairs for name in pair]
    everywhere = [path for path in correct[names[0]] if all(path in correct[name] for name in names)]
    first, second = ([correct[pair[k]][path] for pair in pairs for path in everywhere] for k in (0, 1))
    return np.array(first), np.array(second)


def compared(name: str, first: np.ndarray, second: np.ndarray, clusters: int = 1) -> str:
    """A row: how much better `second` is. With `clusters` the values are those of the same videos so many times."""
    gains, losses = int((second & ~first).sum()), int((first & ~second).sum())
    difference = (second.astype(float) - first).reshape(clusters, -1).mean(axis=0)  # a value a video
    low, high = bootstrap_interval(difference, resamples=10000)
    p = mcnemar_p(gains, losses) if clusters == 1 else sign_flip_p(difference)
    cells = [
        name,
        f"{100 * difference.mean():+.1f}",
        f"{100 * low:+.1f} to {100 * high:+.1f}",
        f"{gains}, {losses}",
        f"{p:.2f}" if p >= 0.01 else "below 0.01",
    ]
    return f"| {' | '.join(cells)} |"


def sign_flip_p(values: np.ndarray, flips: int = 10000) -> float:
    """Chance of a mean at least as far from 0, were the sign of each value a coin's (permutation test of pairs)."""
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (flips, len(values)))
    found = np.abs((signs * values).mean(axis=1)) >= abs(values.mean()) - 1e-12
    return float((1 + found.sum()) / (1 + flips))


def mcnemar_p(gains: int, losses: int) -> float:
    """Chance of a split at least as uneven of the videos that only one network gets right, were both as good.

    >>> round(mcnemar_p(8, 2), 4), mcnemar_p(3, 3), mcnemar_p(0, 0)
    (0.1094, 1.0, 1.0)
    """
    count = gains + losses
    tail = sum(math.comb(count, k) for k in range(min(gains, losses) + 1)) / 2**count
    return min(1.0, 2 * tail)


if __name__ == "__main__":
    sys.exit(run_program(main))
