"""The loader with more readers than this machine has cores: what a training clip costs beside its decoding.

    python benchmarks/loader_scale.py [--readers 1 2 4 8 16] [--milliseconds 20] [--clips 2000] [--json FILE]

Reader processes write a clip of 8 x 224 x 224, then sleep for the rest of a time that is drawn for each clip, from half
to one and a half times the mean, as decoding takes longer for some videos than for others. So the rate at which clips
arrive, beside what so many readers could give, and the CPU time of a clip in the main process and in the readers are
those of pool, ring and batches.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a program, from any folder

import numpy as np

from benchmarks.measuring import machine, print_table, write_rows
from configs.arguments import positive_integer
from datareader.dataset import ClipDataset, Sample
from datareader.epoch_order import shuffled_epoch
from datareader.filelist import unlabelled_videos
from datareader.loader import ClipLoader
from datareader.processes.job import SampleRequest
from datareader.random_view import RandomView
from utils.commandline import run_program

_PLAN = RandomView(video_length=8, sample_rate=8, crop_size=224, short_sides=(256, 320), mirror=True)


class SleepingDataset(ClipDataset):
    """Clips that take a given time; the pixels of each are its number."""

    def __init__(self, num_clips: int, seconds: float) -> None:
        super().__init__(unlabelled_videos([f"{number}.mp4" for number in range(num_clips)]), _PLAN)
        self._seconds = seconds

    def load(self, request: SampleRequest, *, out: np.ndarray | None = None, **_: Any) -> Sample:
        """Sleep, and write a clip."""
        until = time.monotonic() + self._seconds * np.random.default_rng(request.index).uniform(0.5, 1.5)
        clips = np.empty(_PLAN.shape, np.uint8) if out is None else out
        clips[:] = request.index % 256
        time.sleep(max(0.0, until - time.monotonic()))
        return Sample(request.index, self.videos.paths[request.index], clips)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readers", nargs="+", type=positive_integer, default=[1, 2, 4, 8, 16], help="processes")
    parser.add_argument("--milliseconds", type=float, default=20.0, help="of a clip, mean (%(default)g)")
    parser.add_argument("--clips", type=positive_integer, default=2000, help="that count (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_args(arguments)
    rows = [measure(readers, args.milliseconds / 1e3, args.clips) for readers in args.readers]
    print(machine())
    print(f"{args.clips} clips of 8 x 224 x 224 in batches of 8, {args.milliseconds:g} ms of a reader each\n")
    print_table(rows)
    write_rows(args.json, rows)
    return 0


def measure(readers: int, seconds: float, clips: int) -> dict[str, Any]:
    """One row: so many readers, after a first fifth that does not count."""
    first = clips // 5
    dataset = SleepingDataset(first + clips, seconds)
    with (
        mock.patch("os.cpu_count", return_value=readers),  # else the loader starts one reader a core at most
        ClipLoader(dataset, batch_size=8, num_workers=readers, timeout_seconds=600) as loader,
    ):
        taken = 0
        for batch in loader.batches(shuffled_epoch(len(dataset), seed=0, epoch=0)):
            if any(clip.flat[0] != index % 256 for clip, index in zip(batch.clips, batch.indices, strict=True)):
                raise AssertionError("a clip of another number arrived")
            if taken < first <= taken + len(batch.indices):
                started, cpu, readers_cpu, before = time.perf_counter(), time.process_time(), loader.cpu_seconds, taken
                before += len(batch.indices)
            taken += len(batch.indices)
        elapsed, counted = time.perf_counter() - started, taken - before
        cpu, readers_cpu = time.process_time() - cpu, loader.cpu_seconds - readers_cpu
    rate = counted / elapsed
    return {
        "readers": readers,
        "clips/s": f"{rate:.1f}",
        "of what they could give": f"{100 * rate * seconds / readers:.1f} %",
        "main process, CPU ms a clip": f"{1e3 * cpu / counted:.3f}",
        "readers, CPU ms a clip": f"{1e3 * readers_cpu / counted:.3f}",
    }


if __name__ == "__main__":
    from benchmarks.loader_scale import main  # so that reader processes find the class by its name

    sys.exit(run_program(main))
