"""Shown without a GPU: kernels and losses ask the device for no number, and stay on it.

Tensors without data say that they are on a GPU. Whatever needs a value, or a shape that depends on
values, raises, and so does what mixes devices. Launches are left out.
"""

import math
import os
import pkgutil
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.utils._python_dispatch import TorchDispatchMode

import rankgrad as rg
from rankgrad import kernels
from rankgrad.kernels import reference

if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("this process interprets", allow_module_level=True)
pytest.importorskip("triton")


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of the kernels that would have run."""
    from rankgrad.kernels import cuda

    names: list[str] = []

    def launch(kernel: Any, programs: int, *args: Any, **constants: Any) -> None:
        tensors = [arg for arg in args if isinstance(arg, Tensor)]
        assert {str(x.device) for x in tensors} == {"cuda:0"}
        assert isinstance(programs, int)
        names.append(kernel.__name__)

    for module in pkgutil.iter_modules(cuda.__path__):
        loaded = import_module(f"{cuda.__name__}.{module.name}")
        if hasattr(loaded, "launch") and module.name != "launch":
            monkeypatch.setattr(loaded, "launch", launch)
    why_not = {"numba": "there are no numbers", "reference": None, "triton": None}
    monkeypatch.setattr(kernels, "_why_not", why_not.__getitem__)
    with FakeTensorMode():
        yield names


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


def detection(x: Tensor) -> None:
    from rankgrad.kernels import cuda

    logits, scores = x[0], x[1].double()
    starts = torch.arange(2, device=x.device) * scores.numel()
    for groups in (None, torch.zeros_like(logits, dtype=torch.int64)):
        cuda.negatives_ahead(logits, logits, groups, scores, starts, 0.5)
        cuda.spread_to_negatives(logits, logits, groups, scores, starts, 0.5, scores)
    cuda.dominance(scores, scores[None], torch.ones_like(scores, dtype=torch.int64), starts, 0.5)


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


# What adds up on a GPU in the order in which threads come by, by PyTorch's own list.
UNORDERED = {
    "scatter_add", "scatter_add_", "scatter_reduce", "scatter_reduce_", "index_add", "index_add_",
    "index_put", "index_put_", "index_reduce", "put_", "bincount", "histc", "cumsum",
}  # fmt: skip


class Unordered(TorchDispatchMode):
    """Names the operations on floating-point numbers that may differ from run to run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = func.overloadpacket.__name__
        floats = any(isinstance(arg, Tensor) and arg.is_floating_point() for arg in args)
        # Neither that of the largest matters, nor that of places written once each.
        largest = {"amax", "amin"} & set(map(str, args))
        once = name.startswith("index_put") and True not in args[3:]
        if name in UNORDERED and floats and not largest and not once:
            self.found.add(name)
        return func(*args, **(kwargs or {}))


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


LOSSES: list[Callable[[Tensor, Tensor], Tensor]] = [
    *(
        partial(rg.functional.spearman_loss, ranker=ranker)
        for ranker in (
            "logistic", "laplace", rg.rankers.Pairwise(rg.Ramp(0.5)), "projection",
            rg.rankers.Projection("kl"), "odd_even", "bitonic", "blackbox", "softsort",
        )
    ),
    lambda x, y: rg.functional.rank_sim_loss(x, y[:, 0], unique="none"),
    lambda x, y: rg.functional.smooth_ap_loss(x, y > 0),
    lambda x, y: rg.functional.recall_at_k_loss(x, y > 0, (1, 3)),
    lambda x, y: rg.functional.pairwise_difference_loss(x, y),
    lambda x, y: rg.functional.approx_ndcg_loss(x, y),
    lambda x, y: rg.functional.kendall_loss(x, y),
]  # fmt: skip


@pytest.mark.parametrize("loss_fn", LOSSES)
def test_losses_wait_for_nothing(loss_fn: Callable[[Tensor, Tensor], Tensor]) -> None:
    """What they do around the kernels. Without a GPU, autograd only goes back on the CPU."""
    with FakeTensorMode(), rg.use_backend("reference"):
        for device in ("cuda", "cpu"):
            x = torch.randn(4, 50, device=device, requires_grad=True)
            loss = loss_fn(x, torch.randn(4, 50, device=device)).mean()
            assert loss.device == x.device
        loss.backward()
        assert x.grad is not None
