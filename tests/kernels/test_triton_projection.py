"""Soft ranks and soft sorting by Triton against the reference."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import rankgrad as rg
from rankgrad.kernels import cpu, reference


@pytest.fixture(params=[False, True], ids=["l2", "entropic"])
def entropic(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


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


def check(
    call: Callable[..., Any], x: Tensor, mask: Tensor | None, strength: float, entropic: bool
) -> None:
    """Blocks are compared by what they do: where values tie, rounding may cut one in two."""
    grad = torch.randn_like(x)
    ranks, block = call("project_rank", x, mask, strength, entropic)
    wanted, _ = reference.project_rank(x, mask, strength, entropic)
    close(ranks, wanted, 1.0 / strength if strength < 1 else 1.0)
    assert ranks.dtype == x.dtype
    assert block.dtype == torch.int32
    back = call("project_rank_vjp", grad, ranks, block, strength, entropic)
    wanted = reference.project_rank_vjp(grad, ranks, block, strength, entropic)
    size = float(wanted.abs().nan_to_num().amax()) if entropic else 1.0 / strength
    close(back, wanted, size)
    values, block = call("project_sort", x, mask, strength, entropic)
    wanted, _ = reference.project_sort(x, mask, strength, entropic)
    close(values, wanted, 1.0)
    back = call("project_sort_vjp", grad, x, block, entropic)
    close(back, reference.project_sort_vjp(grad, x, block, entropic), 1.0)


@pytest.mark.parametrize(
    ("n", "dtype", "infinite"),
    [(6, torch.float32, True), (70, torch.float32, False), (70, torch.float64, True)],
    ids=str,
)
@pytest.mark.parametrize("strength", [1e-3, 0.125, 100.0])
def test_is_the_projection(
    call: Callable[..., Any],
    n: int,
    strength: float,
    dtype: torch.dtype,
    entropic: bool,
    infinite: bool,
) -> None:
    x = scores(n, dtype, infinite)
    mask = torch.rand(x.shape) < 0.7 if n > 6 else None
    check(call, x, mask, strength, entropic)


@pytest.mark.parametrize("n", [1, 31, 32, 33, 200])
def test_any_length(call: Callable[..., Any], n: int, entropic: bool) -> None:
    torch.manual_seed(n)
    check(call, torch.randn(1, n).cumsum(1).double(), None, 1.0, entropic)


def test_blocks_are_those_of_the_reference(call: Callable[..., Any], entropic: bool) -> None:
    x = scores(40, torch.float64, infinite=False)[[0, 2, 3]]
    for strength in (1e-3, 0.1, 10.0):
        for name in ("project_rank", "project_sort"):
            _, block = call(name, x, None, strength, entropic)
            assert torch.equal(block, getattr(reference, name)(x, None, strength, entropic)[1])


def test_nan_spoils_its_row_alone(call: Callable[..., Any], entropic: bool) -> None:
    x = torch.randn(3, 9)
    x[1, 4] = torch.nan
    for name in ("project_rank", "project_sort"):
        out, block = call(name, x, None, 1.0, entropic)
        assert torch.equal(out.isnan().any(1), torch.tensor([False, True, False]))
        assert (block[1] == -1).all()


@pytest.mark.parametrize("shape", [(0, 5), (3, 0)])
def test_nothing(call: Callable[..., Any], shape: tuple[int, int], entropic: bool) -> None:
    for name in ("project_rank", "project_sort"):
        out, block = call(name, torch.zeros(shape), None, 1.0, entropic)
        assert out.shape == block.shape == shape
        assert call("project_rank_vjp", out, out, block, 1.0, entropic).shape == shape
        assert call("project_sort_vjp", out, out, block, entropic).shape == shape


@pytest.mark.parametrize("strength", [1e-3, 0.5, 1e4])
def test_infinite_scores_softly_sorted(call: Callable[..., Any], strength: float) -> None:
    """A score of -inf has no share in the block of the smallest, of which it is a part."""
    inf = torch.inf
    x = torch.tensor([[0.5, -inf, 2.0, -inf], [1.0, inf, 0.0, -inf], [-inf] * 4]).double()
    got, block = call("project_sort", x, None, strength, True)
    wanted, blocks = cpu.project_sort(x, None, strength, True)
    torch.testing.assert_close(got, wanted, equal_nan=True)
    assert torch.equal(block[0], blocks[0])
    assert got[0].isfinite().all()
    grad = call("project_sort_vjp", torch.ones_like(x), x, block, True)
    assert torch.equal(grad[0] == 0, x[0] == -inf)


@pytest.mark.parametrize("name", ["project_rank", "project_sort"])
def test_large_entropic_blocks_lose_no_digits(call: Callable[..., Any], name: str) -> None:
    """Against exponentials that need no unit: close scores, so that all are in a few blocks."""
    torch.manual_seed(0)
    x = 0.01 * torch.randn(1, 500, dtype=torch.float64)
    for strength in (0.002, 1.0):
        got, _ = call(name, x, None, strength, True)
        wanted, _ = getattr(reference, name)(x, None, strength, True)
        torch.testing.assert_close(got, wanted, rtol=1e-13, atol=1e-13)


def test_public_ranks_and_gradients(device: str, entropic: bool) -> None:
    torch.manual_seed(0)
    data = torch.randn(2, 40, device=device)
    results = []
    for backend in ("triton", "reference"):
        x = data.clone().requires_grad_()
        with rg.use_backend(backend):
            ranks = rg.rankers.Projection("kl" if entropic else "l2", strength=0.5)(x)
            ranks.square().sum().backward()
        results.append((ranks.detach(), x.grad))
    torch.testing.assert_close(*results)


def test_twice_is_bit_for_bit_the_same(call: Callable[..., Any], entropic: bool) -> None:
    x = torch.randn(2, 100)
    first, second = (call("project_rank", x, None, 1.0, entropic) for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


@pytest.mark.parametrize("end", [torch.finfo(torch.float32).min, torch.finfo(torch.float32).max])
@pytest.mark.parametrize("strength", [0.1, 1.0])
def test_scores_that_stand_for_infinity_leave_the_others_their_digits(
    call: Callable[..., Any], end: float, strength: float, entropic: bool
) -> None:
    """``masked_fill`` with the least number there is, say."""
    torch.manual_seed(0)
    x = torch.randn(2, 70)
    x[:, ::5] = end
    check(call, x, None, strength, entropic)
