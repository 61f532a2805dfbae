"""When a training run is saved, and what stays of earlier saves."""

import time
from pathlib import Path

import numpy as np
import paddle

from configs.schema import TrainSection
from datareader.quarantine import QUARANTINE_FILE
from engine.checkpoint import RunPosition, Save, write_save
from engine.distributed import Processes
from engine.run_folder import METRICS_FILE
from engine.save_folder import holds_save, point_to, rebuild_pointers, remove_old_saves, set_saves_aside
from engine.training.optimizer import full_precision_state, optimizer_state
from engine.training.start import take_best_along
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
    """

    def __init__(
        self,
        save_dir: Path,
        section: TrainSection,
        *,
        network_name: str,
        config_text: str,
        train_list_sha256: str,
        network: VideoNetwork,
        optimizer: paddle.optimizer.Momentum,
        processes: Processes,
    ) -> None:
        self.save_dir = save_dir
        self._section = section
        self._network_name = network_name
        self._config_text = config_text
        self._train_list_sha256 = train_list_sha256
        self._network = network
        self._optimizer = optimizer
        self._processes = processes
        self._last_save = time.monotonic()

    @property
    def save_bytes(self) -> int:
        """Size of a save: float32 parameters, statistics and momentum."""
        state = self._network.state_dict().values()
        return sum(4 * int(np.prod(value.shape)) * (1 if value.stop_gradient else 2) for value in state)

    def prepare_folder(self, position: RunPosition, resumed: Save | None) -> None:
        """Make the folder fit the run that begins: pointers rebuilt, or, for a new run, earlier saves set aside.

        A run that continues a save of another folder brings the best save along. `position` is changed where there is
        none: see `take_best_along`.
        """
        if self._processes.is_main:
            if resumed is None:
                self._set_earlier_run_aside()
            else:
                take_best_along(resumed, self.save_dir, position)
                rebuild_pointers(self.save_dir)
        best = self._processes.gather((position.best_top1, position.best_epoch))[0]
        position.best_top1, position.best_epoch = best

    def _set_earlier_run_aside(self) -> None:
        aside = set_saves_aside(self.save_dir, (METRICS_FILE, QUARANTINE_FILE))
        if aside is not None:
            get_logger().warning(
                "%s held checkpoints of an earlier run: now in %s (--resume would have gone on)", self.save_dir, aside
            )

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
        write_save(
            prefix,
            parameters=parameters,
            optimizer=optimizer_state(self._optimizer, self._network),
            position=position,
            config_text=self._config_text,
            train_list_sha256=self._train_list_sha256,
        )
        # Killed here, a run that goes on rebuilds the pointers before it removes anything: see `prepare_folder`.
        point_to(self.save_dir, "latest", prefix.name)
        if position.is_best:
            point_to(self.save_dir, "best", prefix.name)
        remove_old_saves(self.save_dir, keep_last=self._section.keep_last)
        get_logger().info("saved %s%s", prefix, " (best so far)" if position.is_best else "")
