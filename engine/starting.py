"""How a run begins: a network with fresh parameters, and the weights that the command line names."""

from pathlib import Path

import numpy as np
import paddle

from configs.comparison import differing_keys
from configs.loading import dump_config, parse_config
from configs.schema import Config
from datareader.dataset import ClipDataset
from engine.checkpoint import Progress, Weights, load_weights, newest_checkpoint
from engine.distributed import Processes
from engine.optimizer import restore_optimizer
from models.layers import NamedNetwork
from models.registry import build_model
from models.weights.fitting import fit_weights
from models.weights.released import fetch_backbone, fetch_network, fetch_url
from utils.errors import ConfigError, WeightsError
from utils.logging import get_logger
from utils.seeding import step_seed


def new_network(config: Config) -> NamedNetwork:
    """Build the config's network; its initial parameters follow from TRAIN.seed."""
    paddle.seed(step_seed(config.TRAIN.seed))
    network = build_model(config)
    millions = sum(int(np.prod(p.shape)) for p in network.parameters() if not p.stop_gradient) / 1e6
    get_logger().info("%s: %.2f million trainable parameters", config.MODEL.name.upper(), millions)
    return network


def load_for_scoring(network: NamedNetwork, config: Config, argument: str | None) -> str:
    """Put the weights that ``--weights`` names (None: the released network) into `network`; return their source."""
    if argument is not None and not argument.strip():
        raise WeightsError("--weights is empty: name a checkpoint, or leave the flag away for the released network")
    weights = read_weights_argument(argument) if argument else load_weights(str(fetch_network(config)))
    try:
        fit_to_network(network, config, weights, partial=False)
    except WeightsError as error:
        raise WeightsError(f"{error}{_other_network(config, weights)}") from error
    return weights.source


def _other_network(config: Config, weights: Weights) -> str:
    """What tells the network of a checkpoint from that of `config`, for an error; empty if nothing is known."""
    try:
        saved = parse_config(weights.config, "checkpoint") if weights.config is not None else config
    except ConfigError:
        return ""
    shared = {"MODEL": {"name", "dataset", "pretrain"}, "RESNETS": set(), "NONLOCAL": {"chunk_size"}}
    differing = differing_keys(saved, config, shared)
    if not differing:
        return ""
    return f"; the checkpoint is of another config: {'; '.join(differing)}. Name its own, --config .../train_config.txt"


def start_training(
    network: NamedNetwork,
    optimizer: paddle.optimizer.Momentum,
    config: Config,
    *,
    pretrain: str | None,
    resume: str | None,
    save_dir: Path = Path(),
) -> Progress:
    """Load what a training run starts from, and return where it stands.

    Args:
        pretrain: initial weights; what they lack, and a classifier of another class count, starts anew. 'none':
            random weights; None or empty: the ImageNet weights of the released run.
        resume: a checkpoint to continue exactly, or weights without a run around them to fine-tune. It wins. 'auto':
            the newest whole checkpoint of `save_dir`; `pretrain` if there is none.

    Raises:
        WeightsError, DownloadError: what is named cannot be loaded, or does not fit.
        ConfigError: the checkpoint is of a run that this config does not go on with; names the keys that differ.
    """
    log = get_logger()
    if resume is not None and not resume.strip():
        raise WeightsError("--resume is empty: name a checkpoint, or leave the flag away")
    if resume == "auto":
        newest = newest_checkpoint(save_dir)
        if newest is None:
            log.info("no checkpoint in %s yet: a new run", save_dir)
        resume = None if newest is None else str(newest)
    if resume and resume != "none":
        weights = read_weights_argument(resume)
        if weights.config is not None:
            _require_same_run(config, weights)
        fit_to_network(network, config, weights, partial=False)
        if weights.progress is None or weights.optimizer is None:
            log.info("%s holds weights only: fine-tuning from them, from iteration 0", weights.source)
            return Progress()
        restore_optimizer(
            optimizer, network, weights.optimizer, weights.source, half_precision=config.TRAIN.amp == "O2"
        )
        log.info("resuming %s after %d iterations", weights.source, weights.progress.iteration)
        return weights.progress
    if pretrain == "none":
        log.info("starting from random weights")
        return Progress()
    weights = read_weights_argument(pretrain) if pretrain else load_weights(str(fetch_backbone(config)))
    fit_to_network(network, config, weights, partial=True)
    return Progress()


def read_weights_argument(argument: str) -> Weights:
    """Read what a user named as weights: everything `load_weights` takes, or the address of a file."""
    if not argument.strip():
        raise WeightsError("the name of the weights is empty")
    if argument.lower().startswith(("http://", "https://")):
        argument = str(fetch_url(argument))
    return load_weights(argument)


def fit_to_network(network: NamedNetwork, config: Config, weights: Weights, *, partial: bool) -> None:
    """Copy `weights` into `network` and report what became of every name: see `fit_weights`."""
    log = get_logger()
    named = weights.parameters
    report = fit_weights(network, named, partial=partial, bn_epsilon=config.MODEL.bn_epsilon)
    log.info("weights from %s (%s): %s", weights.source, named.format, report.summary())
    if "Paddle 1.x" in named.format and partial:
        log.info("Paddle 1.x did not scale up what dropout leaves, today's does; old weights are used as they are")
    for line in report.details():
        log.debug("weights: %s", line)
    if named.pads_pool1 and not config.MODEL.pool1_padding:
        log.warning(
            "networks with these names (%s) pad their first pool; if this one did, set MODEL.pool1_padding=1 (now 0)",
            named.format,
        )


# What may change while a run is interrupted: none of it changes the parameters that a sound run comes to.
_MAY_CHANGE = {
    "MODEL": {"name", "dataset", "pretrain"},
    "RESNETS": set(),
    "NONLOCAL": {"chunk_size"},
    "TRAIN": {
        "filelist", "data_root", "decoder", "num_reader_threads", "decode_timeout", "stall_seconds", "num_gpus",
        "max_bad_fraction", "save_interval", "save_minutes", "keep_last", "max_iter", "epoch", "scale_momentum",
        "precise_bn_iters", "recompute", "on_nonfinite",
    },
}  # fmt: skip


def _require_same_run(config: Config, weights: Weights) -> None:
    """Raise ConfigError, with the keys that differ, unless `config` goes on with the run that a checkpoint is of."""
    try:
        saved = parse_config(weights.config, f"config of {weights.source}")
    except ConfigError as error:  # of another version of this toolkit
        get_logger().warning("not compared with the config of this run: %s", error)
        return
    free = dict(_MAY_CHANGE)
    if config.TRAIN.schedule == "cosine":
        free["TRAIN"] = free["TRAIN"] - {"max_iter", "epoch"}
    differing = differing_keys(saved, config, free)
    if differing:
        raise ConfigError(
            f"{weights.source} belongs to a run of another config: {'; '.join(differing)}. Set them as they were, or "
            "start a new run from its weights with --pretrain"
        )


def require_common_start(
    progress: Progress,
    network: NamedNetwork,
    config: Config,
    train_set: ClipDataset,
    valid_set: ClipDataset | None,
    processes: Processes,
) -> None:
    """Give all processes the parameters of the first one.

    Raises:
        ConfigError: they start from different checkpoints, configs or lists.
    """
    own = {
        "checkpoints (--save_dir must be one folder for all hosts)": repr(progress),
        "configs": dump_config(config),
        "training lists": train_set.videos.sha256(),
        "validation lists": valid_set.videos.sha256() if valid_set is not None else "",
    }
    found = processes.gather(own)
    for what in own:
        if len({start[what] for start in found}) > 1:
            raise ConfigError(f"the processes of the run have different {what}")
    processes.make_equal(list(network.state_dict().values()))
