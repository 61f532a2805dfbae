r"""Write file lists, from class folders or from the official files of Kinetics, UCF101, HMDB51, Something-Something or
Charades.

Examples:
    python tools/make_filelist.py folders my_videos --out lists --val 0.1 --test 0.1
    python tools/make_filelist.py folders my_videos --out lists --folds 5 --group '_(g\d+)_'
    python tools/make_filelist.py ucf101 --videos UCF-101 --splits ucfTrainTestlist --split 1 --out lists
    python tools/make_filelist.py charades --videos Charades_v1_480 --annotations Charades --out lists
    python tools/make_filelist.py csv --train_csv train.csv --train_videos k400/train \\
        --val_csv val.csv --val_videos k400/val --out dataset/nonlocal
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a program, from any folder

from configs.arguments import non_negative_integer, positive_integer
from datareader.charades import charades
from datareader.class_folders import (
    SPLITS,
    Video,
    as_class_name,
    class_remarks,
    in_label_order,
    renumbered,
    require_classes,
    split_folders,
    videos_of_class_folders,
)
from datareader.kinetics_csv import missing_videos, videos_of_csv
from datareader.list_writing import write_lists, write_old_test_list
from datareader.official_splits import OfficialSplit, hmdb51, something_something, ucf101
from datareader.split_tables import groups_of_videos, split_by_table
from datareader.splitting import folds, split_classes, split_groups
from datareader.video_folder import find_videos
from utils.atomic_file import write_json, write_text
from utils.commandline import ProgramParser, run_program
from utils.errors import FileListError, reading_fault
from utils.json_text import parse_json
from utils.logging import setup_logging
from utils.text_file import read_text


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = ProgramParser(
        prog="make_filelist.py",
        description="Write trainlist.txt, vallist.txt, testlist.txt ('path label' a line) and classes.json. Labels are "
        "the positions of the class names in sorted order, blanks in them as underscores.",
        epilog=__doc__.partition("\n\n")[2],
    )
    modes = parser.add_subparsers(dest="mode", required=True)
    folders = modes.add_parser("folders", help="a folder for every class, perhaps below train/, val/ and test/")
    folders.add_argument("root", type=Path, help="ROOT/<class>/*.mp4, or ROOT/train/<class>/*.mp4 and so on")
    folders.add_argument("--val", type=float, default=0.1, help="share of each class for vallist.txt (%(default)s)")
    folders.add_argument("--test", type=float, default=0.0, help="share of each class for testlist.txt (%(default)s)")
    folders.add_argument("--seed", type=non_negative_integer, default=0, help="of the random split (%(default)s)")
    folders.add_argument(
        "--group",
        metavar="REGEX|CSV",
        help="videos of one group (a person, a scene) never stand in two splits: what the first bracket of the regular "
        "expression finds in their paths, or a csv file with the columns path,group",
    )
    folders.add_argument(
        "--folds",
        type=positive_integer,
        metavar="N",
        help="N splits for cross-validation, in OUT/fold1 and so on, instead of --val and --test",
    )
    folders.add_argument(
        "--split_csv",
        type=Path,
        metavar="CSV",
        help="a split that exists: path,split[,label]",
    )
    official = modes.add_parser("csv", help="the csv files of Kinetics-400, 600 or 700")
    for split in SPLITS:
        official.add_argument(f"--{split}_csv", type=Path, help="label,youtube_id,time_start,time_end,split")
        official.add_argument(f"--{split}_videos", type=Path, help="folder of its videos, in class folders or not")
    ucf = modes.add_parser("ucf101", help="the official splits of UCF101; its test split becomes vallist.txt")
    hmdb = modes.add_parser("hmdb51", help="the official splits of HMDB51; its test split becomes vallist.txt")
    for mode in (ucf, hmdb):
        mode.add_argument("--videos", type=Path, required=True, help="folder of the videos, in class folders or not")
        mode.add_argument("--splits", type=Path, required=True, help="folder of the split files")
        mode.add_argument("--split", type=int, default=1, choices=(1, 2, 3), help="which one (%(default)s)")
    something = modes.add_parser("something", help="the JSON files of Something-Something")
    something.add_argument("--videos", type=Path, required=True, help="folder of the videos, or of folders of frames")
    something.add_argument("--labels_json", type=Path, required=True, help="{name of a class: label}")
    something.add_argument("--train_json", type=Path, required=True, help="entries with id and template")
    something.add_argument("--val_json", type=Path, help="the same of the validation split")
    several = modes.add_parser("charades", help="the csv files of Charades: several labels a video")
    several.add_argument("--videos", type=Path, required=True, help="folder of the videos, ID.mp4")
    several.add_argument(
        "--annotations", type=Path, required=True, help="folder of Charades_v1_train.csv, _test.csv and _classes.txt"
    )
    several.add_argument(
        "--clips", action="store_true", help="a line for each action: the seconds in which it is done, and its label"
    )
    for mode in (folders, official, ucf, hmdb, something, several):
        written = mode.add_argument_group("what is written")
        written.add_argument(
            "--out", type=Path, default=Path("dataset/nonlocal"), help="folder of the lists (%(default)s)"
        )
        written.add_argument("--dry_run", action="store_true", help="print classes and splits, and write nothing")
        mode.add_argument("--debug", action="store_true", help="show the traceback of an error")
        if mode is several:
            continue
        written.add_argument("--classes", type=Path, help="classes.json of another list, whose labels shall be kept")
        written.add_argument(
            "--old_test_list", action="store_true", help="30 lines a video: path video_index clip_index crop_index"
        )
    return parser.parse_args(argv)


def read_classes(file: Path) -> list[str]:
    """Class names in label order from a JSON list.

    Raises:
        FileListError: not such a file.
    """
    try:
        found = parse_json(read_text(file))
    except (OSError, ValueError) as error:
        raise FileListError(f"{file}: not a JSON list of class names: {reading_fault(error)}") from error
    if not isinstance(found, list) or not found or not all(isinstance(name, str) and name.strip() for name in found):
        raise FileListError(f"{file}: must be a JSON list of class names, such as classes.json beside a list")
    names = [as_class_name(name) for name in found]
    if again := [name for name, count in Counter(names).items() if count > 1]:
        raise FileListError(f"{file}: names the class {again[0]} twice")
    return names


def splits_of_folders(args: argparse.Namespace, classes: list[str] | None) -> list[dict[str, list[Video]]]:
    """Return the split of `folders`, or the splits of several folds. Prints what may not be meant.

    Raises:
        FileListError: the folders are not as they must be, or the options contradict one another.
    """
    by_name = split_folders(args.root)
    if by_name and (args.group or args.folds or args.split_csv):
        raise FileListError(
            f"{args.root}: holds folders of splits; --group, --folds and --split_csv make another split"
        )
    if args.split_csv and (args.group or args.folds):
        raise FileListError("--split_csv names the split; it goes with neither --group nor --folds")
    splits: dict[str, list[Video]] = {split: [] for split in SPLITS}
    found, remarks = [], []
    if by_name:
        for split, folder in by_name.items():
            splits[split], one = videos_of_class_folders(folder, may_be_empty=split != "train")
            found.append(one)
            if not splits[split]:
                remarks.append(f"{folder}: holds no video, so there is no {split}list.txt")
        several = [splits]
    elif args.split_csv:
        everything = find_videos(args.root)
        splits, remarks = split_by_table(args.split_csv, args.root, everything.paths)
        remarks += everything.remarks()
        several = [splits]
    else:
        videos, one = videos_of_class_folders(args.root)
        found.append(one)
        groups = None
        if args.group:
            groups, remarks = groups_of_videos(args.group, args.root, [video.path for video in videos])
        if args.folds:
            several = folds(videos, groups, count=args.folds, seed=args.seed)
        elif groups is None:
            several = [split_classes(videos, val=args.val, test=args.test, seed=args.seed)]
        else:
            several = [split_groups(videos, groups, val=args.val, test=args.test, seed=args.seed)]
        if not args.folds:
            for split, share in (("val", args.val), ("test", args.test)):
                if share and not several[0][split]:
                    lacking = "every class is too small" if groups is None else "there are too few groups"
                    remarks.append(f"--{split} {share:g} gives no list: {lacking} for it")
    if not classes:
        require_classes(several[0], args.root)
    for line in [*remarks, *class_remarks(several[0], found)]:
        print(f"note: {line}")
    return several


def official_split(args: argparse.Namespace) -> OfficialSplit:
    """Return what the mode `ucf101`, `hmdb51` or `something` names."""
    if args.mode == "something":
        files = {"train": args.train_json, "val": args.val_json}
        return something_something(
            args.labels_json, {split: file for split, file in files.items() if file is not None}, args.videos
        )
    return {"ucf101": ucf101, "hmdb51": hmdb51}[args.mode](args.splits, args.split, args.videos)


def print_classes(splits: dict[str, list[Video]]) -> None:
    """Print a table of the classes: how many videos of each stand in each split."""
    counts = {split: Counter(video.class_name for video in videos) for split, videos in splits.items()}
    shown = [split for split, videos in splits.items() if videos]
    names = sorted(set().union(*counts.values()))
    width = max(len("class"), *(len(name) for name in names))
    print(f"{'class':<{width}}" + "".join(f"{split:>8}" for split in shown))
    for name in names:
        print(f"{name:<{width}}" + "".join(f"{counts[split][name]:>8}" for split in shown))


def write_lists_of_classes(
    splits: dict[str, list[Video]], out: Path, *, classes: list[str] | None, old_test_list: bool
) -> list[str]:
    """Write the lists of the splits that have videos, and classes.json; return the class names."""
    names = classes or in_label_order(video.class_name for videos in splits.values() for video in videos)
    labels = {name: str(label) for label, name in enumerate(names)}
    lists = {split: [(video.path, labels[video.class_name]) for video in videos] for split, videos in splits.items()}
    write_lists(lists, out, names)
    if old_test_list:
        source = "test" if splits["test"] else "val"
        if source == "test":  # the labels of an old test list are found by video index in TEST.filename_gt
            write_text(out / "testlist_labels.txt", (out / "testlist.txt").read_text(encoding="utf-8"))
        write_old_test_list([video.path for video in splits[source]], out)
    return names


def write_charades(args: argparse.Namespace) -> None:
    """Write the lists of the mode `charades`, or with --dry_run print how many lines they would have."""
    found = charades(args.annotations, args.videos, clips=args.clips)
    for line in found.remarks:
        print(f"note: {line}")
    counts = ", ".join(f"{len(videos)} {split}" for split, videos in found.splits.items() if videos)
    what = "segments" if args.clips else "videos"
    if args.dry_run:
        print(f"{what}: {counts}; nothing is written")
        return
    lists = {
        split: [(video.path, ",".join(map(str, video.labels)) or "-") for video in videos]
        for split, videos in found.splits.items()
    }
    write_lists(lists, args.out, found.classes)
    print(f"{len(found.classes)} classes; {what}: {counts}; lists in {args.out}")


def main(argv: Sequence[str]) -> None:
    args = parse_arguments(argv)
    setup_logging()
    if args.mode == "charades":
        write_charades(args)
        return
    classes = read_classes(args.classes) if args.classes else None
    splits: dict[str, list[Video]] = {split: [] for split in SPLITS}
    if args.mode == "csv":
        missing: dict[str, list[Video]] = {split: [] for split in SPLITS}
        for split in SPLITS:
            file, root = getattr(args, f"{split}_csv"), getattr(args, f"{split}_videos")
            if (file is None) != (root is None):
                raise FileListError(f"--{split}_csv and --{split}_videos belong together")
            if file is not None:
                splits[split], missing[split] = videos_of_csv(file, root)
        if not any(splits.values()) and not any(missing.values()):
            raise FileListError("name at least one csv: --train_csv FILE --train_videos FOLDER")
        classes = classes or sorted({v.class_name for found in (splits, missing) for vs in found.values() for v in vs})
        lines, content = missing_videos(missing, splits)
        print("\n".join(lines))
        if not args.dry_run:
            write_json(args.out / "missing.json", content)
    elif args.mode != "folders":
        found = official_split(args)
        splits, classes = found.splits, classes or found.classes
        if found.absent:
            print(f"note: videos that are not there ({len(found.absent)}): {', '.join(found.absent[:3])}")
    else:
        several = splits_of_folders(args, classes)
        classes = classes or in_label_order(video.class_name for videos in several[0].values() for video in videos)
        if not args.classes and (line := renumbered(classes)):
            print(f"note: {line}")
        if args.folds:
            for number, splits in enumerate(several, start=1):
                if args.dry_run:
                    print(f"fold {number}")
                write_or_print(args, splits, args.out / f"fold{number}", classes)
            written = {f"fold{number}" for number in range(1, args.folds + 1)}
            if stale := [str(path) for path in _earlier(args.out) if path.name not in written]:
                print(f"note: not written now, but by an earlier run: {', '.join(stale)}")
            return
        (splits,) = several
    write_or_print(args, splits, args.out, classes)


def _earlier(out: Path) -> list[Path]:
    """The lists and folders of folds that are in `out`."""
    return sorted([*(path for split in SPLITS if (path := out / f"{split}list.txt").exists()), *out.glob("fold[0-9]*")])


def write_or_print(
    args: argparse.Namespace, splits: dict[str, list[Video]], out: Path, classes: list[str] | None
) -> None:
    """Write the lists, or with --dry_run print what would stand in them.

    Raises:
        FileListError: a video's class is not among `classes`.
    """
    unknown = sorted({v.class_name for videos in splits.values() for v in videos} - set(classes)) if classes else ()
    if unknown:
        raise FileListError(f"class {unknown[0]!r} ({len(unknown)} in all) is none of the {len(classes)} of --classes")
    counts = ", ".join(f"{len(videos)} {split}" for split, videos in splits.items() if videos)
    if args.dry_run:
        print_classes(splits)
        print(f"videos: {counts}; nothing is written")
        return
    names = write_lists_of_classes(splits, out, classes=classes, old_test_list=args.old_test_list)
    written = {f"{split}list.txt" for split, videos in splits.items() if videos}
    written |= {"testlist.txt"} if args.old_test_list else set()
    if stale := [str(path) for path in _earlier(out) if path.name not in written]:
        print(f"note: not written now, but by an earlier run: {', '.join(stale)}")
    print(f"{len(names)} classes; videos: {counts}; lists in {out}")


if __name__ == "__main__":
    sys.exit(run_program(main))
