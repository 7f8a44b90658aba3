"""Other libraries that compute the same: used where they are installed, named where not."""

import contextlib
import io
import warnings
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

__all__ = ["PEERS", "found", "load"]

# distribution -> the module that is imported
PEERS = {
    "torchsort": "torchsort",
    "fast-soft-sort": "fast_soft_sort.pytorch_ops",
    "diffsort": "diffsort",
    "difftopk": "difftopk",
    "softtorch": "softtorch",
    "pytorch-metric-learning": "pytorch_metric_learning.losses",
    "libauc": "libauc.losses",
    "torchvision": "torchvision.ops",
}


# name -> what was said when its module was asked for and could not be had
_broken: dict[str, str] = {}


def found() -> dict[str, str]:
    """Return each peer's version or "not installed", and why if it turned out unusable."""
    return {name: _state(name) for name in PEERS}


def _state(name: str) -> str:
    try:
        release = version(name)
    except PackageNotFoundError:
        return "not installed"
    return f"{release}, {_broken[name]}" if name in _broken else release


@cache
def load(name: str) -> Any | None:
    """Return the module of a peer, or None where it is not installed or cannot be imported."""
    try:
        version(name)
    except PackageNotFoundError:
        return None
    # Some print, or warn of their own dependencies, when they are imported.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return import_module(PEERS[name])
        except Exception as error:  # whatever somebody else's package raises
            _broken[name] = f"cannot be imported: {type(error).__name__}: {error}"
            return None
