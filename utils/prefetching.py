"""One item ahead: the next one is made in a thread while the present one is worked on."""

from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
_END = object()


def prefetch(items: Iterable[Item]) -> Generator[Item, None, None]:
    """Yield `items`, the next one being made meanwhile; what making it raises is raised where it would have come."""
    iterator = iter(items)
    with ThreadPoolExecutor(1) as thread:
        ahead = thread.submit(next, iterator, _END)
        while (item := ahead.result()) is not _END:
            ahead = thread.submit(next, iterator, _END)
            yield item
