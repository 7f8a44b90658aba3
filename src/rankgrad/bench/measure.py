"""Timing by turns: ratios hold where a shared machine's absolute times do not."""

import random
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

from rankgrad.bench.rows import Row

__all__ = ["median_ratio", "ratio", "times"]

_ENOUGH = 200


def times(
    candidates: Mapping[str, Callable[[], Any]],
    *,
    budget: float = 4.0,
    least: int = 5,
    warm: bool = False,
) -> dict[str, list[float]]:
    """Return milliseconds of every candidate, called by turns until the budget (s) is spent.

    The order of each turn is drawn anew, the same draws every time.

    Args:
        candidates: the calls, by name.
        budget: seconds after which no further turn begins.
        least: so many turns in any case.
        warm: the candidates have been called before; without it each is called once, untimed.

    >>> sorted(times({"a": lambda: None, "b": lambda: None}, budget=0.0, least=3))
    ['a', 'b']
    """
    for run in () if warm else candidates.values():
        run()
    taken: dict[str, list[float]] = {name: [] for name in candidates}
    # Whoever follows a call that fills the caches finds its code gone: everyone shall, at times.
    order, shuffled = list(candidates), random.Random(0)
    end = time.perf_counter() + budget
    for turn in range(_ENOUGH):
        if turn >= least and time.perf_counter() >= end:
            break
        shuffled.shuffle(order)
        for name in order:
            run = candidates[name]
            begin = time.perf_counter()
            run()
            taken[name].append(1e3 * (time.perf_counter() - begin))
    return taken


def median_ratio(ours: list[float], theirs: list[float]) -> float:
    """Return the median of the ratios of two lists of times, turn by turn."""
    return median(a / b for a, b in zip(ours, theirs, strict=True))


def ratio(
    work: str,
    against: str,
    ours: Callable[[], Any],
    theirs: Callable[[], Any],
    *,
    limit: float | None = None,
    size: int | None = None,
    budget: float = 4.0,
    least: int = 5,
) -> Row:
    """Time two functions by turns and return the row: medians, and the median ratio."""
    taken = times({"ours": ours, "theirs": theirs}, budget=budget, least=least)
    return Row(
        work=work,
        against=against,
        ours=median(taken["ours"]),
        theirs=median(taken["theirs"]),
        unit="ms",
        ratio=median_ratio(taken["ours"], taken["theirs"]),
        limit=limit,
        size=size,
    )
