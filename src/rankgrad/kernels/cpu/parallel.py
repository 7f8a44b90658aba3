"""Threads for the compiled kernels.

numba's own threading layers abort when two Python threads enter them at once, or do not survive a
fork (DataLoader workers fork). The kernels release the GIL, so plain Python threads do: one pool
per process, made on first use, as many threads as ``torch.get_num_threads()`` says.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import torch

__all__ = ["pieces", "run"]

_pool: ThreadPoolExecutor | None = None


def _forget_pool() -> None:
    global _pool
    _pool = None  # the parent's threads do not exist in a forked child


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


def pieces(n: int, grain: int) -> list[tuple[int, int]]:
    """Split ``range(n)`` into a run per thread, none shorter than ``grain`` unless it is alone."""
    count = max(1, min(torch.get_num_threads(), n // max(grain, 1)))
    edges = [n * i // count for i in range(count + 1)]
    return list(pairwise(edges))


def run(tasks: Sequence[Callable[[], Any]], worth_it: bool = True) -> list[Any]:
    """Call every task, the first on this thread and the rest on the pool; return their results."""
    global _pool
    if len(tasks) == 1 or not worth_it or torch.get_num_threads() == 1:
        return [task() for task in tasks]
    if _pool is None:
        _pool = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="rankgrad")
    futures = [_pool.submit(task) for task in tasks[1:]]
    try:
        first = tasks[0]()
    finally:
        rest = [future.result() for future in futures]
    return [first, *rest]
