"""Every reader of files against damaged ones: one line of ours, or an answer; never a traceback, a hang, much memory.

    python tests/fuzzed_files.py [--readers NAME ...] [--inputs 2000] [--seed 0]

Each input is a good file with a few changes: bits, bytes, pieces cut or repeated, and texts that are known to hurt.
Exit code 1 if a reader failed; its inputs are kept in the folder that the line names.
"""

import argparse
import contextlib
import json
import logging
import pickle
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a program, from any folder

import numpy as np

from utils.errors import VideoToolkitError
from utils.logging import LOGGER_NAME

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 20  # for one input
MEGABYTES = 500  # more than with good files
NASTY = [
    b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\n\n", b"\r", b'"', b"'", b"\\", b"#", b",", b";", b"\t", b"=", b"%(x)s",
    b"${HOME}", b"NaN", b"Infinity", b"-1", b"1e999", b"0x10", b"1_0", b"9" * 400, b"null", b"true", b"[" * 3000,
    b"{" * 3000, b"../../../../etc/passwd", b"/dev/zero", b"\xe2\x80\xae", b"\x1b[31m", b"<script>",
    b"=cmd|' /C calc'!A0",
    b"!!python/object/apply:os.system ['true']", b"&a [*a]", b"x" * 5000, b"\xed\xb3\xbe", "视频".encode(),
    b"__import__('os')",
]  # fmt: skip


@dataclass(frozen=True)
class Reader:
    """What reads a kind of file.

    Attributes:
        seeds: of an empty folder: writes good files, returns the ones that are damaged, one at a time.
        read: of the damaged file; all others are as they were.
    """

    name: str
    seeds: Callable[[Path], list[Path]]
    read: Callable[[Path], Any]


def damaged(content: bytes, random: np.random.Generator) -> bytes:
    """Return `content` with one to eight changes."""
    changed = bytearray(content)
    for _ in range(int(random.integers(1, 9))):
        at, length = int(random.integers(len(changed) + 1)), int(random.integers(1, 60))
        match int(random.integers(8)):
            case 0 if changed:
                changed[min(at, len(changed) - 1)] ^= 1 << int(random.integers(8))
            case 1:
                changed[at : at + 8] = random.bytes(8)
            case 2:
                del changed[at : at + length]
            case 3:
                changed[at:at] = changed[at : at + length] * int(random.integers(1, 30))
            case 4 if random.integers(3) == 0:
                del changed[at:]
            case 5 if random.integers(3) == 0:
                other = int(random.integers(len(changed) + 1))
                changed[at:at] = changed[other : other + 400]
            case _:
                changed[at:at] = NASTY[int(random.integers(len(NASTY)))]
    return bytes(changed)


class TooLong(BaseException):
    """A reader needs too long for an input."""


def fuzz(reader: Reader, *, num_inputs: int, seed: int, folder: Path) -> list[str]:
    """Give a reader damaged files; return what went wrong, a text each."""
    random = np.random.default_rng(seed)
    place = folder / reader.name.replace(" ", "_")
    inside = place / "inside"
    inside.mkdir(parents=True)
    seeds = reader.seeds(inside)
    originals = {path: path.read_bytes() for path in seeds}
    for path in seeds:
        for _ in range(3):
            reader.read(path)
    signal.signal(signal.SIGALRM, _too_long)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    whole = _state(place)
    faults: list[str] = []
    for number in range(num_inputs):
        path = seeds[number % len(seeds)]
        path.write_bytes(damaged(originals[path], random))
        fault = ""
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            reader.read(path)
        except VideoToolkitError as error:
            text = str(error)
            if not text.strip() or len(text) > 20_000:
                fault = f"an error of {len(text)} characters"
        except TooLong:
            fault = f"more than {SECONDS} s: {traceback.format_exc()[-800:]}"
        except BaseException:  # noqa: BLE001 - this is what is looked for
            fault = traceback.format_exc()[-1500:]
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        if grown > MEGABYTES:
            fault, before = fault or f"{grown:.0f} MB", before + int(1024 * grown)
        if (now := _state(place)) != whole:
            fault, whole = fault or f"wrote {sorted(now ^ whole)}", now
        if fault:
            kept = folder / f"fault_{reader.name.replace(' ', '_')}_{len(faults)}"
            shutil.copyfile(path, kept)
            faults.append(f"input {number} of seed {seed} ({path.name}, kept as {kept}): {fault}")
            if len(faults) == 5:
                break
        path.write_bytes(originals[path])
    return faults


def _too_long(*_: object) -> None:
    raise TooLong


def _state(place: Path) -> set[str]:
    """Names around what is read: a reader writes nothing, but what its program is for."""
    return {path.name for folder in (place, place.parent) for path in folder.iterdir() if "fault_" not in path.name}


# What is read, and good files of it.


def _texts(**files: str) -> Callable[[Path], list[Path]]:
    def write(folder: Path) -> list[Path]:
        paths = []
        for name, text in files.items():
            path = folder / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            paths.append(path)
        return paths

    return write


def _with_videos(write: Callable[[Path], list[Path]]) -> Callable[[Path], list[Path]]:
    """Beside these files some that have the names of videos."""

    def also(folder: Path) -> list[Path]:
        for name in ("a", "abcdefghijk_000001_000011", "v_Jump_g01_c01", "x y"):
            for class_ in ("jump", "run"):
                (folder / "videos" / class_).mkdir(parents=True, exist_ok=True)
                (folder / "videos" / class_ / f"{name}.mp4").touch()
        return write(folder)

    return also


def _lists(path: Path) -> None:
    from datareader.list_reading import read_any_list, read_labelled_list, read_path_list, read_test_list

    found = []
    for read in (
        lambda: read_any_list(str(path)),
        lambda: read_path_list(str(path)),
        lambda: read_labelled_list(str(path), num_classes=5),
        lambda: read_labelled_list(str(path), num_classes=5, multi_label=True),
        lambda: read_test_list(str(path), num_classes=5, labels_file=str(path)),
    ):
        with contextlib.suppress(VideoToolkitError):
            videos = read()
            found += [videos[index] for index in range(min(len(videos), 3))]
            found += [videos.locate_or_guess(name) for name in videos.paths[:3]]


def _csv(path: Path) -> None:
    from datareader.kinetics_csv import videos_of_csv
    from datareader.split_tables import groups_of_videos, split_by_table
    from datareader.video_folder import find_videos

    videos = path.parent / "videos"
    paths = find_videos(videos).paths
    for read in (
        lambda: videos_of_csv(path, videos),
        lambda: split_by_table(path, videos, paths),
        lambda: groups_of_videos(str(path), videos, paths),
    ):
        with contextlib.suppress(VideoToolkitError):
            read()


def _official(path: Path) -> None:
    from datareader.charades import charades
    from datareader.official_splits import hmdb51, something_something, ucf101

    folder = path.parent
    videos = folder.parent / "videos"
    files = {"train": folder / "train.json", "val": folder / "val.json"}
    for read in (
        lambda: ucf101(folder, 1, videos),
        lambda: hmdb51(folder, 1, videos),
        lambda: something_something(folder / "labels.json", files, videos),
        lambda: charades(folder, videos, clips=True),
        lambda: charades(folder, videos, clips=False),
    ):
        with contextlib.suppress(VideoToolkitError):
            read()


def _configs(folder: Path) -> list[Path]:
    import yaml

    (folder / "a.txt").write_bytes((ROOT / "configs" / "nonlocal.txt").read_bytes())
    (folder / "b.txt").write_text("[MODEL]\nname = 'TSM'\nnum_classes = 3\n[TRAIN]\nstep_sizes = [1, 2, 3]  # x\n")
    (folder / "c.yaml").write_text(yaml.safe_dump({"MODEL": {"name": "SLOWONLY"}, "TRAIN": {"filelist": "a b.txt"}}))
    return sorted(folder.iterdir())


def _config(path: Path) -> None:
    from configs.loading import dump_config, load_config
    from models.registry import NETWORKS

    config = load_config(path, networks=NETWORKS)
    path.with_name("dumped.txt").write_text(dump_config(config), encoding="utf-8", errors="surrogateescape")
    again = load_config(path.with_name("dumped.txt"), networks=NETWORKS)
    assert again == config
    path.with_name("dumped.txt").unlink()


def _class_names(path: Path) -> None:
    from engine.class_names import names_beside, read_class_names

    for count in (1, 3, 400):
        with contextlib.suppress(VideoToolkitError):
            names = read_class_names(str(path), count)
            assert all(isinstance(name, str) for name in names)
    with contextlib.suppress(VideoToolkitError):
        names_beside(str(path.with_name("list.txt")))


def _saves(folder: Path) -> list[Path]:
    for path in (ROOT / "tests" / "fixtures" / "run_0.1").iterdir():
        shutil.copyfile(path, folder / path.name)
    return [path for path in sorted(folder.iterdir()) if path.suffix != ".txt" and "scores" not in path.name]


def _save(path: Path) -> None:
    from engine.checkpoint import RunPosition
    from engine.save_folder import best_save, described_saves, newest_save
    from engine.weights_argument import read_weights_argument

    described_saves(path.parent)
    newest_save(path.parent)
    with contextlib.suppress(VideoToolkitError):
        best_save(path.parent, RunPosition(best_value=0.5))
    for argument in (path, path.parent, path.with_suffix("")):
        with contextlib.suppress(VideoToolkitError):
            read_weights_argument(str(argument), "NONLOCAL")


def _weights(folder: Path) -> list[Path]:
    from foreign_writers import (
        python2_pickle,
        python2_pickle_protocol_0,
        safetensors_bytes,
        write_fluid_folder,
        write_torch_legacy,
        write_torch_zip,
    )

    names = ("conv1_weights", "bn_conv1_scale", "bn_conv1_offset", "pred_w", "pred_b", "res2a_branch2a_weights")
    arrays = {name: np.full((2, 2, 1, 1, 1), k, np.float32) for k, name in enumerate(names)}
    (folder / "a.pdparams").write_bytes(pickle.dumps(arrays, 2))
    (folder / "b.pkl").write_bytes(python2_pickle({"blobs": arrays}))
    (folder / "c.pkl").write_bytes(python2_pickle_protocol_0(arrays))
    write_torch_zip(folder / "d.pth", {"state_dict": arrays})
    write_torch_legacy(folder / "e.pth", {"state_dict": arrays})
    (folder / "f.safetensors").write_bytes(safetensors_bytes(arrays))
    write_fluid_folder(folder / "variables", arrays)
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def _read_weights(path: Path) -> None:
    from engine.weights_argument import read_weights_argument

    read_weights_argument(str(path if path.parent.name != "variables" else path.parent), "NONLOCAL")


def _pickled(folder: Path) -> list[Path]:
    value = {
        "paths": ["a.mp4", "视频.mp4"], "labels": np.array([0, 1]), "probabilities": np.full((2, 3), 0.5, np.float32)
    }  # fmt: skip
    for protocol in (0, 2, 5):
        (folder / f"p{protocol}.pkl").write_bytes(pickle.dumps(value, protocol))
    return sorted(folder.iterdir())


def _probabilities(path: Path) -> None:
    from tools.merge_results import origin_of_videos, read_probabilities

    with contextlib.suppress(VideoToolkitError):
        origin_of_videos(path)
    read_probabilities(path)


def _score_files(folder: Path) -> list[Path]:
    from engine.scoring.score_file import Origin, ScoreFiles
    from metrics.multi_view import VideoScores

    with contextlib.closing(_opened_scores(folder, ScoreFiles, Origin)) as scores:
        for video in range(3):
            scores.add(VideoScores(video, np.array([2.0, 3.0, 1.0]), 2))
    return sorted(folder.iterdir())


def _opened_scores(folder: Path, files: Any, origin: Any) -> Any:
    from configs.loading import config_from, dump_config
    from datareader.filelist import unlabelled_videos
    from engine.distributed import ALONE
    from models.registry import NETWORKS

    text = dump_config(config_from([], networks=NETWORKS))
    videos = unlabelled_videos([f"{number}.mp4" for number in range(4)])
    return files(
        folder,
        origin(text, "a" * 64, "b" * 64),
        videos=videos,
        num_views=6,
        num_classes=3,
        resume=True,
        processes=ALONE,
    )


def _scores(path: Path) -> None:
    from engine.scoring.score_file import Origin, ScoreFiles

    try:
        opened = _opened_scores(path.parent, ScoreFiles, Origin)
        for scores in opened.done.values():
            assert np.isfinite(scores.combined).all() and scores.combined.shape == (3,)
        opened.close()
    finally:
        for other in path.parent.iterdir():
            if other != path:
                other.rename(path)  # set aside


def _journals(folder: Path) -> list[Path]:
    from engine.distributed import ALONE
    from engine.scoring.prediction_journal import PredictionJournal
    from engine.scoring.predictor import Prediction

    with PredictionJournal(folder / "r", {"list": "x"}, {}, resume=False, processes=ALONE) as journal:
        for number in range(3):
            journal.add(
                Prediction(
                    index=number, path=f"{number}.mp4", probabilities=(0.7, 0.3), classes=(1, 0), names=("b", "a")
                )
            )
    return sorted(folder.iterdir())


def _journal(path: Path) -> None:
    from engine.distributed import ALONE
    from engine.scoring.prediction_files import as_json, as_text
    from engine.scoring.prediction_journal import PredictionJournal

    with PredictionJournal(path.with_name("r"), {"list": "x"}, {}, resume=True, processes=ALONE) as journal:
        for item in journal.earlier.values():
            as_json(item), as_text(item)


def _metrics(path: Path) -> None:
    from engine.training.metrics_log import read_metrics
    from engine.training.run_summary import summarise

    summarise(read_metrics(path))


def _kept(folder: Path) -> list[Path]:
    from utils.kept_files import KeptFiles

    (folder / "file.onnx").write_bytes(b"network" * 20)
    KeptFiles(folder / "kept", most_bytes=10_000_000).keep("key", [folder / "file.onnx"], {"engine": "x"})
    return sorted((folder / "kept" / "key").iterdir())


def _find_kept(path: Path) -> None:
    from utils.kept_files import KeptFiles

    original = {other: other.read_bytes() for other in path.parent.iterdir()}
    found = KeptFiles(path.parents[1], most_bytes=10_000_000).find("key")
    if found is None:  # it was removed
        path.parent.mkdir(exist_ok=True)
        for other, content in original.items():
            other.write_bytes(content)


def _features(folder: Path) -> list[Path]:
    np.save(folder / "a.npy", np.ones((3, 8), np.float32))
    return [folder / "a.npy"]


def _feature(path: Path) -> None:
    from engine.scoring.feature_cache import _loaded

    found = _loaded(path)
    assert found is None or found.dtype == np.float32


def _archives(folder: Path) -> list[Path]:
    import tarfile

    (folder / "member").write_text("content")
    for mode in ("w", "w:gz"):
        with tarfile.open(folder / f"a{mode[2:]}.tar", mode) as archive:
            archive.add(folder / "member", "weights/member")
    (folder / "member").unlink()
    return sorted(folder.iterdir())


def _unpack(path: Path) -> None:
    from utils.archives import unpack

    target = path.parents[1] / "inside" / "target"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    try:
        unpack(path, target)
    finally:
        shutil.rmtree(target)


LIST = (
    "a.mp4 0\n视 频/b c.mp4 1\n'q #1.mp4' 2  # note\nd.mp4#t=1.5,2 3\nFOLDER|1|40|12.5 4\n# all\ne.mp4 1,3\nf.mp4 -\n"
)
OFFICIAL = {
    "o__classInd_dot_txt": "1 jump\n2 run\n",
    "o__trainlist01_dot_txt": "jump/a.avi 1\nrun/x.avi 2\n",
    "o__testlist01_dot_txt": "jump/v_Jump_g01_c01.avi\n",
    "o__jump_test_split1_dot_txt": "a.avi 1\nx.avi 2\n",
    "o__labels_dot_json": json.dumps({"jump high": "0", "run": "1"}),
    "o__train_dot_json": json.dumps([{"id": "a", "template": "jump [high]"}]),
    "o__val_dot_json": json.dumps([{"id": "x y", "template": "run"}]),
    "o__Charades_v1_train_dot_csv": "id,subject,actions\na,S,c000 1.5 7.25;c001 2 3\n",
    "o__Charades_v1_test_dot_csv": "id,subject,actions\nx y,S,\n",
    "o__Charades_v1_classes_dot_txt": "c000 Jumping high\nc001 Running\n",
}
CSV = {
    "k_dot_csv": "label,youtube_id,time_start,time_end,split\njump,abcdefghijk,1,11,train\nrun,a,0,10,val\n",
    "s_dot_csv": "path;split;label\njump/a.mp4;train;jump\nrun/a.mp4;test;\n",
    "g_dot_csv": "path\tgroup\njump/a.mp4\tg1\nrun/a.mp4\tg2\n",
}
METRICS = """
{"kind": "train", "iteration": 1, "epoch": 0, "time": 1.5, "loss": 2.0}
{"kind": "valid", "iteration": 2, "epoch": 0, "time": 2.5, "top1": 0.5, "loss": null}
""".lstrip()
READERS = [
    Reader("lists", _texts(a_dot_txt=LIST, b_dot_csv="path,start,end,label\nm.mp4,12.5,17,3\nm.mp4,,,0\n",
                           c_dot_csv="path,first,last,fps,label\nf,1,40,12.5,3\n",
                           d_dot_txt="0 a.mp4 0 0\n0 a.mp4 1 0\n0 a.mp4 2 0\n"), _lists),
    Reader("csv files", _with_videos(_texts(**CSV)), _csv),
    Reader("official splits", _with_videos(_texts(**OFFICIAL)), _official),
    Reader("configs", _configs, _config),
    Reader("class names", _texts(a_dot_txt="jump\nrun\nsit\n", b_dot_txt="0 jump\n1 run\n2 sit\n",
                                 c_dot_csv="id,name\n0,jump\n1,run\n2,sit\n", classes_dot_json='["jump", "run", "sit"]',
                                 d_dot_json='{"jump": 0, "run": 1, "sit": 2}'), _class_names),
    Reader("saves", _saves, _save),
    Reader("weights", _weights, _read_weights),
    Reader("probabilities", _pickled, _probabilities),
    Reader("scores", _score_files, _scores),
    Reader("journals", _journals, _journal),
    Reader("metrics", _texts(metrics_dot_jsonl=METRICS), _metrics),
    Reader("kept networks", _kept, _find_kept),
    Reader("features", _features, _feature),
    Reader("archives", _archives, _unpack),
]  # fmt: skip


def main(arguments: list[str]) -> int:
    names = [reader.name for reader in READERS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readers", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--inputs", type=int, default=2000, help="for each reader (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    args = parser.parse_args(arguments)
    failed = 0
    logging.getLogger(LOGGER_NAME).setLevel(logging.CRITICAL)
    folder = Path(tempfile.mkdtemp(prefix="fuzzed_"))
    for reader in (reader for reader in READERS if reader.name in args.readers):
        faults = fuzz(reader, num_inputs=args.inputs, seed=args.seed, folder=folder)
        failed += len(faults)
        print(f"{reader.name}: {args.inputs} inputs, {len(faults)} faults", *faults, sep="\n    ", flush=True)
    if not failed:
        shutil.rmtree(folder)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
