"""Training: epochs of steps, validation between them, and a checkpoint after each."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from configs.schema import Config
from datareader.bad_videos import Quarantine
from datareader.loader import Batch
from engine.checkpoint import Progress
from engine.distributed import Processes
from engine.freezing import batch_norms, training_mode
from engine.metrics_log import MetricsLog
from engine.phase_clock import PhaseClock
from engine.precise_bn import measure_statistics
from engine.progress import track
from engine.saver import Saver
from engine.schedule import learning_rate
from engine.stopping import StopRequest, StopRequested
from engine.train_batches import TrainBatches
from engine.train_step import StepResult, TrainStep
from engine.training_log import IntervalMeter, StepTotals
from engine.validation import Validator
from utils.errors import ConfigError
from utils.logging import get_logger

_PROFILE_SKIPS = 2  # first iterations: they allocate memory and choose algorithms


@dataclass(frozen=True)
class RunOptions:
    """What the command line says about a run beside its config."""

    log_interval: int = 10  # iterations from one log line to the next
    valid_interval: int = 1  # epochs from one validation to the next, 0 = none
    profile: int = 0  # iterations to measure, instead of a run
    use_visualdl: bool = False


class Trainer:
    """Trains as TRAIN says, from `progress` to the end.

    Args:
        step: makes one update of the network.
        batches: this process's share of each batch.
        validator: None: no validation.
        quarantine, metrics, saver: take what the run leaves in its folder.
        clock: measures the phases of a step while a run is profiled.
    """

    def __init__(
        self,
        config: Config,
        *,
        step: TrainStep,
        batches: TrainBatches,
        validator: Validator | None,
        quarantine: Quarantine,
        metrics: MetricsLog,
        saver: Saver,
        clock: PhaseClock,
        processes: Processes,
        progress: Progress,
        options: RunOptions,
    ) -> None:
        self.config = config
        self.step = step
        self.batches = batches
        self.validator = validator
        self.quarantine = quarantine
        self.metrics = metrics
        self.saver = saver
        self.clock = clock
        self.processes = processes
        self.progress = progress
        self.options = options
        self.meter = IntervalMeter()
        self.stop_request = StopRequest()
        self.batches_per_epoch = batches.per_epoch
        self._require_fitting_progress()
        self.last_iteration = min(config.TRAIN.max_iter, config.TRAIN.epoch * self.batches_per_epoch)

    def _require_fitting_progress(self) -> None:
        progress = self.progress
        if progress.iteration != progress.epoch * self.batches_per_epoch + progress.batch:
            raise ConfigError(
                f"the checkpoint stands at epoch {progress.epoch}, batch {progress.batch} after {progress.iteration} "
                f"iterations, which does not fit {self.batches_per_epoch} batches an epoch: TRAIN.batch_size or the "
                "length of TRAIN.filelist is another one; use --pretrain to start a new run from its weights"
            )

    @property
    def num_saves(self) -> int:
        """Saves in the folder at a time: of whole epochs, the best, two inside an epoch, one under way."""
        left = -(-(self.last_iteration - self.progress.iteration) // self.batches_per_epoch)
        return min(left, self.config.TRAIN.keep_last or left) + 4

    def run(self) -> bool:
        """Train to the end. Return False if SIGTERM or Ctrl-C stopped the run before, having saved it."""
        self._announce()
        if self.progress.iteration == 0:
            self.saver.set_earlier_run_aside()
        self.metrics.open(self.progress.iteration)
        if self._is_finished:
            get_logger().info("nothing left to do: the run stands at iteration %d", self.progress.iteration)
        with self.stop_request:
            try:
                while not self._is_finished:
                    self.train_one_epoch()
                    self._finish_epoch()
            except StopRequested as request:
                self.saver.save(f"iter{self.progress.iteration}", self.progress)
                get_logger().warning("stopped by %s; --resume auto goes on from here", request)
                return False
        if self.step.guard.num_skipped:
            get_logger().warning(
                "%d updates were skipped, for losses or gradients were not finite: is TRAIN.learning_rate too high?",
                self.step.guard.num_skipped,
            )
        return True

    @property
    def _is_finished(self) -> bool:
        return self.progress.iteration >= self.last_iteration and self.progress.epoch_is_saved

    def train_one_epoch(self) -> None:
        """Train from where the run stands to the end of the epoch, or of the run."""
        section = self.config.TRAIN
        training_mode(self.step.network, section)
        self.meter.start_clock()
        for batch in self._train_batches():
            self.clock.add("reader", self.meter.batch_arrived())
            rate = learning_rate(self.progress.iteration, section, num_iterations=self.last_iteration)
            result = self.step.run(batch, iteration=self.progress.iteration, learning_rate=rate)  # waits for the device
            totals = self._totals_of_all(result, batch)
            self.meter.step_done(totals)
            self._advance()
            if self.progress.iteration % self.options.log_interval == 0 or self._is_last:
                self._log_interval(rate, result)
            self._quarantine(batch, totals)
            if totals.wants_stop:
                raise StopRequested(self.stop_request.name)
            if totals.wants_save and self.progress.batch < self.batches_per_epoch:
                self.saver.save(f"iter{self.progress.iteration}", self.progress)
            self.meter.start_clock()  # saving is no wait for the reader

    def profile(self) -> str:
        """Make `options.profile` iterations of the epoch, and return a table of where their time went."""
        wanted = self.options.profile + _PROFILE_SKIPS
        training_mode(self.step.network, self.config.TRAIN)
        while self.clock.num_iterations < wanted:
            self.meter.start_clock()
            for batch in self.batches.of_epoch(0, 0, min(wanted - self.clock.num_iterations, self.batches_per_epoch)):
                self.clock.add("reader", self.meter.batch_arrived())
                self.step.run(batch, iteration=self.progress.iteration, learning_rate=0.0)
                self.clock.iteration_done()
                self.meter.start_clock()
        return self.clock.table(skip=_PROFILE_SKIPS)

    @property
    def _is_last(self) -> bool:
        return self.progress.iteration == self.last_iteration

    def _advance(self) -> None:
        self.progress.iteration += 1
        self.progress.batch += 1
        self.progress.epoch_is_saved = False
        self.progress.loss_scale = self.step.precision.loss_scale

    def _finish_epoch(self) -> None:
        """Validate if it is time to, and save; only then is the epoch over."""
        epoch = self.progress.epoch
        interval = self.options.valid_interval
        is_due = self._is_last or (interval > 0 and (epoch + 1) % interval == 0)
        if is_due:
            self._settle_statistics()
        is_best = self._validate(epoch) if is_due and self.validator is not None else False
        is_whole = self.progress.batch >= self.batches_per_epoch  # max_iter may end a run before
        if is_whole:
            self.progress.epoch, self.progress.batch = epoch + 1, 0
        self.progress.epoch_is_saved = True
        what = f"epoch{epoch}" if is_whole else f"end{self.progress.iteration}"
        self.saver.save(what, self.progress, is_best=is_best)

    def _totals_of_all(self, result: StepResult, batch: Batch) -> StepTotals:
        """The sums of a step over all processes, and what they ask for."""
        own = StepTotals.of_step(
            result,
            batch.labels,
            wants_stop=self.stop_request.is_set,
            wants_save=self.processes.is_main and self.saver.is_due(self.progress.iteration + 1),
            new_bad_videos=self.quarantine.count_new(batch.bad_videos),
        )
        return StepTotals(*self.processes.sum(own.as_array()).tolist())

    def _quarantine(self, batch: Batch, totals: StepTotals) -> None:
        """Let every process know the bad videos that one has met."""
        if totals.new_bad_videos:
            for bad_videos in self.processes.gather(batch.bad_videos):
                self.quarantine.add(bad_videos)

    def _train_batches(self) -> Iterator[Batch]:
        """The rest of this epoch's batches, whole ones only, and none past the last iteration of the run."""
        done = self.progress.batch
        stop = min(self.batches_per_epoch, done + self.last_iteration - self.progress.iteration)
        batches = self.batches.of_epoch(self.progress.epoch, done, stop)
        return track(batches, total=stop - done, unit="batch")

    def _settle_statistics(self) -> None:
        """Give all processes the same statistics of BN: precise ones, if TRAIN.precise_bn_iters says so, else those
        of the first process.
        """
        count = min(self.config.TRAIN.precise_bn_iters, self.batches_per_epoch)
        if count:
            training_mode(self.step.network, self.config.TRAIN)
            batches = self._stoppable(self.batches.of_epoch(self.progress.epoch, 0, count))
            parts = self.config.TRAIN.accumulate_steps
            measure_statistics(self.step.network, batches, self.processes, self.step.precision, parts=parts)
        norms = batch_norms(self.step.network)
        self.processes.make_equal([value for norm in norms for value in (norm._mean, norm._variance)])

    def _stoppable(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        for batch in batches:
            self._stop_if_asked()
            yield batch

    def _stop_if_asked(self) -> None:
        """Raise StopRequested, in all processes, if one of them was asked to stop."""
        if self.processes.any(self.stop_request.is_set):
            raise StopRequested(self.stop_request.name)

    def _validate(self, epoch: int) -> bool:
        """Validate; return whether no top-1 so far was better (of equals, the later was trained longer)."""
        found = self.validator.run(before_batch=self._stop_if_asked)
        if found is None:
            return False
        get_logger().info("validation after epoch %d: %s", epoch, found.line())
        self.metrics.add("valid", iteration=self.progress.iteration, epoch=epoch, values=asdict(found))
        if self.progress.best_top1 is None or found.top1 >= self.progress.best_top1:
            self.progress.best_top1, self.progress.best_epoch = found.top1, epoch
            return True
        return False

    def _announce(self) -> None:
        section = self.config.TRAIN
        by_epochs = section.epoch * self.batches_per_epoch
        bound = f"epoch = {section.epoch}" if by_epochs <= section.max_iter else f"max_iter = {section.max_iter}"
        count = self.processes.count
        get_logger().info(
            "training on %d videos: %d iterations an epoch, ends after iteration %d (%s comes first), "
            "batch %d in all = %d on each of %d device%s%s",
            self.batches.num_videos, self.batches_per_epoch, self.last_iteration, bound,
            section.batch_size, section.batch_size // count, count, "" if count == 1 else "s",
            f", in {section.accumulate_steps} parts" if section.accumulate_steps > 1 else "",
        )  # fmt: skip

    def _log_interval(self, rate: float, result: StepResult) -> None:
        progress = self.progress
        found = self.meter.metrics(
            learning_rate=rate, gradient_norm=result.gradient_norm, skipped=self.step.guard.num_skipped
        )
        seconds_left = (self.last_iteration - progress.iteration) * found.batch_seconds
        where = f"epoch {progress.epoch}, iteration {progress.iteration}/{self.last_iteration}"
        get_logger().info("%s, %s", where, found.line(seconds_left=seconds_left))
        self.metrics.add("train", iteration=progress.iteration, epoch=progress.epoch, values=asdict(found))
        self.meter.reset()
