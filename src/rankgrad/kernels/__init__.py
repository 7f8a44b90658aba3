"""The few primitives, once per hardware, behind one dispatch.

Each backend is a package with functions of the same names over the same plain tensors:

========== ======================= ===============================================
backend    where                   what it needs
========== ======================= ===============================================
reference  :mod:`.reference`       PyTorch, any device; the oracle of every test
numba      :mod:`.cpu`             numba; CPU tensors
triton     :mod:`.cuda`            triton; CUDA tensors (CPU ones when interpreted)
========== ======================= ===============================================

The fastest live backend that implements an operation serves it, and what it lacks comes from the
reference, on the device of the tensors. ``RANKGRAD_BACKEND`` in the environment, or
:func:`use_backend`, forces one.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch

__all__ = ["backends", "implementation", "use_backend"]

_MODULES = {
    "reference": "rankgrad.kernels.reference",
    "numba": "rankgrad.kernels.cpu",
    "triton": "rankgrad.kernels.cuda",
}
_PREFERRED = {"cpu": ("numba", "reference"), "cuda": ("triton", "reference")}

# Process-wide and not per thread: autograd runs backward on threads of its own.
_forced: str | None = None


def _interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET", "0") == "1"


@cache
def _why_not(name: str) -> str | None:
    """Return why a backend cannot run here, or None if it can."""
    if name == "numba" and find_spec("numba") is None:
        return "numba is not installed"
    if name == "triton":
        if find_spec("triton") is None:
            return "triton is not installed"
        if not torch.cuda.is_available() and not _interpreted():
            return "no CUDA device (TRITON_INTERPRET=1 runs it on the CPU, slowly)"
        try:
            import_module("triton")
        except Exception as error:  # a build for another machine, a missing library, ...
            return f"triton cannot be imported: {error}"
    return None


@cache
def _module(name: str) -> ModuleType:
    return import_module(_MODULES[name])


def backends() -> dict[str, str]:
    """Return, for each backend, "available" or why it is not.

    For triton also which operations it lacks: the reference serves them, on the same device.

    >>> backends()["reference"]
    'available'
    """
    found = {name: _why_not(name) or "available" for name in _MODULES}
    if found["triton"] == "available":
        lacks = set(_module("reference").__all__) - set(_module("triton").__all__)
        found["triton"] += f"; the reference serves {', '.join(sorted(lacks))}"
    return found


def _checked(name: str, source: str) -> str:
    if name not in _MODULES:
        listed = ", ".join(repr(n) for n in _MODULES)
        raise ValueError(f"{source} must be one of {listed}, got {name!r}")
    if (reason := _why_not(name)) is not None:
        raise RuntimeError(f"{source} asks for {name!r}, which cannot run here: {reason}")
    return name


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Force one backend inside a ``with`` block, for the whole process.

    Args:
        name: "reference", "numba" or "triton".

    Raises:
        ValueError: the name is unknown.
        RuntimeError: that backend cannot run here.

    >>> import rankgrad as rg
    >>> with use_backend("reference"):
    ...     rg.rank(torch.tensor([2.0, 3.0]))
    tensor([2., 1.])
    """
    global _forced
    before, _forced = _forced, _checked(name, "use_backend")
    try:
        yield
    finally:
        _forced = before


def _runs_on(backend: str, device: str) -> bool:
    if backend == "numba":
        return device == "cpu"
    if backend == "triton":
        return device == "cuda" or (device == "cpu" and _interpreted())
    return True


def implementation(op: str, device: torch.device) -> Callable[..., Any]:
    """Return the function that serves the primitive ``op`` for tensors on ``device``.

    A forced backend serves all it implements; what it lacks comes from the reference.
    """
    return _find(op, device.type, _forced, os.environ.get("RANKGRAD_BACKEND"))


@cache
def _find(op: str, device: str, forced: str | None, variable: str | None) -> Callable[..., Any]:
    if forced is None and variable:
        forced = _checked(variable, "RANKGRAD_BACKEND")
    if forced is not None and not _runs_on(forced, device):
        raise RuntimeError(f"backend {forced!r} is forced, but a tensor is on {device}")
    order = (forced, "reference") if forced else _PREFERRED.get(device, ("reference",))
    for name in order:
        if _why_not(name) is None and (found := getattr(_module(name), op, None)) is not None:
            return found  # type: ignore[no-any-return]  # a module attribute
    raise NotImplementedError(f"no kernel {op!r} for device {device}")
