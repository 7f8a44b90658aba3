"""Soft ranks and soft sorting by Triton against the reference."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import rankgrad as rg
from rankgrad.kernels import reference


def scores(n: int, dtype: torch.dtype, infinite: bool) -> Tensor:
    """Rows that are random, tied, all equal, far from zero, and in part infinite."""
    torch.manual_seed(0)
    x = torch.randn(5, n)
    x[1] = (8 * x[1]).round() / 8
    x[2] = 0.25
    x[3] = 1e3 + x[3]
    if infinite:
        x[4, : n // 4], x[4, -(n // 4) - 1 :] = torch.inf, -torch.inf
    return x.to(dtype)


def close(got: Tensor, wanted: Tensor, size: float) -> None:
    few = 1e-13 if got.dtype == torch.float64 else 1e-6
    torch.testing.assert_close(got, wanted, rtol=few, atol=few * size, equal_nan=True)


def check(call: Callable[..., Any], x: Tensor, mask: Tensor | None, strength: float) -> None:
    """Blocks are compared by what they do: where values tie, rounding may cut one in two."""
    grad = torch.randn_like(x)
    ranks, block = call("project_rank", x, mask, strength, False)
    wanted, _ = reference.project_rank(x, mask, strength, False)
    close(ranks, wanted, 1.0 / strength if strength < 1 else 1.0)
    assert ranks.dtype == x.dtype
    assert block.dtype == torch.int32
    back = call("project_rank_vjp", grad, ranks, block, strength, False)
    close(back, reference.project_rank_vjp(grad, ranks, block, strength, False), 1.0 / strength)
    values, block = call("project_sort", x, mask, strength, False)
    wanted, _ = reference.project_sort(x, mask, strength, False)
    close(values, wanted, 1.0)
    back = call("project_sort_vjp", grad, x, block, False)
    close(back, reference.project_sort_vjp(grad, x, block, False), 1.0)


@pytest.mark.parametrize(
    ("n", "dtype"), [(6, torch.float32), (70, torch.float32), (70, torch.float64)], ids=str
)
@pytest.mark.parametrize("strength", [1e-3, 0.125, 100.0])
def test_is_the_projection(
    call: Callable[..., Any], n: int, strength: float, dtype: torch.dtype
) -> None:
    x = scores(n, dtype, infinite=True)
    mask = torch.rand(x.shape) < 0.7 if n > 6 else None
    check(call, x, mask, strength)


@pytest.mark.parametrize("n", [1, 2, 31, 32, 33, 200])
def test_any_length(call: Callable[..., Any], n: int) -> None:
    torch.manual_seed(n)
    check(call, torch.randn(1, n).cumsum(1).double(), None, 1.0)


def test_blocks_are_those_of_the_reference(call: Callable[..., Any]) -> None:
    x = scores(40, torch.float64, infinite=False)[[0, 2, 3]]
    for strength in (1e-3, 0.1, 10.0):
        for name in ("project_rank", "project_sort"):
            _, block = call(name, x, None, strength, False)
            assert torch.equal(block, getattr(reference, name)(x, None, strength, False)[1])


def test_nan_spoils_its_row_alone(call: Callable[..., Any]) -> None:
    x = torch.randn(3, 9)
    x[1, 4] = torch.nan
    for name in ("project_rank", "project_sort"):
        out, block = call(name, x, None, 1.0, False)
        assert torch.equal(out.isnan().any(1), torch.tensor([False, True, False]))
        assert (block[1] == -1).all()


@pytest.mark.parametrize("shape", [(0, 5), (3, 0)])
def test_nothing(call: Callable[..., Any], shape: tuple[int, int]) -> None:
    for name in ("project_rank", "project_sort"):
        out, block = call(name, torch.zeros(shape), None, 1.0, False)
        assert out.shape == block.shape == shape
        assert call("project_rank_vjp", out, out, block, 1.0, False).shape == shape


def test_the_entropic_kind_works(call: Callable[..., Any]) -> None:
    x = scores(20, torch.float64, infinite=False)
    for name in ("project_rank", "project_sort"):
        ours, theirs = call(name, x, None, 0.5, True), getattr(reference, name)(x, None, 0.5, True)
        torch.testing.assert_close(ours, theirs)


def test_public_ranks_and_gradients(device: str) -> None:
    torch.manual_seed(0)
    data = torch.randn(2, 40, device=device)
    results = []
    for backend in ("triton", "reference"):
        x = data.clone().requires_grad_()
        with rg.use_backend(backend):
            ranks = rg.rankers.Projection(strength=0.5)(x)
            ranks.square().sum().backward()
        results.append((ranks.detach(), x.grad))
    torch.testing.assert_close(*results)


def test_twice_is_bit_for_bit_the_same(call: Callable[..., Any]) -> None:
    x = torch.randn(2, 100)
    first, second = (call("project_rank", x, None, 1.0, False) for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
