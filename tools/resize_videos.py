"""Make small copies of the videos of a file list: short side 256, H.264, fast to seek in, without sound.

Example: python tools/resize_videos.py trainlist.txt small --keyint 32 --shard 1/4
"""

import argparse
import functools
import os
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a program, from any folder

from configs.arguments import positive_integer, positive_number
from utils.atomic_file import write_text
from utils.commandline import ProgramParser, run_program
from utils.errors import FileListError
from utils.logging import setup_logging

_PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
_NO_B_FRAMES = 8  # key frames that are as near as this leave B frames little to gain


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = ProgramParser(
        prog="resize_videos.py",
        description="Write smaller copies of the videos of a file list to OUT, in the same tree of folders: videos as "
        "mp4, folders of pictures as folders of jpg. And OUT/<name of the list> with the same labels. Never enlarges. "
        "A copy appears only when it is complete. Run again, it makes the missing copies, and those of videos that "
        "have changed. With --shard the lists end in .1of4 and so on; join them with cat. Exit code 1: some videos "
        "failed (OUT/failed.txt).",
        epilog="example, on the first of four machines: python tools/resize_videos.py trainlist.txt small --shard 1/4",
    )
    files = parser.add_argument_group("files")
    files.add_argument("filelist", help="a path a line, a label after it or not")
    files.add_argument("out", type=Path, help="folder of the copies")
    copies = parser.add_argument_group("copies")
    copies.add_argument("--short_side", type=int, default=256, help="pixels (%(default)s)")
    copies.add_argument(
        "--keyint",
        type=int,
        default=32,
        help="frames from one key frame to the next: fewer are faster to seek in, and larger; up to 8 there are no B "
        "frames (%(default)s)",
    )
    copies.add_argument("--crf", type=int, default=18, help="quality of x264, lower is better (%(default)s)")
    copies.add_argument("--preset", default="medium", choices=_PRESETS, help="speed of x264 against size (%(default)s)")
    files.add_argument(
        "--root",
        type=Path,
        help="copies keep their paths below this folder (what the videos of the list have in common)",
    )
    copies.add_argument(
        "--quick_verify",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="read each copy: number of frames, and first, middle and last picture (default: yes)",
    )
    work = parser.add_argument_group("work")
    work.add_argument("--shard", type=shard, default=(1, 1), metavar="i/n", help="this machine's part, 1/n to n/n")
    work.add_argument("--workers", type=positive_integer, default=os.cpu_count(), help="processes (one per core)")
    work.add_argument("--timeout", type=positive_number, default=600, help="seconds for one video (%(default)s)")
    files.add_argument("--data_root", default="", help="folder from which relative paths start")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_args(argv)
    if args.short_side < 2 or args.short_side % 2 or args.keyint < 1 or not 0 <= args.crf <= 51:
        parser.error("--short_side must be even, --keyint at least 1, --crf in [0, 51]")
    return args


def shard(text: str) -> tuple[int, int]:
    """An argparse type: 'i/n' with 1 <= i <= n."""
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise argparse.ArgumentTypeError(f"{text} must be i/n with 1 <= i <= n")
    return int(number), int(count)


def target_paths(places: Sequence[str], root: Path, out: Path) -> list[Path]:
    """Return the paths of the copies: the same below `out` as the originals below `root`, as mp4; folders as folders.

    >>> [str(path) for path in target_paths(["/v/a/x.mkv", "/v/b.mp4", "/v/b.avi"], Path("/v"), Path("/o"))]
    ['/o/a/x.mp4', '/o/b.mp4', '/o/b.avi.mp4']
    """
    relative = [Path(os.path.relpath(place, root)) for place in places]
    folders = {path for path, place in zip(relative, places, strict=True) if os.path.isdir(place)}  # noqa: PTH112
    taken = {path for path in relative if path.suffix == ".mp4"}
    targets: dict[Path, Path] = {path: path for path in folders}
    for path in relative:
        as_mp4 = path.with_suffix(".mp4")
        if path not in targets:
            clashes = path != as_mp4 and as_mp4 in taken
            targets[path] = path.with_name(path.name + ".mp4") if clashes else as_mp4
            taken.add(targets[path])
    return [out / targets[path] for path in relative]


def _fault_of_segment(copy: Path, named: str, place: str) -> str:
    """Why a segment of a copy shows nothing; empty if it does. `named` is the segment of the original at `place`."""
    from datareader.decoding.opening import open_video
    from utils.errors import VideoError

    try:
        video = open_video(copy.with_name(f"{copy.name}{named[len(place) :]}"))
        try:
            return "" if video.num_frames else f"{named}: shows nothing"
        finally:
            video.close()
    except VideoError as error:
        return f"{named}: {error}"


def main(argv: Sequence[str]) -> int:
    args = parse_arguments(argv)
    setup_logging()

    from datareader.decoding.parts import segment_of, whole_of
    from datareader.list_reading import read_any_list
    from datareader.marked_copies import make_copy
    from datareader.processes.per_video import for_each_video
    from engine.progress import track

    videos = read_any_list(args.filelist, data_root=args.data_root)
    out = args.out.absolute()
    number, count = args.shard
    named = [os.path.abspath(videos.locate_or_guess(listed)) for listed in videos.paths]  # noqa: PTH100
    # Of a line that names a part the whole file or folder is copied, and the line goes on naming the part.
    places = [str(whole_of(Path(path))) for path in named]
    file_numbers = {place: file for file, place in enumerate(dict.fromkeys(places))}
    mine = [i for i, place in enumerate(places) if file_numbers[place] % count == number - 1]
    common = Path(os.path.commonpath([os.path.dirname(place) for place in places]))  # noqa: PTH120
    root = args.root.absolute() if args.root else common
    if root != common and root not in common.parents:
        raise FileListError(f"--root {args.root}: not all videos of the list lie below it")
    if Path(args.filelist).resolve() in ((out / Path(args.filelist).name).resolve(), (out / "failed.txt").resolve()):
        raise FileListError(
            f"{args.filelist}: would be overwritten by the list of the copies; name another folder for them"
        )
    if root.resolve() == out.resolve() or out.resolve() in root.resolve().parents:
        raise FileListError(f"{args.out}: the videos lie in it; name another folder for the copies")
    targets = target_paths(places, root, out)
    out.mkdir(parents=True, exist_ok=True)
    options = {
        "crf": str(args.crf), "preset": args.preset, "g": str(args.keyint), "keyint_min": str(args.keyint),
        "sc_threshold": "0", "threads": "1",
    }  # fmt: skip
    if args.keyint <= _NO_B_FRAMES:
        options["bf"] = "0"
    by_name = {videos.paths[i]: targets[i] for i in mine}
    # Up to crf 30, copies differ from their originals by 3 to 4 on noise; a coarser one may differ by more.
    largest_difference = max(6.0, args.crf - 24.0) if args.quick_verify else None
    work = functools.partial(
        make_copy,
        targets=by_name,
        short_side=args.short_side,
        options=options,
        largest_difference=largest_difference,
    )
    # Lines that name one file have one copy, which is made once; parts of folders are looked at one by one.
    keys = {i: named[i] if "|" in named[i] else places[i] for i in mine}
    made_by = {key: i for i, key in reversed(keys.items())}
    left = sorted(made_by.values())
    outcomes = for_each_video(videos, work, left, num_workers=args.workers, timeout_seconds=args.timeout)
    failed, damaged = {}, {}
    for outcome in track(outcomes, total=len(left), unit="video", log_interval=100):
        if outcome.reason:
            failed[outcome.index] = outcome.reason
        elif outcome.value:
            damaged[outcome.path] = outcome.value
    for i in mine:
        if (reason := failed.get(made_by[keys[i]])) is not None:
            failed[i] = reason
        elif segment_of(Path(named[i])) is not None and (fault := _fault_of_segment(targets[i], named[i], places[i])):
            failed[i] = fault
    suffix = "" if count == 1 else f".{number}of{count}"
    lines = [
        videos.line(i, os.path.relpath(targets[i], out) + named[i][len(places[i]) :]) for i in mine if i not in failed
    ]
    write_text(out / (Path(args.filelist).name + suffix), "".join(f"{line}\n" for line in lines))
    write_text(out / f"failed.txt{suffix}", "".join(f"{videos.paths[i]}\t{reason}\n" for i, reason in failed.items()))
    print(f"{len(lines)} of {len(mine)} videos in {args.out}; list: {args.out / (Path(args.filelist).name + suffix)}")
    if damaged:
        names = ", ".join(f"{path} ({count})" for path, count in list(damaged.items())[:5])
        print(f"    damaged packets were passed over in {len(damaged)} of them: {names}")
    for reason in list(failed.values())[:5]:
        print(f"    {reason}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(run_program(main))
