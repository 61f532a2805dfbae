"""Config files: values, types, nearest names, places, rules, overrides, round trip."""

import ast
import configparser
import dataclasses
import re

import pytest
import yaml
from conftest import ROOT
from network_configs import load_config

from configs.loading import dump_config
from models.nonlocal_config import NonlocalConfig
from utils.errors import ConfigError

RELEASED = ROOT / "configs" / "nonlocal.txt"


@pytest.fixture
def write(tmp_path):
    def write_file(text, name="run.txt"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write_file


def test_every_key_of_the_released_file_arrives_with_its_value():
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(RELEASED)
    config = load_config(RELEASED)
    for section in parser.sections():
        for key, text in parser[section].items():
            try:
                expected = ast.literal_eval(text)
            except ValueError:
                expected = text
            value = getattr(getattr(config, section), key)
            assert (list(value) if isinstance(value, tuple) else value) == expected, (section, key)


def test_the_defaults_are_the_released_values():
    assert load_config(RELEASED) == NonlocalConfig()


def test_every_key_is_documented():
    for kind in NonlocalConfig.sections().values():
        for field in dataclasses.fields(kind):
            assert field.metadata["doc"], field.name


def test_yaml_and_text_give_the_same(write):
    values = {"MODEL": {"num_classes": 12, "width_mult": 0.5}, "TRAIN": {"jitter_scales": [224, 256], "mirror": False}}
    text = "[MODEL]\nnum_classes = 12\nwidth_mult=0.5\n[TRAIN]\njitter_scales = [224, 256]\nmirror = False\n"
    assert load_config(write(yaml.safe_dump(values), "run.yaml")) == load_config(write(text))


def test_dump_reads_back_to_the_same(write):
    config = load_config(
        RELEASED, ["TRAIN.filelist=lists/my videos.txt", "NONLOCAL.use_softmax=False", "TRAIN.mirror=0"]
    )
    assert load_config(write(dump_config(config))) == config


def test_strings_with_and_without_quotes(write):
    assert load_config(write("[TRAIN]\nfilelist = 'a b.txt'\n")).TRAIN.filelist == "a b.txt"
    assert load_config(write("[TRAIN]\nfilelist = a b.txt\n")).TRAIN.filelist == "a b.txt"


def test_comments_after_values(write):
    assert load_config(write("[MODEL]\nnum_classes = 12  # my own\n")).MODEL.num_classes == 12
    assert load_config(write("[TRAIN]\nfilelist = a b#1.txt  # my list\n")).TRAIN.filelist == "a b#1.txt"


def test_overrides_in_order_and_in_any_case_of_the_section():
    config = load_config(RELEASED, ["TRAIN.batch_size=8", "train.batch_size=16", "MODEL.pretrain=none"])
    assert config.TRAIN.batch_size == 16
    assert config.MODEL.pretrain == "none"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[MODEL]\n\nnum_clases = 3\n",
            r"run\.txt:3: unknown key MODEL\.num_clases for NONLOCAL; did you mean num_classes\?",
        ),
        ("[TRIAN]\nepoch = 3\n", r"run\.txt:2: unknown section \[TRIAN\] for NONLOCAL; did you mean TRAIN\?"),
        ("[TRAIN]\n[TRIAN]\n", r"unknown section \[TRIAN\]"),
        ("[MODEL]\nnum_classes = many\n", r"run\.txt:2: MODEL\.num_classes = many must be an integer"),
        ("[MODEL]\nnum_classes = 2.5\n", r"must be an integer"),
        ("[TRAIN]\nlearning_rate = fast\n", r"TRAIN\.learning_rate = fast must be a number"),
        ("[TRAIN]\nmirror = maybe\n", r"TRAIN\.mirror = maybe must be True or False"),
        ("[TRAIN]\nstep_sizes = 5\n", r"must be a list of integers"),
        ("[TRAIN]\ndecoder = vlc\n", r"must be one of av, decord, opencv"),
        ("epoch = 3\n", r"not a config file"),
        ("[TRAIN]\nepoch = 3\nepoch = 4\n", r"not a config file.*line 3"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(write, text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(write(text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("TRAIN.learning_rate=1e400", "must be a number of less than"),
        ("MODEL.num_classes=1000000000000", "must be a number of less than"),
        ("TRAIN.learning_rate=" + "9" * 400, "must be a number of less than"),
        ("TRAIN.sample_rate=100000000000000000000", "must be a number of less than"),
        ("TRAIN.filelist='a\\x00b'", "must be one line without control characters"),
        ("TRAIN.decode_timeout=1e6", "must be at most 86400"),
    ],
)
def test_values_beyond_reason(override, message):
    with pytest.raises(ConfigError, match=message):
        load_config(RELEASED, [override])


@pytest.mark.parametrize(
    "text",
    [
        "TRAIN:\n  filelist: [a, b]\n",
        "TRAIN:\n  filelist:\n",
        "TRAIN:\n  filelist: 2020-13-45\n",
        "TRAIN:\n  learning_rate: .inf\n",
        "TRAIN:\n  learning_rate: .nan\n",
        "TRAIN:\n  epoch: !!int abc\n",
        "[" * 2000,
        "",
        "0",
    ],
)
def test_yaml_values_that_do_not_fit(write, text):
    with pytest.raises(ConfigError, match=r"run\.yaml"):
        load_config(write(text, "run.yaml"))


def test_an_indented_line_is_no_part_of_a_path(write):
    with pytest.raises(ConfigError, match=r"run\.txt:2: TRAIN\.filelist = .* must be one line"):
        load_config(write("[TRAIN]\nfilelist = a.txt\n  batch_size = 4\n"))


def test_byte_order_mark_and_empty_file(write, tmp_path):
    (tmp_path / "bom.txt").write_bytes(b"\xef\xbb\xbf[MODEL]\nnum_classes = 7\n")
    assert load_config(tmp_path / "bom.txt").MODEL.num_classes == 7
    with pytest.raises(ConfigError, match="holds no section"):
        load_config(write("# nothing\n"))


@pytest.mark.parametrize("text", ["- a\n", "MODEL: 3\n", "MODEL: [\n"])
def test_yaml_that_is_no_config(write, text):
    with pytest.raises(ConfigError, match=r"run\.yaml"):
        load_config(write(text, "run.yaml"))


def test_yaml_errors_name_the_line(write):
    with pytest.raises(ConfigError, match=r"run\.yaml:3: unknown key TRAIN\.epochs for NONLOCAL; did you mean epoch\?"):
        load_config(write("TRAIN:\n  batch_size: 4\n  epochs: 3\n", "run.yaml"))


def test_missing_file_and_malformed_override():
    with pytest.raises(ConfigError, match=r"no/such\.txt cannot be read"):
        load_config("no/such.txt")
    with pytest.raises(ConfigError, match=r"'epoch=3' must have the form SECTION\.key=value"):
        load_config(RELEASED, ["epoch=3"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["MODEL.depth=101"],
            r"MODEL\.depth: depth \(101\) contradicts video_arc_choice \(1\), which is C2D with depth 50",
        ),
        (["MODEL.video_arc_choice=5"], "must be one of 1, 2, 3, 4"),
        (["TEST.num_test_clips=31"], "must be divisible by the 3 crops"),
        (["INFER.num_test_clips=9", "INFER.use_multi_crop=2"], "must be divisible by the 6 crops"),
        (["TRAIN.crop_size=288"], r"must not exceed the short side, jitter_scales\[0\] \(256\)"),
        (["TEST.crop_size=250"], "must be a multiple of 32"),
        (["TRAIN.video_length=7"], "must be even"),
        (["TEST.crop_size=192"], r"must not be less than TRAIN\.crop_size \(224\)"),
        (["TEST.video_length=4"], r"must not be less than TRAIN\.video_length \(8\)"),
        (["TRAIN.batch_size=-1"], r"batch_size \(-1\) must be at least 1"),
        (["TRAIN.jitter_scales=[320,256]"], "two sizes, the smaller first"),
        (["TRAIN.dropout_rate=1.0"], "must be less than 1"),
        (["TRAIN.learning_rate=0"], "must be greater than 0"),
        (["TRAIN.step_sizes=[]"], "must be positive iteration counts"),
        (["MODEL.image_std=0"], "must be greater than 0"),
        (["NONLOCAL.use_affine=True"], "cannot both be True"),
        (["MODEL.use_affine=True", "TRAIN.video_length=12"], "multiple of 8: with MODEL.use_affine"),
        (["MODEL.stem_temporal_stride=2", "TEST.video_length=12"], "multiple of 8: with MODEL.stem_temporal_stride=2"),
        (["MODEL.stem_temporal_stride=3"], "must be one of 1, 2"),
        (["MODEL.pool1_padding=2"], "must be one of 0, 1"),
        (["NONLOCAL.chunk_size=-1"], "must be at least 0"),
        (["VALID.num_reader_threads=-1"], "must be at least 0"),
        (["VALID.decode_timeout=0"], "must be greater than 0"),
    ],
)
def test_impossible_combinations(overrides, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(RELEASED, overrides)
    assert re.search(r"[A-Z]+\.[a-z_]+", str(caught.value)), "names section and key"


def test_use_softmax_false_means_the_dot_product():
    assert load_config(RELEASED, ["NONLOCAL.use_softmax=False"]).NONLOCAL.pairwise == "dot_product"
    assert load_config(RELEASED, ["NONLOCAL.use_softmax=True"]).NONLOCAL.pairwise == "embedded_gaussian"


@pytest.mark.parametrize(
    ("softmax", "pairwise"),
    [(False, "gaussian"), (False, "embedded_gaussian"), (True, "dot_product"), (True, "concatenation")],
)
def test_use_softmax_that_contradicts_pairwise_is_an_error(write, softmax, pairwise):
    message = rf"run\.txt:3: NONLOCAL\.use_softmax = {softmax} contradicts NONLOCAL\.pairwise = {pairwise}"
    with pytest.raises(ConfigError, match=message):
        load_config(write(f"[NONLOCAL]\npairwise = {pairwise}\nuse_softmax = {softmax}\n"))


def test_an_override_of_pairwise_passes_over_the_true_of_old_files(write):
    for pairwise in ("dot_product", "concatenation", "gaussian"):
        section = load_config(RELEASED, [f"NONLOCAL.pairwise={pairwise}"]).NONLOCAL
        assert (section.pairwise, section.use_softmax) == (pairwise, pairwise == "gaussian")
    with pytest.raises(ConfigError, match="contradicts"):
        load_config(write("[NONLOCAL]\nuse_softmax = False\n"), ["NONLOCAL.pairwise=gaussian"])


def test_crops_and_clips():
    for multi_crop, crops, clips in ((0, 1, 30), (1, 3, 10), (2, 6, 5)):
        section = load_config(RELEASED, [f"TEST.use_multi_crop={multi_crop}"]).TEST
        assert (section.num_crops, section.num_clips) == (crops, clips)
