"""When a training run is saved, and what stays of earlier saves."""

import time
from pathlib import Path

import numpy as np
import paddle

from configs.schema import Config
from datareader.bad_videos import QUARANTINE_FILE
from engine.checkpoint import Progress, holds_save, point_to, remove_old_saves, save_checkpoint, set_saves_aside
from engine.distributed import Processes
from engine.metrics_log import METRICS_FILE
from engine.optimizer import full_precision_state, optimizer_state
from models.layers import NamedNetwork
from utils.errors import TrainingError
from utils.logging import get_logger


class Saver:
    """Saves a run into its folder; of several processes only the first one writes, and all wait for it."""

    def __init__(
        self,
        save_dir: Path,
        config: Config,
        *,
        network: NamedNetwork,
        optimizer: paddle.optimizer.Momentum,
        processes: Processes,
    ) -> None:
        self.save_dir = save_dir
        self._config = config
        self._network = network
        self._optimizer = optimizer
        self._processes = processes
        self._last_save = time.monotonic()

    @property
    def save_bytes(self) -> int:
        """Size of a save: float32 parameters, statistics and momentum."""
        state = self._network.state_dict().values()
        return sum(4 * int(np.prod(value.shape)) * (1 if value.stop_gradient else 2) for value in state)

    def set_earlier_run_aside(self) -> None:
        """Make the folder hold no save, at the start of a new run in it."""
        also = (METRICS_FILE, QUARANTINE_FILE)
        aside = set_saves_aside(self.save_dir, also) if self._processes.is_main else None
        if aside is not None:
            get_logger().warning(
                "%s held checkpoints of an earlier run: now in %s (--resume would have gone on)", self.save_dir, aside
            )

    def is_due(self, iteration: int) -> bool:
        """Whether a save inside the epoch is due: every TRAIN.save_interval iterations, every TRAIN.save_minutes."""
        section = self._config.TRAIN
        minutes = (time.monotonic() - self._last_save) / 60
        by_count = section.save_interval and iteration % section.save_interval == 0
        return bool(by_count or (section.save_minutes and minutes >= section.save_minutes))

    def save(self, what: str, progress: Progress, *, is_best: bool = False) -> None:
        """Write the save ``<MODEL>_<what>``, make it the latest, and the best if it is.

        Raises:
            TrainingError: a parameter is not finite, or the disk is full; earlier saves are as they were.
        """
        if self._processes.is_main and not holds_save(self.save_dir / self._name(what), progress):
            self._write(self._name(what), progress, is_best)
        self._processes.wait_for_all()
        self._last_save = time.monotonic()

    def _name(self, what: str) -> str:
        return f"{self._config.MODEL.name.upper()}_{what}"

    def _write(self, name: str, progress: Progress, is_best: bool) -> None:
        parameters = full_precision_state(self._network, self._optimizer)
        for key, value in parameters.items():
            if not np.isfinite(value).all():  # the last update is followed by no loss that would show it
                raise TrainingError(f"{key} is not finite after iteration {progress.iteration}: not saved")
        prefix = save_checkpoint(
            self.save_dir,
            name,
            parameters=parameters,
            optimizer=optimizer_state(self._optimizer, self._network),
            progress=progress,
            config=self._config,
        )
        if is_best:
            point_to(self.save_dir, "best", name)
        remove_old_saves(self.save_dir, keep_last=self._config.TRAIN.keep_last)
        get_logger().info("saved %s%s", prefix, " (best so far)" if is_best else "")
