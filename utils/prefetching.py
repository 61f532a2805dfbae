"""Prefetching: a thread makes the next item while the present one is used."""

from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
_END = object()


def prefetch(items: Iterable[Item]) -> Generator[Item, None, None]:
    """Yield `items`. A thread makes the next item meanwhile; an exception of it is raised in the caller's thread."""
    iterator = iter(items)
    with ThreadPoolExecutor(1) as thread:
        ahead = thread.submit(next, iterator, _END)
        while (item := ahead.result()) is not _END:
            ahead = thread.submit(next, iterator, _END)
            yield item
