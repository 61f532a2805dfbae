"""A training run from its config to its end: network, optimiser, start, folder, trainer."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import paddle

from configs.loading import dump_config
from configs.schema import Config, TrainSection
from datareader.building import build_loader, remarks_on_data
from datareader.dataset import ClipDataset
from datareader.filelist import FileList
from datareader.quarantine import QUARANTINE_FILE, Quarantine
from engine.checkpoint import RunPosition, Save
from engine.class_names import class_names_for_training
from engine.device import UseGpu, select_device
from engine.distributed import ALONE, Processes, join_processes
from engine.network_loading import new_network
from engine.run_folder import (
    METRICS_FILE,
    check_shared_memory,
    check_space,
    claimed_folder,
    failure_report,
    open_run_folder,
)
from engine.training.finite_guard import FiniteGuard
from engine.training.freezing import freeze_stages
from engine.training.losses import build_losses
from engine.training.memory_advice import training_memory_advice, usable_memory
from engine.training.metrics_log import MetricsLog, read_metrics
from engine.training.mixed_precision import MixedPrecision
from engine.training.mixing import Mixing
from engine.training.optimizer import build_optimizer
from engine.training.phase_clock import PhaseClock
from engine.training.run_summary import summarise
from engine.training.saver import Saver
from engine.training.start import require_common_start, start_training
from engine.training.train_batches import TrainBatches
from engine.training.train_step import TrainStep
from engine.training.trainer import RunOptions, Trainer
from engine.training.validation import Validator
from engine.training.weight_average import WeightAverage, start_average
from models.network import VideoNetwork
from models.normalisation import synchronised
from utils.errors import ConfigError, DeviceError, FileListError, TrainingError
from utils.logging import get_logger

Result = TypeVar("Result")
_CONTENTS = "train.log, metrics.jsonl, train_config.txt"


def run_training(
    config: Config,
    *,
    train_set: ClipDataset,
    valid_set: ClipDataset | None,
    save_dir: Path,
    use_gpu: UseGpu,
    pretrain: str | None,
    resume: str | None,
    allow_other_list: bool,
    options: RunOptions,
) -> bool:
    """Train to the end, or measure iterations if `options.profile` is set. See `start_training` for the arguments.

    Returns:
        False if SIGTERM or Ctrl-C stopped the run before its end. It was saved then.
    """
    device = select_device(use_gpu)
    processes = join_processes(device)
    if processes.is_main:
        _look_at_data(config, train_set.videos, None if valid_set is None else valid_set.videos)
    with contextlib.ExitStack() as stack:
        if processes.count > 1 and not options.profile:  # an error in one must reach the others from here on
            stack.enter_context(_opened_folder(save_dir, config, processes))
        network = prepare_network(new_network(config), config.TRAIN, device=device)
        optimizer = build_optimizer(network, config.TRAIN)
        position, resumed = start_training(
            network, optimizer, config, pretrain=pretrain, resume=resume, save_dir=save_dir,
            train_list_sha256=train_set.videos.names_sha256(), allow_other_list=allow_other_list,
        )  # fmt: skip
        require_common_start(position, network, config, train_set, valid_set, processes)
        average = start_average(network, config.TRAIN.ema_decay, resumed)
        trainer = stack.enter_context(
            built_trainer(
                config, network, optimizer, average=average, train_set=train_set, valid_set=valid_set,
                save_dir=save_dir, position=position, resumed=resumed, device=device, processes=processes,
                options=options,
            )
        )  # fmt: skip
        if options.profile:
            table = _with_advice(trainer.profile, config.TRAIN, network, device, processes)
            print(table if processes.is_main else "", flush=True)
            return True
        if processes.count == 1:  # opened late: a run that cannot start leaves nothing behind
            stack.enter_context(_opened_folder(save_dir, config, processes))
        if processes.is_main:
            check_space(save_dir, save_bytes=trainer.saver.save_bytes, num_saves=trainer.num_saves)
            check_shared_memory(num_gpus=processes.count if device.startswith("gpu") else 0)
        is_finished = _with_advice(trainer.run, config.TRAIN, network, device, processes)
    if processes.is_main:
        logged = summarise(read_metrics(save_dir / METRICS_FILE))
        # A run may stop between two rows.
        get_logger().info("%s", replace(logged, iterations=trainer.position.iteration).line())
        saves = ", ".join(name for name in ("best", "latest") if (save_dir / name).is_file())
        get_logger().info(
            "in %s: checkpoints (%s), %s; curves: python tools/plot_run.py %s", save_dir, saves, _CONTENTS, save_dir
        )
    processes.wait_for_all()  # the launcher kills the others when the first one ends with another exit code than 0
    return is_finished


def _look_at_data(config: Config, train_list: FileList, valid_list: FileList | None) -> None:
    """Say what may not be meant in the lists.

    Raises:
        FileListError: no file of the validation list is there.
    """
    lists = {"TRAIN": train_list}
    if valid_list is not None:
        lists["VALID"] = valid_list
        if not any(valid_list.stamp(listed) for listed in valid_list.paths):
            raise FileListError(
                f"none of the {len(valid_list)} videos of {valid_list.source} (VALID.filelist) is there; the first: "
                f"{valid_list.locate_or_guess(valid_list.paths[0]).absolute()}; --valid_interval 0 trains without it"
            )
    for line in remarks_on_data(config, lists):
        get_logger().warning("%s", line)


@contextlib.contextmanager
def _opened_folder(save_dir: Path, config: Config, processes: Processes) -> Iterator[None]:
    """Lock the folder in the first process, open the logs of all, and write failures into it."""
    with contextlib.ExitStack() as stack:
        refusal = ""
        if processes.is_main:
            try:
                stack.enter_context(claimed_folder(save_dir))
            except ConfigError as error:
                refusal = str(error)
        refusal = processes.gather(refusal)[0]
        if refusal:
            raise ConfigError(refusal)
        log_file = open_run_folder(save_dir, config, "train", rank=processes.rank)
        stack.enter_context(failure_report(save_dir, processes, log_file))
        yield


def _with_advice(
    work: Callable[[], Result], section: TrainSection, network: VideoNetwork, device: str, processes: Processes
) -> Result:
    """Call `work`. If memory is out, raise TrainingError with settings that would fit."""
    try:
        return work()
    except MemoryError as error:
        advice = training_memory_advice(section, network, error, processes=processes, memory=usable_memory(device))
        raise TrainingError(advice) from error


def prepare_network(network: VideoNetwork, section: TrainSection, *, device: str) -> VideoNetwork:
    """Make a new network ready for training as TRAIN says. The optimiser is built afterwards.

    Raises:
        DeviceError: synchronised BN is asked for on a CPU.
        ConfigError: more stages are to be frozen than there are.
    """
    network.set_recompute(section.recompute)
    freeze_stages(network, section)
    if section.sync_bn and not device.startswith("gpu"):
        raise DeviceError(f"TRAIN.sync_bn needs GPUs: Paddle has no synchronised BN on {device}")
    return synchronised(network) if section.sync_bn else network


@contextlib.contextmanager
def built_trainer(
    config: Config,
    network: VideoNetwork,
    optimizer: paddle.optimizer.Momentum,
    *,
    average: WeightAverage | None = None,
    train_set: ClipDataset,
    valid_set: ClipDataset | None,
    save_dir: Path,
    position: RunPosition,
    resumed: Save | None = None,
    device: str = "cpu",
    processes: Processes = ALONE,
    options: RunOptions,
) -> Iterator[Trainer]:
    """Build a trainer. Its reader processes live until the end of the block.

    Args:
        network, optimizer: as `prepare_network` and `start_training` left them.
        average: of the weights, as `start_average` left it.
        valid_set: None: no validation.

    Raises:
        ConfigError: the list is shorter than a batch, or a batch cannot be divided.
    """
    section = config.TRAIN
    if section.early_stop and (valid_set is None or not options.valid_interval):
        raise ConfigError(f"TRAIN.early_stop ({section.early_stop}) needs validation, and there is none: set it to 0")
    share = share_of_batch(config, train_set, processes)
    precision = MixedPrecision(section, network, optimizer, device=device, loss_scale=position.loss_scale)
    clock = PhaseClock(is_on=options.profile > 0)
    saver = Saver(
        save_dir,
        section,
        network_name=config.MODEL.name,
        config_text=dump_config(config),
        train_list_sha256=train_set.videos.names_sha256(),
        class_names=class_names_for_training(config),
        network=network,
        optimizer=optimizer,
        average=average,
        processes=processes,
    )
    step = TrainStep(
        network,
        optimizer,
        section,
        losses=build_losses(config, train_set.videos.labels),
        mixing=build_mixing(config),
        precision=precision,
        processes=processes,
        guard=FiniteGuard(save_dir, skip=section.on_nonfinite == "skip", rank=processes.rank),
        clock=clock,
    )
    with contextlib.ExitStack() as stack:
        validator = None
        if valid_set is not None:
            valid_share = -(-config.VALID.batch_size // processes.count)
            validator = Validator(
                network,
                stack.enter_context(build_loader(valid_set, config.VALID, batch_size=valid_share)),
                num_classes=config.MODEL.num_classes,
                processes=processes,
                precision=precision,
            )
        train_loader = stack.enter_context(build_loader(train_set, section, batch_size=share))
        folder = save_dir if processes.is_main and not options.profile else None
        metrics = MetricsLog(folder, log_to=options.log_to)
        stack.callback(metrics.close)
        yield Trainer(
            section,
            step=step,
            average=average,
            batches=TrainBatches(train_loader, section, processes),
            validator=validator,
            quarantine=_quarantine(section, train_set, save_dir, resumed, processes),
            metrics=metrics,
            saver=saver,
            clock=clock,
            processes=processes,
            position=position,
            resumed=resumed,
            options=options,
            num_classes=config.MODEL.num_classes,
        )


def build_mixing(config: Config) -> Mixing:
    """Return what mixes the clips of a batch, as TRAIN says."""
    return Mixing(
        mixup_alpha=config.TRAIN.mixup_alpha,
        cutmix_alpha=config.TRAIN.cutmix_alpha,
        num_classes=config.MODEL.num_classes,
        multi_label=config.MODEL.multi_label,
    )


def _quarantine(
    section: TrainSection, train_set: ClipDataset, save_dir: Path, resumed: Save | None, processes: Processes
) -> Quarantine:
    """The quarantine of the run; a run that continues remembers the videos that it has met before."""
    quarantine = Quarantine(
        save_dir / QUARANTINE_FILE if processes.is_main else None,
        num_videos=len(train_set),
        max_fraction=section.max_bad_fraction,
    )
    if resumed is not None:
        quarantine.remember(resumed.prefix.parent / QUARANTINE_FILE, train_set.videos)
    return quarantine


def share_of_batch(config: Config, train_set: ClipDataset, processes: Processes) -> int:
    """Return how many clips of a batch each process computes.

    Raises:
        ConfigError: the list is shorter than a batch, or a batch cannot be divided among processes and parts.
    """
    section, videos = config.TRAIN, train_set.videos
    if len(videos) < section.batch_size:
        raise ConfigError(
            f"TRAIN.batch_size ({section.batch_size}) must not exceed the number of videos ({len(videos)}) "
            f"of {videos.source}: -o TRAIN.batch_size=N sets a smaller one"
        )
    if section.batch_size % (processes.count * section.accumulate_steps):
        raise ConfigError(
            f"TRAIN.batch_size ({section.batch_size}) must be divisible by the number of processes "
            f"({processes.count}) times TRAIN.accumulate_steps ({section.accumulate_steps})"
        )
    share = section.batch_size // processes.count
    if (section.mixup_alpha or section.cutmix_alpha) and share == section.accumulate_steps:
        raise ConfigError(
            "TRAIN.mixup_alpha and cutmix_alpha mix clips that are computed together, and there is one at a time: "
            "raise TRAIN.batch_size, or lower accumulate_steps"
        )
    return share
