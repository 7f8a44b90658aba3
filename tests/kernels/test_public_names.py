"""Shown without a GPU: whatever is public asks it for no number, or is named below with the reason.

Operators are called down to their kernels, of which only the launches are left out. Autograd goes
back from a GPU only where there is one, so that tensors without data are on the device "meta" for
that, which is served as a GPU is. What is added up comes out the same on every run if
``torch.use_deterministic_algorithms`` says so.
"""

import os
from contextlib import nullcontext, suppress
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

import rankgrad as rg
from rankgrad import functional, imbalance, losses, metrics, operators, rankers

if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("this process interprets", allow_module_level=True)
pytest.importorskip("triton")

from kernels.public_calls import CALLS, SAME
from kernels.without_data import UNORDERED_EVEN_SO, Moved, Unordered

# What waits, and why it has to.
WAITS = {
    "ALRPLoss": "the number of positives is a size, unless max_positives bounds it",
    "APLoss": "the number of positives is a size, unless max_positives bounds it",
    "RankSortLoss": "the number of positives is a size, unless max_positives bounds it",
    "EpochBalance": "renews its weight, a number, once an epoch",
    "Sinkhorn": "the implicit gradient needs potentials that are done: it looks whether they are",
    "lds_weights": "refuses labels that are not finite and counts bins, once before a training",
    "match_boxes": "who takes a box depends on who took one before: on the CPU",
}

# What is no function of scores, or stands for what has a name of its own.
NO_CALLS = {
    "Comparison", "Step", "Ramp", "Logistic", "Laplace", "Normal", "Cauchy", "backends",
    "use_backend", "warmup", "smoothing_window", "ALRP", "RANKERS", "Ranker", "RankerLike",
    "SortingRanker", "PermutationRanker", "Custom", "ShippedRanker", "as_ranker", "argsort",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _down_to_the_kernels(launched: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """No operator's fake implementation stands in for it."""
    monkeypatch.setattr(operators, "straight", lambda args: True)


def back(outputs: Any) -> None:
    """Go back from whatever has a gradient."""
    graded = [x for x in tree_leaves(outputs) if isinstance(x, Tensor) and x.requires_grad]
    if graded:
        sum(x.sum() for x in graded).backward()


@pytest.mark.parametrize("name", [name for name in CALLS if name not in WAITS])
def test_nothing_waits_and_nothing_varies(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for way, prepared in CALLS[name].items():
        try:
            call = prepared("cuda")
            with torch.no_grad(), Moved() as moved, Unordered(UNORDERED_EVEN_SO) as unordered:
                call()
            assert not moved.found
            assert not unordered.found
            with monkeypatch.context() as patch:  # there is no autocast on "meta"
                patch.setattr(torch, "autocast", lambda *args, **options: nullcontext())
                call = prepared("meta")
                with Moved() as moved, Unordered(UNORDERED_EVEN_SO) as unordered:
                    back(call())
            assert not moved.found
            assert not unordered.found
        except Exception as error:
            error.add_note(f"{name}: {way}")
            raise


@pytest.mark.parametrize("name", WAITS)
def test_what_waits_is_named_with_the_reason(name: str) -> None:
    for way, prepared in CALLS[name].items():
        call, finished = prepared("cuda"), False
        with torch.no_grad(), Moved() as moved, suppress(RuntimeError):
            call()
            finished = True
        assert moved.found or not finished, way


def test_every_public_name_is_called() -> None:
    rooms = (functional, imbalance, losses, metrics, rankers)
    public = set(rg._HOMES).union(*(room.__all__ for room in rooms))
    public -= {name for name in metrics.__all__ if name[0].isupper()}  # which call the functions
    assert public - NO_CALLS <= CALLS.keys() | SAME
    assert public >= NO_CALLS
    assert WAITS.keys() <= CALLS.keys()


def test_what_moves_is_seen() -> None:
    x = torch.zeros(3, device="cuda")
    with Moved() as moved:
        x + 1.0
        x * torch.tensor(2.0)
        torch.where(x > 0, x, torch.nan)
        assert not moved.found
        x.cpu()
        torch.tensor(1.0, device="cuda")
        x[torch.zeros(2, dtype=torch.int64)]
    assert moved.found == ["_to_copy", "_to_copy", "index"]


def test_what_varies_is_seen() -> None:
    x = torch.zeros(1, 3, device="cuda")
    to = torch.zeros(1, 3, device="cuda", dtype=torch.int64)
    with Unordered(UNORDERED_EVEN_SO) as unordered:
        x.scatter_add(1, to, x)
        x.cumsum(1)
        x.expand(2, 3).logcumsumexp(1)
        x.scatter_reduce(1, to, x, "sum")
        assert not unordered.found
        x.scatter_reduce(1, to, x, "amax")
        x.logcumsumexp(1)
    assert unordered.found == {"scatter_reduce amax", "logcumsumexp"}
