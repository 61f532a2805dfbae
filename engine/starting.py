"""How a run begins: a network with fresh parameters, and the weights that the command line names."""

import numpy as np
import paddle

from configs.schema import Config
from engine.checkpoint import Progress, load_weights
from engine.optimizer import restore_optimizer
from models.layers import NamedNetwork
from models.registry import build_model
from models.weights.fitting import fit_weights
from utils.errors import WeightsError
from utils.logging import get_logger
from utils.seeding import step_seed

_RELEASED = "https://paddlemodels.bj.bcebos.com/video_classification"


def new_network(config: Config) -> NamedNetwork:
    """Build the config's network; its initial parameters follow from TRAIN.seed."""
    paddle.seed(step_seed(config.TRAIN.seed))
    network = build_model(config)
    millions = sum(int(np.prod(p.shape)) for p in network.parameters() if not p.stop_gradient) / 1e6
    get_logger().info("%s: %.2f million trainable parameters", config.MODEL.name.upper(), millions)
    return network


def load_for_scoring(network: NamedNetwork, argument: str | None) -> str:
    """Put the weights that ``--weights`` names into `network`; return where they came from."""
    if not argument:
        raise WeightsError(
            "--weights is missing: name a checkpoint of train.py (its folder, prefix or file). The network "
            f"released on Kinetics-400 is {_RELEASED}/nonlocal_kinetics.tar.gz; this version cannot read it yet"
        )
    weights = load_weights(argument)
    fit_weights(network, weights.parameters, weights.source)
    get_logger().info("weights from %s", weights.source)
    return weights.source


def start_training(
    network: NamedNetwork,
    optimizer: paddle.optimizer.Momentum,
    *,
    pretrain: str | None,
    resume: str | None,
) -> Progress:
    """Load what a training run starts from, and return where it stands.

    Args:
        pretrain: initial weights (a classifier of another class count starts anew), or 'none'.
        resume: a checkpoint to continue exactly, or weights without a run around them to fine-tune. It wins.

    Raises:
        WeightsError: neither is given, or what is named cannot be loaded.
    """
    log = get_logger()
    if resume is not None and not resume.strip():
        raise WeightsError("--resume is empty: name a checkpoint, or leave the flag away")
    if resume and resume != "none":
        weights = load_weights(resume)
        fit_weights(network, weights.parameters, weights.source)
        if weights.progress is None or weights.optimizer is None:
            log.info("%s holds weights only: fine-tuning from them, from iteration 0", weights.source)
            return Progress()
        restore_optimizer(optimizer, network, weights.optimizer, weights.source)
        log.info("resuming %s after %d iterations", weights.source, weights.progress.iteration)
        return weights.progress
    if not pretrain:
        raise WeightsError(
            "no initial weights: pass --pretrain PATH, or --pretrain none to start from random weights. The ImageNet "
            f"weights of the released run are {_RELEASED}/Nonlocal_ResNet50_pretrained.tar.gz; this version "
            "cannot read them yet"
        )
    if pretrain == "none":
        log.info("starting from random weights")
        return Progress()
    weights = load_weights(pretrain)
    renewed = fit_weights(network, weights.parameters, weights.source, renew_head=True)
    log.info("initial weights from %s%s", weights.source, "; a new classifier" if renewed else "")
    return Progress()
