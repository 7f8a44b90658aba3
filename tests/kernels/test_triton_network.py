"""Sorting networks by Triton against the reference: three ways for wires to meet."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import rankgrad as rg
from rankgrad.kernels import reference
from rankgrad.rankers.network import DISTRIBUTIONS

KINDS = ("odd_even", "bitonic", "alternating")
WAYS = ("shuffles", "memory", "a launch a layer")
Call = Callable[..., Any]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every way serves wires that are few enough to test."""
    from rankgrad.kernels.cuda import network_fused

    if request.param != "shuffles":
        monkeypatch.setattr(network_fused, "_SHUFFLED", 0)
    if request.param == "a launch a layer":
        monkeypatch.setattr(network_fused, "_MOST", 0)
    return str(request.param)


def counts(rows: int, n: int) -> Tensor:
    return torch.tensor([n, max(n - 2, 0), n // 2, min(n, 1), 0][:rows])


def check(
    call: Call, x: Tensor, count: Tensor, v: Tensor | None, w: Tensor, *settings: Any
) -> None:
    """All that there is to a network: ``P v``, ``P' w`` and the gradient of their product."""
    few = 1e-12 if x.dtype == torch.float64 else 1e-5
    for given, transposed in ((v, False), (None if v is None else w, True)):
        got = call("network_apply", x, count, given, *settings, transposed)
        wanted = reference.network_apply(x, count, given, *settings, transposed)
        torch.testing.assert_close(got, wanted, rtol=few, atol=few)
    got = call("network_gradient", x, count, w, v, *settings)
    wanted = reference.network_gradient(x, count, w, v, *settings)
    torch.testing.assert_close(got, wanted, rtol=few, atol=few * float(wanted.abs().amax()))


def draw(rows: int, n: int, channels: int | None, dtype: torch.dtype) -> tuple[Tensor, ...]:
    torch.manual_seed(n)
    x, v = torch.randn(rows, n), torch.randn(rows, n, channels or 1)
    w = torch.randn(rows, n, channels or n)
    return x.to(dtype), v.to(dtype), w.to(dtype)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_is_the_reference(call: Call, kind: str, distribution: str) -> None:
    x, v, w = draw(2, 5, 2, torch.float64)
    x[0, 1] = x[0, 3]
    check(call, x, counts(2, 5), v, w, kind, distribution, 3.0, 0.25)


@pytest.mark.parametrize(
    ("kind", "dtype"), [("odd_even", torch.float32), ("bitonic", torch.float64)], ids=str
)
def test_every_way(call: Call, way: str, kind: str, dtype: torch.dtype) -> None:
    x, v, w = draw(5, 7, 1, dtype)
    check(call, x, counts(5, 7), v, w, kind, "cauchy", 3.0, 0.25)


@pytest.mark.parametrize("n", [1, 2, 8, 13])
def test_whole_matrices(call: Call, way: str, n: int) -> None:
    x, _, w = draw(2, n, None, torch.float64)
    check(call, x, counts(2, n), None, w, "bitonic", "logistic", 5.0, 0.25)


def test_many_channels(call: Call, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a program looks at at once, and rows and channels in groups."""
    from rankgrad.kernels.cuda import network_fused, network_layers

    monkeypatch.setattr(network_fused, "_CHANNELS", 4)
    monkeypatch.setattr(network_fused, "_PROGRAMS", 4)
    monkeypatch.setattr(network_layers, "_WIDTH", 4)
    monkeypatch.setattr(network_layers, "_TILE", 16)
    monkeypatch.setattr(network_layers, "_KEPT", 6 * 6 * 5 * 2)
    x, v, w = draw(3, 6, 9, torch.float64)
    check(call, x, counts(3, 6), v, w, "odd_even", "cauchy", 3.0, 0.25)


@pytest.mark.parametrize("kind", ["odd_even", "bitonic"])
def test_ties_and_values_that_stand_in_for_infinite_ones(call: Call, way: str, kind: str) -> None:
    x = torch.tensor([[0.5, 0.5, -1e30, 1e30, 0.5, 0.25, 1e30, -1e30, 0.75]])
    v, w = x[..., None], torch.ones(1, 9, 1)
    for distribution in DISTRIBUTIONS if way == "shuffles" else ("cauchy",):
        settings = kind, distribution, 1e3, 0.25
        got = call("network_apply", x, torch.tensor([9]), v, *settings, False)[0, :, 0]
        assert torch.equal(got[:2], x.new_full((2,), 1e30))
        assert torch.equal(got[-2:], x.new_full((2,), -1e30))
        wanted = reference.network_apply(x, torch.tensor([9]), v, *settings, False)[0, :, 0]
        torch.testing.assert_close(got, wanted)
        grad = call("network_gradient", x, torch.tensor([9]), w, v, *settings)
        assert grad.isfinite().all()


def test_what_is_past_the_count_may_be_anything(call: Call, way: str) -> None:
    x, v, w = draw(2, 6, 2, torch.float64)
    count = torch.tensor([4, 6])
    args = [t.clone() for t in (x, v, w)]
    for spoilt in args:
        spoilt[0, 4:] = torch.nan
    settings = "bitonic", "cauchy", 3.0, 0.25
    for transposed in (False, True):
        got = call("network_apply", args[0], count, args[1], *settings, transposed)
        assert torch.equal(got, call("network_apply", x, count, v, *settings, transposed))
        assert (got[0, 4:] == 0).all()
    got = call("network_gradient", args[0], count, args[2], args[1], *settings)
    assert torch.equal(got, call("network_gradient", x, count, w, v, *settings))


@pytest.mark.parametrize("shape", [(0, 5, 2), (3, 0, 2), (3, 5, 0)])
def test_nothing(call: Call, shape: tuple[int, int, int]) -> None:
    x, v = torch.zeros(shape[:2]), torch.zeros(shape)
    count, settings = torch.full((shape[0],), shape[1]), ("bitonic", "cauchy", 3.0, 0.25)
    for transposed in (False, True):
        assert call("network_apply", x, count, v, *settings, transposed).shape == shape
    grad = call("network_gradient", x, count, v, v, *settings)
    assert torch.equal(grad, torch.zeros(shape[:2]))


def test_no_shuffles_in_an_older_triton(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    from rankgrad.kernels.cuda import network_fused

    monkeypatch.delattr(network_fused.tl, "gather")
    x, v, w = draw(2, 5, 1, torch.float32)
    check(call, x, counts(2, 5), v, w, "odd_even", "cauchy", 3.0, 0.25)


@pytest.mark.parametrize("kind", ["odd_even", "bitonic"])
def test_public_ranks_sorted_values_and_gradients(device: str, kind: str) -> None:
    torch.manual_seed(0)
    data = torch.randn(2, 9, device=device)
    data[0, 3], data[0, 4], data[1, 5] = torch.inf, -torch.inf, torch.nan
    mask = torch.rand(2, 9, device=device) < 0.8
    ranker = rg.rankers.SortingNetwork(kind)
    results = []
    for backend in ("triton", "reference"):
        x = data.clone().requires_grad_()
        with rg.use_backend(backend):
            ranks, values = ranker(x, mask), ranker.sort(x)
            (ranks.square().nansum() + values[0, 1:-1].sum()).backward()
        results.append((ranks.detach(), values.detach(), x.grad))
    torch.testing.assert_close(*results, equal_nan=True)


def test_twice_is_bit_for_bit_the_same(call: Call, way: str) -> None:
    x, v, w = draw(2, 12, 3, torch.float32)
    args = (x, counts(2, 12), w, v, "bitonic", "cauchy", 3.0, 0.25)
    first, second = (call("network_gradient", *args) for _ in range(2))
    assert torch.equal(first, second)
