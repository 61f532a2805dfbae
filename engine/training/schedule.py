"""The learning rate as a function of the iteration."""

import math
from collections.abc import Sequence

import numpy as np

from configs.schema import TrainSection
from utils.errors import ConfigError

REFERENCE_BATCH = 64  # clips: the batch of the released learning rate


def learning_rate(iteration: int, section: TrainSection, *, num_iterations: int) -> float:
    """Learning rate of an iteration, counted from 0, of a run of `num_iterations`.

    In the first `warmup_iters` iterations the rate grows linearly from `warmup_start_lr` to the scheduled rate of the
    iteration after them. With `scale_lr` all rates are multiplied by batch_size / 64 (the linear scaling rule of Goyal
    et al., arXiv 1706.02677).
    """
    if iteration < section.warmup_iters:
        target = _scheduled(section.warmup_iters, section, num_iterations)
        rate = section.warmup_start_lr + (target - section.warmup_start_lr) * iteration / section.warmup_iters
    else:
        rate = _scheduled(iteration, section, num_iterations)
    return rate * section.batch_size / REFERENCE_BATCH if section.scale_lr else rate


def require_a_rate(section: TrainSection, num_iterations: int) -> None:
    """Refuse a cosine run that ends within its warm-up: the rate that it would grow to is that of the end, 0.

    Raises:
        ConfigError: it does.
    """
    if section.schedule == "cosine" and section.warmup_iters >= num_iterations:
        raise ConfigError(
            f"TRAIN.warmup_iters ({section.warmup_iters}) must be less than the iterations of the run "
            f"({num_iterations}): the learning rate would stay at 0; train for more epochs, or "
            f"-o TRAIN.warmup_iters={num_iterations // 10}"
        )


def _scheduled(iteration: int, section: TrainSection, num_iterations: int) -> float:
    if section.schedule == "cosine":
        return cosine_learning_rate(iteration, base=section.learning_rate, num_iterations=num_iterations)
    return step_learning_rate(
        iteration, base=section.learning_rate, decay=section.learning_rate_decay, step_sizes=section.step_sizes
    )


def step_learning_rate(iteration: int, *, base: float, decay: float, step_sizes: Sequence[int]) -> float:
    """Return `base`, multiplied by `decay` once for every step that is over. The last step never ends.

    >>> rates = dict(base=0.01, decay=0.1, step_sizes=[150000, 150000, 100000])
    >>> [f"{step_learning_rate(i, **rates):.0e}" for i in (0, 149999, 150000, 300000, 400000)]
    ['1e-02', '1e-02', '1e-03', '1e-04', '1e-04']
    """
    ends = np.cumsum(step_sizes)[:-1]
    return base * decay ** int(np.sum(iteration >= ends))


def cosine_learning_rate(iteration: int, *, base: float, num_iterations: int) -> float:
    """Return the rate on half a cosine wave from `base` to 0.

    Source: Loshchilov and Hutter, arXiv 1608.03983, equation 5 without restarts.

    >>> [round(cosine_learning_rate(i, base=0.8, num_iterations=12), 3) for i in (0, 4, 6, 8, 12)]
    [0.8, 0.6, 0.4, 0.2, 0.0]
    """
    return base * 0.5 * (1 + math.cos(math.pi * min(iteration / num_iterations, 1)))
