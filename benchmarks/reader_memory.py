"""Memory of a long run of the reader: training clips through the loader, and what each process holds meanwhile.

    python benchmarks/reader_memory.py FILELIST [--clips 20000] [--workers 2] [--json FILE]

Prints resident memory (MB) of the main process and of the readers together, ten times on the way, and the slope over
the second half of the run in kB for every 1000 clips (the first half fills caches and pools).
"""

import argparse
import itertools
import multiprocessing
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a program, from any folder

import numpy as np

from benchmarks.measuring import machine, print_table, write_rows
from benchmarks.reader import TRAIN
from datareader.dataset import ClipDataset
from datareader.epoch_order import shuffled_epoch
from datareader.filelist import FileList
from datareader.list_reading import read_path_list
from datareader.loader import ClipLoader
from datareader.views import ViewPlan

_SAMPLES = 200


def resident_megabytes(pid: int | str) -> float:
    """Private memory of a process, in MB: resident, less what it shares with others (the ring of clips)."""
    resident, shared = (int(field) for field in Path(f"/proc/{pid}/statm").read_text().split()[1:3])
    return (resident - shared) * 4096 / 1e6


def measure(videos: FileList, plan: ViewPlan, *, num_clips: int, num_workers: int, batch_size: int = 8) -> list[dict]:
    """One row for every 1 / 200 of the run: clips so far, memory of the main process and of the readers."""
    rows = []
    every = max(num_clips // batch_size // _SAMPLES, 1)
    epochs = itertools.chain.from_iterable(
        shuffled_epoch(len(videos), seed=0, epoch=epoch) for epoch in range(num_clips // len(videos) + 1)
    )
    with ClipLoader(
        ClipDataset(videos, plan), batch_size=batch_size, num_workers=num_workers, timeout_seconds=600
    ) as loader:
        batches = loader.batches(itertools.islice(epochs, num_clips))
        for number, _ in enumerate(batches, start=1):
            if number % every == 0:
                readers = [process.pid for process in multiprocessing.active_children()]
                rows.append(
                    {
                        "clips": number * batch_size,
                        "main MB": resident_megabytes("self"),
                        "readers MB": sum(map(resident_megabytes, readers)),
                    }
                )
    return rows


def slope(rows: list[dict], key: str) -> float:
    """kB for every 1000 clips, over the second half of the run (least squares)."""
    half = rows[len(rows) // 2 :]
    return float(np.polyfit([row["clips"] for row in half], [row[key] for row in half], 1)[0] * 1e6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("filelist")
    parser.add_argument("--clips", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    rows = measure(read_path_list(args.filelist), TRAIN, num_clips=args.clips, num_workers=args.workers)
    print(f"{machine()}\n")
    print_table(rows[:: max(len(rows) // 10, 1)])
    result = {f"{key}, kB / 1000 clips": slope(rows, key) for key in ("main MB", "readers MB")}
    print()
    print_table([result])
    write_rows(args.json, [*rows, result])


if __name__ == "__main__":
    main()
