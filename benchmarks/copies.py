"""What copies by tools/resize_videos.py cost to store and to read: key-frame spacings, B frames, qualities.

Example: python benchmarks/copies.py FILELIST --repeats 5 --crfs 23 --keyints 1 4 32
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np

from benchmarks.measuring import machine, print_table, write_rows
from benchmarks.reader import TEST, TRAIN
from datareader.copying import write_copy
from datareader.dataset import ClipDataset
from datareader.filelist import unlabelled_videos
from datareader.list_reading import read_path_list
from datareader.processes.job import SampleRequest
from datareader.views import ViewPlan

KEYINTS = (1, 2, 4, 8, 16, 32)
CRFS = (18, 23)


def milliseconds(paths: list[Path], plan: ViewPlan, repeats: int) -> float:
    """Median over `repeats` rounds of the mean time of a sample."""
    dataset = ClipDataset(unlabelled_videos([str(path) for path in paths]), plan)
    out = np.empty(plan.shape, np.uint8)
    rounds = []
    for repeat in range(repeats + 1):
        started = time.perf_counter()
        for number in range(len(paths)):
            dataset.load(SampleRequest(repeat, number, number), out=out)
        rounds.append((time.perf_counter() - started) / len(paths) * 1000)
    return statistics.median(rounds[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("filelist")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--crfs", nargs="+", type=int, default=CRFS, metavar="N", help="x264 qualities (18 23)")
    parser.add_argument("--keyints", nargs="+", type=int, default=KEYINTS, metavar="N", help="frames from key to key")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    cv2.setNumThreads(0)
    videos = read_path_list(args.filelist)
    originals = [videos.locate(listed) for listed in videos.paths]
    rows: list[dict[str, Any]] = [measure("originals", originals, args.repeats)]
    with tempfile.TemporaryDirectory() as folder:
        for crf in args.crfs:
            for keyint in args.keyints:
                for b_frames in (0, 3) if keyint > 1 else (0,):
                    options = {
                        "crf": str(crf), "g": str(keyint), "keyint_min": str(keyint), "bf": str(b_frames),
                        "sc_threshold": "0", "threads": "1", "preset": "medium",
                    }  # fmt: skip
                    copies = [Path(folder) / f"{number}.mp4" for number in range(len(originals))]
                    for original, copy in zip(originals, copies, strict=True):
                        write_copy(original, copy, short_side=256, options=options, comment="")
                    name = f"crf {crf}, key every {keyint}, {b_frames} B"
                    rows.append(measure(name, copies, args.repeats))
                    print(name, file=sys.stderr)
    for row in rows:
        row["bytes / originals"] = row["MB"] / rows[0]["MB"]
        row["train: originals / this"] = rows[0]["train ms"] / row["train ms"]
    print(f"{machine()}\n{len(originals)} files\n")
    print_table(rows)
    write_rows(args.json, rows)


def measure(name: str, paths: list[Path], repeats: int) -> dict[str, Any]:
    """One row."""
    return {
        "copies": name,
        "MB": sum(path.stat().st_size for path in paths) / 1e6,
        "train ms": milliseconds(paths, TRAIN, repeats),
        "test ms": milliseconds(paths, TEST, repeats),
    }


if __name__ == "__main__":
    main()
