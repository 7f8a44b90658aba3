"""The passes of the detection losses by Triton against the matrix of all pairs in float64."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

import rankgrad as rg
from kernels import among_positives
from kernels.among_positives import KINDS as AMONG

KINDS = ["random", "tied", "huge", "tiny", "far", "infinite"]


class Batch(NamedTuple):
    """Logits and targets, and their positives sorted by segment and score."""

    logits: Tensor
    targets: Tensor
    groups: Tensor | None
    index: Tensor
    scores: Tensor
    starts: Tensor

    @property
    def segment(self) -> Tensor:
        return torch.repeat_interleave(torch.arange(len(self.starts) - 1), self.starts.diff())


def batch(logits: Tensor, targets: Tensor, segments: int = 1) -> Batch:
    """Segments without a positive are numbered -1, as the losses do."""
    index = (targets > 0).nonzero().squeeze(1)
    if segments == 1:
        order = index[logits[index].argsort()]
        starts = torch.tensor([0, len(index)])
        return Batch(logits, targets, None, order, logits[order].double(), starts)
    drawn = torch.arange(len(logits)) * 7 % (segments + 2)
    ids, counts = drawn[index].unique(return_counts=True)
    groups = torch.full_like(drawn, -1)
    for number, id_ in enumerate(ids):
        groups[drawn == id_] = number
    order = index[logits[index].argsort(stable=True)]
    order = order[groups[order].argsort(stable=True)]
    starts = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
    return Batch(logits, targets, groups, order, logits[order].double(), starts)


def draw(kind: str, n: int, p: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    x = torch.randn(n)
    if kind == "tied":
        x = (2 * x).round() / 4
    elif kind == "huge":
        x = 1e8 + 16 * x.round() if dtype == torch.float32 else 1e15 + x.round() / 4
    elif kind == "tiny":
        x = 1e-20 * x
    elif kind == "far":
        x = 1e20 * x.round()
    elif kind == "infinite":
        x[::5], x[1::5] = torch.inf, -torch.inf
    targets = torch.zeros(n)
    targets[torch.randperm(n)[:p]] = 0.5
    targets[torch.randperm(n)[: n // 20]] = -1.0  # some are ignored
    return x.to(dtype), targets.to(dtype)


def ahead(b: Batch, delta: float) -> Tensor:
    """``H(x_j - s_i)`` [p, n], zero unless ``j`` is a negative of the segment of ``i``."""
    x, s = b.logits.double()[None, :], b.scores[:, None]
    gap = torch.where(x == s, 0.0, x - s)
    h = (gap / (2 * delta) + 0.5).clamp(0, 1) if delta > 0 else (gap >= 0).double()
    counts = (b.targets == 0)[None, :].expand(h.shape)
    if b.groups is not None:
        counts = counts & (b.groups[None, :] == b.segment[:, None])
    return torch.where(counts, h, 0.0)


@pytest.mark.parametrize(
    ("kind", "dtype", "segments", "delta"),
    [
        *((kind, torch.float32, 1, 0.5) for kind in KINDS),
        *((kind, torch.float64, 3, 0.25) for kind in ("huge", "infinite")),
        *((kind, torch.float32, 3, 0.0) for kind in ("tied", "infinite")),
    ],
    ids=str,
)
def test_passes_over_all_logits(
    call: Callable[..., Any], kind: str, dtype: torch.dtype, segments: int, delta: float
) -> None:
    b = batch(*draw(kind, 1100, 150, dtype), segments)
    h = ahead(b, delta)
    args = (b.logits, b.targets, b.groups, b.scores, b.starts, delta)
    false = call("negatives_ahead", *args)
    assert false.dtype == torch.float64
    torch.testing.assert_close(false, h.sum(1), rtol=1e-12, atol=1e-10)
    coef = torch.randn(len(b.scores), dtype=torch.float64)
    spread = call("spread_to_negatives", *args, coef)
    assert spread.dtype == dtype
    few = 1e-12 if dtype == torch.float64 else 2e-6
    torch.testing.assert_close(spread.double(), coef @ h, rtol=few, atol=few)


@pytest.mark.parametrize("delta", [0.0, 0.5])
def test_nan_stays_in_its_segment(call: Callable[..., Any], delta: float) -> None:
    x, t = draw("random", 90, 20, torch.float32)
    b = batch(x, t, 3)
    assert b.groups is not None
    lost = int(((b.targets == 0) & (b.groups == 1)).nonzero()[0])
    b.logits[lost] = torch.nan
    args = (b.logits, b.targets, b.groups, b.scores, b.starts, delta)
    assert torch.equal(call("negatives_ahead", *args).isnan(), b.segment == 1)
    coef = torch.ones(len(b.scores), dtype=torch.float64)
    spread = call("spread_to_negatives", *args, coef)
    assert spread.isnan().nonzero().squeeze(1).tolist() == [lost]
    coef[b.segment == 2] = torch.nan
    spread = call("spread_to_negatives", *args, coef)
    reached = (ahead(b, delta)[b.segment == 2] > 0).any(0)
    assert spread[reached].isnan().all()
    assert not spread[(b.groups == 0) | (b.targets != 0)].isnan().any()


@pytest.mark.parametrize("delta", [0.0, 0.5])
@pytest.mark.parametrize("targets", [[1.0], [1.0, 0.0, 1.0], [1.0, -1.0]], ids=str)
def test_next_to_nothing(call: Callable[..., Any], targets: list[float], delta: float) -> None:
    b = batch(torch.zeros(len(targets)), torch.tensor(targets))
    args = (b.logits, b.targets, b.groups, b.scores, b.starts, delta)
    coef = torch.ones_like(b.scores)
    torch.testing.assert_close(call("negatives_ahead", *args), ahead(b, delta).sum(1))
    spread = call("spread_to_negatives", *args, coef)
    torch.testing.assert_close(spread.double(), ahead(b, delta).sum(0))


@pytest.mark.parametrize("n", [0, 1, 1023, 1024, 2500])
@pytest.mark.parametrize("exact_one", [False, True])
def test_finds_positives(call: Callable[..., Any], n: int, exact_one: bool) -> None:
    torch.manual_seed(0)
    targets = torch.randn(n).round() / 2
    index, broken = call("find_positives", targets, exact_one)
    wanted = targets == 1 if exact_one else targets > 0
    assert torch.equal(index, wanted.nonzero().squeeze(1))
    assert not broken
    if n:
        targets[n // 2] = torch.nan
        assert call("find_positives", targets, exact_one)[1]


@pytest.mark.parametrize("n", [0, 1, 1023, 2500])
@pytest.mark.parametrize("most", [1, 300, 3000])
def test_finds_at_most_so_many(call: Callable[..., Any], n: int, most: int) -> None:
    torch.manual_seed(0)
    targets = torch.randn(n).round() / 2
    places, count, broken = call("find_at_most", targets, False, most)
    wanted = (targets > 0).nonzero().squeeze(1)
    assert count == len(wanted)
    assert not broken
    assert torch.equal(places[: len(wanted)], wanted[:most])
    assert (places[len(wanted) :] == -1).all()
    if n:
        targets[n // 2] = torch.nan
        assert call("find_at_most", targets, False, most)[2]


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("positives", [0, 75])
@pytest.mark.parametrize(
    ("loss_fn", "dtype"),
    [
        (rg.RankSortLoss(), torch.float16),
        (rg.RankSortLoss(), torch.float64),
        (rg.RankSortLoss(delta=0.0), torch.float32),
        (rg.RankSortLoss(max_positives=75), torch.float64),
        (rg.RankSortLoss(delta=0.0, max_positives=150), torch.float32),
        (rg.APLoss(), torch.float32),
        (rg.APLoss(max_positives=200), torch.float32),
    ],
    ids=repr,
)
def test_losses_and_gradients(
    device: str, loss_fn: Any, dtype: torch.dtype, positives: int, several: bool
) -> None:
    torch.manual_seed(0)
    x = torch.randn(1500).to(device, dtype)
    t = torch.zeros(1500)
    t[torch.randperm(1500)[:positives]] = 1 - torch.rand(positives)
    t = (t.ceil() if isinstance(loss_fn, rg.APLoss) else t).to(device)
    groups = torch.arange(1500, device=device) % 2 if several else None
    results = []
    for backend in ("triton", "reference"):
        logits = x.clone().requires_grad_()
        with rg.use_backend(backend):
            loss = loss_fn(logits, t, segments=groups)
            loss.backward()
        results.append((loss.detach(), logits.grad))
    few = {torch.float16: 1e-3, torch.float32: 1e-6, torch.float64: 1e-12}[dtype]
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=few, atol=few * 1e-3)


def test_twice_is_bit_for_bit_the_same(call: Callable[..., Any]) -> None:
    b = batch(*draw("random", 3000, 200, torch.float32))
    args = (b.logits, b.targets, b.groups, b.scores, b.starts, 0.5)
    coef = torch.randn(len(b.scores), dtype=torch.float64)
    for name, more in (("negatives_ahead", ()), ("spread_to_negatives", (coef,))):
        first, second = (call(name, *args, *more) for _ in range(2))
        assert torch.equal(first, second)


@pytest.mark.parametrize("delta", [0.0, 0.5])
@pytest.mark.parametrize(("kind", "p"), [*((kind, 75) for kind in AMONG), ("random", 0)])
def test_among_positives(call: Callable[..., Any], kind: str, p: int, delta: float) -> None:
    b = among_positives.draw(kind, p)
    wanted = among_positives.errors(b, delta)
    found = call("rank_sort_errors", *b, delta)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12, equal_nan=True)
    facts, cotangents = wanted[[2, 3, 1, 4]], torch.randn(2, p).double()
    found = call("rank_sort_pulls", b.scores, b.quality, facts, cotangents, b.starts, delta)
    wanted = among_positives.pulls(b, facts, cotangents, delta)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("p", [0, 1, 75])
def test_prefix_sums(call: Callable[..., Any], p: int) -> None:
    values, starts = torch.randn(p).double(), torch.tensor([0, p // 3, p // 3, p])
    found = call("prefix_sums", values, starts)
    parts = [values[a:b].cumsum(0) for a, b in pairwise(starts.tolist())]
    torch.testing.assert_close(found, torch.cat(parts), rtol=1e-13, atol=1e-13)
