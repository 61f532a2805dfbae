"""The training loop: epochs of steps, with validation and a checkpoint after each epoch."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import paddle

from configs.schema import TrainSection
from datareader.loader import Batch
from datareader.quarantine import Quarantine
from engine.checkpoint import RunPosition, Save
from engine.distributed import Processes
from engine.progress import track
from engine.stopping import StopRequest, StopRequested
from engine.training.freezing import training_mode
from engine.training.meters import IntervalMeter, StepTotals
from engine.training.metrics_log import Board, MetricsLog
from engine.training.phase_clock import PhaseClock
from engine.training.precise_bn import measure_statistics
from engine.training.reader_advice import ReaderCost
from engine.training.saver import Saver
from engine.training.schedule import learning_rate, require_a_rate
from engine.training.step_exchange import Requests, sum_over_processes
from engine.training.train_batches import TrainBatches
from engine.training.train_step import StepResult, TrainStep
from engine.training.validation import Validator
from engine.training.weight_average import WeightAverage
from models.normalisation import running_statistics
from utils.errors import ConfigError
from utils.logging import get_logger
from utils.processor import usable_cores

_PROFILE_SKIPS = 2  # the first iterations allocate memory and choose algorithms


@dataclass(frozen=True)
class RunOptions:
    """What the command line adds to the config of a run."""

    log_interval: int = 10  # iterations from one log line to the next
    valid_interval: int = 1  # epochs from one validation to the next, 0 = none
    profile: int = 0  # number of iterations to measure instead of a run; 0 = train
    log_to: Board | None = None  # besides metrics.jsonl


class Trainer:
    """Trains as TRAIN says, from `position` to the end.

    Args:
        step: makes one update of the network.
        average: of the weights, which is validated and saved in their place.
        batches: the batches of an epoch, this process's share of each.
        validator: None: no validation.
        position: where the run stands; changed as it goes on.
        resumed: the save that the run continues, None: a new run.
        quarantine, metrics, saver: write into the folder of the run.
        clock: measures the phases of a step while a run is profiled.
    """

    def __init__(
        self,
        section: TrainSection,
        *,
        step: TrainStep,
        average: WeightAverage | None,
        batches: TrainBatches,
        validator: Validator | None,
        quarantine: Quarantine,
        metrics: MetricsLog,
        saver: Saver,
        clock: PhaseClock,
        processes: Processes,
        position: RunPosition,
        resumed: Save | None,
        options: RunOptions,
        num_classes: int,
    ) -> None:
        self.section = section
        self.step = step
        self.average = average
        self.batches = batches
        self.validator = validator
        self.quarantine = quarantine
        self.metrics = metrics
        self.saver = saver
        self.clock = clock
        self.processes = processes
        self.position = position
        self.resumed = resumed
        self.options = options
        self.meter = IntervalMeter(num_classes)
        self.stop_request = StopRequest()
        self.batches_per_epoch = batches.per_epoch
        self._require_fitting_position()
        self.last_iteration = min(section.max_iter, section.epoch * self.batches_per_epoch)
        require_a_rate(section, self.last_iteration)

    def _require_fitting_position(self) -> None:
        position = self.position
        if position.iteration != position.epoch * self.batches_per_epoch + position.batch:
            raise ConfigError(
                f"the checkpoint stands at epoch {position.epoch}, batch {position.batch} after {position.iteration} "
                f"iterations, which does not fit {self.batches_per_epoch} batches an epoch: TRAIN.batch_size or the "
                "length of TRAIN.filelist is another one; use --pretrain to start a new run from its weights"
            )

    @property
    def num_saves(self) -> int:
        """The most saves that the folder holds: of whole epochs, the best, two inside an epoch, one being written."""
        left = -(-(self.last_iteration - self.position.iteration) // self.batches_per_epoch)
        return min(left, self.section.keep_last or left) + 4

    def run(self) -> bool:
        """Train to the end; return True. If SIGTERM or Ctrl-C stops the run, save it and return False."""
        self._announce()
        self.saver.prepare_folder(self.position, self.resumed)
        self.metrics.open(self.position.iteration)
        if self._is_finished:
            get_logger().info("nothing left to do: the run stands at iteration %d", self.position.iteration)
        with self.stop_request:
            try:
                while not self._is_finished:
                    self.train_one_epoch()
                    self._finish_epoch()
            except StopRequested as request:
                self.stop_request.note_other()
                self.saver.save(f"iter{self.position.iteration}", self.position)
                get_logger().warning("stopped by %s; --resume auto goes on from here", request)
                return False
        if self._has_stalled and self.position.iteration < self.last_iteration:
            get_logger().info(
                "TRAIN.early_stop: no better validation since epoch %d: the run ends after epoch %d",
                self.position.improved_epoch, self.position.finished_epoch,
            )  # fmt: skip
        if self.step.guard.num_skipped:
            get_logger().warning(
                "%d updates were skipped, for losses or gradients were not finite: is TRAIN.learning_rate too high?",
                self.step.guard.num_skipped,
            )
        return True

    @property
    def _is_finished(self) -> bool:
        return self.position.epoch_is_saved and (self.position.iteration >= self.last_iteration or self._has_stalled)

    @property
    def _has_stalled(self) -> bool:
        """Whether TRAIN.early_stop ends the run: the epoch that was just validated is so far behind the best one."""
        epoch, improved = self.position.finished_epoch, self.position.improved_epoch
        if not self.section.early_stop or epoch is None or improved is None:
            return False
        return self._is_validated(epoch) and epoch - improved >= self.section.early_stop

    def _is_validated(self, epoch: int) -> bool:
        interval = self.options.valid_interval
        return interval > 0 and (epoch + 1) % interval == 0

    def train_one_epoch(self) -> None:
        """Train from the present position to the end of the epoch, or of the run."""
        training_mode(self.step.network, self.section)
        self.meter.start_clock()
        for batch in self._train_batches():
            self.clock.add("reader", self.meter.batch_arrived())
            rate = learning_rate(self.position.iteration, self.section, num_iterations=self.last_iteration)
            result = self.step.run(batch, iteration=self.position.iteration, learning_rate=rate)  # waits for the device
            totals, requests = self._exchange(result, batch)
            self.meter.step_done(totals)
            self._advance()
            if self.average is not None and not result.is_skipped:
                self.average.update(self.position.iteration)
            if self.position.iteration % self.options.log_interval == 0 or self._is_last:
                self._log_interval(rate, result)
            self._quarantine(batch, requests)
            if requests.stop:
                raise StopRequested(self.stop_request.name)
            if requests.save and self.position.batch < self.batches_per_epoch:
                self.saver.save(f"iter{self.position.iteration}", self.position)
            self.meter.start_clock()  # the time of saving is not counted as waiting

    def profile(self) -> str:
        """Make `options.profile` iterations, and return a table of the time that their phases took.

        Below it stands what the readers cost, and advice.
        """
        wanted = self.options.profile + _PROFILE_SKIPS
        training_mode(self.step.network, self.section)
        loader, before, started, waited = self.batches.loader, 0.0, 0.0, 0.0
        while self.clock.num_iterations < wanted:
            self.meter.start_clock()
            for batch in self.batches.of_epoch(0, 0, min(wanted - self.clock.num_iterations, self.batches_per_epoch)):
                waiting = self.meter.batch_arrived()
                if self.clock.num_iterations == _PROFILE_SKIPS:
                    before, started, waited = loader.cpu_seconds, time.perf_counter() - waiting, 0.0
                self.clock.add("reader", waiting)
                waited += waiting
                self.step.run(batch, iteration=self.position.iteration, learning_rate=0.0)
                self.clock.iteration_done()
                self.meter.start_clock()
        cost = ReaderCost(
            iterations=self.options.profile,
            num_processes=loader.num_processes,
            cpu_seconds=loader.cpu_seconds - before,
            wall_seconds=time.perf_counter() - started,
            waiting_seconds=waited,
            cores=usable_cores(),
            is_cpu=paddle.get_device() == "cpu",
        )
        return "\n".join([self.clock.table(skip=_PROFILE_SKIPS), *cost.lines()])

    @property
    def _is_last(self) -> bool:
        return self.position.iteration == self.last_iteration

    def _advance(self) -> None:
        self.position.iteration += 1
        self.position.batch += 1
        self.position.epoch_is_saved = False
        self.position.loss_scale = self.step.precision.loss_scale

    def _finish_epoch(self) -> None:
        """Validate if it is due, and save. The epoch is over only after that."""
        epoch = self.position.epoch
        is_due = self._is_last or self._is_validated(epoch)
        if is_due:
            self._settle_statistics()
        if is_due and self.validator is not None:
            self._validate(epoch)
        is_whole = self.position.batch >= self.batches_per_epoch  # max_iter may end a run before
        if is_whole:
            self.position.epoch, self.position.batch = epoch + 1, 0
        self.position.epoch_is_saved = True
        what = f"epoch{epoch}" if is_whole else f"end{self.position.iteration}"
        self.saver.save(what, self.position)

    def _exchange(self, result: StepResult, batch: Batch) -> tuple[StepTotals, Requests]:
        """Return the sums of a step over all processes, and their requests."""
        requests = Requests(
            stop=self.stop_request.is_set,
            save=self.processes.is_main and self.saver.is_due(self.position.iteration + 1),
            new_bad_videos=self.quarantine.count_new(batch.bad_videos),
        )
        return sum_over_processes(self.processes, StepTotals.of_step(result, batch.labels), requests)

    def _quarantine(self, batch: Batch, requests: Requests) -> None:
        """Tell every process the unreadable videos that one has found."""
        if requests.new_bad_videos:
            for bad_videos in self.processes.gather(batch.bad_videos):
                self.quarantine.add(bad_videos)

    def _train_batches(self) -> Iterator[Batch]:
        """Return the rest of this epoch's batches, up to the last iteration of the run."""
        done = self.position.batch
        stop = min(self.batches_per_epoch, done + self.last_iteration - self.position.iteration)
        batches = self.batches.of_epoch(self.position.epoch, done, stop)
        return track(batches, total=stop - done, unit="batch")

    def _settle_statistics(self) -> None:
        """Give all processes the same statistics of BN: precise ones if TRAIN.precise_bn_iters is set, otherwise those
        of the first process.
        """
        count = min(self.section.precise_bn_iters, self.batches_per_epoch)
        if count:
            training_mode(self.step.network, self.section)
            batches = self._stoppable(self.batches.of_epoch(self.position.epoch, 0, count))
            parts = self.section.accumulate_steps
            measure_statistics(self.step.network, batches, self.processes, self.step.precision, parts=parts)
        self._share_statistics()

    def _share_statistics(self) -> None:
        self.processes.make_equal([value for pair in running_statistics(self.step.network) for value in pair])

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[None]:
        """While the block runs, the network has the average of its weights, if one is kept: equal in all processes."""
        with contextlib.ExitStack() as stack:
            if self.average is not None:
                stack.enter_context(self.average.in_network())
                self._share_statistics()
            yield

    def _stoppable(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        for batch in batches:
            self._stop_if_asked()
            yield batch

    def _stop_if_asked(self) -> None:
        """Raise StopRequested, in all processes, if one of them was asked to stop."""
        if self.processes.any(self.stop_request.is_set):
            raise StopRequested(self.stop_request.name)

    def _validate(self, epoch: int) -> None:
        """Validate, and remember the best result. Of equal results the later one counts: it was trained longer."""
        with self._averaged():
            found = self.validator.run(before_batch=self._stop_if_asked)
        get_logger().info("validation after epoch %d: %s", epoch, found.line())
        self.metrics.add("valid", iteration=self.position.iteration, epoch=epoch, values=found.values())
        value, best = found.measures.main.value, self.position.best_value
        if value is None:
            return
        if best is None or value > best:
            self.position.improved_epoch = epoch
        if best is None or value >= best:
            self.position.best_value, self.position.best_epoch = value, epoch
            self.position.best_iteration = self.position.iteration

    def _announce(self) -> None:
        section = self.section
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
        position = self.position
        found = self.meter.metrics(
            learning_rate=rate, gradient_norm=result.gradient_norm, skipped=self.step.guard.num_skipped
        )
        seconds_left = (self.last_iteration - position.iteration) * found.batch_seconds
        where = f"epoch {position.epoch}, iteration {position.iteration}/{self.last_iteration}"
        get_logger().info("%s, %s", where, found.line(seconds_left=seconds_left))
        self.metrics.add("train", iteration=position.iteration, epoch=position.epoch, values=asdict(found))
        self.meter.reset()
