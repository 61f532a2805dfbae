"""How a training run begins: fresh parameters, initial weights, or a save that is continued."""

from pathlib import Path

import paddle

from configs.comparison import differing_keys
from configs.loading import dump_config, parse_config
from configs.schema import Config
from datareader.dataset import ClipDataset
from engine.checkpoint import RunPosition, Save
from engine.distributed import Processes
from engine.network_loading import fit_to_network
from engine.save_folder import newest_save
from engine.training.optimizer import restore_optimizer
from engine.training.weight_average import without_raw
from engine.weights_argument import Weights, read_weights_argument
from models.network import VideoNetwork
from models.registry import NETWORKS
from utils.errors import ConfigError, WeightsError
from utils.logging import get_logger


def start_training(
    network: VideoNetwork,
    optimizer: paddle.optimizer.Momentum,
    config: Config,
    *,
    pretrain: str | None,
    resume: str | None,
    save_dir: Path,
    train_list_sha256: str,
    allow_other_list: bool = False,
) -> tuple[RunPosition, Save | None]:
    """Load what a training run starts from, and return where it stands, and the save that it continues.

    Args:
        pretrain: initial weights. What they lack, and a classifier of another class count, starts anew. 'none':
            random weights; None or empty: the released weights of an image network.
        resume: a save to continue exactly, or weights without a run around them to fine-tune. It wins over `pretrain`.
            'auto': the newest whole save of `save_dir`; `pretrain` if there is none.
        train_list_sha256: of TRAIN's list, see `FileList.names_sha256`.
        allow_other_list: continue a run on another training list.

    Raises:
        WeightsError, DownloadError: what is named cannot be loaded, or does not fit.
        ConfigError: the save is of a run that this config or list does not go on with; names what differs.
    """
    weights = _weights_to_resume(resume, config, save_dir)
    if weights is not None:
        if weights.save is None:
            fit_to_network(network, config, weights, partial=False)
            get_logger().info("%s holds weights only: fine-tuning from them, from iteration 0", weights.source)
            return RunPosition(), None
        save = weights.save
        _require_same_run(config, save)
        _require_same_list(save, train_list_sha256, allow_other_list)
        fit_to_network(network, config, weights, partial=False)
        restore_optimizer(
            optimizer, network, without_raw(save.optimizer), weights.source, half_precision=config.TRAIN.amp == "O2"
        )
        position = save.description.position
        get_logger().info("resuming %s after %d iterations", weights.source, position.iteration)
        return position, save
    if pretrain == "none":
        get_logger().info("starting from random weights")
    else:
        weights = read_weights_argument(pretrain or _released_backbone(config), config.MODEL.name)
        fit_to_network(network, config, weights, partial=True)
    return RunPosition(), None


def _weights_to_resume(resume: str | None, config: Config, save_dir: Path) -> Weights | None:
    if resume is None:
        return None
    if not resume.strip():
        raise WeightsError("--resume is empty: name a checkpoint, or leave the flag away")
    if resume != "auto":
        return read_weights_argument(resume, config.MODEL.name)
    save = newest_save(save_dir)
    if save is None:
        get_logger().info("no checkpoint in %s yet: a new run", save_dir)
        return None
    return Weights(save.parameters, save)


def _released_backbone(config: Config) -> str:
    released = NETWORKS[config.MODEL.name].released_weights()
    if released is None:
        raise WeightsError(
            f"--pretrain is missing: nothing is released for {config.MODEL.name}, so name weights to start from, or "
            "'none' for random ones"
        )
    return str(released.fetch_backbone(config))


def _require_same_run(config: Config, save: Save) -> None:
    """Raise ConfigError, with the keys that differ, unless `config` goes on with the run of a save."""
    if save.description.config is None:
        return
    source = str(save.prefix)
    try:
        saved = parse_config(save.description.config, f"config of {source}", networks=NETWORKS)
    except ConfigError as error:  # of another version of this toolkit
        get_logger().warning("not compared with the config of this run: %s", error)
        return
    differing = differing_keys(saved, config, "training")
    if config.TRAIN.schedule == "cosine":  # its rates depend on the end of the run
        for key in ("max_iter", "epoch"):
            before, now = getattr(saved.TRAIN, key), getattr(config.TRAIN, key)
            differing += [f"TRAIN.{key} was {before}, is {now}"] if before != now else []
    if differing:
        raise ConfigError(
            f"{source} belongs to a run of another config: {'; '.join(differing)}. Set them as they were, or start a "
            "new run from its weights with --pretrain"
        )


def _require_same_list(save: Save, train_list_sha256: str, allow_other_list: bool) -> None:
    before = save.description.train_list_sha256
    if before is None:
        get_logger().warning("%s does not say which training list it is of: not compared with this one", save.prefix)
    elif before != train_list_sha256 and not allow_other_list:
        raise ConfigError(
            f"{save.prefix} was trained on another list: TRAIN.filelist holds other videos or labels, or another "
            "order. --allow_other_list continues on the new one; --pretrain starts a new run from its weights"
        )


def require_common_start(
    position: RunPosition,
    network: VideoNetwork,
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
        "checkpoints (--save_dir must be one folder for all hosts)": repr(position),
        "configs": dump_config(config),
        "training lists": train_set.videos.sha256(),
        "validation lists": valid_set.videos.sha256() if valid_set is not None else "",
    }
    found = processes.gather(own)
    for what in own:
        if len({start[what] for start in found}) > 1:
            raise ConfigError(f"the processes of the run have different {what}")
    processes.make_equal(list(network.state_dict().values()))
