"""Config files: values, types, nearest names, places, rules, overrides, round trip."""

import ast
import configparser
import dataclasses
import re
import typing

import numpy as np
import pytest
import yaml
from conftest import ROOT
from network_configs import load_config, parse_config

from configs.checks import violations
from configs.comparison import differing_keys
from configs.loading import dump_config
from models.nonlocal_config import NonlocalConfig, NonlocalModelSection
from utils.atomic_file import write_text
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
    for multi_crop, crops, clips in ((0, 1, 30), (1, 3, 10), (2, 6, 5), (3, 10, 3)):
        section = load_config(RELEASED, [f"TEST.use_multi_crop={multi_crop}"]).TEST
        assert (section.num_crops, section.num_clips) == (crops, clips)


TEXTS = [
    "in/set #1/train.txt", "# first", "a #", "it's", 'a "quoted" path', "a=b", "100%", "%(x)s", "back\\slash", "\\",
    "'", '"',
    " leading and trailing ", "[section]", "; no comment", "Ä/视频 列表.txt", "\u2028 line", "\x85", "byte \udcff",
    "True", "12", "None",
    "1e5", "", "a, b", "#", "'#'", "a\\' # b", "key : value", "\u00a0", "x\\",
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_every_text_that_a_key_can_hold_survives(write, text):
    config = load_config(RELEASED)
    config = dataclasses.replace(config, TRAIN=dataclasses.replace(config.TRAIN, filelist=text))
    path = write("")
    write_text(path, dump_config(config))
    assert load_config(path) == config
    assert parse_config(dump_config(config), "dump") == config


def test_every_config_that_can_be_written_is_read_back_the_same():
    """Random values of every key, within its type."""
    random = np.random.default_rng(0)
    alphabet = [*"ab#'\"=%\\ /[](){};:,", "é", "视", "\udcfe", "#", " "]

    def value_of(kind, default):
        if kind is str:
            return "".join(random.choice(alphabet, int(random.integers(0, 12))))
        if kind is bool:
            return bool(random.integers(2))
        if kind is int:
            return int(random.integers(1, 1 << 20)) * 32
        if kind is float:
            return float(random.choice([0.1, 1e-5, 123456.789, 1 / 3, 2.5e-310, 5e-324]))
        return default

    for _ in range(80):
        config = load_config(RELEASED)
        for name, kind in config.sections().items():
            section = getattr(config, name)
            types = typing.get_type_hints(kind)
            changes = {
                field.name: value_of(types[field.name], getattr(section, field.name))
                for field in dataclasses.fields(kind)
                if (name, field.name) != ("MODEL", "name") and random.integers(3) == 0
            }
            candidate = dataclasses.replace(config, **{name: dataclasses.replace(section, **changes)})
            if not list(violations(candidate)) and candidate.NONLOCAL.use_softmax == config.NONLOCAL.use_softmax:
                config = candidate
        assert parse_config(dump_config(config), "dump") == config


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("a.txt # mine", "a.txt"), ("a.txt\t# mine", "a.txt"), ("a.txt #", "a.txt"), ("'a #1.txt' # mine", "a #1.txt"),
        ("it's here # isn't it", "it's here"), ("a#1.txt", "a#1.txt"), ('"a \\" # b" # c', 'a " # b'), ("# all", ""),
    ],
)  # fmt: skip
def test_comments_begin_outside_of_quotes(write, line, value):
    assert load_config(write(f"[TRAIN]\nfilelist = {line}\n")).TRAIN.filelist == value


def test_comments_after_lists(write):
    assert load_config(write("[TRAIN]\njitter_scales = [224, 256] # ]\n")).TRAIN.jitter_scales == (224, 256)


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("TRAIN.lr=1", "did you mean learning_rate?"), ("TRAIN.batchsize=1", "did you mean batch_size?"),
        ("TRAIN.wd=1", "did you mean weight_decay?"), ("TRAIN.epochs=1", "did you mean epoch?"),
        ("TRAIN.smoothing=0.1", "did you mean label_smoothing?"),
    ],
)  # fmt: skip
def test_unknown_keys_are_answered_with_one_suggestion(override, hint):
    with pytest.raises(ConfigError) as caught:
        load_config(RELEASED, [override])
    assert str(caught.value).endswith(hint)


def test_an_unknown_key_without_a_likeness_lists_nothing_long():
    with pytest.raises(ConfigError) as caught:
        load_config(RELEASED, ["TRAIN.zzz=1"])
    assert len(str(caught.value)) < 120


class TestComparisons:
    """What may change when a run or a test goes on, as the fields say it."""

    def differing(self, what, *overrides):
        return differing_keys(load_config(RELEASED), load_config(RELEASED, overrides), what)

    @pytest.mark.parametrize(
        ("override", "counts_for"),
        [
            ("TRAIN.learning_rate=0.5", {"training"}), ("TRAIN.epoch=3", set()), ("TRAIN.batch_size=8", {"training"}),
            ("TRAIN.filelist=x", set()), ("TRAIN.video_length=4", {"training", "test", "network"}),
            ("MODEL.num_classes=3", {"training", "test", "network"}), ("MODEL.dataset=x", set()),
            ("MODEL.image_mean=0", {"training", "test", "network"}), ("NONLOCAL.chunk_size=9", set()),
            ("NONLOCAL.layer_mod=3", {"training", "test", "network"}),
            ("RESNETS.num_groups=2", {"training", "test", "network"}),
            ("VALID.sample_rate=4", {"training"}), ("VALID.batch_size=4", set()), ("TEST.sample_rate=4", {"test"}),
            ("TEST.num_test_clips=3", {"test"}),
            ("TEST.batch_size=9", set()), ("TEST.spatial=full", {"test"}), ("INFER.sample_rate=4", set()),
            ("INFER.num_test_clips=3", set()),
        ],
    )  # fmt: skip
    def test_which_keys_count(self, override, counts_for):
        for what in ("training", "test", "network"):
            assert bool(self.differing(what, override)) == (what in counts_for), (override, what)

    def test_a_difference_names_key_and_values(self):
        assert self.differing("training", "TRAIN.momentum=0.8") == ["TRAIN.momentum was 0.9, is 0.8"]

    def test_two_networks_are_told_by_their_names(self):
        other = dataclasses.replace(load_config(RELEASED), MODEL=NonlocalModelSection(name="OTHER"))
        assert differing_keys(load_config(RELEASED), other, "test") == ["MODEL.name was 'NONLOCAL', is 'OTHER'"]


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("MODEL:\n  name: x\n  name: y\n", "run.yaml", r"run\.yaml: .*name is given twice.* line 3"),
        ("MODEL:\n  num_classes: 3\nMODEL:\n  name: x\n", "run.yaml", "MODEL is given twice"),
        ("MODEL:\n  num_classes: 3\n  NUM_CLASSES: 4\n", "run.yaml", "NUM_CLASSES is given twice"),
        ("MODEL: {num_classes: 3}\nmodel: {num_classes: 4}\n", "run.yml", "model is given twice"),
        ("[MODEL]\nnum_classes = 3\n[model]\nnum_classes = 4\n", "run.txt", r"run\.txt:4: model\.num_classes is given "
         r"twice, before at .*run\.txt:2"),
        ("[MODEL]\nnum_classes = 3\nNUM_CLASSES = 4\n", "run.txt", "num_classes"),
    ],
)  # fmt: skip
def test_what_is_given_twice_in_a_file_is_an_error(write, text, name, message):
    with pytest.raises(ConfigError, match=message):
        load_config(write(text, name))


def test_overrides_may_be_given_twice(write):
    path = write("[MODEL]\nnum_classes = 3\n[model]\nname = nonlocal\n")
    assert load_config(path, ["MODEL.num_classes=4", "model.num_classes=5"]).MODEL.num_classes == 5


def test_the_word_override_in_the_name_of_a_file_changes_nothing(write):
    path = write(RELEASED.read_text(), "my_override 'a'.txt")
    assert load_config(path, ["NONLOCAL.pairwise=dot_product"]).NONLOCAL.pairwise == "dot_product"


@pytest.mark.parametrize("digits", [10, 5000])
@pytest.mark.parametrize("key", ["MODEL.num_classes", "MODEL.name", "TRAIN.amp", "TRAIN.mirror", "TRAIN.filelist"])
def test_huge_numbers_in_yaml(write, key, digits):
    section, name = key.split(".")
    path = write(f"{section}:\n  {name}: 0x{'9' * digits}\n", "run.yaml")
    if key == "TRAIN.filelist":
        load_config(path)  # a strange name, but a name
    else:
        with pytest.raises(ConfigError, match=r"run\.yaml:2: .{0,300}$"):
            load_config(path)


@pytest.mark.parametrize(
    "override",
    [
        "MODEL.num_classes={[]: 1}", "TRAIN.mirror={{}}", "TRAIN.jitter_scales=[{{}}]",
        "TRAIN.jitter_scales=[40,99999999999999999999]", "TRAIN.jitter_scales=[40,2000000000]",
        f"TRAIN.step_sizes=[-0x{'9' * 5000}]", f"TRAIN.jitter_scales=[0x{'9' * 5000}, 256]", "MODEL.=3", ".name=x",
        "TEST.checkpoint_dir=", "MODEL.width_mult=1e9", "RESNETS.num_groups=2147483647", "MODEL.num_classes=2147483647",
        "TEST.video_length=2000000000", "TEST.jitter_scales=[40000,40000]",
    ],
)  # fmt: skip
def test_values_that_no_network_takes(override):
    with pytest.raises(ConfigError, match=r"^[^\n]{0,11000}$"):
        load_config(RELEASED, [override])


@pytest.mark.filterwarnings("error")
def test_a_backslash_in_a_path_is_a_backslash():
    assert load_config(RELEASED, [r"TRAIN.filelist='a\d'"]).TRAIN.filelist == r"a\d"
    assert load_config(RELEASED, ["TRAIN.filelist={{}}"]).TRAIN.filelist == "{{}}"


def test_off_in_yaml_is_the_word(write):
    assert load_config(write("TRAIN: {amp: off}\n", "run.yaml")).TRAIN.amp == "off"


@pytest.mark.parametrize("text", ["a: !!int ''\n", "a: !!timestamp x\n", "a: !!python/object:os.system x\n"])
def test_yaml_tags_that_do_not_fit(write, text):
    with pytest.raises(ConfigError, match=r"^[^\n]*not a YAML file: [^\n]*$"):
        load_config(write(text, "run.yaml"))


def test_a_key_that_has_gone_is_read_and_said(write, logged):
    """Files and saves of before name a decoder."""
    assert load_config(write("[TRAIN]\ndecoder = av\n")) == load_config(write("[TRAIN]\nepoch = 120\n"))
    assert not logged()
    load_config(write("[TRAIN]\nepoch = 3\ndecoder = opencv\n"), ["TEST.decoder=decord"])
    first, second = logged().splitlines()
    assert "run.txt:3: TRAIN.decoder has no effect any more: all videos are read by av" in first
    assert second.startswith("override 'TEST.decoder=decord': TEST.decoder has no effect any more")
