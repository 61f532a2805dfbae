"""The command-line flags that train.py, test.py and infer.py share, and how flags become config overrides."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from configs.loading import dump_config, load_config
from configs.schema import Config
from utils.atomic_file import write_text
from utils.errors import ConfigError
from utils.logging import add_log_file, get_logger

_MEANINGLESS = ("no_use_pyreader", "use_pyreader", "no_memory_optimize", "memory_optimize", "use_data_parallel")


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that every program takes."""
    common = parser.add_argument_group("run")
    common.add_argument("--model_name", action=SetKeys, keys=["MODEL.name"], help="network name, in any case")
    common.add_argument("--config", default="configs/nonlocal.txt", help="config file, text or YAML (%(default)s)")
    common.add_argument(
        "-o", "--override", action="append", default=[], metavar="SECTION.key=value", help="set one key; repeatable"
    )
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


def add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say what computes, for programs that do not train."""
    engine = parser.add_argument_group("engine")
    engine.add_argument(
        "--engine", default="auto", choices=("auto", "dygraph", "paddle", "onnxruntime", "openvino"),
        help="auto: on a GPU dygraph, on a CPU the first of openvino, onnxruntime, paddle (Paddle Inference) that is "
        "installed and agrees with dygraph (%(default)s)",
    )  # fmt: skip
    engine.add_argument(
        "--precision", default="fp32", choices=("fp32", "bf16"),
        help="bf16: OpenVINO's, several times as fast on processors with AMX, probabilities to about two digits "
        "(%(default)s)",
    )  # fmt: skip


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

    _MULTI_CROP: ClassVar = {"1": 0, "3": 1, "6": 2}

    def __init__(self, *, section: str, **kwargs: Any) -> None:
        text = f"clips x crops of each video: 1x1 for a quick look, 10x3 as released; crops 1, 3 or 6 ({section})"
        super().__init__(**{**kwargs, "dest": "override", "default": [], "metavar": "CxK", "help": text})
        self._section = section

    def __call__(
        self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: str | None = None
    ) -> None:
        """Add the overrides."""
        clips, _, crops = values.lower().partition("x")
        if not (clips.isdecimal() and int(clips) and crops in self._MULTI_CROP):
            parser.error(f"argument {option_string}: {values} must be CLIPSxCROPS with 1, 3 or 6 crops, as 10x3")
        keys = {"num_test_clips": int(clips) * int(crops), "use_multi_crop": self._MULTI_CROP[crops]}
        namespace.override = [*namespace.override, *(f"{self._section}.{key}={value}" for key, value in keys.items())]


def config_from_arguments(args: argparse.Namespace) -> Config:
    """Load ``--config`` with the flags and ``-o`` overrides that were given."""
    return load_config(args.config, args.override)


def report_meaningless_flags(args: argparse.Namespace) -> None:
    """Log one line for the old flags that were given and do nothing any more."""
    given = [f"--{flag}" for flag in _MEANINGLESS if getattr(args, flag) is not None]
    if given:
        get_logger().info("accepted from old command lines, without effect today: %s", ", ".join(given))


def open_run_folder(path: str | Path, config: Config, program: str, *, rank: int = 0) -> Path:
    """Make the output folder of a run, with ``<program>.log`` and the full resolved config ``<program>_config.txt``.

    Of several processes each has a log file of its own (``<program>.rank1.log``), and the first one writes the config.
    Return the log file.

    Call it when everything that can be checked beforehand was checked: a run that cannot start leaves nothing behind.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        log_file = folder / (f"{program}.rank{rank}.log" if rank else f"{program}.log")
        add_log_file(log_file)
        if rank == 0:
            write_text(folder / f"{program}_config.txt", dump_config(config))
    except OSError as error:
        raise ConfigError(f"output folder {folder} cannot be written: {error.strerror}") from error
    return log_file


def positive_integer(text: str) -> int:
    """An argparse type: an integer of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} must be an integer of at least 1")
    return int(text)


def positive_number(text: str) -> float:
    """An argparse type: a number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} must be a number above 0")
    return number
