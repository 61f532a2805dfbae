"""The command-line flags that train.py, test.py and infer.py share, and how flags become config overrides."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from configs.loading import Networks, load_config
from configs.schema import Config
from utils.errors import ConfigError
from utils.logging import get_logger

_DEFAULT_CONFIG = "configs/nonlocal.txt"
_MEANINGLESS = (
    "no_use_pyreader", "use_pyreader", "no_memory_optimize", "memory_optimize", "use_data_parallel", "fix_random_seed",
)  # fmt: skip


def add_common_arguments(parser: argparse.ArgumentParser, *, also_auto: bool = True) -> None:
    """Add the flags that every program takes; see `add_config_arguments`."""
    common = parser.add_argument_group("run")
    common.add_argument("--model_name", action=SetKeys, keys=["MODEL.name"], help="network name, in any case")
    add_config_arguments(common, also_auto=also_auto)
    common.add_argument(
        "--use_gpu", nargs="?", const="true", default="auto", type=str.lower, choices=("true", "false", "auto"),
        help="true: a GPU or an error; false: CPU; auto: a GPU if there is one (%(default)s)",
    )  # fmt: skip
    common.add_argument(
        "--log_interval", type=positive_integer, default=10, help="batches between log lines (%(default)s)"
    )
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")
    for flag in _MEANINGLESS:
        common.add_argument(f"--{flag}", nargs="?", const="true", help=argparse.SUPPRESS)


def add_config_arguments(group: Any, *, also_positional: bool = False, also_auto: bool = True) -> None:
    """Add ``--config`` and ``-o`` to a parser or a group of one.

    Args:
        also_auto: whether the program takes ``--config auto`` (`scoring_config`).
        also_positional: the config may be named without a flag too, as older versions of some tools had it.
    """
    if also_positional:
        group.add_argument("config_file", nargs="?", metavar="CONFIG", help="the same as --config CONFIG")
    auto = "; 'auto': of the network of --weights" if also_auto else ""
    group.add_argument("--config", help=f"config file, text or YAML ({_DEFAULT_CONFIG}){auto}")
    group.add_argument(
        "-o", "--override", action="append", default=[], metavar="SECTION.key=value", help="set one key; repeatable"
    )


class SetKeys(argparse.Action):
    """A flag that sets config keys: it becomes overrides, in the order of the command line, the last one wins.

    Use as ``add_argument("--flag", action=SetKeys, keys=("SECTION.key", ...))``.
    """

    def __init__(self, *, keys: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dest": "override", "default": [], "metavar": "VALUE"})
        self._keys = keys

    def __call__(
        self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: str | None = None
    ) -> None:
        """Add this flag's overrides."""
        namespace.override = [*namespace.override, *(f"{key}={values}" for key in self._keys)]


class SetViews(argparse.Action):
    """A flag ``CLIPSxCROPS`` that sets the views of a video in a section: overrides of the two keys that say it.

    Use as ``add_argument("--views", action=SetViews, section="TEST")``.
    """

    _MULTI_CROP: ClassVar = {"1": 0, "3": 1, "6": 2, "10": 3}

    def __init__(self, *, section: str, **kwargs: Any) -> None:
        text = f"clips x crops of each video: 1x1 for a quick look, 10x3 as released; crops 1, 3, 6 or 10 ({section})"
        super().__init__(**{**kwargs, "dest": "override", "default": [], "metavar": "CxK", "help": text})
        self._section = section

    def __call__(
        self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: str | None = None
    ) -> None:
        """Add the overrides."""
        clips, _, crops = values.lower().partition("x")
        if not (clips.isdecimal() and int(clips) and crops in self._MULTI_CROP):
            parser.error(f"argument {option_string}: {values} must be CLIPSxCROPS with 1, 3, 6 or 10 crops, as 10x3")
        keys = {"num_test_clips": int(clips) * int(crops), "use_multi_crop": self._MULTI_CROP[crops]}
        namespace.override = [*namespace.override, *(f"{self._section}.{key}={value}" for key, value in keys.items())]


def config_from_arguments(args: argparse.Namespace, networks: Networks) -> Config:
    """Load the config that was named, or the default one, with the flags and ``-o`` overrides that were given."""
    positional = getattr(args, "config_file", None)
    if "" in (args.config, positional):
        raise ConfigError("--config is empty: name a config file, or leave the flag away")
    if args.config and positional and args.config != positional:
        raise ConfigError(f"two configs are named: {positional} and --config {args.config}")
    file = args.config or positional or _DEFAULT_CONFIG
    if file == "auto" and not Path(file).exists():
        raise ConfigError(
            "--config auto is for programs that take --weights: here name a config, and the network by the keys that "
            "'python tools/check_weights.py FILE' prints"
        )
    return load_config(file, args.override, networks=networks)


def report_meaningless_flags(args: argparse.Namespace) -> None:
    """Log one line for the old flags that were given and do nothing any more."""
    given = [f"--{flag}" for flag in _MEANINGLESS if getattr(args, flag) is not None]
    if given:
        get_logger().info("accepted from old command lines, without effect today: %s", ", ".join(given))


def positive_integer(text: str) -> int:
    """An argparse type: an integer of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} must be an integer of at least 1")
    return int(text)


def non_negative_integer(text: str) -> int:
    """An argparse type: an integer of at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} must be an integer of at least 0")
    return int(text)


def folder(text: str) -> Path:
    """An argparse type: the name of a folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the name of the folder is empty")
    return Path(text)


def features_output(text: str) -> Path:
    """An argparse type: the name of a .npz file, or of a folder."""
    path = folder(text)
    if path.suffix == ".npz" and path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a folder, and named as a file")
    if path.suffix != ".npz" and path.exists() and not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} must end in .npz, or be a folder; it is another file")
    return path


def share(text: str) -> float:
    """An argparse type: a number between 0 and 1."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"{text} must be a number between 0 and 1")
    return number


def positive_number(text: str) -> float:
    """An argparse type: a number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} must be a number above 0")
    return number
