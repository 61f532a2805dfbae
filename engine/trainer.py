"""Training: epochs of steps, validation between them, and a checkpoint after each.

Legend: N clips of a batch, K classes.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import paddle
from paddle.nn import functional as F

from configs.schema import Config
from datareader.bad_videos import Quarantine
from datareader.dataset import ClipDataset
from datareader.epoch_order import listed_order, shuffled_epoch
from datareader.loader import Batch, ClipLoader
from engine.checkpoint import Progress, point_to, remove_old_saves, remove_pointers, save_checkpoint
from engine.evaluator import evaluate
from engine.optimizer import optimizer_state, step_learning_rate
from engine.progress import track
from engine.stopping import StopRequest, StopRequested
from engine.training_log import IntervalMeter
from models.layers import NamedNetwork
from utils.errors import ConfigError, TrainingError
from utils.logging import get_logger
from utils.seeding import step_seed

_RANK = 0


class Trainer:
    """Trains `network` as TRAIN says, from `progress` to the end.

    Args:
        train_loader: batches of `iterations_per_epoch` x TRAIN.batch_size clips an epoch.
        valid_loader: the validation list; None: no validation.
        valid_interval: epochs from one validation to the next.
        log_interval: iterations from one log line to the next.
    """

    def __init__(
        self,
        config: Config,
        network: NamedNetwork,
        optimizer: paddle.optimizer.Momentum,
        *,
        train_loader: ClipLoader,
        valid_loader: ClipLoader | None,
        save_dir: Path,
        log_interval: int,
        valid_interval: int,
        progress: Progress,
    ) -> None:
        self.config = config
        self.network = network
        self.optimizer = optimizer
        self.train_loader = train_loader
        self.valid_loader = valid_loader
        self.save_dir = save_dir
        self.log_interval = log_interval
        self.valid_interval = valid_interval
        self.progress = progress
        self.meter = IntervalMeter()
        self.stop_request = StopRequest()
        self._last_save = time.monotonic()
        self.batches_per_epoch = count_batches(train_loader.dataset, config.TRAIN.batch_size)
        self._require_fitting_progress()
        self.last_iteration = min(config.TRAIN.max_iter, config.TRAIN.epoch * self.batches_per_epoch)
        self.quarantine = Quarantine(
            save_dir / "quarantine.txt",
            num_videos=len(train_loader.dataset),
            max_fraction=config.TRAIN.max_bad_fraction,
        )

    def _require_fitting_progress(self) -> None:
        progress = self.progress
        if progress.iteration != progress.epoch * self.batches_per_epoch + progress.batch:
            raise ConfigError(
                f"the checkpoint stands at epoch {progress.epoch}, batch {progress.batch} after {progress.iteration} "
                f"iterations, which does not fit {self.batches_per_epoch} batches an epoch: TRAIN.batch_size or the "
                "length of TRAIN.filelist is another one; use --pretrain to start a new run from its weights"
            )

    def run(self) -> bool:
        """Train to the end. Return False if SIGTERM or Ctrl-C stopped the run before, having saved it."""
        self._announce()
        if self.progress.iteration == 0 and remove_pointers(self.save_dir):
            get_logger().warning("%s holds checkpoints of an earlier run; they are overwritten", self.save_dir)
        if self._is_finished:
            get_logger().info("nothing left to do: the run stands at iteration %d", self.progress.iteration)
        with self.stop_request:
            try:
                while not self._is_finished:
                    self.train_one_epoch()
                    self._finish_epoch()
            except StopRequested as request:
                self._save(f"iter{self.progress.iteration}")
                get_logger().warning("stopped by %s; --resume auto goes on from here", request)
                return False
        return True

    @property
    def _is_finished(self) -> bool:
        return self.progress.iteration >= self.last_iteration and self.progress.epoch_is_saved

    def train_one_epoch(self) -> None:
        """Train from where the run stands to the end of the epoch, or of the run."""
        self.network.train()
        self.meter.start_clock()
        for batch in self._train_batches():
            self.meter.batch_arrived()
            self.quarantine.add(batch.bad_videos)
            loss, logits = self._train_step(batch)
            self.meter.step_done(loss, logits, batch.labels)
            self.progress.iteration += 1
            self.progress.batch += 1
            self.progress.epoch_is_saved = False
            if self.progress.iteration % self.log_interval == 0 or self.progress.iteration == self.last_iteration:
                self._log_interval()
            self.stop_request.check()
            self._save_if_due()

    def _finish_epoch(self) -> None:
        """Validate if it is time to, and save; only then is the epoch over."""
        epoch, is_last = self.progress.epoch, self.progress.iteration >= self.last_iteration
        is_best = self._validate(epoch) if is_last or self._is_validated(epoch) else False
        if self.progress.batch >= self.batches_per_epoch:
            self.progress.epoch, self.progress.batch = epoch + 1, 0
        self.progress.epoch_is_saved = True
        self._save(f"epoch{epoch}", is_best=is_best)

    def _until_stopped(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        for batch in batches:
            self.stop_request.check()
            yield batch

    def _save_if_due(self) -> None:
        """Save inside the epoch, every TRAIN.save_interval iterations and every TRAIN.save_minutes."""
        section = self.config.TRAIN
        minutes = (time.monotonic() - self._last_save) / 60
        by_count = section.save_interval and self.progress.iteration % section.save_interval == 0
        by_time = section.save_minutes and minutes >= section.save_minutes
        if (by_count or by_time) and self.progress.batch < self.batches_per_epoch:
            self._save(f"iter{self.progress.iteration}")

    def _train_step(self, batch: Batch) -> tuple[float, np.ndarray]:
        """One update. Returns the mean loss and the logits (N, K) before it."""
        paddle.seed(step_seed(self.config.TRAIN.seed, self.progress.iteration, _RANK))  # decides the dropout
        self.optimizer.set_lr(self._learning_rate())
        clips = paddle.to_tensor(batch.clips[:, 0])  # uint8 (N, 3, T, S, S)
        logits = self.network(clips)
        loss = F.cross_entropy(logits, paddle.to_tensor(batch.labels))
        loss_value = float(loss)  # waits for the device
        self._require_finite(loss_value, batch)
        loss.backward()
        self.optimizer.step()
        self.optimizer.clear_grad()
        return loss_value, logits.numpy()

    def _train_batches(self) -> Iterator[Batch]:
        """The rest of this epoch's batches, whole ones only, and none past the last iteration of the run."""
        size = self.config.TRAIN.batch_size
        left = self.last_iteration - self.progress.iteration
        requests = shuffled_epoch(
            len(self.train_loader.dataset),
            seed=self.config.TRAIN.seed,
            epoch=self.progress.epoch,
            start=self.progress.batch * size,
            stop=min(self.batches_per_epoch, self.progress.batch + left) * size,
        )
        batches = self.train_loader.batches(requests)
        return track(batches, total=self.batches_per_epoch - self.progress.batch, unit="batch")

    def _learning_rate(self) -> float:
        section = self.config.TRAIN
        return step_learning_rate(
            self.progress.iteration,
            base=section.learning_rate,
            decay=section.learning_rate_decay,
            step_sizes=section.step_sizes,
        )

    def _require_finite(self, loss: float, batch: Batch) -> None:
        if not np.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss} at iteration {self.progress.iteration} (epoch {self.progress.epoch}); "
                f"the batch: {', '.join(batch.paths)}"
            )

    def _is_validated(self, epoch: int) -> bool:
        return self.valid_interval > 0 and (epoch + 1) % self.valid_interval == 0

    def _validate(self, epoch: int) -> bool:
        """Validate; return whether no top-1 so far was better (of equals, the later was trained longer)."""
        if self.valid_loader is None:
            return False
        dataset = self.valid_loader.dataset
        evaluation = evaluate(
            self.network,
            dataset.videos,
            self._until_stopped(self.valid_loader.batches(listed_order(len(dataset)))),
            views_per_video=1,
            views_at_once=self.config.VALID.batch_size,
            num_classes=self.config.MODEL.num_classes,
        )
        accuracy = evaluation.accuracy
        for bad in evaluation.unscored:
            get_logger().warning("validation without: %s", bad.reason)
        if accuracy.num_scored == 0:
            get_logger().error("no video of %s could be read: no validation", dataset.videos.source)
            return False
        get_logger().info(
            "validation after epoch %d: loss %.4f, top-1 %.4f, top-5 %.4f over %d of %d videos",
            epoch, evaluation.loss, accuracy.top1, accuracy.top5, accuracy.num_scored, accuracy.num_videos,
        )  # fmt: skip
        if self.progress.best_top1 is None or accuracy.top1 >= self.progress.best_top1:
            self.progress.best_top1, self.progress.best_epoch = accuracy.top1, epoch
            return True
        return False

    def _save(self, what: str, *, is_best: bool = False) -> None:
        for key, value in self.network.state_dict().items():
            if not np.isfinite(value.numpy()).all():  # the last update is followed by no loss that would show it
                raise TrainingError(f"{key} is not finite after iteration {self.progress.iteration}: not saved")
        name = f"{self.config.MODEL.name.upper()}_{what}"
        prefix = save_checkpoint(
            self.save_dir,
            name,
            network=self.network,
            optimizer=optimizer_state(self.optimizer, self.network),
            progress=self.progress,
            config=self.config,
        )
        if is_best:
            point_to(self.save_dir, "best", name)
        remove_old_saves(self.save_dir, keep_last=self.config.TRAIN.keep_last)
        self._last_save = time.monotonic()
        get_logger().info("saved %s%s", prefix, " (best so far)" if is_best else "")

    def _announce(self) -> None:
        section = self.config.TRAIN
        by_epochs = section.epoch * self.batches_per_epoch
        bound = f"epoch = {section.epoch}" if by_epochs <= section.max_iter else f"max_iter = {section.max_iter}"
        get_logger().info(
            "training on %d videos: %d iterations an epoch, ends after iteration %d (%s comes first), "
            "batch %d in all = %d on each of 1 device",
            len(self.train_loader.dataset), self.batches_per_epoch, self.last_iteration, bound,
            section.batch_size, section.batch_size,
        )  # fmt: skip

    def _log_interval(self) -> None:
        description = self.meter.line(
            learning_rate=self.optimizer.get_lr(), iterations_left=self.last_iteration - self.progress.iteration
        )
        where = f"epoch {self.progress.epoch}, iteration {self.progress.iteration}/{self.last_iteration}"
        get_logger().info("%s, %s", where, description)
        self.meter.reset()


def count_batches(dataset: ClipDataset, batch_size: int) -> int:
    """Whole batches an epoch; a rest of the epoch's order waits for the next shuffle.

    Raises:
        ConfigError: there are fewer videos than one batch holds.
    """
    if len(dataset) < batch_size:
        raise ConfigError(
            f"TRAIN.batch_size ({batch_size}) must not exceed the number of videos ({len(dataset)}) "
            f"of {dataset.videos.source}"
        )
    return len(dataset) // batch_size
