"""A trainer on the generated videos, in this process."""

from contextlib import ExitStack

from datareader.building import build_train_dataset, build_valid_dataset
from engine.distributed import ALONE
from engine.network_loading import new_network
from engine.training.optimizer import build_optimizer
from engine.training.run import built_trainer, prepare_network
from engine.training.start import start_training
from engine.training.trainer import RunOptions
from engine.training.weight_average import start_average


def begin(network, optimizer, config, *, pretrain, resume, save_dir=None, allow_other_list=False, videos=None):
    """`start_training`; return where the run stands."""
    return start_training(
        network,
        optimizer,
        config,
        pretrain=pretrain,
        resume=resume,
        save_dir=save_dir,
        train_list_sha256="" if videos is None else videos.names_sha256(),
        allow_other_list=allow_other_list,
    )


def make_trainer(
    config,
    folder,
    *,
    resume=None,
    valid_interval=0,
    log_interval=1,
    profile=0,
    log_to=None,
    processes=ALONE,
    allow_other_list=False,
):
    """What `run_training` trains with, from random weights."""
    network = prepare_network(new_network(config), config.TRAIN, device="cpu")
    optimizer = build_optimizer(network, config.TRAIN)
    train_set = build_train_dataset(config)
    position, resumed = begin(
        network,
        optimizer,
        config,
        pretrain="none",
        resume=resume,
        save_dir=folder,
        allow_other_list=allow_other_list,
        videos=train_set.videos,
    )
    average = start_average(network, config.TRAIN.ema_decay, resumed)
    folder.mkdir(parents=True, exist_ok=True)
    stack = ExitStack()
    trainer = stack.enter_context(
        built_trainer(
            config,
            network,
            optimizer,
            average=average,
            train_set=train_set,
            valid_set=build_valid_dataset(config) if valid_interval else None,
            save_dir=folder,
            position=position,
            resumed=resumed,
            processes=processes,
            options=RunOptions(log_interval, valid_interval, profile, log_to),
        )
    )
    trainer.stack = stack  # what it uses lives as long as it does
    return trainer
