"""The batches of an epoch: this process's share of each, in the order of the epoch."""

from collections.abc import Iterator

from configs.schema import TrainSection
from datareader.epoch_order import shuffled_epoch
from datareader.loader import Batch, ClipLoader
from engine.distributed import Processes


class TrainBatches:
    """Batches of TRAIN's list.

    Args:
        loader: loads this process's share of a batch.
    """

    def __init__(self, loader: ClipLoader, section: TrainSection, processes: Processes) -> None:
        self.loader = loader
        self._section = section
        self._processes = processes

    @property
    def num_videos(self) -> int:
        """Videos of the list."""
        return len(self.loader.dataset)

    @property
    def per_epoch(self) -> int:
        """The number of whole batches in an epoch. Videos that do not fill a batch are left out of the epoch."""
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
            balanced_labels=self.loader.dataset.videos.labels if section.balanced_sampling else None,
        )
        return self.loader.batches(order)
