"""Shown without a GPU: kernels ask the device for no number, and stay on it.

Tensors without data say that they are on a GPU. Whatever needs a value, or a shape that depends on
values, raises, and so does what mixes devices. Launches are left out.
"""

import math
import os
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
)
from torch.utils._python_dispatch import TorchDispatchMode

import rankgrad as rg
from kernels.without_data import Unordered
from rankgrad.kernels import reference

if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("this process interprets", allow_module_level=True)
pytest.importorskip("triton")


def pairwise(comparison: rg.Comparison, x: Tensor) -> None:
    from rankgrad.kernels import cuda

    order = reference.argsort(x, False)
    ids = torch.zeros_like(order)
    cuda.pairwise(x, x, None, None, None, order, order, comparison, False, True, False)
    cuda.pairwise(x, x, x, ids, ids, order, order, comparison, True, True, True)


def projection(entropic: bool, x: Tensor) -> None:
    from rankgrad.kernels import cuda

    for mask in (None, x > 0):
        out, block = cuda.project_rank(x, mask, 1.0, entropic)
        cuda.project_rank_vjp(x, out, block, 1.0, entropic)
        out, block = cuda.project_sort(x, mask, 1.0, entropic)
        cuda.project_sort_vjp(x, x, block, entropic)


def network(kind: str, x: Tensor) -> None:
    from rankgrad.kernels import cuda

    count = (x > 0).sum(-1)
    for v in (x[..., None], None):
        w = torch.cat([x[..., None]] * x.shape[1], -1) if v is None else v
        settings = kind, "cauchy", 1.0, 0.25
        for transposed in (False, True):
            cuda.network_apply(x, count, v, *settings, transposed)
        cuda.network_gradient(x, count, w, v, *settings)


def ranksim(x: Tensor) -> None:
    from rankgrad.kernels import cuda

    square = x @ x.mT
    count = torch.ones((), dtype=torch.int64, device=x.device)
    for want_slope in (False, True):
        cuda.ranksim_rows(square, square[:, :1], count, 2.0, want_slope)


def retrieval(x: Tensor) -> None:
    from rankgrad.kernels import cuda

    codes = (x > 0).to(torch.uint8) + 1
    for cuts in (([], []), ([1, 4], [1.0, 2.0])):
        cuda.soft_retrieval(x, codes, 0.1, *cuts)
        cuda.soft_retrieval_backward(x[:, 0], x, codes, 0.1, *cuts)


def detection(x: Tensor) -> None:
    from rankgrad.kernels import cuda

    logits, scores = x[0], x[1].double()
    starts = torch.arange(2, device=x.device) * scores.numel()
    for groups in (None, torch.zeros_like(logits, dtype=torch.int64)):
        cuda.negatives_ahead(logits, logits, groups, scores, starts, 0.5)
        cuda.spread_to_negatives(logits, logits, groups, scores, starts, 0.5, scores)
    cuda.rank_sort_errors(scores, scores, scores, starts, 0.5)
    cuda.rank_sort_pulls(scores, scores, scores.expand(4, -1), scores.expand(2, -1), starts, 0.5)
    cuda.prefix_sums(scores, starts)


def detection_losses(x: Tensor) -> None:
    """Forward and backward as autograd calls them, with a bound on the number of positives."""
    room = "rankgrad.losses.detection"  # where functions hide the modules of their name
    rank_sort, ap, alrp = (
        import_module(f"{room}.{name}") for name in ("rank_sort", "average_precision", "alrp")
    )
    logits, most = x.flatten(), x.shape[1]
    errors = torch.ones_like(logits[:most])
    for segments in (None, torch.zeros_like(logits, dtype=torch.int64)):
        for dense in (False, True):
            given = logits, logits, segments
            ranking, sorting, _, state = rank_sort._rank_sort._function(*given, 0.5, dense, most)
            grads = ranking, sorting, *given, state
            assert rank_sort._rank_sort_backward._function(*grads, 0.5, True).device == x.device
            error, _, state = ap._ap._function(*given, 0.5, dense, most)
            ap.ranking_backward._function(error, *given, state, 0.5, True)
            error, *_, state = alrp._alrp._function(
                logits, logits, errors, segments, 0.5, dense, True
            )
            ap.ranking_backward._function(error, *given, state, 0.5, True)


KERNELS: dict[str, Callable[[Tensor], None]] = {
    **{
        f"pairwise {comparison}": lambda x, c=comparison: pairwise(c, x)
        for comparison in (
            rg.Step(), rg.Ramp(0.5), rg.Laplace(0.5),
            rg.Logistic(0.5), rg.Normal(0.5), rg.Cauchy(0.5),
        )
    },
    "projection": lambda x: projection(False, x),
    "entropic projection": lambda x: projection(True, x),
    "odd-even network": lambda x: network("odd_even", x[:, :50]),
    "bitonic network": lambda x: network("bitonic", x),
    "RankSim": ranksim,
    "Smooth-AP and recall at k": retrieval,
    "passes over all logits": detection,
    "Rank & Sort, AP and aLRP": detection_losses,
}  # fmt: skip


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
@pytest.mark.parametrize("n", [50, 5000])
def test_kernels_wait_for_nothing(
    launched: list[str], kernel: Callable[[Tensor], None], n: int
) -> None:
    kernel(torch.randn(4, n, device="cuda"))
    assert launched


def test_without_a_bound_the_positives_are_waited_for(launched: list[str]) -> None:
    """Their number is a size: what would be caught if it happened elsewhere."""
    from rankgrad.kernels import cuda

    with pytest.raises((DataDependentOutputException, DynamicOutputShapeException)):
        cuda.find_positives(torch.zeros(50, device="cuda"), False)


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_kernels_add_up_in_an_order_of_their_own(
    launched: list[str], kernel: Callable[[Tensor], None]
) -> None:
    """With ``torch.use_deterministic_algorithms`` and without it."""
    x = torch.randn(4, 50, device="cuda")
    with Unordered() as seen:
        kernel(x)
        assert not seen.found
        x.cumsum(0)
        assert seen.found == {"cumsum"}


class Sizes(TorchDispatchMode):
    """Adds up the elements of all that is made, freed or not, and keeps the most at once."""

    def __init__(self) -> None:
        super().__init__()
        self.total, self.largest = 0, 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, tuple | list) else (out,):
            if isinstance(x, Tensor) and not func.is_view:
                self.total += x.numel()
                self.largest = max(self.largest, x.numel())
        return out


LINEAR = [name for name in KERNELS if "network" not in name and name != "RankSim"]


@pytest.mark.usefixtures("launched")
@pytest.mark.parametrize("name", LINEAR)
def test_memory_grows_with_the_number_of_scores(name: str) -> None:
    """And no tensor has more than a small multiple of their number."""
    made = []
    for n in (100_000, 200_000):
        with Sizes() as sizes:
            KERNELS[name](torch.empty(4, n, device="cuda"))
        made.append(sizes.total)
        assert sizes.largest <= 40 * 4 * n
    assert made[1] <= 2.01 * made[0]


@pytest.mark.usefixtures("launched")
@pytest.mark.parametrize(("kind", "n"), [("odd_even", 2000), ("bitonic", 2000), ("bitonic", 5000)])
def test_ranks_by_a_network_need_no_matrix(kind: str, n: int) -> None:
    """What is on the wires is remembered for the square root of the number of its layers."""
    from rankgrad.kernels import cuda

    x = torch.empty(1, n, device="cuda")
    v, count = x[..., None], torch.full((1,), n, device="cuda")
    with Sizes() as sizes:
        cuda.network_apply(x, count, v, kind, "cauchy", 1.0, 0.25, True)
        cuda.network_gradient(x, count, v, v, kind, "cauchy", 1.0, 0.25)
    layers = n if kind == "odd_even" else 100
    assert sizes.largest < 2.5 * math.sqrt(layers) * n
