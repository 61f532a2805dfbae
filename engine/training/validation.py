"""Validation after an epoch: the middle view of every video of a list, divided among the processes."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from datareader.epoch_order import listed_order
from datareader.loader import Batch, ClipLoader
from engine.distributed import Processes
from engine.scoring.scorers import DygraphScorer
from engine.scoring.video_scores import evaluate
from engine.scoring.views_at_once import ViewsAtOnce
from engine.training.mixed_precision import MixedPrecision
from metrics.measures import Measures
from models.network import VideoNetwork
from utils.errors import ReaderError
from utils.logging import get_logger

_TITLES = {"top1": "top-1", "top5": "top-5", "map": "mAP"}


@dataclass(frozen=True)
class Validation:
    """The result of a validation."""

    loss: float
    measures: Measures

    def line(self) -> str:
        """The log line."""
        found = [
            f"{_TITLES[name]} {value:.4f}" for name, value in self.measures.validation().items() if value is not None
        ]
        counts = f"{self.measures.num_scored} of {self.measures.num_videos} videos"
        return f"{', '.join([f'loss {self.loss:.4f}', *found])} over {counts}"

    def values(self) -> Mapping[str, float | None]:
        """The numbers by name, for the metrics of the run."""
        counts = {"num_scored": self.measures.num_scored, "num_videos": self.measures.num_videos}
        return {"loss": self.loss, **self.measures.validation(), **counts}


class Validator:
    """Validates `network` on the list of `loader`."""

    def __init__(
        self,
        network: VideoNetwork,
        loader: ClipLoader,
        *,
        num_classes: int,
        processes: Processes,
        precision: MixedPrecision,
    ) -> None:
        self._scorer = DygraphScorer(network)
        self._loader = loader
        self._num_classes = num_classes
        self._processes = processes
        self._precision = precision

    def run(self, *, before_batch: Callable[[], None]) -> Validation:
        """Score the list.

        Args:
            before_batch: called before each batch, equally often in every process. It may raise to stop.

        Raises:
            ReaderError: no video of the list could be read.
        """
        videos = self._loader.dataset.videos
        with self._precision.forward_pass():
            evaluation = evaluate(
                self._scorer,
                videos,
                self._batches(before_batch),
                views_per_video=1,
                views_at_once=ViewsAtOnce(self._loader.batch_size),
                num_classes=self._num_classes,
                processes=self._processes,
            )
        for bad in evaluation.unscored:
            get_logger().warning("validation without: %s", bad.reason)
        if evaluation.measures.num_scored == 0:
            first = evaluation.unscored[0]
            raise ReaderError(
                f"none of the {len(videos)} videos of {videos.source} (VALID.filelist) could be read; first: "
                f"{first.reason}; --valid_interval 0 trains without validation"
            )
        return Validation(evaluation.loss, evaluation.measures)

    def _batches(self, before_batch: Callable[[], None]) -> Iterator[Batch]:
        rank, count = self._processes.rank, self._processes.count
        num_videos = len(self._loader.dataset)
        batches = self._loader.batches(listed_order(num_videos, rank=rank, num_ranks=count))
        largest_share = -(-num_videos // count)
        for _ in range(-(-largest_share // self._loader.batch_size)):
            before_batch()
            batch = next(batches, None)
            if batch is not None:
                yield batch
