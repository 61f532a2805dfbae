"""When a training run is saved, and what stays of earlier saves."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import paddle

from configs.schema import TrainSection
from engine.checkpoint import RunPosition, Save, write_save
from engine.distributed import Processes
from engine.run_folder import FILES_OF_A_RUN
from engine.save_folder import (
    best_save,
    copy_save,
    holds_save,
    point_to,
    rebuild_pointers,
    remove_old_saves,
    set_later_saves_aside,
    set_saves_aside,
)
from engine.training.optimizer import full_precision_state, optimizer_state
from engine.training.weight_average import WeightAverage, as_raw
from models.network import VideoNetwork
from utils.errors import TrainingError
from utils.logging import get_logger


class Saver:
    """Saves a run into its folder. Of several processes only the first one writes, and all wait for it.

    Args:
        section: TRAIN: how often to save, and how many saves to keep.
        network_name: the first part of the names of saves.
        config_text: the config of the run, which every save holds.
        train_list_sha256: of TRAIN's list, which every save holds.
        class_names: by class, if they are known; every save holds them.
        average: of the weights; it is what a save holds as its weights then.
    """

    def __init__(
        self,
        save_dir: Path,
        section: TrainSection,
        *,
        network_name: str,
        config_text: str,
        train_list_sha256: str,
        class_names: Sequence[str],
        network: VideoNetwork,
        optimizer: paddle.optimizer.Momentum,
        average: WeightAverage | None,
        processes: Processes,
    ) -> None:
        self.save_dir = save_dir
        self._section = section
        self._network_name = network_name
        self._config_text = config_text
        self._train_list_sha256 = train_list_sha256
        self._class_names = class_names
        self._network = network
        self._optimizer = optimizer
        self._average = average
        self._processes = processes
        self._last_save = time.monotonic()

    @property
    def save_bytes(self) -> int:
        """Size of a save: float32 parameters, statistics and momentum; the averages of the first two."""
        state, more = self._network.state_dict().values(), 0 if self._average is None else 1
        return sum(4 * int(np.prod(value.shape)) * ((1 if value.stop_gradient else 2) + more) for value in state)

    def prepare_folder(self, position: RunPosition, resumed: Save | None) -> None:
        """Make the folder fit the run that begins: what the run does not continue is set aside, pointers are rebuilt.

        A run that continues a save of another folder brings that save and the best one along. Where the best one cannot
        be found, `position` forgets the best result: the next validation is the best then.
        """
        if self._processes.is_main:
            if resumed is not None and resumed.prefix.parent.resolve() == self.save_dir.resolve():
                self._set_later_saves_aside(resumed, position)
            else:
                self._set_earlier_run_aside()
                if resumed is not None:
                    self._bring_along(resumed, position)
            if resumed is not None:
                self._forget_lost_best(position, resumed.prefix.parent)
                rebuild_pointers(self.save_dir)
                # Here too: the run may have ended after its last save, before it came to this.
                remove_old_saves(self.save_dir, keep_last=self._section.keep_last)
        best = self._processes.gather((position.best_value, position.best_epoch, position.best_iteration))[0]
        position.best_value, position.best_epoch, position.best_iteration = best

    def _set_later_saves_aside(self, resumed: Save, position: RunPosition) -> None:
        aside = set_later_saves_aside(self.save_dir, position)
        if aside is not None:
            get_logger().warning("the checkpoints after %s are now in %s", resumed.prefix.name, aside)

    def _set_earlier_run_aside(self) -> None:
        aside = set_saves_aside(self.save_dir, FILES_OF_A_RUN)
        if aside is not None:
            get_logger().warning(
                "%s held checkpoints of an earlier run: now in %s (--resume auto would have gone on)",
                self.save_dir, aside,
            )  # fmt: skip

    def _bring_along(self, resumed: Save, position: RunPosition) -> None:
        best = best_save(resumed.prefix.parent, position)
        for prefix in dict.fromkeys([resumed.prefix, best or resumed.prefix]):
            copy_save(prefix, self.save_dir)

    def _forget_lost_best(self, position: RunPosition, source: Path) -> None:
        if position.best_epoch is not None and best_save(self.save_dir, position) is None:
            get_logger().warning(
                "the best checkpoint so far, of epoch %d, is not in %s: the next validation counts as the best",
                position.best_epoch, source,
            )  # fmt: skip
            position.best_value = position.best_epoch = position.best_iteration = None

    def is_due(self, iteration: int) -> bool:
        """Whether a save inside the epoch is due: every TRAIN.save_interval iterations, every TRAIN.save_minutes."""
        section = self._section
        minutes = (time.monotonic() - self._last_save) / 60
        by_count = section.save_interval and iteration % section.save_interval == 0
        return bool(by_count or (section.save_minutes and minutes >= section.save_minutes))

    def save(self, what: str, position: RunPosition) -> None:
        """Write the save ``<MODEL>_<what>``, make it the latest, and the best if it is.

        Raises:
            TrainingError: a parameter is not finite, or the disk is full; earlier saves are as they were.
        """
        prefix = self.save_dir / f"{self._network_name}_{what}"
        if self._processes.is_main and not holds_save(prefix, position):
            self._write(prefix, position)
        self._processes.wait_for_all()
        self._last_save = time.monotonic()

    def _write(self, prefix: Path, position: RunPosition) -> None:
        parameters = full_precision_state(self._network, self._optimizer)
        for key, value in parameters.items():
            if not np.isfinite(value).all():  # the last update is followed by no loss that would show it
                raise TrainingError(f"{key} is not finite after iteration {position.iteration}: not saved")
        optimizer = optimizer_state(self._optimizer, self._network)
        if self._average is not None:
            optimizer |= as_raw(parameters)
            parameters = self._average.values()
        write_save(
            prefix,
            parameters=parameters,
            optimizer=optimizer,
            position=position,
            config_text=self._config_text,
            train_list_sha256=self._train_list_sha256,
            class_names=self._class_names,
        )
        # Killed here, a run that goes on rebuilds the pointers before it removes anything: see `prepare_folder`.
        point_to(self.save_dir, "latest", prefix.name)
        if position.is_best:
            point_to(self.save_dir, "best", prefix.name)
        remove_old_saves(self.save_dir, keep_last=self._section.keep_last)
        get_logger().info("saved %s%s", prefix, " (best so far)" if position.is_best else "")
