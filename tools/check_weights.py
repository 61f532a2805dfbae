"""Say what network a weights file is of; run a clip through it, and compare the result with logits from elsewhere.

Example: python tools/check_weights.py i3d_nl.pth --config auto --input clip.npy --logits logits.npy
"""

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a program, from any folder

import numpy as np

from models.registry import NETWORKS
from utils.commandline import ProgramParser, run_program
from utils.errors import ConfigError, WeightsError
from utils.logging import get_logger, setup_logging

if TYPE_CHECKING:
    from configs.schema import Config
    from models.weights.dialects import FileArrays
    from models.weights.recognition import Recognised

    Candidate = tuple[Config, dict[str, Any]]  # and what it chooses

_SECTIONS_OF_CLIPS = ("TRAIN", "VALID", "TEST", "INFER")
_OWN_KEYS = ("num_classes", "dataset", "name", "lineage")
_TOLERANCE = 1e-4  # of the largest logit, or of 1


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = ProgramParser(
        prog="check_weights.py",
        description="Say what network a weights file is of, and the keys that build it. With --input, run a clip "
        "through it and print the five best classes. With --logits, compare: exit code 0 if the largest difference is "
        "at most 1e-4 of the largest logit (or of 1), else 1. With --config auto the network is told from the file; "
        "what that does not tell, such as the form of non-local blocks, is found by the logits, or must be given with "
        "-o.",
        epilog="example: python tools/check_weights.py i3d_nl.pth --input clip.npy --logits logits.npy",
    )
    files = parser.add_argument_group("files")
    files.add_argument("file", help="what --weights takes: checkpoint, file, folder, archive or URL")
    files.add_argument("--input", type=Path, help="a normalised clip, .npy, float32 (N, 3, T, H, W)")
    files.add_argument("--logits", type=Path, help="what the network gives elsewhere, .npy, (N, classes)")
    network = parser.add_argument_group("network")
    network.add_argument("--config", default="auto", help="config file, or 'auto' (default)")
    network.add_argument(
        "-o", "--override", action="append", default=[], metavar="SECTION.key=value", help="set one key of the config"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_args(argv)


def read_array(file: Path, what: str, dimensions: int) -> np.ndarray:
    """Read a .npy file of finite numbers.

    Raises:
        WeightsError: it cannot be read, or is not such an array.
    """
    try:
        array = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise WeightsError(f"{what} {file} cannot be read: {error}") from error
    if not isinstance(array, np.ndarray) or array.ndim != dimensions or array.dtype.kind not in "fiu" or not array.size:
        raise WeightsError(f"{what} {file}: must be an array of numbers with {dimensions} dimensions")
    if not np.isfinite(array).all():
        raise WeightsError(f"{what} {file}: must be finite")
    return array


def clip_overrides(clip: np.ndarray) -> list[str]:
    """The keys that make a clip of this size one of training size.

    Raises:
        WeightsError: it is no clip.
    """
    if clip.shape[1] != 3 or clip.shape[3] != clip.shape[4]:
        raise WeightsError(f"the clip has shape {clip.shape}; it must be (N, 3, T, H, W), H and W the same")
    return [
        override
        for section in ("TRAIN", "VALID", "TEST", "INFER")
        for override in (
            f"{section}.video_length={clip.shape[2]}", f"{section}.crop_size={clip.shape[3]}",
            f"{section}.jitter_scales=[{clip.shape[3]}, {clip.shape[3]}]",
        )
    ]  # fmt: skip


def auto_configs(
    found: "Recognised", clip: np.ndarray, overrides: Sequence[str]
) -> list[tuple["Config", dict[str, Any]]]:
    """Return a config for each candidate, and what it chooses."""
    from configs.loading import config_from

    given = dict(override.split("=", 1) for override in overrides if "=" in override)
    configs = []
    for choice in found.candidates(given):
        keys = [f"{key}={value}" for key, value in {**found.keys, **choice}.items()]
        lines = [f"MODEL.name={found.network}", *keys, *clip_overrides(clip), *overrides]
        configs.append((config_from(lines, networks=NETWORKS), choice))
    return configs


def run_network(config: "Config", file: "FileArrays", clip: np.ndarray) -> np.ndarray:
    """Build the network, fill it from the file, and return the logits of the clip, (N, K)."""
    import paddle

    from models.registry import build_model
    from models.weights.fitting import load_into

    network = build_model(config)
    load_into(network, file, NETWORKS[config.MODEL.name].weight_dialects())
    network.eval()
    with paddle.no_grad():
        logits = network.logits(paddle.to_tensor(clip.astype("float32")))
    return logits.numpy().mean(axis=(1, 2, 3))


def show_network(args: argparse.Namespace) -> None:
    """Print what a file is of, and the keys that build its network."""
    from configs.loading import config_from, load_config
    from engine.auto_config import config_of_weights
    from engine.network_loading import load_for_scoring
    from models.registry import build_model

    if args.config == "auto":
        config = config_of_weights(args.file, args.override)
    else:
        config = load_config(args.config, args.override, networks=NETWORKS)
    load_for_scoring(build_model(config), config, args.file)
    lineage = getattr(config.MODEL, "lineage", "")
    keys = [f"MODEL.name={config.MODEL.name}", *([f"MODEL.lineage={lineage}"] if lineage else [])]
    usual = config_from(keys, networks=NETWORKS)
    for section in (name for name in config.sections() if name not in _SECTIONS_OF_CLIPS):
        for field in fields(getattr(config, section)):
            value = getattr(getattr(config, section), field.name)
            if value != getattr(getattr(usual, section), field.name) and field.name not in _OWN_KEYS:
                keys.append(f"{section}.{field.name}={list(value) if isinstance(value, tuple) else value}")
    clip = config.TEST
    print(f"network {config.MODEL.name}, lineage {lineage or 'of its own'}")
    print(
        f"clips of {clip.video_length} frames, "
        + ("one of each part of the video" if clip.sampling == "segments" else f"one in {clip.sample_rate}")
    )
    print("keys: " + " ".join(f"-o {shlex.quote(key)}" for key in keys))


def main(argv: Sequence[str]) -> int:
    args = parse_arguments(argv)
    setup_logging()
    if args.input is None:
        if args.logits:
            raise ConfigError("--logits are those of a clip: name it with --input")
        show_network(args)
        return 0
    clip = read_array(args.input, "clip", 5)
    wanted = read_array(args.logits, "logits", 2) if args.logits else None

    from configs.loading import load_config, parse_config
    from engine.weights_argument import read_weights_argument
    from models.weights.recognition import recognise

    if args.config == "auto":
        weights = read_weights_argument(args.file, None)
        file, text = weights.file, weights.save and weights.save.description.config
        if text:
            keys = [*clip_overrides(clip), *args.override]
            configs, format_ = [(parse_config(text, args.file, networks=NETWORKS, overrides=keys), {})], file.container
        else:
            found = recognise(file)
            configs, format_ = auto_configs(found, clip, args.override), found.format
            if wanted is None:
                configs = [_chosen(found, configs)]
    else:
        config = load_config(args.config, [*clip_overrides(clip), *args.override], networks=NETWORKS)
        file = read_weights_argument(args.file, config.MODEL.name).file
        configs, format_ = [(config, {})], file.container
    results = [(config, choice, run_network(config, file, clip)) for config, choice in configs]
    if wanted is not None:
        for _, _, logits in results:
            if logits.shape != wanted.shape:
                raise WeightsError(f"{args.logits}: has shape {wanted.shape}, the network gives {logits.shape}")
        results.sort(key=lambda result: _difference(result[2], wanted))
    config, choice, logits = results[0]
    print(f"{file.source}: {format_}")
    print(f"network {config.MODEL.name}, lineage {getattr(config.MODEL, 'lineage', 'of its own')}{_shown(choice)}")
    for number, row in enumerate(logits):
        best = np.argsort(-row)[:5]
        print(f"clip {number}: " + ", ".join(f"class {class_} {row[class_]:.4f}" for class_ in best))
    if wanted is None:
        return 0
    difference, largest = _difference(logits, wanted), float(np.abs(wanted).max())
    print(f"largest difference {difference:.3g} (largest logit {largest:.4g})")
    return 0 if difference <= _TOLERANCE * max(1.0, largest) else 1


def _chosen(found: "Recognised", configs: "Sequence[Candidate]") -> "Candidate":
    """The one candidate; where there are more, what they differ in must be one of what may be assumed.

    Raises:
        WeightsError: the user must choose.
    """
    from models.weights.recognition import ASSUMED

    first, choice = configs[0]
    for key in choice:
        values = found.choices[key]
        if len(values) > 1 and key not in ASSUMED:
            options = ", ".join(f"-o {key}={value}" for value in values)
            raise WeightsError(f"the file does not tell {key}: give one of {options} (or --logits, to find out)")
        if len(values) > 1:
            get_logger().info("the file does not tell %s: taken to be %s, as it was published", key, values[0])
    return first, choice


def _difference(logits: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(logits - wanted).max())


def _shown(choice: Mapping[str, Any]) -> str:
    return f" ({', '.join(f'{key}={value}' for key, value in choice.items())})" if choice else ""


if __name__ == "__main__":
    sys.exit(run_program(main))
