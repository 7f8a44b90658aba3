"""Threads for the compiled kernels.

numba's own threading layers abort when two Python threads enter them at once, or do not survive a
fork (DataLoader workers fork). The kernels release the GIL, so any threads do: torch's own where
they are to be had, else one pool of Python threads per process, made on first use; as many as
``torch.get_num_threads()`` says.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import Any

import torch

from rankgrad.kernels.cpu.openmp import team

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

    With several a thread, one that is held up leaves more of them to the others.
    """
    count = max(1, min(per_thread * torch.get_num_threads(), n // max(grain, 1)))
    edges = [n * i // count for i in range(count + 1)]
    return list(pairwise(edges))


def run(tasks: Sequence[Callable[[], Any]], worth_it: bool = True) -> list[Any]:
    """Call every task, on this thread and others; return their results in order."""
    threads = min(len(tasks), torch.get_num_threads())
    if threads < 2 or not worth_it:
        return [task() for task in tasks]
    results: list[Any] = [None] * len(tasks)
    errors: list[BaseException] = []
    left = iter(enumerate(tasks))  # whoever is free takes the next

    def work() -> None:
        try:
            for k, task in left:
                results[k] = task()
        except BaseException as error:  # raised below, on the thread that asked
            errors.append(error)

    # OpenMP ends threads that a smaller team leaves over, and torch would have to make them anew.
    whole = threads == torch.get_num_threads()
    if whole and (together := team(threads)) is not None:
        together(work)
    else:
        _by_pool(work, threads)
    if errors:
        raise errors[0]
    return results


def _by_pool(work: Callable[[], None], threads: int) -> None:
    global _pool
    if _pool is None:
        _pool = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="rankgrad")
    futures = [_pool.submit(work) for _ in range(threads - 1)]
    work()
    for future in futures:
        future.result()


def by_rows(
    work: Callable[..., Any], shape: tuple[int, ...], *arguments: Any, grain: int = _GRAIN
) -> None:
    """Call ``work(*arguments, start, stop)`` for runs of the rows of a matrix, on all threads.

    ``grain`` says how many elements are worth a thread of their own.
    """
    rows, n = shape
    if rows * n < 2 * grain:
        work(*arguments, 0, rows)
        return
    parts = pieces(rows, max(1, grain // max(n, 1)), per_thread=4)
    run([partial(work, *arguments, a, b) for a, b in parts])
