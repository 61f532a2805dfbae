"""Class names in the forms in which people have them, and in the saves of a training."""

import json
import logging
from pathlib import Path

import pytest
from conftest import ROOT
from small_trainer import make_trainer

from configs.loading import load_config
from engine.checkpoint import description_file, read_description
from engine.class_names import class_names_for_scoring, class_names_for_training, read_class_names
from models.registry import NETWORKS
from utils.errors import FileListError

PLAIN = ["air drumming", "3 point shot", "shaking hands", "跳舞"]

FORMS = {
    "a name a line (MMAction2)": "\n".join(PLAIN) + "\n",
    "Windows": "\ufeff" + "\r\n".join(PLAIN) + "\r\n\r\n",
    "number and name (PaddleVideo)": "".join(f"{k} {name}\n" for k, name in enumerate(PLAIN)),
    "in any order": "".join(f"{k} {PLAIN[k]}\n" for k in (2, 0, 3, 1)),
    "from 1 on (UCF101)": "".join(f"{k + 1} {name}\n" for k, name in enumerate(PLAIN)),
    "tabs": "".join(f"{k}\t{name}\n" for k, name in enumerate(PLAIN)),
    "name and number": "".join(f"{name} {k}\n" for k, name in enumerate(PLAIN)),
    "name, comma, number": "".join(f"{name},{k}\n" for k, name in enumerate(PLAIN)),
    "CSV": "id,name\n" + "".join(f'{k},"{name}"\n' for k, name in enumerate(PLAIN)),
    "CSV, name first": "name,id\n" + "".join(f"{name},{k}\n" for k, name in reversed(list(enumerate(PLAIN)))),
    "CSV, other columns": "label;label_name;count\n" + "".join(f"{k};{name};9\n" for k, name in enumerate(PLAIN)),
    "CSV, a label that is a name": "index,label\n" + "".join(f"{k},{name}\n" for k, name in enumerate(PLAIN)),
    "JSON list": json.dumps(PLAIN),
    "JSON, number to name": json.dumps({str(k): name for k, name in enumerate(PLAIN)}),
    "JSON, name to number": json.dumps({name: k for k, name in enumerate(PLAIN)}),
    "JSON, name to text of a number": json.dumps({f'"{name}"': str(k) for k, name in enumerate(PLAIN)}),
    "JSON, rows": json.dumps([{"id": k, "name": name} for k, name in enumerate(PLAIN)]),
    "JSON, rows of COCO": json.dumps([{"Supercategory": "x", "ID": k + 1, "Name": n} for k, n in enumerate(PLAIN)]),
    "CSV, class is the number": "label,class\n" + "".join(f"{name},{k}\n" for k, name in enumerate(PLAIN)),
    "CSV, groups too": "index,category,action\n" + "".join(f"{k},sport,{name}\n" for k, name in enumerate(PLAIN)),
    "CSV, a number that is no index": "id,class_id,name\n" + "".join(f"{7 * k},{k},{n}\n" for k, n in enumerate(PLAIN)),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms(form, tmp_path):
    (tmp_path / "labels").write_bytes(FORMS[form].encode())
    assert read_class_names(str(tmp_path / "labels"), 4) == PLAIN


@pytest.mark.parametrize(
    "names",
    [
        ["3 point shot", "7 iron", "100 m", "walk"],
        ["Person 1", "Person 2", "Person 3"],
        ["1 handed", "2 handed"],
        ["action, other", "walk", "run, fast"],
        ["0", "1", "2"],
    ],
)
def test_lines_that_are_names(names, tmp_path):
    """Numbers that are all that tells names, and a first line that could be a header, belong to the names."""
    (tmp_path / "labels.txt").write_text("\n".join(names))
    assert read_class_names(str(tmp_path / "labels.txt"), len(names)) == names


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ('{"7": 0, "9": 1}', ["7", "9"]),
        ('{"0": 1, "1": 0}', ["1", "0"]),
        ('{"0": 30, "1": 10}', ["30", "10"]),
        ('{"0": "1", "1": "0"}', ["1", "0"]),
        ("id,name\n1,4\n0,3\n", ["3", "4"]),
    ],
)
def test_names_made_of_digits(content, names, tmp_path):
    (tmp_path / "labels").write_text(content)
    assert read_class_names(str(tmp_path / "labels"), 2) == names


@pytest.mark.parametrize(
    "content",
    [
        b"{", b'{"a": null, "b": 1}', b'{"a": 0, "b": 0}', b'{"a": 0, "b": 2}', b'{"a": []}',
        b"[[1]]", b'[{"x": 1}]', b"id,name\n0,a\n2,b\n",
        "a\nb\n".encode("utf-16"), b"\xff\xfe\x00", b"[" * 100000, b"id,name\n0\n", b"id,name\n0,push, pull\n1,go\n",
        b'[{"id": 0, "name": "a"}, {"id": 1}]', b"id,name\n0,a\n1,a\n",
    ],
)  # fmt: skip
def test_files_that_name_no_classes(content, tmp_path):
    (tmp_path / "labels").write_bytes(content)
    with pytest.raises(FileListError, match=r"labels: no class names: must be a JSON list or dictionary"):
        read_class_names(str(tmp_path / "labels"), 2)


def test_too_few_names_are_not_shown(tmp_path, caplog):
    (tmp_path / "labels.txt").write_text("a\nb\n")
    assert read_class_names(str(tmp_path / "labels.txt"), 3) == []
    assert "names 2 classes, the network has 3" in caplog.text
    assert read_class_names(str(tmp_path / "none.txt"), 3) == []
    assert "no label file" in caplog.text
    assert read_class_names("", 3) == []


def test_saves_keep_the_names(narrow_config, shapes, tmp_path, monkeypatch, caplog):
    """From classes.json beside the list; a file that is named comes first, in training and later."""
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO, "nonlocal_video")
    config = narrow_config("TRAIN.epoch=1")
    names = json.loads((shapes / "classes.json").read_text())
    assert class_names_for_training(config) == names
    make_trainer(config, tmp_path / "run").run()
    for weights in ("run", "run/latest", "run/NONLOCAL_epoch0.pdparams", "run/NONLOCAL_epoch0"):
        assert class_names_for_scoring(config, weights) == names
    assert "no label file" not in caplog.text
    assert class_names_for_scoring(narrow_config("MODEL.num_classes=3"), "run") == []
    other = [f"class {name}" for name in names]
    (tmp_path / "mine.txt").write_text("\n".join(other))
    given, none = narrow_config("INFER.kinetics_labels=mine.txt"), narrow_config("INFER.kinetics_labels=''")
    assert class_names_for_training(none) == class_names_for_scoring(none, "run") == []
    assert class_names_for_training(given) == class_names_for_scoring(given, "run") == other
    (tmp_path / "mine.txt").unlink()
    assert class_names_for_scoring(given, "run") == names, "the file has gone"
    assert "no label file mine.txt" in caplog.text
    (tmp_path / "mine.txt").write_text("one\n")
    assert class_names_for_scoring(given, "run") == names, "it is of another network"
    assert "mine.txt names 1 classes, the network has" in caplog.text
    assert class_names_for_scoring(config, None) == class_names_for_scoring(config, "nothing") == []


def test_fine_tuning_keeps_the_names_beside_its_own_list(tmp_path, monkeypatch):
    """Not those of another task that lies in the usual folder."""
    monkeypatch.chdir(tmp_path)
    for folder, names in (("lists", ["a", "b"]), ("mine", ["洗手", "挥手"])):
        Path(folder).mkdir()
        Path(folder, "classes.json").write_text(json.dumps(names))
    given = ["MODEL.num_classes=2", "TRAIN.filelist=mine/trainlist.txt"]
    config = load_config(ROOT / "configs" / "finetune.txt", given, networks=NETWORKS)
    assert class_names_for_training(config) == ["洗手", "挥手"]
    config = load_config(ROOT / "configs" / "finetune.txt", given[:1], networks=NETWORKS)
    assert class_names_for_training(config) == ["a", "b"]


def test_a_broken_file_that_nobody_named_stops_no_training(narrow_config, shapes, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.txt").write_text((shapes / "train.txt").read_text())
    config = narrow_config(f"TRAIN.filelist={tmp_path}/train.txt")
    for name in ("classes.json", config.INFER.kinetics_labels):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text("{")
        assert class_names_for_training(config) == []
        assert f"{Path(name).name}: no class names" in caplog.text
        (tmp_path / name).unlink()
    (tmp_path / "mine").write_text("{")
    with pytest.raises(FileListError):
        class_names_for_training(narrow_config(f"INFER.kinetics_labels={tmp_path}/mine"))


def test_a_save_whose_names_are_none(narrow_config, tmp_path):
    make_trainer(narrow_config("TRAIN.epoch=1"), tmp_path / "run").run()
    file = description_file(tmp_path / "run" / "NONLOCAL_epoch0")
    content = json.loads(file.read_text())
    for names in (None, 3, [1, 2], {"a": 1}):
        file.write_text(json.dumps({**content, "class_names": names}))
        assert read_description(file).class_names == []
    del content["class_names"]
    file.write_text(json.dumps(content))
    assert read_description(file).class_names == []
