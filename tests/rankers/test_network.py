"""Differentiable sorting networks against their definition and the published package."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import rankgrad as rg
from rankgrad import Cauchy, Logistic, Normal
from rankgrad.kernels.cpu import network as kernel
from rankgrad.kernels.reference.network import comparators
from rankgrad.rankers import SortingNetwork
from rankgrad.rankers.network import DISTRIBUTIONS, KINDS
from support import golden, golden_cases


def share(v: Tensor, distribution: str, art: float) -> Tensor:
    """The share of the lower wire that stays, at steepness 1, as the papers write it."""
    formulas = {
        "cauchy": lambda: torch.atan(v) / math.pi + 0.5,
        "logistic": lambda: torch.sigmoid(v),
        "logistic_phi": lambda: torch.sigmoid(v / (v.abs() + 1e-10) ** art),
        "normal": lambda: 0.5 * (1 + torch.erf(v / math.sqrt(2))),
        "reciprocal": lambda: 0.5 * v / (2 + v.abs()) + 0.5,
        "optimal": lambda: (
            v + 0.5
            if v.abs() <= 0.25
            else 0.5 + v.sign() * (0.5 - 1 / (16 * v.abs().clamp(min=1e-9)))
        ),
    }
    return formulas[distribution]()


def definition(x: Tensor, kind: str, distribution: str, art: float) -> tuple[Tensor, Tensor]:
    """Sorted values and matrix of one row at steepness 1, one comparator at a time."""
    values, rows = list(x), list(torch.eye(len(x), dtype=x.dtype))
    for layer in comparators(kind, len(x)):
        for i, j in zip(*layer, strict=True):
            f = share(values[j] - values[i], distribution, art)
            for wires in (values, rows):
                a, b = wires[i], wires[j]
                wires[i], wires[j] = f * a + (1 - f) * b, (1 - f) * a + f * b
    return torch.stack(values).flip(0), torch.stack(rows).flip(0)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("n", range(1, 11))
@pytest.mark.parametrize("kind", KINDS)
def test_networks_sort(kind: str, n: int) -> None:
    """What sorts all zeros and ones sorts everything (Knuth)."""
    x = torch.tensor(list(itertools.product([0, 1], repeat=n)))
    for low, high in comparators(kind, n):
        assert torch.cat((low, high)).unique().numel() == 2 * low.numel()
        a, b = x[:, low], x[:, high]
        x[:, low], x[:, high] = torch.minimum(a, b), torch.maximum(a, b)
    assert (x.diff() >= 0).all()


@pytest.mark.parametrize("n", [22, 38, 45, 64, 100])
@pytest.mark.parametrize("kind", KINDS)
def test_larger_networks_sort(kind: str, n: int) -> None:
    scores = randn(200, n)
    found = SortingNetwork(kind, "logistic", 1e12).sort(scores)
    torch.testing.assert_close(found, scores.sort(descending=True).values)


def test_depth() -> None:
    assert [len(comparators("odd_even", n)) for n in (0, 1, 2, 7)] == [0, 0, 2, 7]
    assert [len(comparators("bitonic", n)) for n in (0, 1, 2, 4, 5, 1000)] == [0, 0, 1, 3, 6, 55]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@settings(max_examples=10)
@given(n=st.integers(1, 7), art=st.sampled_from([0.0, 0.25, 0.9]), seed=st.integers(0, 99))
def test_is_the_definition(kind: str, distribution: str, n: int, art: float, seed: int) -> None:
    """Values and gradients, with steepness as a factor on the scores."""
    x, y = (2 * randn(n, seed=seed) for _ in range(2))
    x.requires_grad_()
    y.requires_grad_()
    # The power of "logistic_phi" sees the gap itself, not its multiple.
    steepness = 1.0 if distribution == "logistic_phi" else 3.0
    ranker = SortingNetwork(kind, distribution, steepness, art)
    values, matrix = definition(y * steepness, kind, distribution, art)
    place = torch.arange(1, n + 1, dtype=torch.float64)
    found = ranker.sort(x), ranker.permutation(x), ranker(x)
    for ours, expected in zip(found, (values / steepness, matrix, place @ matrix), strict=True):
        torch.testing.assert_close(ours, expected)
    weights = randn(n, n, seed=seed + 1)
    ((found[1] * weights).sum() + found[0] @ weights[0] + found[2] @ weights[-1]).backward()
    expected = (matrix * weights).sum() + values / steepness @ weights[0]
    (expected + place @ matrix @ weights[-1]).backward()
    torch.testing.assert_close(x.grad, y.grad)


@pytest.mark.parametrize(
    ("distribution", "comparison"),
    [("cauchy", Cauchy), ("logistic", Logistic), ("normal", Normal)],
)
def test_a_comparator_is_a_comparison(
    distribution: str, comparison: type[Cauchy | Logistic | Normal]
) -> None:
    scores = torch.tensor([0.3, 0.9])
    rank = SortingNetwork("odd_even", distribution, 4.0)(scores[None])[0, 0]
    # Two layers, of which the second is empty: rank 1 with the share that stays ahead.
    ahead = comparison(0.25).value(scores[0] - scores[1])
    torch.testing.assert_close(rank, 2 - ahead)


@pytest.mark.parametrize("case", golden_cases("diffsort"))
def test_golden(case: str) -> None:
    """Their matrix has elements as rows and ascending places as columns."""
    arrays = golden("diffsort")[case]
    kind = "odd_even" if case.startswith("odd_even") else "bitonic"
    distribution = case.removeprefix(f"{kind}_n").split("_", 1)[1].rsplit("_s", 1)[0]
    ranker = SortingNetwork(
        kind,
        {"gaussian": "normal"}.get(distribution, distribution),
        float(arrays["steepness"]),
        float(arrays["art_lambda"]),
    )
    x = torch.tensor(arrays["x"], requires_grad=True)
    theirs = ranker.permutation(x).flip(-2).mT
    ascending = ranker.sort(x).flip(-1)
    np.testing.assert_allclose(theirs.detach(), arrays["perm"], atol=2e-5)
    np.testing.assert_allclose(ascending.detach(), arrays["sorted"], rtol=1e-5, atol=1e-5)
    loss = (theirs * torch.tensor(arrays["cot_perm"])).sum()
    (loss + (ascending * torch.tensor(arrays["cot_sorted"])).sum()).backward()
    # Row 1 has ties: there the slope of "logistic_phi" changes by the last digit of a gap.
    rows = [0, 2] if distribution == "logistic_phi" else [0, 1, 2]
    scale = abs(arrays["grad"][rows]).max()
    np.testing.assert_allclose(x.grad[rows], arrays["grad"][rows], rtol=1e-4, atol=2e-5 * scale)


@pytest.mark.parametrize("distribution", ["cauchy", "reciprocal", "optimal"])
@pytest.mark.parametrize("kind", KINDS)
def test_monotone_distributions_never_push_the_wrong_way(kind: str, distribution: str) -> None:
    ranker = SortingNetwork(kind, distribution, 5.0)
    jacobian = torch.autograd.functional.jacobian(lambda x: ranker.sort(x).sum(0), randn(50, 6))
    assert (jacobian > -1e-9).all()


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_segments_change_nothing(
    kind: str, transposed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long networks are cut where nobody sees it, and so are large batches."""
    x, count = randn(5, 13), torch.tensor([13, 13, 7, 0, 13])
    v, w = randn(5, 13, 40), randn(5, 13, 40, seed=1)
    settings = kind, "cauchy", 3.0, 0.25
    results = []
    for segment, block in ((1 << 21, 1 << 18), (10, 20)):
        monkeypatch.setattr(kernel, "_SEGMENT", segment)
        monkeypatch.setattr(kernel, "_BLOCK", block)
        kernel._segments.cache_clear()
        out = kernel.network_apply(x, count, v, *settings, transposed)
        results.append((out, kernel.network_gradient(x, count, w, v, *settings)))
    kernel._segments.cache_clear()
    for whole, cut in zip(*results, strict=True):
        assert torch.equal(whole, cut)


def test_a_long_row_needs_no_matrix() -> None:
    """Its matrix would take 17 GB, and its comparators' shares 0.6 GB."""
    scores = torch.randn(65536, generator=torch.Generator().manual_seed(0)).requires_grad_()
    ranks = SortingNetwork("bitonic", "logistic", 1e9)(scores)
    torch.testing.assert_close(ranks, rg.rank(scores), rtol=0, atol=2.0)
    ranks.square().sum().backward()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="kind must be one of 'odd_even', 'bitonic', got 'bubble'"):
        SortingNetwork("bubble")
    with pytest.raises(ValueError, match="distribution must be one of"):
        SortingNetwork(distribution="gumbel")
    with pytest.raises(ValueError, match="steepness must be > 0"):
        SortingNetwork(steepness=0.0)
    with pytest.raises(ValueError, match=r"art_lambda must be in \[0, 1\)"):
        SortingNetwork(art_lambda=1.0)
