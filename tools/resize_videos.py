"""Make small copies of the videos of a file list: short side 256, H.264, fast to seek in, without sound.

Example: python tools/resize_videos.py trainlist.txt small --keyint 32 --shard 1/4
"""

import argparse
import errno
import functools
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a program, from any folder

from configs.arguments import positive_integer, positive_number
from utils.atomic_file import atomic_path, write_text
from utils.commandline import ProgramParser, run_program
from utils.errors import FileListError, ReaderError, VideoError
from utils.logging import setup_logging

_PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
_OUTPUT_FAILURES = {errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO}


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = ProgramParser(
        prog="resize_videos.py",
        description="Write smaller copies of the videos of a file list to OUT, as mp4 in the same tree of folders, "
        "and OUT/<name of the list> with the same labels. Never enlarges. A copy appears only when it is complete. "
        "Run again, it makes the missing copies, and those of videos that have changed. With --shard the lists end in "
        ".1of4 and so on; join them with cat. Exit code 1: some videos failed (OUT/failed.txt).",
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
        help="frames from one key frame to the next: fewer are faster to seek in (%(default)s)",
    )
    copies.add_argument("--crf", type=int, default=18, help="quality of x264, lower is better (%(default)s)")
    copies.add_argument("--preset", default="medium", choices=_PRESETS, help="speed of x264 against size (%(default)s)")
    files.add_argument(
        "--root",
        type=Path,
        help="copies keep their paths below this folder (what the videos of the list have in common)",
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


def target_size(width: int, height: int, short_side: int) -> tuple[int, int]:
    """Return (width, height) of the copy, both even: the short side is `short_side`, or as it is if it is smaller.

    >>> target_size(1920, 1080, 256), target_size(340, 256, 256), target_size(101, 200, 256)
    ((456, 256), (340, 256), (100, 200))
    """
    scale = min(short_side / min(width, height), 1.0)
    width, height = (max(2, 2 * round(side * scale / 2 - 1e-9)) for side in (width, height))
    return width, height


def target_paths(places: Sequence[str], root: Path, out: Path) -> list[Path]:
    """Return the paths of the copies: the same below `out` as the originals below `root`, as mp4.

    >>> [str(path) for path in target_paths(["/v/a/x.mkv", "/v/b.mp4", "/v/b.avi"], Path("/v"), Path("/o"))]
    ['/o/a/x.mp4', '/o/b.mp4', '/o/b.avi.mp4']
    """
    relative = [Path(os.path.relpath(place, root)) for place in places]
    taken = {path for path in relative if path.suffix == ".mp4"}
    targets: dict[Path, Path] = {}
    for path in relative:
        as_mp4 = path.with_suffix(".mp4")
        if path not in targets:
            clashes = path != as_mp4 and as_mp4 in taken
            targets[path] = path.with_name(path.name + ".mp4") if clashes else as_mp4
            taken.add(targets[path])
    return [out / targets[path] for path in relative]


def resize_video(
    path: Path, listed: str, *, targets: dict[str, Path], short_side: int, options: dict[str, str]
) -> None:
    """Write the copy of one video if it is not there.

    Raises:
        VideoError: the video cannot be read to its end.
    """
    from datareader.decoding.opening import require_regular_file

    target = targets[listed]
    mark = json.dumps({"source": str(path.absolute()), "stamp": _stamp(path), "short_side": short_side, **options})
    known = _mark_of(target)
    if known == mark:
        return
    if known and json.loads(known)["source"] != str(path.absolute()):
        raise VideoError(
            f"{path}: {target} is the copy of another video, {json.loads(known)['source']}; use another OUT, or --root"
        )
    require_regular_file(path)
    try:
        with atomic_path(target) as temporary:
            _transcode(path, temporary, short_side, options, mark)
    except OSError as error:
        raise ReaderError(f"{target}: cannot be written ({error.strerror})") from error


def _stamp(path: Path) -> list[int]:
    try:
        status = path.stat()
    except OSError as error:
        raise VideoError(f"{path}: cannot be opened ({error.strerror})") from error
    return [status.st_size, status.st_mtime_ns]


def _mark_of(target: Path) -> str:
    """What this program wrote into a copy about its making; empty if there is no copy, or not one of its own."""
    import av

    if not target.is_file():
        return ""
    try:
        with av.open(str(target), metadata_errors="replace") as copy:
            mark = copy.metadata.get("comment", "")
        return mark if "source" in json.loads(mark) else ""
    except (av.FFmpegError, ValueError, TypeError):
        return ""


def _transcode(path: Path, temporary: Path, short_side: int, options: dict[str, str], mark: str) -> None:
    import av
    import numpy as np
    from av.video.reformatter import Interpolation, VideoReformatter

    reformatter, stream, written, last_pts = VideoReformatter(), None, 0, -(1 << 40)
    try:
        with (
            av.open(str(path), metadata_errors="replace") as source,
            av.open(str(temporary), "w", format="mp4") as copy,
        ):
            if not source.streams.video:
                raise VideoError(f"{path}: the file has no video stream")
            video = source.streams.video[0]
            copy.metadata["comment"] = mark
            for frame in source.decode(video):
                quarter_turns = round(frame.rotation / 90) % 4
                if quarter_turns:
                    turned = np.rot90(frame.to_ndarray(format="rgb24"), quarter_turns)
                    upright = av.VideoFrame.from_ndarray(np.ascontiguousarray(turned), format="rgb24")
                    upright.pts = frame.pts
                    frame = upright
                if stream is None:
                    stream = copy.add_stream("libx264", rate=video.average_rate or 25, options=options)
                    stream.width, stream.height = target_size(frame.width, frame.height, short_side)
                    stream.pix_fmt = "yuv420p"
                    stream.codec_context.time_base = video.time_base
                small = reformatter.reformat(
                    frame, stream.width, stream.height, "yuv420p", interpolation=Interpolation.AREA
                )
                # Times that are missing or go back (old avi files) become one tick after the last.
                last_pts = max(last_pts + 1, last_pts + 1 if frame.pts is None else frame.pts)
                small.pts, small.time_base, small.pict_type = last_pts, video.time_base, 0
                copy.mux(stream.encode(small))
                written += 1
            if stream is None:
                raise VideoError(f"{path}: no frame can be decoded")
            copy.mux(stream.encode())
    except (av.FFmpegError, ValueError) as error:
        raise VideoError(
            f"{path}: failed after {written} frames ({getattr(error, 'strerror', None) or error})"
        ) from error


def _remove_leftovers(out: Path, *, older_than_seconds: float) -> None:
    """Remove what interrupted runs began. Others may be at work in the same folder, so only what is old."""
    for file in out.rglob(".*.mp4.*.tmp"):
        if file.stat().st_mtime < time.time() - older_than_seconds:
            file.unlink(missing_ok=True)


def main(argv: Sequence[str]) -> int:
    args = parse_arguments(argv)
    setup_logging()

    from datareader.filelist import read_any_list
    from datareader.processes.per_video import for_each_video
    from engine.progress import track

    videos = read_any_list(args.filelist, data_root=args.data_root)
    out = args.out.absolute()
    number, count = args.shard
    mine = list(range(number - 1, len(videos), count))
    places = [os.path.abspath(videos.locate_or_guess(listed)) for listed in videos.paths]  # noqa: PTH100
    common = Path(os.path.commonpath([os.path.dirname(place) for place in places]))  # noqa: PTH120
    root = args.root.absolute() if args.root else common
    if root != common and root not in common.parents:
        raise FileListError(f"--root {args.root}: not all videos of the list lie below it")
    if root == out or out in root.parents:
        raise FileListError(f"{args.out}: the videos lie in it; name another folder for the copies")
    targets = target_paths(places, root, out)
    out.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(out, older_than_seconds=2 * args.timeout)
    options = {
        "crf": str(args.crf), "preset": args.preset, "g": str(args.keyint), "keyint_min": str(args.keyint),
        "sc_threshold": "0", "threads": "1",
    }  # fmt: skip
    by_name = {videos.paths[i]: targets[i] for i in mine}
    work = functools.partial(resize_video, targets=by_name, short_side=args.short_side, options=options)
    outcomes = for_each_video(videos, work, mine, num_workers=args.workers, timeout_seconds=args.timeout)
    failed = {}
    for outcome in track(outcomes, total=len(mine), unit="video", log_interval=100):
        if outcome.reason:
            failed[outcome.index] = outcome.reason
    suffix = "" if count == 1 else f".{number}of{count}"
    lines = [videos.line(i, os.path.relpath(targets[i], out)) for i in mine if i not in failed]
    write_text(out / (Path(args.filelist).name + suffix), "".join(f"{line}\n" for line in lines))
    write_text(out / f"failed.txt{suffix}", "".join(f"{videos.paths[i]}\t{reason}\n" for i, reason in failed.items()))
    print(f"{len(lines)} of {len(mine)} videos in {args.out}; list: {args.out / (Path(args.filelist).name + suffix)}")
    for reason in list(failed.values())[:5]:
        print(f"    {reason}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(run_program(main))
