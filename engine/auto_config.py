"""``--config auto``: the config of the network that a weights file is of."""

import argparse
from collections.abc import Iterable, Sequence

from configs.arguments import config_from_arguments
from configs.loading import config_from, parse_config
from configs.schema import Config
from models.registry import NETWORKS
from utils.errors import ConfigError, WeightsError
from utils.logging import get_logger

AUTO = "auto"


def scoring_config(args: argparse.Namespace) -> Config:
    """Return the config that the flags of a program name; with ``--config auto`` that of ``--weights``.

    Raises:
        ConfigError, WeightsError: see `config_of_weights` and `load_config`.
    """
    if AUTO not in (args.config, getattr(args, "config_file", None)):
        return config_from_arguments(args, NETWORKS)
    if not args.weights:
        raise ConfigError("--config auto tells the network from the weights: name them with --weights")
    return config_of_weights(args.weights, args.override)


def config_of_weights(argument: str, overrides: Sequence[str]) -> Config:
    """Return the config of the network that weights are of.

    A save of this toolkit has its config beside it. Of other files the network is told from names, shapes and the
    settings in them; frames, rate and sampling are those that its lineage was published with.

    Args:
        argument: what ``--weights`` takes.
        overrides: ``SECTION.key=value`` each; they win.

    Raises:
        WeightsError: it is of no known network, or does not tell everything: names the keys to give.
    """
    # Imported late: they need Paddle, and other configs are checked before it is loaded.
    from engine.weights_argument import read_weights_argument
    from models.weights.recognition import ASSUMED, recognise

    weights = read_weights_argument(argument, None)
    if weights.save is not None and weights.save.description.config is not None:
        return parse_config(weights.save.description.config, argument, networks=NETWORKS, overrides=overrides)
    found = recognise(weights.file)
    given = dict(override.split("=", 1) for override in overrides if "=" in override)
    choice = next(found.candidates(given))
    for key in choice:
        values = found.choices[key]
        if key not in ASSUMED:
            options = ", ".join(f"-o {key}={value}" for value in values)
            raise WeightsError(f"{weights.source}: does not tell {key}: give one of {options}")
        get_logger().info("the file does not tell %s: taken to be %s, as most were published", key, values[0])
    keys = [f"{key}={value}" for key, value in {**found.keys, **choice}.items()]
    config = config_from([f"MODEL.name={found.network}", *keys, *overrides], networks=NETWORKS)
    lineage = config.MODEL.lineage
    config = config_from(
        [f"MODEL.name={found.network}", *keys, *_clip(config.lineage.clip), *overrides], networks=NETWORKS
    )
    get_logger().info("%s: %s, lineage %s (%s)", weights.source, found.network, lineage, found.format)
    return config


def _clip(clip: tuple[int, int]) -> Iterable[str]:
    """Keys for a clip of (frames, rate); rate 0: a frame of each of so many parts of the video."""
    frames, rate = clip
    for section in ("TRAIN", "VALID", "TEST", "INFER"):
        yield f"{section}.video_length={frames}"
        yield f"{section}.sample_rate={rate}" if rate else f"{section}.sampling=segments"
