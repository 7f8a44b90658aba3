"""Torch's own threads for our work, where they are those of GNU OpenMP.

They go on spinning on their cores for some milliseconds after every parallel operation of torch,
in wait for the next one. A thread of ours has to wait for them there: right after a matrix product
two threads were measured to be no faster than one. They take work of ours at once if it comes the
way they wait for, and then it takes half the time.

``GOMP_parallel`` is what compilers turn a parallel block of OpenMP into: stable, and in the library
that torch has loaded. Where there is none, or after a fork, which its threads do not survive,
:mod:`rankgrad.kernels.cpu.parallel` has a pool of Python threads.
"""

import ctypes
import os
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import torch

__all__ = ["team"]

_Body = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_jobs: dict[int, Callable[[], None]] = {}
_numbers = count(1)
_body: Any = None
_start: Any = None


def _enter(number: int) -> None:
    _jobs[number]()


def _find() -> Any:
    """Return ``GOMP_parallel`` from the library that torch has loaded, or None."""
    folder = Path(torch.__file__).parent
    for path in [*folder.glob("lib/libgomp*.so*"), *folder.parent.glob("torch.libs/libgomp*.so*")]:
        try:
            start = ctypes.CDLL(str(path), mode=os.RTLD_NOLOAD).GOMP_parallel
        except (AttributeError, OSError):  # another library, or one that nobody uses
            continue
        start.argtypes = [_Body, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        start.restype = None
        return start
    return None


def _forget() -> None:
    global _start
    _start = None  # the parent's threads do not exist in a forked child


if hasattr(os, "RTLD_NOLOAD"):
    _start = _find()
    if _start is not None:
        _body = _Body(_enter)
        os.register_at_fork(after_in_child=_forget)


def team(threads: int) -> Callable[[Callable[[], None]], None] | None:
    """Return what calls a function on so many of torch's threads at once, this one among them.

    The function must not raise. None where torch's threads are not to be had.
    """
    start = _start
    if start is None:
        return None

    def call(work: Callable[[], None]) -> None:
        number = next(_numbers)
        _jobs[number] = work
        try:
            start(_body, number, threads, 0)
        finally:
            del _jobs[number]

    return call
