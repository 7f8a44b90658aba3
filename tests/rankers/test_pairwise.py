"""Ranks as sums over pairs, against the double loop and the published numbers."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import rankgrad as rg
from rankgrad.rankers import Pairwise, as_ranker
from support import golden, golden_cases

COMPARISONS = [
    rg.Step(),
    rg.Step(tie=0.0),
    rg.Ramp(0.4),
    rg.Logistic(0.3),
    rg.Laplace(0.3),
    rg.Normal(0.3),
    rg.Cauchy(0.3),
]


def dense_sodeep(x: np.ndarray, grad: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """SoDeep's handcrafted ranks of one row, and their gradient, by the n x n matrix in float64."""
    n = len(x)
    upper = np.triu(x[:, None] - x[None, :])
    slope = 6.8 / upper.std(ddof=1)
    ahead = 1 / (1 + np.exp(-slope * (x[None, :] - x[:, None])))
    np.fill_diagonal(ahead, 0)
    steep = slope * ahead * (1 - ahead)
    return 1 + ahead.sum(1), grad @ steep - grad * steep.sum(1) if n > 1 else 0 * grad


@pytest.mark.parametrize("comparison", COMPARISONS, ids=str)
@given(values=st.lists(st.integers(-8, 8), min_size=1, max_size=9))
def test_is_one_plus_the_sum_over_the_others(comparison: rg.Comparison, values: list[int]) -> None:
    scores = torch.tensor(values, dtype=torch.float64) / 4
    expected = torch.ones_like(scores)
    for i in range(len(values)):
        for j in range(len(values)):
            if i != j:
                expected[i] += comparison.value(scores[j] - scores[i])
    torch.testing.assert_close(Pairwise(comparison)(scores), expected)


@pytest.mark.parametrize("comparison", COMPARISONS[3:], ids=str)
def test_gradient_is_the_derivative(comparison: rg.Comparison) -> None:
    scores = torch.randn(2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[True] * 5, [True, False, True, True, False]])
    ranker = Pairwise(comparison)
    assert torch.autograd.gradcheck(ranker, scores.requires_grad_())
    assert torch.autograd.gradcheck(lambda s: ranker(s, mask), scores)


@pytest.mark.parametrize("case", golden_cases("sodeep_exact"))
def test_sodeep_golden(case: str) -> None:
    arrays = golden("sodeep_exact")[case]
    x = torch.tensor(arrays["x"], requires_grad=True)
    ranks = as_ranker("sodeep")(x) / x.shape[-1]
    np.testing.assert_allclose(ranks.detach(), arrays["out"], rtol=1e-5, atol=2e-6)
    if "grad" in arrays:
        ranks.backward(torch.tensor(arrays["grad_output"]))
        # With two scores the comparison is saturated, and what the original computes in float32
        # is mostly rounding.
        rtol = 1e-4 if x.shape[-1] > 2 else 0.2
        scale = np.abs(arrays["grad"]).max()
        np.testing.assert_allclose(x.grad, arrays["grad"], rtol=rtol, atol=rtol * scale)


@pytest.mark.parametrize("case", [c for c in golden_cases("sodeep_exact") if c != "n1"])
def test_sodeep_dense(case: str) -> None:
    arrays = golden("sodeep_exact")[case]
    x = torch.tensor(arrays["x"], dtype=torch.float64, requires_grad=True)
    weights = arrays["grad_output"].astype(np.float64)
    ranks = as_ranker("sodeep")(x)
    ranks.backward(torch.tensor(weights))
    assert x.grad is not None
    for row, weight, rank, grad in zip(
        arrays["x"].astype(np.float64), weights, ranks.detach(), x.grad, strict=True
    ):
        expected, expected_grad = dense_sodeep(row, weight)
        np.testing.assert_allclose(rank, expected, rtol=1e-10)
        np.testing.assert_allclose(
            grad, expected_grad, rtol=1e-8, atol=1e-9 * np.abs(expected_grad).max()
        )


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_auto_steepness_ignores_scale_and_origin(scale: float) -> None:
    scores = torch.randn(3, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = as_ranker("sodeep")(scores)
    torch.testing.assert_close(as_ranker("sodeep")(scores * scale), expected)
    torch.testing.assert_close(as_ranker("sodeep")(scores * scale + 3 * scale), expected)


@pytest.mark.parametrize("value", [0.0, 0.1, -3e30, 5e-324])
@pytest.mark.parametrize("n", [1, 2, 7])
def test_equal_scores_share_the_middle(value: float, n: int) -> None:
    scores = torch.full((2, n), value, dtype=torch.float64, requires_grad=True)
    ranks = as_ranker("sodeep")(scores)
    assert (ranks == (n + 1) / 2).all()
    ranks.square().sum().backward()
    assert scores.grad is not None
    assert scores.grad.abs().max() < 1e-9


def test_auto_steepness_of_a_masked_row_is_that_of_its_items() -> None:
    scores = torch.tensor([1.0, 9.0, 3.0, 2.0, -torch.inf])
    mask = torch.tensor([True, False, True, True, True])
    ranks = as_ranker("sodeep")(scores, mask)
    finite = as_ranker("sodeep")(scores[[0, 2, 3]])
    torch.testing.assert_close(ranks[[0, 2, 3]], finite)


@pytest.mark.parametrize("case", golden_cases("lapsum_rank"))
def test_lapsum_golden(case: str) -> None:
    arrays = golden("lapsum_rank")[case]
    alpha = float(arrays["alpha"])
    x = torch.tensor(arrays["x"], dtype=torch.float64, requires_grad=True)
    ranker = Pairwise(rg.Laplace(abs(alpha)))
    # There ranks start at 0, and a positive alpha ranks upwards.
    ranks = ranker(-x if alpha > 0 else x) - 1
    ranks.backward(torch.tensor(arrays["cotangent"], dtype=torch.float64))
    # The original rounds alpha to float32.
    np.testing.assert_allclose(ranks.detach(), arrays["rank64"], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(x.grad, arrays["grad64"], rtol=1e-5, atol=1e-6)


def test_settings_are_checked() -> None:
    with pytest.raises(TypeError, match="comparison"):
        Pairwise("logistic")
    with pytest.raises(ValueError, match=r"steepness must be one of 'auto', got 'steep'"):
        Pairwise(rg.Logistic(), "steep")


def test_a_million_scores() -> None:
    scores = torch.rand(1_000_000, generator=torch.Generator().manual_seed(0)).requires_grad_()
    ranks = Pairwise(rg.Ramp(1e-9))(scores)
    torch.testing.assert_close(ranks, rg.rank(scores, ties="average"), rtol=0, atol=1.0)
    ranks.mean().backward()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()


SOFT = [Pairwise(comparison) for comparison in COMPARISONS[2:]] + [Pairwise(steepness="auto")]
with_ends = st.one_of(st.integers(-8, 8), st.sampled_from([torch.inf, -torch.inf, torch.nan]))


@pytest.mark.parametrize("ranker", SOFT, ids=str)
@given(values=st.lists(with_ends, min_size=1, max_size=9), data=st.data())
def test_all_pairs_of_a_short_row_are_the_walk_of_a_long_one(
    ranker: Pairwise, values: list[float], data: st.DataObject
) -> None:
    """Masked scores make rows long, and change nothing; values, ends, ties, NaN and gradients."""
    n = len(values)
    mask = torch.tensor(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    weights = torch.arange(1, n + 1).double().sin()
    short = torch.tensor([values, values[::-1]], dtype=torch.float64) / 4
    long = torch.cat([short, torch.full((2, 300), torch.nan, dtype=torch.float64)], -1)
    long_mask = torch.nn.functional.pad(mask, (0, 300))
    x, y = short.requires_grad_(), long.requires_grad_()
    ranks, expected = ranker(x, mask), ranker(y, long_mask)[:, :n]
    torch.testing.assert_close(ranks, expected, equal_nan=True)
    sound = expected.detach().isfinite().all(-1)
    (ranks * weights)[sound].sum().backward()
    (expected * weights)[sound].sum().backward()
    assert x.grad is not None
    assert y.grad is not None
    finite = short.detach().isfinite() & sound.unsqueeze(-1)
    torch.testing.assert_close(x.grad[finite], y.grad[:, :n][finite])


@pytest.mark.parametrize("ranker", SOFT, ids=str)
@pytest.mark.parametrize("n", [1, 31, 33, 64, 100])
def test_backends_agree_on_short_rows(ranker: Pairwise, n: int) -> None:
    generator = torch.Generator().manual_seed(n)
    scores = torch.randn(2, 3, n, generator=generator, dtype=torch.float64)
    mask = torch.rand(3, n, generator=generator) < 0.8
    found = []
    for backend in ("numba", "reference"):
        with rg.use_backend(backend):
            x = scores.clone().requires_grad_()
            ranks = ranker(x, mask)
            (ranks * scores.sin()).sum().backward()
            assert x.grad is not None
            found += [ranks, x.grad]
    torch.testing.assert_close(found[0], found[2])
    torch.testing.assert_close(found[1], found[3])
