"""What the tests share: reference arrays and real data. Use with ``from support import golden``."""

import os
import signal
from functools import cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from beartype import BeartypeConf, FrozenDict, beartype
from beartype.roar import BeartypeDecorHintPep3119Exception

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "rankgrad"
GOLDEN = ROOT / "tests" / "golden"

# jaxtyping hands over methods one by one; what Self stands for is known only in a whole class.
_beartype = beartype(conf=BeartypeConf(hint_overrides=FrozenDict({Self: Any})))

Arrays = dict[str, np.ndarray]


def check_types(function: Any) -> Any:
    """What jaxtyping decorates every function of the package with, see ``conftest.py``."""
    try:
        return _beartype(function)
    except BeartypeDecorHintPep3119Exception:
        return function  # an annotation is a protocol, which isinstance does not take


@cache
def golden(name: str) -> dict[str, Arrays]:
    """The arrays of ``tests/golden/<name>.npz`` as ``{case: {array name: array}}``.

    A file without cases comes back as one case whose name is ``""``, and so do the arrays of a
    file with cases that belong to none of them. Scalars are zero-dimensional arrays. The arrays
    are read-only: copy before handing one to ``torch.from_numpy``, or use ``torch.tensor``.
    """
    cases: dict[str, Arrays] = {}
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as archive:
        known = {str(case) for case in archive["cases"]} if "cases" in archive.files else set()
        for key in archive.files:
            if key == "cases":
                continue
            array = archive[key]
            array.flags.writeable = False
            case, entry = _split(key, known)
            cases.setdefault(case, {})[entry] = array
    return cases


def _split(key: str, cases: set[str]) -> tuple[str, str]:
    """Split ``<case>.<array>`` at the longest case name: both halves may contain dots."""
    ends = [i for i, letter in enumerate(key) if letter == "." and key[:i] in cases]
    return (key[: ends[-1]], key[ends[-1] + 1 :]) if ends else ("", key)


def golden_cases(name: str) -> list[str]:
    """The case names of one file, in order, for ``pytest.mark.parametrize``."""
    return [case for case in golden(name) if case]


def ramp(a: float, b: float, delta: float) -> float:
    """How decisively ``a`` is ahead of ``b``; with ``delta`` 0 a tie counts whole."""
    x = 0.0 if a == b else a - b
    if delta == 0:
        return float(x >= 0)
    return min(max(x / (2 * delta) + 0.5, 0.0), 1.0)


def shared_data(*parts: str) -> Path:
    """A path in the optional folder of real data; skips the test when it is not there.

    The folder is ``$RANKGRAD_SHARED/data`` or, without that variable, ``../shared/data`` beside
    the checkout.
    """
    path = Path(os.environ.get("RANKGRAD_SHARED") or ROOT.parent / "shared").joinpath(
        "data", *parts
    )
    if not path.exists():
        reason = f"real data {'/'.join(parts) or 'folder'} not found; point RANKGRAD_SHARED at it"
        pytest.skip(reason)
    return path


def heed_interrupts() -> None:
    """For ``preexec_fn``: what a shell runs in the background is deaf to Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
