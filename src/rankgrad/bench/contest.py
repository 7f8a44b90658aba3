"""A work that several can do: who is asked, how often, and whether they agree."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from rankgrad.bench.measure import median_ratio, times
from rankgrad.bench.memory import available_bytes, can_measure_peaks, peak_extra_bytes
from rankgrad.bench.rows import Row
from rankgrad.bench.work import Outcome, differences

__all__ = ["Bench", "Other"]

_SLOW = 1.0  # a call that takes as many seconds is not repeated


@dataclass(frozen=True)
class Other:
    """Somebody else's way to do the work, or a yardstick.

    Attributes:
        run: the call. Where it returns an :class:`Outcome`, that is compared with ours.
        limit: the most that our time may be of its time, if somebody set one.
        needs: the bytes it takes, about; it is left out where they are not there.
        alike: whether it computes the same, so that results are compared.
    """

    run: Callable[[], Any]
    limit: float | None = None
    needs: float = 0.0
    alike: bool = True


class Bench:
    """Measures, and remembers what calls took, to leave out those that would take too long.

    Args:
        quick: sizes that a test can afford, and no repetition beyond a few.
        budget: the seconds that one call may take, by forecast from smaller sizes.
    """

    def __init__(self, *, quick: bool = False, budget: float = 30.0) -> None:
        self.quick = quick
        self.budget = budget
        self._history: dict[tuple[str, str], list[tuple[int, float]]] = {}

    def seconds(self, wanted: float) -> float:
        """Return for how long to repeat calls: as long as wanted, or hardly at all."""
        return 0.02 if self.quick else wanted

    def limit(self, limit: float | None) -> float | None:
        """Return the limit, or none: they are set for the sizes of a full run."""
        return None if self.quick else limit

    def contest(
        self,
        work: str,
        ours: Callable[[], Any],
        others: Mapping[str, Other],
        *,
        size: int,
        series: str | None = None,
        seconds: float = 2.0,
    ) -> Iterator[Row]:
        """Do the work, by turns with the others, and yield a row for each of them.

        Args:
            work: what is done, on what sizes.
            ours: our way.
            others: the others' ways and the yardsticks, by name.
            size: the number of elements.
            series: works of the same series differ in size alone, and come from small to large.
            seconds: for how long to repeat the calls.
        """
        ours()  # compiles
        mine, wanted = _timed(ours)
        notes: dict[str, str] = {}
        agreement: dict[str, tuple[float | None, float | None]] = {}
        once: dict[str, float] = {}
        turns: dict[str, Callable[[], Any]] = {"": ours}
        for name, other in others.items():
            notes[name] = self._too_much(other, series or work, name, size)
            if notes[name]:
                continue
            try:
                taken, outcome = _timed(other.run)
                # Never seen before, it may have compiled something, which takes so long at most.
                if (series or work, name) not in self._history and taken < 3 * _SLOW:
                    taken, outcome = _timed(other.run)
            except Exception as error:  # somebody else's code, on a size it may not take
                notes[name] = f"fails: {type(error).__name__}: {error}".splitlines()[0]
                continue
            if other.alike and isinstance(outcome, Outcome) and isinstance(wanted, Outcome):
                agreement[name] = differences(wanted, outcome)
            self._history.setdefault((series or work, name), []).append((size, taken))
            if taken > _SLOW:
                once[name], notes[name] = 1e3 * taken, "one call"
            else:
                turns[name] = other.run
        least = 3 if self.quick or mine > _SLOW else 5
        measured = times(turns, budget=self.seconds(seconds), least=least, warm=True)
        mine = median(measured[""])
        for name, other in others.items():
            theirs = median(measured[name]) if name in measured else once.get(name)
            share = None if theirs is None else mine / theirs
            if name in measured:
                share = median_ratio(measured[""], measured[name])
            difference, gradient_difference = agreement.get(name, (None, None))
            yield Row(
                work, name, mine, theirs, "ms", share, self.limit(other.limit), size, series,
                difference, gradient_difference, notes[name],
            )  # fmt: skip

    def memory(
        self, work: str, against: str, prepare: str, theirs: float | str, limit: float | None = None
    ) -> Iterator[Row]:
        """Yield a row on peak memory, where the system can tell it; never in a quick run.

        Args:
            work: what is done, on what sizes.
            against: what it is measured against.
            prepare: what :func:`~rankgrad.bench.memory.peak_extra_bytes` takes.
            theirs: bytes, or the call to measure, again as "module:function".
            limit: the most that the ratio may be, if somebody set one.
        """
        if self.quick or not can_measure_peaks():
            return
        # Below a MiB it is the allocator that rises, not the algorithm: it counts as one.
        mine = max(peak_extra_bytes(prepare), 2**20)
        other = theirs if isinstance(theirs, float) else float(peak_extra_bytes(theirs))
        yield Row(
            f"{work}: peak extra memory", against, mine, other, "bytes", mine / other, limit,
            note="in a process of its own",
        )  # fmt: skip

    def _too_much(self, other: Other, series: str, name: str, size: int) -> str:
        """Return why a call is left out, or nothing."""
        if other.needs > 0.8 * available_bytes():
            return f"left out: it takes some {other.needs / 2**30:.0f} GiB"
        forecast = _forecast(self._history.get((series, name), []), size)
        if forecast > self.budget:
            return f"left out: it would take some {forecast:,.0f} s a call"
        return ""


def _timed(run: Callable[[], Any]) -> tuple[float, Any]:
    begin = time.perf_counter()
    outcome = run()
    return time.perf_counter() - begin, outcome


def _forecast(history: list[tuple[int, float]], size: int) -> float:
    """Return the seconds a call will take at a size, by the power law of the last two sizes."""
    if not history:
        return 0.0
    last, taken = history[-1]
    power = 2.0
    if len(history) > 1 and history[-2][0] < last:
        before, less = history[-2]
        power = min(max(math.log(taken / less) / math.log(last / before), 1.0), 4.0)
    return float(taken * max(size / last, 1.0) ** power)
