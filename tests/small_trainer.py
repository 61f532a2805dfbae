"""A trainer on the generated videos, in this process."""

from contextlib import ExitStack

from datareader.building import build_train_dataset, build_valid_dataset
from engine.distributed import ALONE
from engine.optimizer import build_optimizer
from engine.starting import new_network, start_training
from engine.trainer import RunOptions
from engine.training import built_trainer, prepare_network


def make_trainer(
    config, folder, *, resume=None, valid_interval=0, log_interval=1, profile=0, use_visualdl=False, processes=ALONE
):
    """What `run_training` trains with, from random weights."""
    network = prepare_network(new_network(config), config.TRAIN, device="cpu")
    optimizer = build_optimizer(network, config.TRAIN)
    progress = start_training(network, optimizer, config, pretrain="none", resume=resume, save_dir=folder)
    folder.mkdir(parents=True, exist_ok=True)
    stack = ExitStack()
    trainer = stack.enter_context(
        built_trainer(
            config,
            network,
            optimizer,
            train_set=build_train_dataset(config),
            valid_set=build_valid_dataset(config) if valid_interval else None,
            save_dir=folder,
            progress=progress,
            processes=processes,
            options=RunOptions(log_interval, valid_interval, profile, use_visualdl),
        )
    )
    trainer.stack = stack  # what it uses lives as long as it does
    return trainer
