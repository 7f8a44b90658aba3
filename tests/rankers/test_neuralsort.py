"""NeuralSort against its formula and the published implementations."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import rankgrad as rg
from rankgrad.rankers import NeuralSort
from support import golden, golden_cases

CASES = golden_cases("neuralsort_softsort")


def formula(scores: Tensor, temperature: float) -> Tensor:
    """Row i: softmax_j(((n + 1 - 2i) s_j - sum_k |s_j - s_k|) / temperature)."""
    n = len(scores)
    spread = torch.stack([(score - scores).abs().sum() for score in scores])
    rows = [((n + 1 - 2 * i) * scores - spread) / temperature for i in range(1, n + 1)]
    return torch.stack(rows).softmax(-1)


@given(
    values=st.lists(st.integers(-9, 9), min_size=1, max_size=9),
    temperature=st.sampled_from([0.05, 1.0, 30.0]),
)
def test_is_the_formula(values: list[int], temperature: float) -> None:
    """Values and gradients, ties included."""
    n = len(values)
    place = torch.arange(1, n + 1, dtype=torch.float64)
    x, y = (torch.tensor(values, dtype=torch.float64).div(4).requires_grad_() for _ in range(2))
    matrix = formula(y, temperature)
    torch.testing.assert_close(NeuralSort(temperature).permutation(x), matrix)
    plain = NeuralSort(temperature, renormalize=False)(x)
    torch.testing.assert_close(plain, place @ matrix)
    ranks = NeuralSort(temperature)(x)
    torch.testing.assert_close(ranks, place @ matrix / matrix.sum(0))
    (ranks * place.sin()).sum().backward()
    (place @ matrix / matrix.sum(0) * place.sin()).sum().backward()
    torch.testing.assert_close(x.grad, y.grad)


@pytest.mark.parametrize("name", ["neuralsort_allrank", "neuralsort_st_exactabs_desc1"])
@pytest.mark.parametrize("case", CASES)
def test_golden_matrices(case: str, name: str) -> None:
    arrays = golden("neuralsort_softsort")[case]
    x = torch.tensor(arrays["x"], requires_grad=True)
    matrix = NeuralSort(float(arrays["tau"])).permutation(x)
    np.testing.assert_allclose(matrix.detach(), arrays[name], atol=2e-5)
    (matrix * torch.tensor(arrays["cot_mat"])).sum().backward()
    expected = arrays[f"{name}_grad"]
    np.testing.assert_allclose(x.grad, expected, rtol=1e-4, atol=1e-4 * (1 + abs(expected).max()))


@pytest.mark.parametrize("descending", [0, 1])
@pytest.mark.parametrize("case", CASES)
def test_golden_ranks(case: str, descending: int) -> None:
    """The published ranks are renormalised; ascending ones are those of the negative scores."""
    arrays = golden("neuralsort_softsort")[case]
    name = f"rank_neuralsort_st_exactabs_desc{descending}"
    x = torch.tensor(arrays["x"], requires_grad=True)
    ranks = NeuralSort(float(arrays["tau"]))(x if descending else -x)
    np.testing.assert_allclose(ranks.detach(), arrays[name], rtol=1e-5)
    (ranks * torch.tensor(arrays["cot_vec"])).sum().backward()
    np.testing.assert_allclose(x.grad, arrays[f"{name}_grad"], rtol=1e-3, atol=1e-4)


@settings(max_examples=25)
@given(
    n=st.integers(1, 200),
    temperature=st.sampled_from([1e-3, 0.1, 1.0, 100.0, 1e5]),
    spread=st.sampled_from([0.0, 1e-6, 1.0, 1e3]),
    seed=st.integers(0, 9),
)
def test_the_band_holds_all_that_counts(
    n: int, temperature: float, spread: float, seed: int
) -> None:
    """Skipping what is negligible changes nothing: few values far apart, many close together."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(2, n, dtype=torch.float64, generator=generator)
    scores = (scores * spread + (scores > 0.5)).requires_grad_()
    found = []
    for backend in ("numba", "reference"):
        with rg.use_backend(backend):
            ranks = NeuralSort(temperature)(scores)
            (grad,) = torch.autograd.grad((ranks * scores.detach().sin()).sum(), scores)
            found.append((ranks, grad * temperature))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6 * n)


def test_a_long_row_needs_no_matrix() -> None:
    """Its matrix would take 72 GB. Some of its rows, by the formula, tell whether it is right."""
    n, temperature = 300_000, 1e-4
    scores = torch.linspace(-1, 1, n, dtype=torch.float64).sin()[torch.randperm(n)]
    scores.requires_grad_()
    values = NeuralSort(temperature).sort(scores)
    ordered = scores.detach().sort(descending=True).values
    running = torch.nn.functional.pad(ordered.cumsum(0), (1, 0))
    place = torch.arange(n, dtype=torch.float64)
    spread = ordered * (n - 1 - 2 * place) + running[:-1] - (running[-1] - running[1:])
    for i in (0, 1, 1000, n // 2, n - 1):
        row = (((n - 1 - 2 * i) * ordered - spread) / temperature).softmax(0)
        torch.testing.assert_close(values[i], row @ ordered, rtol=1e-6, atol=1e-6)
    ranks = NeuralSort(temperature)(scores)
    torch.testing.assert_close(ranks, rg.rank(scores), rtol=0, atol=30)
    ranks.square().sum().backward()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="temperature must be > 0"):
        NeuralSort(0.0)
