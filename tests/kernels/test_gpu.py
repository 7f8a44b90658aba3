"""What only a GPU can show: nothing waits for the host, and CUDA graphs capture the operations."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

import rankgrad as rg

pytestmark = pytest.mark.gpu

OPERATIONS: list[Callable[[Tensor], Tensor]] = [
    *(
        lambda x, c=comparison: rg.pairwise_sum(x, x, x, comparison=c)
        for comparison in (rg.Step(), rg.Ramp(0.5), rg.Laplace(0.5), rg.Logistic(0.5))
    ),
    *(
        way
        for regularization in ("l2", "kl")
        for ranker in [rg.rankers.Projection(regularization)]
        for way in (ranker, ranker.sort)
    ),
    *(
        way
        for kind in ("odd_even", "bitonic")
        for ranker in [rg.rankers.SortingNetwork(kind)]
        for way in (ranker, ranker.sort, ranker.permutation)
    ),
    lambda x: rg.rankers.SortingNetwork("bitonic")(x.flatten()),
    lambda x: rg.RankSimLoss(unique="none")(x[:, :8], x[:, 9]),
    *(
        lambda x, loss_fn=loss_fn, ids=ids, more=more: loss_fn(
            x, (x.detach().frac() > 0.9).float(), *more(x), ids(x)
        )
        for ids in (lambda x: None, lambda x: (x.detach() * 4).long())
        for loss_fn, more in (
            (rg.RankSortLoss(max_positives=9000), lambda x: ()),
            (rg.APLoss(max_positives=9000), lambda x: ()),
            (rg.ALRPLoss(max_positives=9000), lambda x: (torch.ones(9000, device=x.device),)),
        )
    ),
]


def both_ways(operation: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    out = operation(x)
    return out.detach(), torch.autograd.grad(out.sum(), x)[0]


@contextmanager
def no_waiting() -> Iterator[None]:
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_nobody_waits_for_the_device(operation: Callable[[Tensor], Tensor]) -> None:
    x = torch.randn(64, 500, device="cuda", requires_grad=True)
    both_ways(operation, x)  # compiles
    with no_waiting():
        both_ways(operation, x)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_graph_captures_it(operation: Callable[[Tensor], Tensor]) -> None:
    x = torch.randn(64, 500, device="cuda", requires_grad=True)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        both_ways(operation, x)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = both_ways(operation, x)
    with torch.no_grad():
        x.copy_(torch.randn_like(x))
    graph.replay()
    for got, wanted in zip(captured, both_ways(operation, x), strict=True):
        assert torch.equal(got, wanted)


def passes(logits: Tensor, targets: Tensor, scores: Tensor, starts: Tensor) -> tuple[Any, Any]:
    from rankgrad.kernels import cuda

    ahead = cuda.negatives_ahead(logits, targets, None, scores, starts, 0.5)
    coef = torch.ones_like(scores)
    return ahead, cuda.spread_to_negatives(logits, targets, None, scores, starts, 0.5, coef)


def test_the_passes_over_all_logits_neither_wait_nor_vary() -> None:
    logits = torch.randn(1_000_000, device="cuda")
    targets = (torch.rand(1_000_000, device="cuda") < 1e-3).float()
    scores = logits[targets > 0].double().sort().values
    args = (logits, targets, scores, torch.tensor([0, len(scores)], device="cuda"))
    first = passes(*args)
    with no_waiting():
        second = passes(*args)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        third = passes(*args)
    graph.replay()
    for a, b, c in zip(first, second, third, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)
    logits.copy_(torch.randn_like(logits))
    scores.copy_(logits[targets > 0].double().sort().values)
    graph.replay()
    for a, b in zip(third, passes(*args), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("loss_fn", [rg.RankSortLoss(), rg.APLoss(), rg.ALRPLoss()], ids=repr)
def test_losses_on_the_device_equal_those_on_the_cpu(loss_fn: Any) -> None:
    torch.manual_seed(0)
    data = torch.randn(20_000)
    targets = (torch.rand(20_000) < 0.01).float()
    more = (torch.rand(int(targets.sum())),) if isinstance(loss_fn, rg.ALRPLoss) else ()
    results = []
    for device in ("cpu", "cuda"):
        logits = data.to(device).requires_grad_()
        loss = loss_fn(logits, targets.to(device), *(x.to(device) for x in more))
        loss.backward()
        results.append((loss.detach().cpu(), logits.grad.cpu()))
    torch.testing.assert_close(*results)
