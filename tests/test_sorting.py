"""Stable sorting: what torch.sort(stable=True) returns, on every backend."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import rankgrad as rg

pytestmark = pytest.mark.usefixtures("backend")

# Rows of different lengths take different ways: insertion, places in their range, wide digits.
LENGTHS = [0, 1, 2, 35, 36, 37, 4095, 4096, 5000]
FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def stable(x: Tensor, descending: bool, dim: int = -1) -> Tensor:
    return torch.sort(x, dim=dim, descending=descending, stable=True).indices


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("descending", [True, False])
def test_equals_the_stable_sort_of_torch(n: int, dtype: torch.dtype, descending: bool) -> None:
    generator = torch.Generator().manual_seed(n)
    x = torch.randn(3, n, generator=generator).mul(4).round().div(4).to(dtype)  # with ties
    x[1] = torch.randn(n, generator=generator).to(dtype)
    assert torch.equal(rg.argsort(x, descending=descending), stable(x, descending))


# What spreads over its range and what crowds in a few places of it take different ways, too.
CROWDS = {
    "spread": lambda x: x,
    "an outlier": lambda x: torch.where(x == x.max(), 1e4, x),
    "two clusters": lambda x: x * 1e-6 + x.sign(),
    "a heavy tail": lambda x: (8 * x).exp(),
    "a power of ten apart": lambda x: 10 ** x.mul(3).round(),
    "next to each other": lambda x: 1 + x * 1e-7,
    "denormal": lambda x: x * 1e-42,
    "the whole range": lambda x: x.sign() * 3e38 - x,
    "infinite ends": lambda x: torch.where(x.abs() > 2, x * torch.inf, x),
    "signed zeros": lambda x: x.round() * 0,
    "one NaN": lambda x: torch.where(x == x.max(), torch.nan, x),
}


@pytest.mark.parametrize("crowd", CROWDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_crowded_rows_are_sorted_as_well(crowd: str, dtype: torch.dtype) -> None:
    for n in (40, 300, 3000):
        x = torch.randn(2, n, generator=torch.Generator().manual_seed(n), dtype=dtype)
        x = CROWDS[crowd](x)
        for descending in (True, False):
            assert torch.equal(rg.argsort(x, descending=descending), stable(x, descending))


SPECIAL = [0.0, -0.0, 1e-45, -1e-45, 1e-30, 1.0, -1.0, 3.4e38, -3.4e38]
SPECIAL += [float("inf"), float("-inf"), float("nan"), -float("nan")]


@given(
    values=st.lists(st.sampled_from(SPECIAL) | st.floats(width=32), max_size=70),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    descending=st.booleans(),
)
def test_any_floats(values: list[float], dtype: torch.dtype, descending: bool) -> None:
    """Both zeros are equal, NaN is larger than infinity, and what is equal keeps its order."""
    x = torch.tensor(values, dtype=dtype)
    order = rg.argsort(x, descending=descending)
    assert order.dtype == torch.int64
    assert torch.equal(order, stable(x, descending))


def test_largest_first_unless_told_otherwise() -> None:
    x = torch.tensor([0.1, 0.7, 0.4])
    assert rg.argsort(x).tolist() == [1, 2, 0]
    assert rg.argsort(x, descending=False).tolist() == [0, 2, 1]


@pytest.mark.parametrize("dim", [0, 1, 2, -1, -3])
def test_any_dimension(dim: int) -> None:
    x = torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(0))
    values, order = rg.sort(x, dim, descending=False)
    assert torch.equal(order, stable(x, False, dim))
    assert torch.equal(values, x.sort(dim).values)


def test_any_strides() -> None:
    base = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    for x in (
        base.T,
        base[::2, ::3],
        base.flip(0),
        base[:1].expand(4, 8),
        base[:, :1].expand(6, 9),
    ):
        assert torch.equal(rg.argsort(x), stable(x, True))


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 3)])
def test_empty(shape: tuple[int, ...]) -> None:
    values, order = rg.sort(torch.empty(shape))
    assert values.shape == order.shape == shape


def test_values_carry_the_gradient_to_where_they_came_from() -> None:
    x = torch.tensor([[0.1, 0.7, 0.4], [2.0, 2.0, 1.0]], dtype=torch.float64, requires_grad=True)
    values, order = rg.sort(x)
    weights = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], dtype=torch.float64)
    (values * weights).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[3.0, 1.0, 2.0], [4.0, 5.0, 6.0]]
    assert not order.requires_grad


def test_does_not_touch_its_input() -> None:
    x = torch.tensor([-0.0, 2.0, float("nan"), 1.0])
    before = x.clone()
    rg.sort(x)
    torch.testing.assert_close(x, before, equal_nan=True)
    assert torch.equal(x.signbit(), before.signbit())


def test_vmap() -> None:
    x = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
    for dim in range(3):
        rows = torch.stack([rg.argsort(row) for row in x.unbind(dim)])
        assert torch.equal(torch.func.vmap(rg.argsort, in_dims=dim)(x), rows)
    nested = torch.func.vmap(torch.func.vmap(lambda row: rg.sort(row)[0]))(x)
    assert torch.equal(nested, x.sort(descending=True).values)
