"""Lists from folders and from the csv files of Kinetics, by the program as a user runs it."""

import json
import subprocess
import sys

import pytest
from conftest import ROOT


def make(*arguments, program="tools/make_filelist.py", cwd=None, environment=None):
    command = [sys.executable, str(ROOT / program), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment)


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    return root


def lines(file):
    return file.read_text().splitlines()


@pytest.fixture
def folders(tmp_path):
    names = [f"{c}/{i}.mp4" for c in ("tai chi", "archery") for i in range(10)]
    return touch(tmp_path / "videos", *names, "archery/deeper/a b.AVI", "archery/notes.txt")


def test_class_folders(folders, tmp_path):
    done = make("folders", folders, "--out", tmp_path, "--val", 0.2, "--test", 0.1)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "classes.json").read_text()) == ["archery", "tai_chi"]
    splits = {split: lines(tmp_path / f"{split}list.txt") for split in ("train", "val", "test")}
    # 11 videos of archery and 10 of tai chi: 2 of each, and 1 of each.
    assert {split: len(found) for split, found in splits.items()} == {"train": 15, "val": 4, "test": 2}
    assert "2 classes; videos: 15 train, 4 val, 2 test; lists in" in done.stdout
    every = [line for found in splits.values() for line in found]
    assert len(set(every)) == 21
    for line in every:
        path, _, label = line.rpartition(" ")
        assert (tmp_path / path).is_file(), "relative to the list"
        assert label == ("0" if "archery" in path else "1")
    assert sum(line.startswith("videos/archery/") and line.endswith(" 0") for line in splits["val"]) == 2
    before = splits["val"]
    make("folders", folders, "--out", tmp_path, "--val", 0.2, "--test", 0.1)
    assert lines(tmp_path / "vallist.txt") == before, "the same split again"
    make("folders", folders, "--out", tmp_path, "--val", 0.2, "--test", 0.1, "--seed", 1)
    assert lines(tmp_path / "vallist.txt") != before


def test_split_folders_and_kept_labels(tmp_path):
    root = touch(tmp_path / "v", "train/b/1.mp4", "train/c/2.mp4", "val/b/3.mkv")
    (tmp_path / "old.json").write_text('["a", "b", "c"]')
    done = make("folders", root, "--out", tmp_path / "lists", "--classes", tmp_path / "old.json")
    assert done.returncode == 0, done.stderr
    assert lines(tmp_path / "lists" / "trainlist.txt") == [f"{root}/train/b/1.mp4 1", f"{root}/train/c/2.mp4 2"]
    assert lines(tmp_path / "lists" / "vallist.txt") == [f"{root}/val/b/3.mkv 1"]
    (tmp_path / "old.json").write_text('["a", "b"]')
    done = make("folders", root, "--out", tmp_path / "lists", "--classes", tmp_path / "old.json")
    assert done.returncode == 2
    assert "class 'c' (1 in all) is not among the 2 of --classes" in done.stderr


def test_old_test_lists_are_read_again(folders, tmp_path):
    from datareader.filelist import read_test_list

    done = make("folders", folders, "--out", tmp_path, "--test", 0.3, "--old_test_list")
    assert done.returncode == 0, done.stderr
    assert len(lines(tmp_path / "testlist.txt")) == 30 * 6
    videos = read_test_list(
        str(tmp_path / "testlist.txt"), num_classes=2, labels_file=str(tmp_path / "testlist_labels.txt")
    )
    assert [f"{path} {label}" for path, label in zip(videos.paths, videos.labels, strict=True)] == lines(
        tmp_path / "testlist_labels.txt"
    )


CSV = """label,youtube_id,time_start,time_end,split
tai chi,AAAAAAAAAAA,10,20,train
tai chi,-_BBBBBBBBB,0,10,train
"riding, a bike",CCCCCCCCCCC,5,15,train
archery,DDDDDDDDDDD,5,15,train
archery,EEEEEEEEEEE,5.0,15.0,train
"""


def test_kinetics_csv(tmp_path):
    (tmp_path / "train.csv").write_text(CSV)
    touch(
        tmp_path / "k",
        "AAAAAAAAAAA_000010_000020.mp4",
        "tai_chi/-_BBBBBBBBB.mp4",
        "CCCCCCCCCCC_000005_000015.webm",
        "x.mp4",
    )
    arguments = ("--train_csv", tmp_path / "train.csv", "--train_videos", tmp_path / "k", "--out", tmp_path)
    done = make("csv", *arguments)
    assert done.returncode == 0, done.stderr
    assert lines(tmp_path / "trainlist.txt") == [
        "k/AAAAAAAAAAA_000010_000020.mp4 2",
        "k/tai_chi/-_BBBBBBBBB.mp4 2",
        "k/CCCCCCCCCCC_000005_000015.webm 1",
    ]
    assert json.loads((tmp_path / "classes.json").read_text()) == ["archery", "riding,_a_bike", "tai_chi"]
    assert "train: 2 of 5 videos of the csv are missing\n    archery: 2 of 2" in done.stdout
    missing = json.loads((tmp_path / "missing.json").read_text())
    assert missing == {"train": {"archery": {"missing": 2, "of": 2, "ids": ["DDDDDDDDDDD", "EEEEEEEEEEE"]}}}
    again = make("csv", *arguments, program="dataset/nonlocal/generate_filelist.py")
    assert again.stdout == done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("folders", "absent"), "absent: no such folder"),
        (("folders", "empty"), "empty: holds no video (.mp4"),
        (("folders", "flat"), "flat/a.mp4: lies outside of every class folder"),
        (("folders", "few", "--val", "0.6"), "class c has 1 videos: too few for --val 0.6, --test 0.0"),
        (("folders", "few", "--val", "0.6", "--test", "0.4"), "must be shares whose sum is below 1"),
        (("csv",), "name at least one csv"),
        (("csv", "--train_csv", "bad.csv"), "--train_csv and --train_videos belong together"),
        (("csv", "--train_csv", "bad.csv", "--train_videos", "few"), "bad.csv:2: needs the columns label, youtube_id"),
        (("csv", "--train_csv", "none.csv", "--train_videos", "few"), "csv none.csv cannot be read: No such file"),
        (("folders", "few", "--val", "0", "--classes", "bad.csv"), "bad.csv: not a JSON list of class names"),
    ],
)
def test_errors(tmp_path, arguments, message):
    touch(tmp_path, "flat/a.mp4", "few/c/a.mp4", "empty/readme.txt")
    (tmp_path / "bad.csv").write_text("name,id\nx,y\n")
    done = make(*arguments, "--out", "lists", cwd=tmp_path)
    assert done.returncode == 2, done.stdout
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "lists").exists()
