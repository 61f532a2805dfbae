"""Validation after an epoch: the middle view of every video of a list, divided among the processes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from datareader.epoch_order import listed_order
from datareader.loader import Batch, ClipLoader
from engine.distributed import Processes
from engine.scoring.scorers import DygraphScorer
from engine.scoring.video_scores import evaluate
from engine.training.mixed_precision import MixedPrecision
from models.network import VideoNetwork
from utils.errors import ReaderError
from utils.logging import get_logger


@dataclass(frozen=True)
class Validation:
    """The result of a validation. Accuracies are in [0, 1]."""

    loss: float
    top1: float
    top5: float | None  # None where there are no more than five classes
    num_scored: int
    num_videos: int

    def line(self) -> str:
        """The log line."""
        top5 = "" if self.top5 is None else f", top-5 {self.top5:.4f}"
        return f"loss {self.loss:.4f}, top-1 {self.top1:.4f}{top5} over {self.num_scored} of {self.num_videos} videos"


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
                views_at_once=self._loader.batch_size,
                num_classes=self._num_classes,
                processes=self._processes,
            )
        accuracy = evaluation.accuracy
        for bad in evaluation.unscored:
            get_logger().warning("validation without: %s", bad.reason)
        if accuracy.num_scored == 0:
            first = evaluation.unscored[0]
            raise ReaderError(
                f"none of the {len(videos)} videos of {videos.source} (VALID.filelist) could be read; first: "
                f"{first.reason}; --valid_interval 0 trains without validation"
            )
        return Validation(evaluation.loss, accuracy.top1, accuracy.top5, accuracy.num_scored, accuracy.num_videos)

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
