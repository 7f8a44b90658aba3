"""Pairwise sums by Triton against the matrix of all pairs in float64."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import rankgrad as rg
from rankgrad.kernels import reference

COMPARISONS = [
    rg.Step(tie=0.25),
    rg.Ramp(0.5),
    rg.Laplace(0.3),
    rg.Logistic(0.3),
    rg.Normal(0.3),
    rg.Cauchy(0.3),
]
Pairs = tuple[Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None]


def scores(rows: int, n: int, dtype: torch.dtype) -> Tensor:
    """Rows of every kind: random, tied, all equal, huge, tiny, far apart, infinite."""
    x = torch.randn(rows, n)
    x[1] = x[1].round()
    x[2] = 0.25
    x[3] = 1e6 + x[3].round() / 4
    x[4] *= 1e-20
    x[5] *= 1e20
    x[6, ::3], x[6, 1::3] = torch.inf, -torch.inf
    return x.to(dtype)


def pairs(n_q: int, n_k: int, dtype: torch.dtype, weighted: bool, segmented: bool) -> Pairs:
    torch.manual_seed(0)
    q, k = scores(7, n_q, dtype), scores(7, n_k, dtype)
    w = torch.randn(7, n_k, dtype=dtype) if weighted else None
    if not segmented:
        return q, k, w, None, None
    return q, k, w, torch.randint(-2, 3, q.shape), torch.randint(-2, 3, k.shape)


def run(
    call: Callable[..., Any], pairs: Pairs, comparison: rg.Comparison, mirrored: bool
) -> tuple[Tensor, Tensor]:
    q, k, w, q_segments, k_segments = pairs
    orders = reference.pairwise_order(q, q_segments), reference.pairwise_order(k, k_segments)
    value, slope = call(
        "pairwise", q, k, w, q_segments, k_segments, *orders, comparison, mirrored, True, True
    )
    assert value.dtype == slope.dtype == q.dtype
    return value, slope


def expected(pairs: Pairs, comparison: rg.Comparison, mirrored: bool) -> tuple[Tensor, Tensor]:
    """By all pairs; and, to hold an error against, the sum of the absolute weights."""
    q, k, w, q_segments, k_segments = pairs
    x = k.double()[:, None, :] - q.double()[:, :, None]
    x = torch.where(k[:, None, :] == q[:, :, None], 0.0, -x if mirrored else x)
    h, d = comparison.value(x), comparison.derivative(x)
    if w is not None:
        h, d = h * w.double()[:, None, :], d * w.double()[:, None, :]
    if q_segments is not None and k_segments is not None:
        other = q_segments[:, :, None] != k_segments[:, None, :]
        h, d = h.masked_fill(other, 0.0), d.masked_fill(other, 0.0)
    return h.sum(-1), d.sum(-1)


def agree(got: Tensor, wanted: Tensor, size: float) -> None:
    few = 2e-15 if got.dtype == torch.float64 else 3e-7
    torch.testing.assert_close(got.double(), wanted, rtol=few, atol=few * size, equal_nan=True)


@pytest.mark.parametrize("comparison", COMPARISONS, ids=repr)
@pytest.mark.parametrize(
    ("dtype", "weighted", "segmented"),
    [
        (torch.float32, False, False),
        (torch.float32, True, True),
        (torch.float64, True, False),
        (torch.float64, False, True),
    ],
    ids=str,
)
def test_is_the_sum_over_pairs(
    call: Callable[..., Any], comparison: rg.Comparison, dtype: torch.dtype, weighted: bool,
    segmented: bool,
) -> None:  # fmt: skip
    given = pairs(19, 35, dtype, weighted, segmented)
    for mirrored in (False, True):
        value, slope = run(call, given, comparison, mirrored)
        want_value, want_slope = expected(given, comparison, mirrored)
        size = 35.0 if given[2] is None else float(given[2].abs().sum(-1).max())
        agree(value, want_value, size)
        agree(slope, want_slope, size / 0.3)


@pytest.mark.parametrize("comparison", COMPARISONS, ids=repr)
def test_nan_reaches_what_counts_it(call: Callable[..., Any], comparison: rg.Comparison) -> None:
    torch.manual_seed(0)
    q, k, w = torch.randn(4, 9), torch.randn(4, 20), torch.randn(4, 20)
    segments = torch.arange(9).expand(4, 9) % 2, torch.arange(20).expand(4, 20) % 2
    q[0, 3], k[1, 4], w[2, 4], q[3, 0] = (torch.nan,) * 3 + (torch.inf,)
    value, slope = run(call, (q, k, w, *segments), comparison, False)
    lost = torch.zeros(4, 9, dtype=torch.bool)
    lost[0, 3] = lost[1, ::2] = lost[2, ::2] = True
    assert torch.equal(value.isnan(), lost)
    assert torch.equal(slope.isnan(), lost)


@pytest.mark.parametrize("comparison", COMPARISONS, ids=repr)
def test_a_weight_that_is_no_number_shows_from_afar(
    call: Callable[..., Any], comparison: rg.Comparison
) -> None:
    k, w = torch.arange(-600.0, 0.0)[None], torch.ones(1, 600)
    w[0, 5] = torch.nan
    for score in (-1e3, 1e3):
        value, slope = run(call, (torch.tensor([[score]]), k, w, None, None), comparison, False)
        assert value.isnan().all()
        assert slope.isnan().all()


@pytest.mark.parametrize("comparison", [rg.Ramp(0.5), rg.Laplace(0.3), rg.Normal(0.3)], ids=repr)
@pytest.mark.parametrize(("n_q", "n_k"), [(1, 1), (1, 0), (0, 1), (0, 0)])
def test_next_to_nothing(
    call: Callable[..., Any], comparison: rg.Comparison, n_q: int, n_k: int
) -> None:
    given = pairs(n_q, n_k, torch.float32, True, n_q == 1)
    value, slope = run(call, given, comparison, False)
    want_value, want_slope = expected(given, comparison, False)
    agree(value, want_value, 5.0)
    agree(slope, want_slope, 20.0)


@pytest.mark.parametrize("comparison", COMPARISONS, ids=repr)
def test_many_blocks(call: Callable[..., Any], comparison: rg.Comparison) -> None:
    """More queries and keys than a program takes, and more keys than are summed in one go."""
    torch.manual_seed(1)
    given = torch.randn(1, 140), 3 * torch.randn(1, 600), torch.rand(1, 600), None, None
    value, slope = run(call, given, comparison, False)
    want_value, want_slope = expected(given, comparison, False)
    agree(value, want_value, 600.0)
    agree(slope, want_slope, 600.0)


@pytest.mark.parametrize("comparison", COMPARISONS, ids=repr)
def test_only_what_is_wanted(call: Callable[..., Any], comparison: rg.Comparison) -> None:
    q, order = torch.tensor([[0.0, 1.0]]), torch.tensor([[0, 1]])
    for value, slope in ((True, False), (False, True)):
        out = call(
            "pairwise", q, q, None, None, None, order, order, comparison, False, value, slope
        )
        assert [x is not None for x in out] == [value, slope]


def test_the_width_may_be_anything(call: Callable[..., Any]) -> None:
    for width in (1e-30, 1e30):
        for kind in (rg.Ramp, rg.Laplace, rg.Logistic, rg.Normal, rg.Cauchy):
            given = pairs(3, 7, torch.float64, True, False)
            value, _ = run(call, given, kind(width), False)
            want, _ = expected(given, kind(width), False)
            agree(value, want, 60.0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_public_sums_and_gradients(device: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    data = [torch.randn(2, n).to(device, dtype) for n in (13, 30, 30)]
    for comparison in (rg.Ramp(0.5), rg.Logistic(0.5)):
        results = []
        for backend in ("triton", "reference"):
            leaves = [x.clone().requires_grad_() for x in data]
            with rg.use_backend(backend):
                out = rg.pairwise_sum(*leaves, comparison=comparison)
                out.square().sum().backward()
            results.append([out.detach(), *(x.grad for x in leaves)])
        for ours, theirs in zip(*results, strict=True):
            assert ours.dtype == dtype
            torch.testing.assert_close(
                ours, theirs, **({"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {})
            )


def test_twice_is_bit_for_bit_the_same(call: Callable[..., Any]) -> None:
    given = pairs(9, 270, torch.float32, True, False)
    for comparison in (rg.Ramp(0.5), rg.Laplace(0.3), rg.Logistic(0.3)):
        first, second = (run(call, given, comparison, False) for _ in range(2))
        for a, b in zip(first, second, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)
