"""How fast clips come out of video files: this reader beside the alternatives, in one run.

    python benchmarks/reader.py FILELIST [--repeats 5] [--json FILE]

FILELIST: a path a line (a label after it is ignored). One process, one thread each. Three tables: training clips
(8 frames at rate 8, one random clip a video) and tests (10 clips x 3 crops) by every method, every method for the same
clips; where the time goes, stage by stage; and the loader with 0, 1 and 2 processes. Times are sums over the files of
the median over the repeats; the methods take turns within each repeat. The floor is libavcodec decoding the packets
that must be decoded, and nothing else.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a program, from any folder

import cv2
import numpy as np

from benchmarks import reader_methods as methods
from benchmarks.measuring import machine, print_table, write_rows
from datareader.dataset import ClipDataset
from datareader.decoding import opening
from datareader.decoding.av_decoder import AvDecoder
from datareader.decoding.opening import decode_frames
from datareader.epoch_order import shuffled_epoch
from datareader.filelist import FileList
from datareader.list_reading import read_path_list
from datareader.loader import ClipLoader
from datareader.random_view import RandomView
from datareader.views import MultiView, ViewPlan

TRAIN = RandomView(video_length=8, sample_rate=8, crop_size=224, short_sides=(256, 320), mirror=True)
TEST = MultiView(video_length=8, sample_rate=8, crop_size=256, short_side=256, num_clips=10, num_crops=3)
METHODS: dict[str, Callable] = {
    "this reader": methods.this_reader,
    "old way: OpenCV, every frame": methods.then_resized(methods.opencv_whole_file),
    "decord get_batch": methods.then_resized(methods.decord_get_batch),
    "PyAV, seek and decode": methods.then_resized(methods.pyav_seek_and_decode),
    "torchcodec": methods.then_resized(methods.torchcodec_frames),
}
OLD_WAY_TIMES = {"train": 1, "test": 30}  # the old reader decoded a test video anew for each of its 30 views


def available() -> dict[str, Callable]:
    """The methods whose library is installed and loads."""
    found = dict(METHODS)
    for name, module in (
        ("decord get_batch", "decord"),
        ("torchcodec", "torchcodec.decoders"),
    ):
        try:
            __import__(module)
        except (ImportError, RuntimeError, OSError):
            found.pop(name, None)
    return found


def read_clip(method: Callable, path: Path, plan: ViewPlan, key: tuple[int, ...], out: np.ndarray) -> None:
    """Frames by `method`, then this project's transforms, the same for every method."""
    chosen = []

    def choose(num_frames: int) -> np.ndarray:
        chosen.append(plan.frame_indices(num_frames, key))
        return chosen[-1]

    frames = method(path, choose, plan.frame_side(key))
    _, order = np.unique(chosen[-1], return_inverse=True)
    plan.make_views(frames, order.reshape(chosen[-1].shape), key, out)


def compare(paths: list[Path], plan: ViewPlan, what: str, repeats: int) -> list[dict[str, Any]]:
    """One row for every method."""
    out = np.empty(plan.shape, np.uint8)
    named, floor = available(), methods.Floor()
    seconds: dict[str, dict[Path, list[float]]] = {name: {path: [] for path in paths} for name in [*named, "floor"]}
    failed: dict[str, str] = {}
    for repeat in range(repeats + 1):  # the first round warms up the file cache, and does not count
        for number, path in enumerate(paths):
            key = (0, repeat, number)
            for name, method in named.items():
                times = OLD_WAY_TIMES[what] if name.startswith("old way") else 1
                if name in failed or (times > 1 and repeat):
                    continue  # the old way takes minutes: one round must do
                started = time.perf_counter()
                try:
                    for _ in range(times):
                        read_clip(method, path, plan, key, out)
                except Exception as error:  # noqa: BLE001 - whatever another library raises
                    failed[name] = f"{path.name}: {error}".splitlines()[0]
                    continue
                if repeat or times > 1:
                    seconds[name][path].append(time.perf_counter() - started)
            value = floor.seconds(path, lambda n, key=key: plan.frame_indices(n, key))
            if repeat:
                seconds["floor"][path].append(value)
    total = {
        name: sum(statistics.median(values) for values in by_path.values())
        for name, by_path in seconds.items()
        if name not in failed and all(by_path.values())
    }
    ours = total["this reader"]
    rows = [
        {
            "for": what,
            "method": name,
            "ms a video": value / len(paths) * 1000,
            "videos/s": len(paths) / value,
            "time / this reader": value / ours,
            "time / floor": value / total["floor"],
        }
        for name, value in total.items()
    ]
    return rows + [{"for": what, "method": name, "failed": reason} for name, reason in failed.items()]


@contextmanager
def timed(owner: Any, attribute: str, seconds: dict[str, float], stage: str):
    """Add up the time spent in a method while the block runs."""
    original = getattr(owner, attribute)

    def wrapper(*args, **kwargs):
        started = time.perf_counter()
        try:
            return original(*args, **kwargs)
        finally:
            seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - started

    setattr(owner, attribute, wrapper)
    try:
        yield
    finally:
        setattr(owner, attribute, original)


def stages(paths: list[Path], plan: ViewPlan, what: str, repeats: int) -> list[dict[str, Any]]:
    """Where this reader's time goes."""
    seconds: dict[str, float] = {}
    out = np.empty(plan.shape, np.uint8)
    batch = np.empty((1, *plan.shape), np.uint8)
    with (
        timed(AvDecoder, "__init__", seconds, "open"),
        timed(opening, "decode", seconds, "frames"),
        timed(AvDecoder, "to_rgb", seconds, "convert"),
        timed(opening, "resize", seconds, "resize"),
    ):
        for repeat in range(repeats):
            for number, path in enumerate(paths):
                key = (0, repeat, number)
                frames, order = decode_frames(
                    path, lambda n, key=key: plan.frame_indices(n, key), short_side=plan.frame_side(key)
                )
                started = time.perf_counter()
                plan.make_views(frames, order, key, out)
                transformed = time.perf_counter()
                np.copyto(batch[0], out)
                seconds["transform"] = seconds.get("transform", 0.0) + transformed - started
                seconds["batch"] = seconds.get("batch", 0.0) + time.perf_counter() - transformed
    seconds["decode"] = seconds.pop("frames") - seconds["convert"] - seconds["resize"]
    each = {stage: value / len(paths) / repeats * 1000 for stage, value in seconds.items()}
    order = ("open", "decode", "convert", "resize", "transform", "batch")
    return [{"for": what, "stage": stage, "ms a video": each[stage]} for stage in order]


def loader(videos: FileList, plan: ViewPlan, what: str, repeats: int) -> list[dict[str, Any]]:
    """Samples a second through the loader, processes already started."""
    rows = []
    dataset = ClipDataset(videos, plan)
    for num_workers in (0, 1, 2):
        with ClipLoader(dataset, batch_size=1, num_workers=num_workers, timeout_seconds=600) as source:
            for _ in source.batches(shuffled_epoch(len(videos), seed=0, epoch=0)):
                pass
            started = time.perf_counter()
            for epoch in range(repeats):
                for _ in source.batches(shuffled_epoch(len(videos), seed=0, epoch=epoch + 1)):
                    pass
            rate = len(videos) * repeats / (time.perf_counter() - started)
        rows.append({"for": what, "processes": num_workers, "videos/s": rate})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("filelist")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    cv2.setNumThreads(0)
    videos = read_path_list(args.filelist)
    paths = [videos.locate(listed) for listed in videos.paths]
    rows = []
    print(machine())
    for measure, show in ((compare, "methods"), (stages, "stages of this reader"), (loader, "the loader")):
        table = []
        for what, plan in (("train", TRAIN), ("test", TEST)):
            table += measure(videos if measure is loader else paths, plan, what, args.repeats)
        print(f"\n{show}, {len(paths)} files\n")
        print_table(table)
        rows += table
    write_rows(args.json, rows)


if __name__ == "__main__":
    main()
