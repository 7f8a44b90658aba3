"""Threads for the compiled kernels.

numba's own threading layers abort when two Python threads enter them at once, or do not survive a
fork (DataLoader workers fork). The kernels release the GIL, so plain Python threads do: one pool
per process, made on first use, as many threads as ``torch.get_num_threads()`` says.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import Any

import torch

__all__ = ["by_rows", "pieces", "run"]

_GRAIN = 8192  # elements worth a thread of their own

_pool: ThreadPoolExecutor | None = None


def _forget_pool() -> None:
    global _pool
    _pool = None  # the parent's threads do not exist in a forked child


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


def pieces(n: int, grain: int, per_thread: int = 1) -> list[tuple[int, int]]:
    """Split ``range(n)`` into so many runs a thread, none shorter than ``grain`` unless alone.

    With several a thread, one that is held up leaves more of them to the others: torch's own
    threads go on spinning on their core for a millisecond or two after every parallel operation.
    """
    count = max(1, min(per_thread * torch.get_num_threads(), n // max(grain, 1)))
    edges = [n * i // count for i in range(count + 1)]
    return list(pairwise(edges))


def run(tasks: Sequence[Callable[[], Any]], worth_it: bool = True) -> list[Any]:
    """Call every task, on this thread and the pool; return their results in order."""
    global _pool
    threads = min(len(tasks), torch.get_num_threads())
    if threads < 2 or not worth_it:
        return [task() for task in tasks]
    if _pool is None:
        _pool = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="rankgrad")
    results: list[Any] = [None] * len(tasks)
    left = iter(enumerate(tasks))  # whoever is free takes the next

    def work() -> None:
        for k, task in left:
            results[k] = task()

    futures = [_pool.submit(work) for _ in range(threads - 1)]
    try:
        work()
    finally:
        for future in futures:
            future.result()
    return results


def by_rows(work: Callable[..., Any], shape: tuple[int, ...], *arguments: Any) -> None:
    """Call ``work(*arguments, start, stop)`` for runs of the rows of a matrix, on all threads."""
    rows, n = shape
    parts = pieces(rows, max(1, _GRAIN // max(n, 1)), per_thread=4)
    run([partial(work, *arguments, a, b) for a, b in parts])
