"""Progress of a long loop: a bar on a terminal, or a log line now and then."""

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from utils.logging import get_logger

Item = TypeVar("Item")
tqdm.monitor_interval = 0  # no thread that watches whether bars move


def track(
    items: Iterable[Item],
    *,
    total: int,
    unit: str,
    log_interval: int | None = None,
    size: Callable[[Item], int] = lambda item: 1,
) -> Iterator[Item]:
    """Yield `items` and show a bar of `total` units; without a terminal, log a line every `log_interval` items.

    Args:
        size: the number of units in an item.
    """
    done = 0
    bar = tqdm(total=total, unit=unit, disable=None, leave=False, miniters=1)
    with contextlib.nullcontext() if bar.disable else _lines_above_the_bar(), bar:
        for number, item in enumerate(items, start=1):
            done += size(item)
            yield item
            bar.update(size(item))
            if bar.disable and log_interval and (number % log_interval == 0 or done == total):
                get_logger().info("%d of %d %ss done", done, total, unit)


@contextlib.contextmanager
def _lines_above_the_bar() -> Iterator[None]:
    """Let the lines on the screen stand above the bar: those that would be there without it (tqdm takes all)."""
    handlers = get_logger().handlers
    with logging_redirect_tqdm([get_logger()]):
        (of_tqdm,) = set(get_logger().handlers) - set(handlers)
        of_tqdm.setLevel(logging.INFO)
        yield
