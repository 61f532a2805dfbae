"""Lists from folders and from the csv files of Kinetics, by the program as a user runs it."""

import json
import re
import subprocess
import sys

import pytest
from conftest import ROOT

from datareader.list_reading import read_labelled_list


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
    assert "class 'c' (1 in all) is none of the 2 of --classes" in done.stderr


def test_old_test_lists_are_read_again(folders, tmp_path):
    from datareader.list_reading import read_test_list

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


def test_split_folders_by_any_of_their_names(tmp_path):
    root = touch(
        tmp_path / "v",
        "Training/run/1.mp4",
        "Training/jump/2.MTS",
        "valid/run/3.ts",
        "valid/Run/4.ogv",
        "TEST/jump/5.gif",
    )
    done = make("folders", root, "--out", tmp_path / "lists")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "lists" / "classes.json").read_text()) == ["Run", "jump", "run"]
    assert lines(tmp_path / "lists" / "trainlist.txt") == [
        f"{root}/Training/jump/2.MTS 1", f"{root}/Training/run/1.mp4 2",
    ]  # fmt: skip
    assert lines(tmp_path / "lists" / "testlist.txt") == [f"{root}/TEST/jump/5.gif 1"]
    assert len(lines(tmp_path / "lists" / "vallist.txt")) == 2
    assert "note: classes without training videos (1): Run (beside run)" in done.stdout
    assert "note: classes with fewer than 5 videos (3): Run, jump, run" in done.stdout


def test_what_is_passed_over_is_said(tmp_path):
    root = touch(
        tmp_path / "v", *(f"{c}/{i}.mp4" for c in ("run", "jump") for i in range(6)), "run/notes.txt", "run/a.txt",
        "run/._1.mp4", "__MACOSX/run/._1.mp4", ".ipynb_checkpoints/1.mp4", "@eaDir/1.mp4", "lost+found/1.mp4",
        "System Volume Information/1.mp4", "jump/.Trash-0/1.mp4", "empty/readme",
    )  # fmt: skip
    done = make("folders", root, "--out", tmp_path / "lists", "--val", 0)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "lists" / "classes.json").read_text()) == ["jump", "run"]
    assert f"note: {root}: files of other types passed over (3): 2 .txt, 1 without a suffix" in done.stdout
    assert "hidden files and files of the system left out (7): " in done.stdout
    assert "note: folders without a video, which are no classes (1): empty" in done.stdout


def test_a_dry_run_writes_nothing(folders, tmp_path):
    done = make("folders", folders, "--out", tmp_path / "lists", "--val", 0.2, "--dry_run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-4:] == [
        "class     train     val",
        "archery       9       2",
        "tai_chi       8       2",
        "videos: 17 train, 4 val; nothing is written",
    ]
    assert "note: class names with blanks, which become underscores (1): tai chi" in done.stdout
    assert not (tmp_path / "lists").exists()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["jump rope/1.mp4", "jump_rope/2.mp4"],
            "'jump rope' and 'jump_rope' would be one class, jump_rope; join them",
        ),
        (["data/a/1.mp4", "data/b/2.mp4"], "there is one class only, data. Classes are the folders of ROOT"),
        (["train/a/1.mp4", "training/b/2.mp4"], "train and training are both train folders; join them"),
        (["train/a/1.mp4", "run/2.mp4"], "holds train, which are splits, beside run"),
        (["a/1.txt", "a/2.mp5"], "files of other types passed over (2): 1 .txt, 1 .mp5"),
    ],
)
def test_folders_that_are_not_meant_so(tmp_path, names, message):
    done = make("folders", touch(tmp_path / "v", *names), "--out", tmp_path / "lists")
    assert done.returncode == 2, done.stdout
    assert message in done.stderr
    assert not (tmp_path / "lists").exists()


def test_a_share_that_gives_no_list_is_said(tmp_path):
    root = touch(tmp_path / "v", *(f"{c}/{i}.mp4" for c in ("run", "jump") for i in range(4)))
    done = make("folders", root, "--out", tmp_path / "lists", "--val", 0.1)
    assert done.returncode == 0
    assert "note: --val 0.1 gives no list: every class is too small for it" in done.stdout


@pytest.fixture
def people(tmp_path):
    """Two classes, 8 people, who did them 1 to 3 times."""
    names = [
        f"{c}/v_{c}_p{person}_{take}.avi"
        for c in ("run", "jump")
        for person in range(8)
        for take in range(1 + person % 3)
    ]
    return touch(tmp_path / "people", *names)


def people_in(file):
    return {re.search(r"_p(\d)_", line)[1] for line in lines(file)}


def test_people_never_stand_in_two_splits(people, tmp_path):
    done = make("folders", people, "--out", tmp_path / "a", "--val", 0.25, "--test", 0.25, "--group", r"_(p\d)_")
    assert done.returncode == 0, done.stderr
    assert "note: 8 groups" in done.stdout
    splits = [people_in(tmp_path / "a" / f"{split}list.txt") for split in ("train", "val", "test")]
    assert sum(map(len, splits)) == len(set().union(*splits)) == 8
    sizes = [len(lines(tmp_path / "a" / f"{split}list.txt")) for split in ("train", "val", "test")]
    assert sum(sizes) == 30
    assert all(abs(size - wanted) <= 2 for size, wanted in zip(sizes, (15, 7.5, 7.5), strict=True))
    for split in ("train", "val", "test"):
        labels = [line[-1] for line in lines(tmp_path / "a" / f"{split}list.txt")]
        assert labels.count("0") == labels.count("1"), "both classes alike"
    table = tmp_path / "groups.csv"
    paths = sorted(people.rglob("*.avi"))
    table.write_text("path,group\n" + "".join(f"{p.relative_to(people)},{p.name.split('_')[2]}\n" for p in paths))
    again = make("folders", people, "--out", tmp_path / "b", "--val", 0.25, "--test", 0.25, "--group", table)
    assert again.returncode == 0, again.stderr
    for split in ("train", "val", "test"):
        assert people_in(tmp_path / "b" / f"{split}list.txt") == people_in(tmp_path / "a" / f"{split}list.txt")


@pytest.mark.parametrize("group", [None, r"_(p\d)_"])
def test_folds(people, tmp_path, group):
    options = () if group is None else ("--group", group)
    done = make("folders", people, "--out", tmp_path, "--folds", 4, *options)
    assert done.returncode == 0, done.stderr
    every = sorted(line for fold in range(1, 5) for line in lines(tmp_path / f"fold{fold}" / "vallist.txt"))
    assert len(every) == len(set(every)) == 30, "every video is in one fold"
    for fold in range(1, 5):
        train, val = (lines(tmp_path / f"fold{fold}" / f"{split}list.txt") for split in ("train", "val"))
        assert len(train) + len(val) == 30
        assert abs([line[-1] for line in val].count("0") - 3.75) <= 1
        if group:
            assert not people_in(tmp_path / f"fold{fold}" / "trainlist.txt") & people_in(
                tmp_path / f"fold{fold}" / "vallist.txt"
            )


def test_a_split_that_exists(people, tmp_path):
    table = tmp_path / "split.csv"
    table.write_text(
        "path,split,label\nrun/v_run_p1_0.avi,training,\njump/v_jump_p2_0.avi,Train,fly\nrun/v_run_p2_0.avi,dev,\n"
        "run/gone.avi,test,\n"
    )
    done = make("folders", people, "--out", tmp_path, "--split_csv", table)
    assert done.returncode == 0, done.stderr
    assert lines(tmp_path / "trainlist.txt") == ["people/run/v_run_p1_0.avi 1", "people/jump/v_jump_p2_0.avi 0"]
    assert lines(tmp_path / "vallist.txt") == ["people/run/v_run_p2_0.avi 1"]
    assert json.loads((tmp_path / "classes.json").read_text()) == ["fly", "run"]
    assert f"note: videos of {table} that are not there (1): run/gone.avi" in done.stdout
    assert "and left out (27): " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--group", "(x"), "--group '(x': no regular expression"),
        (("--group", "nobody"), "--group nobody: fits no video; the first is jump/v_jump_p0_0.avi"),
        (("--group", "absent.csv"), "csv absent.csv cannot be read: No such file"),
        (("--group", "wrong.csv"), "wrong.csv:1: needs a header with the columns path,group"),
        (("--folds", "1"), "--folds (1) must be at least 2"),
        (("--folds", "9", "--group", r"_(p\d)_"), "at most the number of groups, 8"),
        (("--split_csv", "wrong.csv"), "wrong.csv:1: needs a header with the columns path,split"),
        (("--split_csv", "split.csv"), "split.csv:2: split 'learn' must be train, val or test"),
        (("--split_csv", "split.csv", "--folds", "2"), "--split_csv names the split"),
        (("--split_csv", "root.csv"), "root.csv:2: a.avi has no class: it lies in no folder, and has no label"),
        (("--split_csv", "double.csv"), "double.csv:1: the header names split twice"),
        (("--folds", "0"), "--folds: 0 must be"),
        (("--split_csv", "huge.csv"), "csv huge.csv cannot be read: field larger than"),
        (("--group", "two.csv"), "two.csv:3: ./run/a.avi is in group p1 above, p2 here"),
        (("--classes", "dict.json"), "dict.json: must be a JSON list of class names, such as classes.json"),
        (("--classes", "names.json"), "names.json: must be a JSON list of class names"),
        (("--classes", "twice.json"), "twice.json: names the class a_b twice"),
        (("--classes", "other.json", "--dry_run"), "class 'run' (1 in all) is none of the 2 of --classes"),
    ],
)
def test_errors_of_groups_and_tables(people, tmp_path, arguments, message):
    (tmp_path / "wrong.csv").write_text("file,person\na,b\n")
    (tmp_path / "split.csv").write_text("path,split\nrun/v_run_p1_0.avi,learn\n")
    (tmp_path / "root.csv").write_text("path,split\na.avi,train\n")
    (tmp_path / "double.csv").write_text("path,split,split\nrun/v_run_p1_0.avi,train,val\n")
    (tmp_path / "huge.csv").write_text(f"path,split\n{'a' * 200_000},train\n")
    (tmp_path / "two.csv").write_text("path,group\nrun/a.avi,p1\n./run/a.avi,p2\n")
    for name, content in (
        ("dict", {"run": 0}), ("names", ["run", ""]), ("twice", ["a b", "a_b"]), ("other", ["jump", "fly"])
    ):  # fmt: skip
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    if "root.csv" in arguments:
        touch(people, "a.avi")
    done = make("folders", people, "--out", tmp_path / "lists", *arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stdout
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_ucf101(tmp_path):
    splits = tmp_path / "ucfTrainTestlist"
    splits.mkdir()
    (splits / "classInd.txt").write_bytes(b"1 ApplyEyeMakeup\r\n2 Archery\r\n")
    (splits / "trainlist02.txt").write_bytes(b"ApplyEyeMakeup/v_A_g08_c01.avi 1\r\nArchery/v_B_g08_c01.avi 2\r\n")
    (splits / "testlist02.txt").write_text("Archery/v_B_g01_c01.avi\nArchery/v_B_g01_c02.avi\n")
    names = ("ApplyEyeMakeup/v_A_g08_c01.avi", "Archery/v_B_g08_c01.avi", "Archery/v_B_g01_c01.mp4")
    touch(tmp_path / "UCF-101", *names)
    arguments = ("--videos", "UCF-101", "--splits", "ucfTrainTestlist", "--split", 2, "--out", "lists")
    done = make("ucf101", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert lines(tmp_path / "lists" / "trainlist.txt") == [
        f"{tmp_path}/UCF-101/ApplyEyeMakeup/v_A_g08_c01.avi 0", f"{tmp_path}/UCF-101/Archery/v_B_g08_c01.avi 1",
    ]  # fmt: skip
    assert lines(tmp_path / "lists" / "vallist.txt") == [f"{tmp_path}/UCF-101/Archery/v_B_g01_c01.mp4 1"]
    assert json.loads((tmp_path / "lists" / "classes.json").read_text()) == ["ApplyEyeMakeup", "Archery"]
    assert "note: videos that are not there (1): v_B_g01_c02" in done.stdout
    (splits / "testlist02.txt").write_text("Swimming/v_S_g01_c01.avi\n")
    done = make("ucf101", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "testlist02.txt:1: class 'Swimming' is not in ucfTrainTestlist/classInd.txt" in done.stderr
    (splits / "trainlist02.txt").write_text("v_A_g08_c01.avi\n")
    assert (
        "trainlist02.txt:1: 'v_A_g08_c01.avi' is no line of such a file"
        in make("ucf101", *arguments, cwd=tmp_path).stderr
    )


def test_hmdb51(tmp_path):
    splits = tmp_path / "splits"
    splits.mkdir()
    (splits / "run_test_split1.txt").write_text("a_run_0.avi 1 \nb (2)_run_0.avi 2 \nc_run_0.avi 0 \n")
    (splits / "brush_hair_test_split1.txt").write_text("d_brush_0.avi 2\ne_brush_0.avi 1\n")
    names = ("run/a_run_0.avi", "run/b (2)_run_0.avi", "run/c_run_0.avi", "brush_hair/d_brush_0.avi")
    touch(tmp_path / "hmdb", *names, "brush_hair/e_brush_0.avi")
    done = make("hmdb51", "--videos", "hmdb", "--splits", "splits", "--out", "lists", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert lines(tmp_path / "lists" / "trainlist.txt") == [
        f"{tmp_path}/hmdb/brush_hair/e_brush_0.avi 0", f"{tmp_path}/hmdb/run/a_run_0.avi 1",
    ]  # fmt: skip
    assert lines(tmp_path / "lists" / "vallist.txt") == [
        f"{tmp_path}/hmdb/brush_hair/d_brush_0.avi 0", f"{tmp_path}/hmdb/run/b (2)_run_0.avi 1",
    ]  # fmt: skip
    done = make("hmdb51", "--videos", "hmdb", "--splits", "splits", "--split", 3, "--out", "lists", cwd=tmp_path)
    assert "splits: holds no file CLASS_test_split3.txt" in done.stderr


def test_something_something(tmp_path):
    (tmp_path / "labels.json").write_text(
        '{"Pushing something from left to right": "1", "Holding something next to something": "0"}'
    )
    (tmp_path / "train.json").write_text(
        '[{"id": "78687", "label": "holding potato next to bottle", '
        '"template": "Holding [something] next to [something]"}]'
    )
    (tmp_path / "val.json").write_text('[{"id": "12", "template": "Pushing [something] from left to right"}]')
    touch(tmp_path / "videos", "78687.webm", "12/00001.jpg", "12/00002.jpg")
    arguments = ("--videos", "videos", "--labels_json", "labels.json", "--train_json", "train.json")
    done = make("something", *arguments, "--val_json", "val.json", "--out", "lists", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert lines(tmp_path / "lists" / "trainlist.txt") == [f"{tmp_path}/videos/78687.webm 0"]
    assert lines(tmp_path / "lists" / "vallist.txt") == [f"{tmp_path}/videos/12 1"]
    assert json.loads((tmp_path / "lists" / "classes.json").read_text()) == [
        "Holding_something_next_to_something", "Pushing_something_from_left_to_right",
    ]  # fmt: skip
    for content, message in (
        ('[{"id": "1", "template": "Eating [something]"}]', "entry 0: 'Eating [something]' is not in labels.json"),
        ('[{"id": "1"}]', "entry 0 must have an id and a template"),
        ("{}", "entry 0 must have an id and a template"),
        ("[", "train.json: not a JSON file"),
    ):
        (tmp_path / "train.json").write_text(content)
        assert message in make("something", *arguments, "--out", "lists", cwd=tmp_path).stderr


def test_links_that_lead_back_are_not_followed(tmp_path):
    root = touch(tmp_path / "v", *(f"{c}/{i}.mp4" for c in ("run", "jump") for i in range(6)))
    (root / "run" / "up").symlink_to("..")
    (root / "jump" / "up").symlink_to("..")
    (root / "jump" / "self").symlink_to(".")
    done = make("folders", root, "--out", tmp_path / "lists", "--val", 0)
    assert done.returncode == 0, done.stderr
    assert len(lines(tmp_path / "lists" / "trainlist.txt")) == 12
    assert "left out (3): " in done.stdout


def test_lists_of_an_earlier_run_are_said(tmp_path):
    root = touch(tmp_path / "v", *(f"{c}/{i}.mp4" for c in ("run", "jump") for i in range(6)))
    make("folders", root, "--out", tmp_path / "lists", "--val", 0.3)
    done = make("folders", root, "--out", tmp_path / "lists", "--val", 0)
    assert f"note: not written now, but by an earlier run: {tmp_path}/lists/vallist.txt" in done.stdout
    assert make("folders", root, "--seed", -1).returncode == 2
    (tmp_path / "split.csv").write_text("path,split\n")
    assert "split.csv: names no video" in make("folders", root, "--split_csv", tmp_path / "split.csv").stderr


def test_tables_as_people_write_them(people, tmp_path):
    """Semicolons, capitals, quotes; and rows that match nothing are said."""
    (tmp_path / "split.csv").write_bytes(
        '\ufeff"Path";"Split";"Label"\r\nrun/v_run_p1_0.avi;train;a\r\nrun/v_run_p2_0.avi;VAL;b\r\n'.encode()
    )
    done = make("folders", people, "--out", tmp_path / "a", "--split_csv", tmp_path / "split.csv")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "a" / "classes.json").read_text()) == ["a", "b"]
    rows = [f"{path.relative_to(people)}\tx{path.name[-7:-6]}" for path in sorted(people.rglob("*.avi"))]
    (tmp_path / "groups.csv").write_text("PATH\tGroup\n" + "\n".join(rows) + "\nrun/gone.avi\tx\n")
    done = make("folders", people, "--out", tmp_path / "b", "--group", tmp_path / "groups.csv")
    assert done.returncode == 0, done.stderr
    assert "groups.csv that are not there (1): run/gone.avi" in done.stdout


def test_one_group_gives_no_validation_list(people, tmp_path):
    done = make("folders", people, "--out", tmp_path, "--group", "v_")
    assert "note: --val 0.1 gives no list: there are too few groups for it" in done.stdout


def test_an_empty_folder_of_a_split_is_said(tmp_path):
    touch(tmp_path / "v" / "train", "a/1.mp4", "b/1.mp4")
    (tmp_path / "v" / "test").mkdir()
    done = make("folders", tmp_path / "v", "--out", tmp_path / "lists")
    assert done.returncode == 0, done.stderr
    assert f"note: {tmp_path}/v/test: holds no video, so there is no testlist.txt" in done.stdout
    assert not (tmp_path / "lists" / "testlist.txt").exists()


def test_pictures_right_in_a_class_folder(tmp_path):
    touch(tmp_path / "v", "a/1.png", "b/1.png")
    done = make("folders", tmp_path / "v", "--out", tmp_path / "lists")
    assert done.returncode == 2
    assert "a: holds pictures, which are the frames of one video; its class is the folder above it" in done.stderr


def test_folds_of_an_earlier_run_are_said(people, tmp_path):
    make("folders", people, "--out", tmp_path / "lists", "--folds", 4)
    done = make("folders", people, "--out", tmp_path / "lists", "--folds", 2)
    assert "by an earlier run: " in done.stdout
    assert f"{tmp_path}/lists/fold3, {tmp_path}/lists/fold4" in done.stdout


def test_names_that_lists_would_read_as_others(tmp_path):
    touch(tmp_path / "v", "a/clip 3", "b/x")
    for folder in ("a/clip 7", "b/y "):
        touch(tmp_path / "v" / folder, "1.jpg")
    done = make("folders", tmp_path / "v", "--out", tmp_path / "v", "--val", 0)
    assert done.returncode == 0, done.stderr
    assert lines(tmp_path / "v" / "trainlist.txt") == ['"a/clip 7" 0', '"b/y " 1']
    videos = read_labelled_list(str(tmp_path / "v" / "trainlist.txt"), num_classes=2)
    assert [videos.locate(path).is_dir() for path in videos.paths] == [True, True]
    touch(tmp_path / "v", "a/x\ty.mp4")
    done = make("folders", tmp_path / "v", "--out", tmp_path / "v")
    assert "a name with a line break or a tab cannot stand in a list" in done.stderr


def test_classes_that_are_numbers(people, tmp_path):
    """Their order is that of the numbers, and a number that is not its label is said."""
    names = sorted(people.rglob("*.avi"))[:12]
    rows = [f"{path.relative_to(people)},train,{k}" for k, path in enumerate(names)]
    (tmp_path / "split.csv").write_text("path,split,label\n" + "\n".join(rows) + "\n")
    done = make("folders", people, "--out", tmp_path / "a", "--split_csv", tmp_path / "split.csv")
    assert [line.rpartition(" ")[2] for line in lines(tmp_path / "a" / "trainlist.txt")] == list(map(str, range(12)))
    assert "not their labels" not in done.stdout
    (tmp_path / "split.csv").write_text("path,split,label\n" + "\n".join(rows[9:]) + "\n")
    done = make("folders", people, "--out", tmp_path / "a", "--split_csv", tmp_path / "split.csv")
    assert "note: classes are called by numbers that are not their labels: 9 has the label 0" in done.stdout


CHARADES = {
    "Charades_v1_classes.txt": "c000 Holding some clothes\nc001 Putting clothes somewhere\nc002 Taking a bag\n",
    "Charades_v1_train.csv": "id,subject,script,actions,length\n"
    'YSKX3,U1,"A person, in a room",c002 2.50 9.00;c000 0.00 12.60;c002 11.00 12.00,12.54\n'
    "AAAAA,U2,sits,,30.00\n"
    "GONE1,U3,runs,c001 0.00 3.00,9.00\n",
    "Charades_v1_test.csv": "id,subject,script,actions,length\nBBBBB,U1,x,c001 5.00 5.00;c000 1.00 40.00,20.0\n",
}


@pytest.fixture
def charades(tmp_path):
    for name, text in CHARADES.items():
        (tmp_path / "annotations").mkdir(exist_ok=True)
        (tmp_path / "annotations" / name).write_text(text)
    touch(tmp_path / "out" / "v", "YSKX3.mp4", "AAAAA.mp4", "BBBBB.mkv", "other.mp4")
    return tmp_path


def test_charades(charades):
    common = ["charades", "--videos", charades / "out" / "v", "--annotations", charades / "annotations"]
    done = make(*common, "--out", charades / "out", "--dry_run")
    assert (done.returncode, list((charades / "out").glob("*.txt"))) == (0, []), done.stderr
    assert "videos: 2 train, 1 val; nothing is written" in done.stdout
    done = make(*common, "--out", charades / "out")
    assert done.returncode == 0, done.stderr
    assert "note: videos that are not there (1): GONE1" in done.stdout
    assert "note: videos without an action (1)" in done.stdout
    assert lines(charades / "out" / "trainlist.txt") == ["v/YSKX3.mp4 0,2", "v/AAAAA.mp4 -"]
    assert lines(charades / "out" / "vallist.txt") == ["v/BBBBB.mkv 0,1"]
    assert json.loads((charades / "out" / "classes.json").read_text())[1] == "Putting_clothes_somewhere"
    videos = read_labelled_list(str(charades / "out" / "trainlist.txt"), num_classes=3, multi_label=True)
    assert videos.labels.tolist() == [[1, 0, 1], [0, 0, 0]]


def test_charades_as_segments(charades):
    """A line an action; an action without length is left out, one that outlasts its video is kept."""
    common = ["charades", "--videos", charades / "out" / "v", "--annotations", charades / "annotations"]
    done = make(*common, "--out", charades / "out", "--clips")
    assert done.returncode == 0, done.stderr
    assert "note: actions that end before they start are left out (1)" in done.stdout
    assert "note: videos without an action (1) are left out" in done.stdout
    assert "segments: 3 train, 1 val" in done.stdout
    assert lines(charades / "out" / "trainlist.txt") == [
        "v/YSKX3.mp4#t=2.50,9.00 2",
        "v/YSKX3.mp4#t=0.00,12.60 0",
        "v/YSKX3.mp4#t=11.00,12.00 2",
    ]
    assert lines(charades / "out" / "vallist.txt") == ["v/BBBBB.mkv#t=1.00,40.00 0"]
    assert read_labelled_list(str(charades / "out" / "trainlist.txt"), num_classes=3).labels.tolist() == [2, 0, 2]


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("Charades_v1_train.csv", "id,actions\nYSKX3,c009 1 2\n", "train.csv:2: 'c009 1 2' is no action"),
        ("Charades_v1_train.csv", "id,actions\nYSKX3,c000 1\n", "'c000 1' is no action"),
        ("Charades_v1_train.csv", "id\nYSKX3\n", "needs a header with the columns id,actions"),
        ("Charades_v1_test.csv", None, "must hold one file Charades_*test.csv (found: none)"),
        ("Charades_v1_classes.txt", "c000 a\nc002 b\n", "must have a line 'c000 name' for each class, numbered from 0"),
        ("Charades_v1_train.csv", "id,actions\n", "annotations: names no video with an action"),
        ("Charades_old_classes.txt", "c000 a\n", "found: Charades_old_classes.txt, Charades_v1_classes.txt"),
    ],
)
def test_annotations_of_charades_that_are_refused(charades, file, text, message):
    path = charades / "annotations" / file
    path.write_text(text) if text else path.unlink()
    if "with an action" in message:
        (charades / "annotations" / "Charades_v1_test.csv").write_text("id,actions\nBBBBB,\n")
    common = ["charades", "--videos", charades / "out" / "v", "--annotations", charades / "annotations"]
    done = make(*common, "--out", charades / "lists", *(["--clips"] if "with an action" in message else []))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert message in done.stderr
    assert not (charades / "lists").exists()
