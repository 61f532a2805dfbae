"""The batches of an epoch as one process of the run sees them: its share of each, in the epoch's order."""

from collections.abc import Iterator

from configs.schema import TrainSection
from datareader.epoch_order import shuffled_epoch
from datareader.loader import Batch, ClipLoader
from engine.distributed import Processes


class TrainBatches:
    """Batches of TRAIN's list.

    Args:
        loader: of this process's share of a batch.
    """

    def __init__(self, loader: ClipLoader, section: TrainSection, processes: Processes) -> None:
        self._loader = loader
        self._section = section
        self._processes = processes

    @property
    def num_videos(self) -> int:
        """Videos of the list."""
        return len(self._loader.dataset)

    @property
    def per_epoch(self) -> int:
        """Whole batches of an epoch; a rest of its order waits for the next shuffle."""
        return self.num_videos // self._section.batch_size

    def of_epoch(self, epoch: int, start: int, stop: int) -> Iterator[Batch]:
        """Yield this process's share of the batches `start` to `stop` of an epoch."""
        section = self._section
        order = shuffled_epoch(
            self.num_videos,
            seed=section.seed,
            epoch=epoch,
            start=start * section.batch_size,
            stop=stop * section.batch_size,
            rank=self._processes.rank,
            num_ranks=self._processes.count,
            balanced_labels=self._loader.dataset.videos.labels if section.balanced_sampling else None,
        )
        return self._loader.batches(order)
