"""A network with values in it: built from its config, filled from what a user names as weights."""

from collections.abc import Mapping, Sequence
from typing import Any

import paddle

from configs.comparison import differing_keys
from configs.loading import parse_config
from configs.schema import Config
from engine.weights_argument import Weights, read_weights_argument
from models.network import VideoNetwork
from models.nonlocal_config import ResnetConfig
from models.registry import NETWORKS, build_model
from models.weights.fitting import load_into
from models.weights.recognition import recognise
from models.weights.settings import keys_that_names_do_not_tell, stated_keys
from utils.errors import ConfigError, WeightsError
from utils.logging import get_logger
from utils.seeding import step_seed


def new_network(config: Config) -> VideoNetwork:
    """Build the config's network; its initial parameters follow from TRAIN.seed."""
    paddle.seed(step_seed(config.TRAIN.seed))
    network = build_model(config)
    trained = sum(value.size for value in network.parameters() if not value.stop_gradient)
    get_logger().info("%s: %.2f million trainable parameters", config.MODEL.name, trained / 1e6)
    return network


def load_for_scoring(network: VideoNetwork, config: Config, argument: str | None) -> str:
    """Put the weights that ``--weights`` names (None: the released network) into `network`; return their source.

    Raises:
        WeightsError, DownloadError: they cannot be had, or are not of this network.
    """
    if argument is not None and not argument.strip():
        raise WeightsError("--weights is empty: name a checkpoint, or leave the flag away for the released network")
    name = config.MODEL.name
    if argument is None:
        released = NETWORKS[name].released_weights()
        if released is None:
            raise WeightsError(f"--weights is missing: nothing is released for {name}, so name a checkpoint")
        argument = str(released.fetch_network(config))
    weights = read_weights_argument(argument, name)
    fit_to_network(network, config, weights, partial=False)
    return weights.source


def fit_to_network(network: VideoNetwork, config: Config, weights: Weights, *, partial: bool) -> None:
    """Copy `weights` into `network` and report what became of every name: see `load_into`.

    Raises:
        WeightsError: they do not fit; says of which other network they are, if that is known.
    """
    try:
        _fit(network, config, weights, partial=partial)
    except WeightsError as error:
        raise WeightsError(f"{error}{_other_network(config, weights)}") from error


def _fit(network: VideoNetwork, config: Config, weights: Weights, *, partial: bool) -> None:
    log = get_logger()
    dialects = NETWORKS[config.MODEL.name].weight_dialects()
    _compare_with_stated(network, config, weights, partial=partial)
    fitted = load_into(network, weights.file, dialects, partial=partial)
    log.info("weights from %s (%s): %s", weights.source, fitted.format, fitted.report.summary())
    if "Paddle 1.x" in fitted.format and partial:
        log.info("Paddle 1.x did not scale up what dropout leaves, today's does; old weights are used as they are")
    for line in fitted.report.details():
        log.debug("weights: %s", line)
    _compare_with_usual(config, fitted.usual, fitted.format)
    if weights.save is None:
        stated = stated_keys(weights.file.settings).get("MODEL.lineage")
        names = [stated] if stated else fitted.lineages
        _compare_with_lineages(network, config, names, weights.source)
        if partial and names and not any(network.is_of_lineage(name) for name in names):
            log.warning(
                "%s: networks with these names are of lineage %s, whose layers compute something else than those of "
                "%s; this one starts from the values all the same. MODEL.lineage=%s builds theirs", weights.source,
                " or ".join(names), config.MODEL.lineage, names[0],
            )  # fmt: skip
    if fitted.doubt:
        log.warning("%s: %s", weights.source, fitted.doubt)
    if "Caffe2" in fitted.format and len(fitted.lineages) > 1:
        log.info(
            "these names do not tell who trained a network: with pool1 padded, or without pool2, it computes something "
            "else. This one is taken for MODEL.lineage=%s; other files are of %s", config.MODEL.lineage,
            " or ".join(name for name in fitted.lineages if name != config.MODEL.lineage),
        )  # fmt: skip


def _compare_with_stated(network: VideoNetwork, config: Config, weights: Weights, *, partial: bool) -> None:
    """Compare what the weights say of their network with `config`, of all that names and shapes do not tell.

    Raises:
        WeightsError: they differ, and not `partial`: the network would compute something else.
    """
    stated, saved = stated_keys(weights.file.settings), None
    if weights.save is not None and weights.save.description.config is not None:
        try:
            saved = parse_config(weights.save.description.config, weights.source, networks=NETWORKS)
        except ConfigError:
            return  # of a network that is not known any more
        stated = keys_that_names_do_not_tell(saved)
    configured = keys_that_names_do_not_tell(config)
    differing = [
        f"{key}={value} (here {configured[key]})"
        for key, value in stated.items()
        if configured.get(key, value) != value
        and not (key == "MODEL.lineage" and network.is_of_lineage(str(value)))  # another row of the same layers
    ]
    if not differing:
        if saved is not None and not partial and (others := differing_keys(saved, config, "network")):
            get_logger().warning("%s was made with another config: %s", weights.source, "; ".join(others))
        return
    message = f"{weights.source}: its network had {', '.join(differing)}"
    if not partial and (weights.save is None or _fits_exactly(network, weights)):  # what does not fit is told in full
        raise WeightsError(f"{message}: with the same names and shapes it would compute something else. Give its keys")
    if partial:
        get_logger().warning("%s; this one starts from its values all the same", message)


def _fits_exactly(network: VideoNetwork, weights: Weights) -> bool:
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    return {name: value.shape for name, value in weights.file.arrays.items()} == shapes


def _compare_with_usual(config: Config, usual: Mapping[str, Any], format_: str) -> None:
    if getattr(config.MODEL, "lineage", "authors") != "authors":
        return  # which decides these keys
    for key, value in usual.items():
        section, _, field = key.partition(".")
        configured = getattr(getattr(config, section), field, value)
        if configured != value:
            get_logger().warning(
                "networks with these names (%s) usually have %s=%s; if this one did, set it (now %s)",
                format_, key, value, configured,
            )  # fmt: skip


def _compare_with_lineages(network: VideoNetwork, config: Config, names: Sequence[str], source: str) -> None:
    """Warn if all lineages with this network's layers that weights may be of have another input or head."""
    if not isinstance(config, ResnetConfig):
        return
    found = {name: config.input_and_head_unlike(name) for name in names if network.is_of_lineage(name)}
    if found and all(found.values()):
        name, differing = next(iter(found.items()))
        get_logger().warning("%s: networks of lineage %s have %s; if this one does, give MODEL.lineage=%s",
            source, name, ", ".join(differing), name)  # fmt: skip


def _other_network(config: Config, weights: Weights) -> str:
    """What tells the network of the weights from that of `config`, for an error; empty if nothing is known."""
    if weights.save is None:
        return _recognised(config, weights)
    text = weights.save.description.config
    try:
        saved = parse_config(text, "checkpoint", networks=NETWORKS) if text is not None else config
    except ConfigError:
        return ""
    differing = differing_keys(saved, config, "network")
    if not differing:
        return ""
    return f"; the checkpoint is of another config: {'; '.join(differing)}. Name its own, --config .../train_config.txt"


def _recognised(config: Config, weights: Weights) -> str:
    """What a file of another system was found to be, and the keys in which `config` differs from it."""
    try:
        found = recognise(weights.file)
    except WeightsError:
        return ""
    if found.network != config.MODEL.name:
        return f"; it is of {found.network}, and MODEL.name is {config.MODEL.name}: --config auto builds its network"
    differing = []
    for key, value in found.keys.items():
        section, _, field = key.partition(".")
        configured = getattr(getattr(config, section), field)
        value = tuple(value) if isinstance(value, list) else value
        if configured != value and not (field.endswith("_positions") and not configured):
            differing.append(f"{key}={list(value) if isinstance(value, tuple) else value} (here {configured})")
    return f"; its network has {', '.join(differing)}; --config auto builds it" if differing else ""
