"""What is said of lists that may not be meant so."""

import pytest
from conftest import ROOT

from datareader.building import build_test_dataset, build_train_dataset, remarks_on_data
from datareader.list_reading import read_any_list
from datareader.list_remarks import remarks_on_lists


def lists_of(folder, **contents):
    """Write and read a list for each name."""
    lists = {}
    for name, lines in contents.items():
        (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))
        lists[name] = read_any_list(str(folder / f"{name}.txt"))
    return lists


GOOD = {"train": ["a 0", "b 1", "c 2"], "valid": ["d 0", "e 1", "f 2"]}


def test_good_lists_need_no_remark(tmp_path):
    assert remarks_on_lists(lists_of(tmp_path, **GOOD), num_classes=3) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"valid": ["b 1", "./c 2", "d 0"]}, ["train and valid share files (2): PLACE/b, PLACE/c"]),
        ({"train": ["a 0", "b 1", "x/../a 2"]}, ["train: files with two labels (1): PLACE/a"]),
        ({"train": ["a 0", "b 1", "c 2", "a 0"]}, ["train: lines that name a file again (1)"]),
        (
            {"train": ["a 1", "b 2", "c 3"], "valid": ["d 1", "e 2", "f 3"]},
            [
                "train: no video has the label 0; if the labels begin at 1, subtract 1 from each",
                "train: labels without videos (1), at 0",
                "valid: no video has the label 0; if the labels begin at 1, subtract 1 from each",
                "valid: labels without videos (1), at 0",
            ],
        ),
        (
            {"train": ["a 0", "b 0"], "valid": ["d 0", "e 0"]},
            [
                "train: all videos have one label, 0",
                "valid: all videos have one label, 0",
                "MODEL.num_classes is 3, but the largest label of the lists is 0",
            ],
        ),
        (
            {"train": ["a 0", "b 2"]},
            ["train: labels without videos (1), at 1", "labels that valid has and train lacks (1): 1"],
        ),
        ({"valid": ["d 0", "e 1"]}, ["labels that train has and valid lacks (1): 2"]),
        ({"valid": ["d", "e"]}, []),
    ],
)
def test_what_may_not_be_meant(tmp_path, changes, expected):
    found = remarks_on_lists(lists_of(tmp_path, **(GOOD | changes)), num_classes=3)
    # None of the files is there, so the paths start from the working directory.
    assert [line.replace(str(ROOT), "PLACE") for line in found] == expected


def test_a_file_is_known_by_its_place(tmp_path):
    (tmp_path / "a.mp4").touch()
    lists = lists_of(tmp_path, train=["a.mp4 0", "b.mp4 1"], test=[f"{tmp_path}/a.mp4 0", f"{tmp_path}/c.mp4 1"])
    assert remarks_on_lists(lists) == [f"train and test share files (1): {tmp_path}/a.mp4"]


def test_remarks_on_a_run(narrow_config, shapes):
    config = narrow_config("TRAIN.sample_rate=1", "MODEL.num_classes=9", f"TEST.filelist={shapes}/train.txt")
    lines = remarks_on_data(config, {"TRAIN": build_train_dataset(config).videos})
    assert any(
        line.startswith("TRAIN.sample_rate is 1, but VALID.sample_rate = 2, TEST.sample_rate = 2") for line in lines
    )
    assert any(line.startswith("TRAIN and TEST share files (8)") for line in lines)
    assert "MODEL.num_classes is 9, but the largest label of the lists is 3" in lines
    config = narrow_config()
    assert remarks_on_data(config, {"TEST": build_test_dataset(config).videos}) == []


def test_programs_say_them_at_their_start(run_program, shapes):
    done = run_program(
        "train.py", "--pretrain=none", "--save_dir=run", "--epoch=1", "-o", f"VALID.filelist={shapes}/train.txt",
        "-o", "TRAIN.max_iter=1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "TRAIN and VALID share files (8): " in done.stderr
    done = run_program("test.py", "--weights=run", "-o", f"TEST.filelist={shapes}/train.txt")
    assert "TRAIN and TEST share files (8): " in done.stderr


def test_a_validation_list_of_files_that_are_not_there(run_program, tmp_path):
    (tmp_path / "valid.txt").write_text("gone.mp4 0\n")
    done = run_program("train.py", "--pretrain=none", "--save_dir=run", "-o", "VALID.filelist=valid.txt")
    assert done.returncode == 2
    assert "none of the 1 videos of valid.txt (VALID.filelist) is there; the first: " in done.stderr
