"""SoftSort against its formula and the published implementation."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import rankgrad as rg
from rankgrad.rankers import SoftSort
from support import golden, golden_cases

CASES = golden_cases("neuralsort_softsort")


def kernel(scores: Tensor, temperature: float) -> Tensor:
    """``exp(-|s_[i] - s_j| / temperature)`` with ``s_[1] >= s_[2] >= ...``."""
    ordered = scores.sort(descending=True, stable=True).values
    return torch.stack([(-(place - scores).abs() / temperature).exp() for place in ordered])


@given(
    values=st.lists(st.integers(-9, 9), min_size=1, max_size=9),
    temperature=st.sampled_from([0.05, 1.0, 30.0]),
)
def test_is_the_formula(values: list[int], temperature: float) -> None:
    """Values and gradients, ties included."""
    n = len(values)
    place = torch.arange(1, n + 1, dtype=torch.float64)
    x, y = (torch.tensor(values, dtype=torch.float64).div(4).requires_grad_() for _ in range(2))
    k = kernel(y, temperature)
    matrix = k / k.sum(1, keepdim=True)
    torch.testing.assert_close(SoftSort(temperature).permutation(x), matrix)
    plain, ranks = SoftSort(temperature, renormalize=False)(x), SoftSort(temperature)(x)
    torch.testing.assert_close(plain, place @ matrix)
    torch.testing.assert_close(ranks, place @ k / k.sum(0))
    ((plain + ranks) * place.sin()).sum().backward()
    ((place @ matrix + place @ k / k.sum(0)) * place.sin()).sum().backward()
    torch.testing.assert_close(x.grad, y.grad)


@pytest.mark.parametrize("descending", [0, 1])
@pytest.mark.parametrize("case", CASES)
def test_golden_matrices(case: str, descending: int) -> None:
    arrays = golden("neuralsort_softsort")[case]
    name = f"softsort_st_desc{descending}"
    x = torch.tensor(arrays["x"], requires_grad=True)
    matrix = SoftSort(float(arrays["tau"])).permutation(x if descending else -x)
    np.testing.assert_allclose(matrix.detach(), arrays[name], atol=1e-6)
    (matrix * torch.tensor(arrays["cot_mat"])).sum().backward()
    np.testing.assert_allclose(x.grad, arrays[f"{name}_grad"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("descending", [0, 1])
@pytest.mark.parametrize("case", CASES)
def test_golden_ranks(case: str, descending: int) -> None:
    """The published ranks are a softmax over the places."""
    arrays = golden("neuralsort_softsort")[case]
    name = f"rank_softsort_st_desc{descending}"
    x = torch.tensor(arrays["x"], requires_grad=True)
    ranks = SoftSort(float(arrays["tau"]))(x if descending else -x)
    np.testing.assert_allclose(ranks.detach(), arrays[name], rtol=1e-5)
    (ranks * torch.tensor(arrays["cot_vec"])).sum().backward()
    np.testing.assert_allclose(x.grad, arrays[f"{name}_grad"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("spread", [0.0, 1e-8, 1.0, 1e4, 1e30])
def test_running_sums_neither_cancel_nor_overflow(spread: float) -> None:
    scores = torch.randn(2, 300, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    scores = (scores * spread).requires_grad_()
    found = []
    for backend in ("numba", "reference"):
        with rg.use_backend(backend):
            ranks = SoftSort(0.1)(scores)
            (grad,) = torch.autograd.grad((ranks * scores.detach().sin()).sum(), scores)
            found.append((ranks, SoftSort(0.1).sort(scores), grad))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_a_million_scores() -> None:
    scores = torch.randn(1_000_000, generator=torch.Generator().manual_seed(0)).requires_grad_()
    ranks = SoftSort(1e-3)(scores)
    ranks.sum().backward()
    assert (ranks.detach() - rg.rank(scores)).abs().max() < 1000
    assert scores.grad is not None
    assert scores.grad.isfinite().all()
    ordered = rg.sort(scores.detach())[0].double()
    values = SoftSort(1e-3).sort(scores.detach().double())
    for i in (0, 77, 500_000, 999_999):
        row = (-(ordered[i] - ordered).abs() / 1e-3).softmax(0)
        torch.testing.assert_close(values[i], row @ ordered)


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="temperature must be > 0"):
        SoftSort(-1.0)
