"""What non-local blocks add on few real videos: C2D and C2D-NL, narrow, from scratch, on the folds of a list.

    python benchmarks/nonlocal_gain.py folds.csv --out runs/gain

Each fold is left out once; both networks are trained on the others by train.py, with the same seed, order and clips,
and tested on it by test.py (10 clips x 3 crops). Accuracies are over all videos, each tested by networks that have not
seen its fold. What was done already is not done again.
"""

import argparse
import csv
import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from configs.arguments import positive_integer  # noqa: E402
from metrics.intervals import wilson_interval  # noqa: E402
from utils.commandline import run_program  # noqa: E402
from utils.errors import ConfigError, TrainingError  # noqa: E402

NETWORKS = {"C2D": ["NONLOCAL.conv3_nonlocal=False", "NONLOCAL.conv4_nonlocal=False"], "C2D-NL": []}
RECIPE = [
    "MODEL.width_mult=0.25",
    *(f"{section}.crop_size=64" for section in ("TRAIN", "VALID", "TEST", "INFER")),
    *(f"{section}.jitter_scales=[72,88]" for section in ("TRAIN", "VALID")),
    *(f"{section}.jitter_scales=[72,72]" for section in ("TEST", "INFER")),
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
    parser.add_argument("--data_root", type=Path, help="folder the paths start from (that of the list)")
    parser.add_argument("--out", type=Path, default=Path("runs/gain"), help="folder for the runs (%(default)s)")
    parser.add_argument("--iterations", type=positive_integer, default=600, help="of each training (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of all trainings (%(default)s)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> None:
    args = parse_arguments(argv)
    rows = read_rows(args.list, args.column)
    num_classes = 1 + max(int(row["label"]) for row in rows)
    correct: dict[str, list[bool]] = {name: [] for name in NETWORKS}
    clip_accuracies: dict[str, list[float]] = {name: [] for name in NETWORKS}
    for fold in sorted({int(row[args.column]) for row in rows}):
        for name in NETWORKS:
            results = run_fold(args, rows, fold, name, num_classes)
            correct[name] += [video["correct"] for video in results["videos"]]
            clip_accuracies[name] += [results["metrics"]["clip_top1"]] * len(results["videos"])
        print(report(correct, clip_accuracies, num_classes), flush=True)


def read_rows(file: Path, column: str) -> list[dict[str, str]]:
    """The rows of the CSV whose fold is not negative.

    Raises:
        ConfigError: it is not such a table.
    """
    try:
        with open(file, newline="", encoding="utf-8") as handle:
            rows = [row for row in csv.DictReader(handle) if int(row[column]) >= 0]
        labels = [int(row["label"]) for row in rows if row["path"]]
    except (UnicodeDecodeError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise ConfigError(
            f"{file}: must be a CSV with path, label (from 0) and {column} (a number): {error!r}"
        ) from error
    if not rows or min(labels, default=-1) < 0 or len({row[column] for row in rows}) < 2:
        raise ConfigError(f"{file}: must hold videos with labels from 0 in two folds at least")
    return rows


def run_fold(args: argparse.Namespace, rows: list[dict[str, str]], fold: int, network: str, num_classes: int) -> dict:
    """Train and test one network without one fold; the content of its results.json."""
    folder = args.out / f"{network}_fold{fold}_seed{args.seed}_{args.iterations}"
    results = folder / "test" / "results.json"
    if not results.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        root = (args.data_root or args.list.parent).resolve()
        for part, chosen in (("train", False), ("test", True)):
            lines = [
                f"{root / row['path']} {row['label']}" for row in rows if (int(row[args.column]) == fold) is chosen
            ]
            (folder / f"{part}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        overrides = [*RECIPE, *NETWORKS[network], f"MODEL.num_classes={num_classes}"]
        train = [
            "--pretrain=none",
            "--valid_interval=0",
            f"--save_dir={folder}",
            "--resume=auto",
            f"--seed={args.seed}",
        ]
        run("train.py", *train, overrides=[
            *overrides, f"TRAIN.filelist={folder}/train.txt", f"TRAIN.max_iter={args.iterations}",
            f"TRAIN.warmup_iters={args.iterations // 20}",
        ])  # fmt: skip
        run("test.py", f"--weights={folder}", f"--save_dir={folder}/test", overrides=[
            *overrides, f"TEST.filelist={folder}/test.txt"
        ])  # fmt: skip
    return json.loads(results.read_text(encoding="utf-8"))


def run(program: str, *arguments: str, overrides: Sequence[str]) -> None:
    command = [
        sys.executable,
        str(ROOT / program),
        f"--config={ROOT / 'configs' / 'nonlocal.txt'}",
        "--log_interval=100",
    ]
    for override in overrides:
        command += ["-o", override]
    code = subprocess.run([*command, *arguments], check=False).returncode
    if code not in (0, 1):  # 1: some videos could not be scored
        raise TrainingError(f"{program} {' '.join(arguments)} ended with exit code {code}")


def report(correct: dict[str, list[bool]], clip_accuracies: dict[str, list[float]], num_classes: int) -> str:
    """The table for docs/runs.md, over what was done so far."""
    lines = ["| network | top-1, 30 views | 95 % interval | single views |", "|---|---|---|---|"]
    for name, hits in correct.items():
        low, high = wilson_interval(sum(hits), len(hits))
        cells = [
            name,
            f"{100 * np.mean(hits):.1f} % ({sum(hits)} of {len(hits)})",
            f"{100 * low:.1f} to {100 * high:.1f} %",
            f"{100 * np.mean(clip_accuracies[name]):.1f} %",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines.append(f"| chance | {100 / num_classes:.1f} % | | |")
    first, second = (np.array(hits) for hits in correct.values())
    gains, losses = int((second & ~first).sum()), int((first & ~second).sum())
    low, high = bootstrap_interval(second.astype(float) - first)
    lines += [
        "",
        f"Difference {100 * (second.mean() - first.mean()):+.1f} points, 95 % interval {100 * low:+.1f} to "
        f"{100 * high:+.1f} (bootstrap over videos); {gains} videos right only with, {losses} only without, "
        f"p = {mcnemar_p(gains, losses):.2f} (McNemar, exact).",
    ]
    return "\n".join(lines)


def mcnemar_p(gains: int, losses: int) -> float:
    """Chance of a split at least as uneven of the videos that only one network gets right, were both as good.

    >>> round(mcnemar_p(8, 2), 4), mcnemar_p(3, 3), mcnemar_p(0, 0)
    (0.1094, 1.0, 1.0)
    """
    count = gains + losses
    tail = sum(math.comb(count, k) for k in range(min(gains, losses) + 1)) / 2**count
    return min(1.0, 2 * tail)


def bootstrap_interval(values: np.ndarray, resamples: int = 10000) -> tuple[float, float]:
    """95 % percentile interval of the mean of `values`."""
    random = np.random.default_rng(0)
    means = values[random.integers(0, len(values), (resamples, len(values)))].mean(axis=1)
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


if __name__ == "__main__":
    sys.exit(run_program(main))
