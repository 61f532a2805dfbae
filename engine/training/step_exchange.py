"""What the processes of a run tell one another after each step, in one message: sums over the clips, and requests."""

from dataclasses import astuple, dataclass, fields

import numpy as np

from engine.distributed import Processes
from engine.training.meters import StepTotals


@dataclass
class Requests:
    """What is asked for after a step; summed over the processes, by how many."""

    stop: float = 0.0  # a signal came
    save: float = 0.0  # a save inside the epoch is due
    new_bad_videos: float = 0.0  # videos that could not be read and were not known


def sum_over_processes(processes: Processes, totals: StepTotals, requests: Requests) -> tuple[StepTotals, Requests]:
    """Return the sums over all processes, the same in each of them."""
    own = np.array([*astuple(totals), *astuple(requests)], np.float64)
    sums = processes.sum(own).tolist()
    count = len(fields(StepTotals))
    return StepTotals(*sums[:count]), Requests(*sums[count:])
