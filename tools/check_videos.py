"""Check every video of a file list: which can be read, which not and why, and what they are like.

Example: python tools/check_videos.py dataset/nonlocal/trainlist.txt --out checked --full
"""

import argparse
import functools
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a program, from any folder

import numpy as np

from configs.arguments import positive_integer, positive_number
from utils.atomic_file import atomic_write, write_json, write_text
from utils.commandline import ProgramParser, run_program
from utils.errors import FileListError
from utils.json_text import parse_json
from utils.logging import setup_logging
from utils.pictures import new_figure, png_of

if TYPE_CHECKING:
    from datareader.decoding.parts import Segment
    from datareader.filelist import FileList
    from datareader.processes.per_video import Outcome

_WRITTEN = ("bad.txt", "checked.jsonl", "statistics.json", "statistics.png")  # into --out, beside the good lists
_NUMBERS = ("width", "height", "num_frames", "duration_seconds", "frame_rate", "frames_between_keys")


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = ProgramParser(
        prog="check_videos.py",
        description="Check the videos of file lists in parallel. Writes into --out: good.txt (the list without the "
        "bad ones; good_NAME for each of several lists), bad.txt (path, tab, reason), statistics.json and "
        "statistics.png. Says what in the lists may not be meant: files that they share or that have two labels (by "
        "name or by content), missing classes. Run again after an interruption, it continues; files that have changed "
        "are checked again. Exit code 1: some videos are bad.",
        epilog="example: python tools/check_videos.py dataset/nonlocal/trainlist.txt --out checked --full",
    )
    videos = parser.add_argument_group("videos")
    videos.add_argument(
        "filelists", nargs="+", metavar="filelist", help="a path a line, a label after it or not; several are compared"
    )
    check = parser.add_argument_group("check")
    depth = check.add_mutually_exclusive_group()
    depth.add_argument(
        "--quick",
        dest="full",
        action="store_false",
        default=False,
        help="decode five frames: first, last, three between (default)",
    )
    depth.add_argument("--full", action="store_true", help="decode every frame")
    check.add_argument("--out", type=Path, default=Path("checked"), help="folder of the results (%(default)s)")
    check.add_argument("--workers", type=positive_integer, default=os.cpu_count(), help="processes (one per core)")
    check.add_argument("--timeout", type=positive_number, default=120, help="seconds for one video (%(default)s)")
    videos.add_argument("--data_root", default="", help="folder from which relative paths start")
    check.add_argument("--strict", action="store_true", help="exit code 1 if the lists are not as they should be, too")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_args(argv)


def check_video(path: Path, listed: str, *, full: bool) -> dict[str, Any]:
    """Decode five frames or all, and return the video's facts.

    Raises:
        VideoError: it cannot be read, or is damaged.
    """
    from datareader.decoding.opening import decode_frames
    from datareader.decoding.parts import segment_of, whole_of
    from datareader.video_facts import count_damaged, read_facts
    from utils.errors import VideoError

    path = whole_of(path) if segment_of(path) else path  # segments are judged by the facts of their file
    decode_frames(path, lambda n: np.linspace(0, n - 1, 5).round().astype(np.int64)[None], short_side=64)
    if full and (damaged := count_damaged(path)):
        raise VideoError(f"{path}: {damaged} of its packets or pictures are damaged")
    facts = read_facts(path)
    # Old avi files promise a frame or two more than they have; a file that was cut off promises many.
    # Where all packets are there and whole, a decoder leaves out a beginning that refers to what was cut off.
    too_few = facts.num_frames < 0.9 * facts.promised_frames
    if too_few and (facts.num_packets < 0.9 * facts.promised_frames or count_damaged(path)):
        raise VideoError(f"{path}: {facts.num_frames} of the {facts.promised_frames} frames that it promises are there")
    return asdict(facts)


def _is_entry(entry: dict[str, Any]) -> bool:
    """Whether a line of the journal is one that this program writes.

    Raises:
        KeyError, TypeError: it is not.
    """
    known = isinstance(entry["path"], str) and isinstance(entry["full"], bool) and isinstance(entry["reason"], str)
    if not known or entry["reason"]:
        return known and "stamp" in entry
    facts = entry["facts"]
    return all(np.isfinite(facts[key]) for key in _NUMBERS) and isinstance(facts["codec"], str) and "stamp" in entry


class Journal:
    """What was found so far, a line of JSON for each video, appended as it comes."""

    def __init__(self, file: Path, *, full: bool) -> None:
        self._file = file
        self._full = full
        self.entries: dict[str, dict[str, Any]] = {}
        if file.exists():
            text = file.read_text(encoding="utf-8", errors="surrogateescape")
            if text and not text.endswith("\n"):  # what was being written when the program ended
                with open(file, "a", encoding="utf-8") as handle:
                    handle.write("\n")
            for line in text.split("\n"):
                try:
                    entry = parse_json(line)
                    if _is_entry(entry):
                        self.entries[entry.get("file", entry["path"])] = entry
                except (ValueError, TypeError, AttributeError, KeyError):
                    continue

    def knows(self, file: str, stamp: list[int] | None) -> bool:
        """Whether the file was checked at least as thoroughly and is still the same."""
        entry = self.entries.get(file)
        return entry is not None and entry["stamp"] == stamp and entry["full"] >= self._full

    def add(self, file: str, stamp: list[int] | None, outcome: "Outcome") -> None:
        """Note what was found; only a verdict on the file itself is remembered for the next time."""
        entry = {
            "path": outcome.path, "file": file, "stamp": stamp, "full": self._full, "facts": outcome.value,
            "reason": outcome.reason,
        }  # fmt: skip
        self.entries[file] = entry
        if not outcome.is_verdict:
            return
        with open(self._file, "a", encoding="utf-8", errors="surrogateescape") as handle:
            handle.write(json.dumps(entry, ensure_ascii=True) + "\n")


def _of_segment(entry: dict[str, Any], listed: str, segment: "tuple[Path, Segment] | None") -> dict[str, Any]:
    """The entry of a file as one of a line that names it, or a segment of it."""
    if segment is None:
        return entry
    reason = entry["reason"]
    if not reason:
        length = entry["facts"]["duration_seconds"]
        if segment[1].start_seconds < length:
            return entry
        reason = f"{listed}: starts behind the end of the video, which is {length:.2f} s long"
    return {**entry, "path": listed, "file": listed, "reason": reason}


def statistics(facts: Sequence[dict[str, Any]], labels: Iterable[int], num_bad: int) -> dict[str, Any]:
    """Numbers over the good videos."""
    summary: dict[str, Any] = {"good": len(facts), "bad": num_bad}
    for key in _NUMBERS if facts else ():
        values = np.array([fact[key] for fact in facts], float)
        quantiles = np.quantile(values, [0, 0.05, 0.5, 0.95, 1]).round(3).tolist()
        summary[key] = dict(zip(("min", "5 %", "median", "95 %", "max"), quantiles, strict=True))
    summary["codecs"] = dict(Counter(fact["codec"] for fact in facts).most_common())
    summary["sizes"] = dict(Counter(f"{fact['width']}x{fact['height']}" for fact in facts).most_common(20))
    summary["videos_per_label"] = {str(label): count for label, count in sorted(Counter(labels).items())}
    return summary


def draw(facts: Sequence[dict[str, Any]], labels: Sequence[int], path: Path) -> None:
    """Histograms of the numbers, and the videos of each class, as a PNG."""
    titles = {
        "duration_seconds": "duration, s", "num_frames": "frames", "frame_rate": "frames a second",
        "height": "height, pixels", "frames_between_keys": "frames from key to key",
    }  # fmt: skip
    figure = new_figure(12, 6.5)
    axes = figure.subplots(2, 3)
    for axis, (key, title) in zip(axes.flat, titles.items(), strict=False):
        axis.hist([fact[key] for fact in facts], bins=30)
        axis.set(xlabel=title, ylabel="videos")
    counts = sorted(Counter(labels).values(), reverse=True)
    axes.flat[5].bar(range(len(counts)), counts, width=1)
    axes.flat[5].set(xlabel="classes, largest first", ylabel="videos")
    figure.suptitle(f"{len(facts)} readable videos")
    with atomic_write(path) as handle:
        handle.write(png_of(figure))


def _good_line(videos: "FileList", index: int, out: Path) -> str:
    """The line of a video in good.txt, which lies in `out`: a path that started from the list's folder starts there."""
    listed = videos.paths[index]
    if videos.starts_from_its_folder and not os.path.isabs(listed):  # noqa: PTH117 - as above
        return videos.line(index, os.path.relpath(videos.base.resolve() / listed, out.resolve()))
    return videos.line(index)


def main(argv: Sequence[str]) -> int:
    args = parse_arguments(argv)
    setup_logging()

    from datareader.decoding.parts import segment_of, without_part
    from datareader.label_text import NO_LABEL
    from datareader.list_reading import read_any_list
    from datareader.list_remarks import remarks_on_contents, remarks_on_lists
    from datareader.processes.per_video import for_each_video
    from engine.progress import track

    lists = {name: read_any_list(name, data_root=args.data_root) for name in dict.fromkeys(args.filelists)}
    good_names = {name: "good.txt" if len(lists) == 1 else f"good_{Path(name).name}" for name in lists}
    if len(set(good_names.values())) < len(lists):
        raise FileListError("two lists have one name, and so would their good_NAME: rename one")
    written = {(args.out / name).resolve() for name in (*good_names.values(), *_WRITTEN)}
    for name in lists:
        if Path(name).resolve() in written:
            raise FileListError(f"{name}: would be overwritten; name another folder with --out")
    args.out.mkdir(parents=True, exist_ok=True)
    journal = Journal(args.out / "checked.jsonl", full=args.full)
    num_known, num_videos = 0, sum(map(len, lists.values()))
    bad: dict[str, dict[str, Any]] = {}
    facts, labels = [], []
    for name, videos in lists.items():
        segments = [segment_of(videos.locate_or_guess(listed).absolute()) for listed in videos.paths]
        files = [
            str(segment[0] if segment else videos.locate_or_guess(listed).absolute())
            for segment, listed in zip(segments, videos.paths, strict=True)
        ]
        stamps = [videos.stamp(listed) for listed in videos.paths]
        first_of = {file: i for i, file in reversed(list(enumerate(files)))}  # a file is checked once
        left = sorted(i for file, i in first_of.items() if not journal.knows(file, stamps[i]))
        num_known += len(first_of) - len(left)
        work = functools.partial(check_video, full=args.full)
        outcomes = for_each_video(videos, work, left, num_workers=args.workers, timeout_seconds=args.timeout)
        for outcome in track(outcomes, total=len(left), unit="video", log_interval=1000):
            if segments[outcome.index]:
                outcome = replace(outcome, path=without_part(outcome.path))
            journal.add(files[outcome.index], stamps[outcome.index], outcome)
        entries = [
            _of_segment(journal.entries[file], listed, segment)
            for file, listed, segment in zip(files, videos.paths, segments, strict=True)
        ]
        good = [i for i, entry in enumerate(entries) if not entry["reason"]]
        bad |= {entry["file"]: entry for entry in entries if entry["reason"]}
        facts += [entries[i]["facts"] for i in good]
        labels += [label for i in good for label in videos[i].labels or [NO_LABEL] * (not videos.has_label_sets)]
        write_text(args.out / good_names[name], "".join(f"{_good_line(videos, i, args.out)}\n" for i in good))
    write_text(args.out / "bad.txt", "".join(f"{entry['path']}\t{entry['reason']}\n" for entry in bad.values()))
    write_json(args.out / "statistics.json", statistics(facts, labels, len(bad)))
    if facts:
        draw(facts, labels, args.out / "statistics.png")
    known = f" ({num_known} known from before)" if num_known else ""
    print(f"{len(facts)} of {num_videos} videos are good{known}; results in {args.out}")
    for entry in list(bad.values())[:5]:
        print(f"    {entry['reason']}")
    remarks = [*remarks_on_lists(lists), *remarks_on_contents(lists)]
    for line in remarks:
        print(f"{'error' if args.strict else 'note'}: {line}")
    return 1 if bad or (args.strict and remarks) else 0


if __name__ == "__main__":
    sys.exit(run_program(main))
