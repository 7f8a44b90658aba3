"""Timing by turns, and peak memory: ratios hold where a shared machine's absolute times do not."""

import gc
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

__all__ = ["Row", "machine", "peak_extra_bytes", "ratio", "times"]


@dataclass(frozen=True)
class Row:
    """One line of a benchmark table.

    Attributes:
        work: what is done, on what sizes.
        against: what it is measured against.
        ours: our figure, in ``unit``.
        theirs: the other's figure.
        unit: "ms", or "bytes".
        ratio: ours over theirs; for times the median of the ratios taken turn by turn.
        limit: the most that the ratio may be, if somebody set one.
        size: the number of elements, for rows that show growth.
    """

    work: str
    against: str
    ours: float
    theirs: float
    unit: str
    ratio: float
    limit: float | None = None
    size: int | None = None


def times(
    candidates: Mapping[str, Callable[[], Any]], *, budget: float = 4.0, least: int = 5
) -> dict[str, list[float]]:
    """Return milliseconds of every candidate, called in turn until the budget (s) is spent.

    >>> sorted(times({"a": lambda: None, "b": lambda: None}, budget=0.0, least=3))
    ['a', 'b']
    """
    for run in candidates.values():
        run()
    taken: dict[str, list[float]] = {name: [] for name in candidates}
    end = time.perf_counter() + budget
    while len(next(iter(taken.values()))) < least or time.perf_counter() < end:
        for name, run in candidates.items():
            begin = time.perf_counter()
            run()
            taken[name].append(1e3 * (time.perf_counter() - begin))
        if len(taken[name]) >= 200:
            break
    return taken


def ratio(
    work: str,
    against: str,
    ours: Callable[[], Any],
    theirs: Callable[[], Any],
    *,
    limit: float | None = None,
    size: int | None = None,
    budget: float = 4.0,
) -> Row:
    """Time two functions by turns and return the row: medians, and the median ratio."""
    taken = times({"ours": ours, "theirs": theirs}, budget=budget)
    turns = zip(taken["ours"], taken["theirs"], strict=True)
    return Row(
        work=work,
        against=against,
        ours=median(taken["ours"]),
        theirs=median(taken["theirs"]),
        unit="ms",
        ratio=median(a / b for a, b in turns),
        limit=limit,
        size=size,
    )


_MEMORY_SCRIPT = """
import gc, importlib, sys
def field(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(name))
module, function = sys.argv[1].rsplit(":", 1)
prepare = getattr(importlib.import_module(module), function)
prepare(True)()  # small: compiles what has to be compiled
run = prepare(False)
gc.collect()
with open("/proc/self/clear_refs", "w") as reset:
    reset.write("5")  # the peak starts from here
before = field("VmRSS:")
run()
print(field("VmHWM:") - before)
"""


def peak_extra_bytes(prepare: str) -> int:
    """Return by how much a call raises the peak of resident memory, in a process of its own.

    Linux only.

    Args:
        prepare: "module:function"; ``function(small)`` returns the call to measure. It is made and
            called with ``small=True`` first.
    """
    done = subprocess.run(
        [sys.executable, "-c", _MEMORY_SCRIPT, prepare],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout.split()[-1])


def machine() -> dict[str, str]:
    """Return what a figure has to be read with: processor, versions, threads."""
    gc.collect()
    model = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as lines:
            names = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
        model = names[0] if names else model
    found = {
        "processor": model,
        "threads": str(torch.get_num_threads()),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found
