"""The soft top-k indicator."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import rankgrad as rg
from rankgrad.rankers import soft_topk
from support import golden, golden_cases

BACKENDS = ["numba", "reference"]

values_of = st.lists(st.integers(-12, 12), min_size=1, max_size=8)
temperatures = st.sampled_from([0.01, 0.1, 1.0, 10.0])


def by_bisection(x: np.ndarray, k: float, temperature: float) -> np.ndarray:
    """The indicators by halving an interval that holds the threshold."""

    def indicators(t: float) -> np.ndarray:
        tail = 0.5 * np.exp(-np.abs(x - t) / temperature)
        return np.where(x > t, 1 - tail, tail)

    reach = temperature * math.log(len(x) / min(k, len(x) - k)) + 1
    low, high = x.min() - reach, x.max() + reach
    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if indicators(middle).sum() > k else (low, middle)
    return indicators(0.5 * (low + high))


@pytest.mark.parametrize("backend", BACKENDS)
@given(values=values_of, temperature=temperatures, part=st.floats(0.001, 0.999))
def test_equals_bisection(backend: str, values: list[int], temperature: float, part: float) -> None:
    x = np.array(values) / 4
    k = part * len(x)
    with rg.use_backend(backend):
        found = soft_topk(torch.tensor(x), k, temperature)
        log = soft_topk(torch.tensor(x), k, temperature, log=True)
    np.testing.assert_allclose(found, by_bisection(x, k, temperature), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.sum(), k, rtol=1e-12)
    np.testing.assert_allclose(log.exp(), found, rtol=1e-12)
    assert (found[np.argsort(-x, kind="stable")].diff() <= 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
@given(values=values_of, data=st.data())
def test_every_whole_k_at_every_gap(backend: str, values: list[int], data: st.DataObject) -> None:
    """Whole k between wide gaps: both exponentials of the equation underflow."""
    k = data.draw(st.integers(0, len(values)))
    gap = data.draw(st.sampled_from([1.0, 1e2, 1e4, 1e8, 1e100]))
    scores = (gap * torch.tensor(values, dtype=torch.float64)).requires_grad_()
    with rg.use_backend(backend):
        found = soft_topk(scores, k, 0.1)
        found.backward(torch.arange(float(len(values)), dtype=torch.float64))
    torch.testing.assert_close(found.sum().item(), float(k))
    assert scores.grad is not None
    assert scores.grad.isfinite().all()
    ranks = rg.rank(scores, ties="min")
    last = rg.rank(scores, ties="max")
    if gap > 10:  # equal scores share, all others are in or out
        assert (found[last <= k] > 1 - 1e-9).all()
        assert (found[ranks > k] < 1e-9).all()


@pytest.mark.parametrize("case", golden_cases("lapsum_topk"))
def test_golden(case: str) -> None:
    arrays = golden("lapsum_topk")[case]
    for largest in (True, False):
        for log in (False, True):
            name, side = ("logtopk" if log else "topk"), f"desc{int(not largest)}"
            x = torch.tensor(arrays["x"], dtype=torch.float64, requires_grad=True)
            k = torch.tensor(arrays["k"], dtype=torch.float64, requires_grad=True)
            alpha = torch.tensor(float(arrays["alpha"]), dtype=torch.float64, requires_grad=True)
            before = x.detach().clone()
            found = soft_topk(x, k, alpha, largest=largest, log=log)
            found.backward(torch.tensor(arrays["cotangent"], dtype=torch.float64))
            assert torch.equal(x, before)
            # Where the original's gradient is not finite, its indicators do not sum to k either.
            good = np.isfinite(arrays[f"{name}64_{side}_grad"]).all(-1)
            good &= np.isfinite(arrays[f"{name}64_{side}"]).all(-1)
            total = (found.exp() if log else found).sum(-1)
            torch.testing.assert_close(total, k, rtol=1e-9, atol=1e-9)
            assert x.grad is not None
            assert k.grad is not None
            assert alpha.grad is not None
            pairs = [
                (found.detach(), "", 1e-9),
                (x.grad, "_grad", 1e-9),
                (k.grad, "_grad_k", 1e-9),
            ]
            for ours, suffix, rtol in pairs:
                theirs = arrays[f"{name}64_{side}{suffix}"][good]
                scale = np.abs(theirs).max(initial=0.0)
                np.testing.assert_allclose(
                    ours[torch.tensor(good)], theirs, rtol=rtol, atol=rtol * scale + 1e-15
                )
            if good.all():
                theirs = arrays[f"{name}64_{side}_grad_alpha"]
                np.testing.assert_allclose(alpha.grad, theirs, rtol=2e-4, atol=1e-7)
            assert x.grad.isfinite().all()


@pytest.mark.parametrize(
    ("backend", "log", "largest"),
    [("numba", False, True), ("numba", True, False), ("reference", True, True)],
)
def test_gradients_are_the_derivatives(backend: str, log: bool, largest: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(3, 5, dtype=torch.float64, generator=generator).requires_grad_()
    k = torch.tensor([0.3, 2.0, 3.7], dtype=torch.float64, requires_grad=True)
    temperature = torch.tensor([0.3, 1.0, 0.5], dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[1, 0, 1, 1, 1], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1]], dtype=torch.bool)

    def everything(s: Tensor, k: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        whole = soft_topk(s, k, t, largest=largest, log=log)
        return whole, soft_topk(s, k, t, largest=largest, log=log, mask=mask).clamp(min=-1e3)

    with rg.use_backend(backend):
        assert torch.autograd.gradcheck(everything, (scores, k, temperature))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("log", [False, True])
def test_mask_equals_removing_the_items(backend: str, log: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(4, 7, generator=generator)
    mask = torch.rand(4, 7, generator=generator) < 0.6
    mask[1] = False
    held = scores.masked_fill(~mask, torch.nan).requires_grad_()
    with rg.use_backend(backend):
        found = soft_topk(held, 1.5, 0.4, mask=mask, log=log)
        found[mask].sum().backward()
        assert held.grad is not None
        assert (held.grad[~mask] == 0).all()
        assert (found[~mask] == (-torch.inf if log else 0)).all()
        for row in range(4):
            items = scores[row, mask[row]].requires_grad_()
            if items.numel() < 2:  # fewer than k: all of them
                assert (found[row, mask[row]] == (0 if log else 1)).all()
                continue
            alone = soft_topk(items, 1.5, 0.4, log=log)
            torch.testing.assert_close(found[row, mask[row]], alone)
            alone.sum().backward()
            torch.testing.assert_close(held.grad[row, mask[row]], items.grad)


@pytest.mark.parametrize("backend", BACKENDS)
def test_infinite_scores(backend: str) -> None:
    inf = torch.inf
    scores = torch.tensor([0.3, inf, -inf, 0.1, inf, -inf, 0.2], requires_grad=True)
    with rg.use_backend(backend):
        inner = soft_topk(scores[[0, 3, 6]], 1.5, 0.1)
        found = soft_topk(scores, 3.5, 0.1)
        torch.testing.assert_close(found[[0, 3, 6]], inner)
        assert found[[1, 2, 4, 5]].tolist() == [1, 0, 1, 0]
        for k, share in ((1.0, [0.5, 0.0]), (6.0, [1.0, 0.5]), (7.0, [1.0, 1.0])):
            torch.testing.assert_close(soft_topk(scores, k, 0.1)[[1, 2]], torch.tensor(share))
        found.square().sum().backward()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()
    assert (scores.grad[[1, 2, 4, 5]] == 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_nan_spoils_its_row_alone(backend: str) -> None:
    scores = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    spoilt = scores.clone()
    spoilt[1, 1] = torch.nan
    with rg.use_backend(backend):
        found = soft_topk(spoilt, 2, 0.5)
        assert found[1].isnan().all()
        torch.testing.assert_close(found[::2], soft_topk(scores[::2], 2, 0.5))


def test_sharp_and_flat() -> None:
    scores = torch.tensor([0.1, 0.7, 0.4, 0.9])
    assert soft_topk(scores, 2, 1e-4).tolist() == [0, 1, 0, 1]
    assert soft_topk(scores, 1, 1e-4, largest=False).tolist() == [1, 0, 0, 0]
    torch.testing.assert_close(soft_topk(scores, 1, 1e6), torch.full((4,), 0.25))
    torch.testing.assert_close(soft_topk(scores, 3, 1e6), torch.full((4,), 0.75))
    assert soft_topk(scores, 0).tolist() == [0] * 4
    assert soft_topk(scores, 4).tolist() == [1] * 4


def test_k_beyond_the_ends_counts_as_the_end() -> None:
    scores = torch.randn(3, 4, requires_grad=True)
    k = torch.tensor([-1.0, 2.0, 9.0], requires_grad=True)
    found = soft_topk(scores, k)
    torch.testing.assert_close(found.sum(-1), torch.tensor([0.0, 2.0, 4.0]))
    found.square().sum().backward()
    assert scores.grad is not None
    assert (scores.grad[::2] == 0).all()
    assert k.grad is not None
    assert (k.grad[::2] == 0).all()


def test_shapes_dtypes_and_layout() -> None:
    scores = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    expected = soft_topk(scores, 2, 0.3)
    found = soft_topk(scores.movedim(-1, 0), 2, 0.3, dim=0)
    torch.testing.assert_close(found.movedim(0, -1), expected)
    k = torch.tensor([1, 2, 3])
    torch.testing.assert_close(soft_topk(scores, k)[1, 2], soft_topk(scores[1, 2], 3))
    half = soft_topk(scores.bfloat16(), 2, 0.3)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), expected, rtol=0, atol=2e-2)
    assert soft_topk(scores[:, :, :0], 0).shape == (2, 3, 0)
    assert soft_topk(scores[:0], 2).shape == (0, 3, 5)


def test_vmap() -> None:
    scores = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    k = torch.tensor([1.0, 2.0, 3.0])
    call: Callable[..., Tensor] = torch.func.vmap(lambda s, k: soft_topk(s, k, 0.3))
    found = call(scores, k)
    torch.testing.assert_close(found, soft_topk(scores, k[:, None], 0.3))
    found.square().sum().backward()
    expected = torch.autograd.grad(soft_topk(scores, k[:, None], 0.3).square().sum(), scores)[0]
    torch.testing.assert_close(scores.grad, expected)


@pytest.mark.compile
def test_compiles_into_one_graph() -> None:
    def loss(scores: Tensor, k: Tensor, mask: Tensor) -> Tensor:
        return soft_topk(scores, k, 0.3, mask=mask).square().sum() + soft_topk(scores, 2)[0].sum()

    torch.compiler.reset()
    scores, twin = (torch.linspace(0, 1, 12).sin().view(3, 4).requires_grad_() for _ in range(2))
    mask = scores > 0.2
    k = torch.tensor([1.0, 2.0, 1.5])
    value = torch.compile(loss, fullgraph=True, backend="aot_eager")(scores, k, mask)
    expected = loss(twin, k, mask)
    torch.testing.assert_close(value, expected)
    value.backward()
    expected.backward()
    torch.testing.assert_close(scores.grad, twin.grad)


def test_a_million_scores() -> None:
    scores = torch.randn(1_000_000, generator=torch.Generator().manual_seed(0)).requires_grad_()
    found = soft_topk(scores, 1000, 0.01)
    torch.testing.assert_close(found.double().sum().item(), 1000.0, rtol=1e-6, atol=0)
    found.square().sum().backward()
    assert scores.grad is not None
    assert abs(scores.grad.double().sum().item()) < 1e-3


def test_arguments_are_checked() -> None:
    scores = torch.ones(2, 3)
    for bad in (-1, 3.5):
        with pytest.raises(ValueError, match="k must be between 0 and the number of scores, 3"):
            soft_topk(scores, bad)
    with pytest.raises(ValueError, match="temperature must be > 0"):
        soft_topk(scores, 1, 0.0)
    with pytest.raises(ValueError, match="k must broadcast"):
        soft_topk(scores, torch.ones(3))
    with pytest.raises(TypeError, match="temperature"):
        soft_topk(scores, 1, torch.tensor(1))
    with pytest.raises(ValueError, match="mask must broadcast"):
        soft_topk(scores, 1, mask=torch.ones(2, dtype=torch.bool))
    with pytest.raises(ValueError, match="scores must have at least one dimension"):
        soft_topk(torch.tensor(1.0), 1)
