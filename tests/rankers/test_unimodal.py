"""SoftSort and NeuralSort where their kernels take turns of their own: ends, masks, long rows."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import rankgrad as rg
from rankgrad.rankers import NeuralSort, PermutationRanker, SoftSort

RANKERS = [
    NeuralSort(0.7),
    NeuralSort(0.7, renormalize=False),
    SoftSort(0.3),
    SoftSort(0.3, renormalize=False),
]
every = pytest.mark.parametrize("ranker", RANKERS, ids=str)
WITH_ENDS = st.one_of(st.integers(-4, 4), st.sampled_from([torch.inf, -torch.inf]))


def randn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def outcomes(ranker: PermutationRanker, scores: Tensor, mask: Tensor | None) -> list[Tensor]:
    """Every function of a ranker and its gradients."""
    n = scores.shape[-1]
    functions: list[Callable[[Tensor, Tensor], Tensor]] = [
        lambda x, v: ranker(x, mask),
        lambda x, v: ranker.sort(x, mask).nan_to_num(posinf=0, neginf=0),
        lambda x, v: ranker.reorder(x, v, mask),
        lambda x, v: ranker.permutation(x, mask),
    ]
    found = []
    for function in functions:
        x, v = scores.clone().requires_grad_(), randn(n, seed=1).expand_as(scores).clone()
        v.requires_grad_()
        out = function(x, v)
        (out * randn(*out.shape, seed=2)).sum().backward()
        found += [out.detach(), *(t.grad for t in (x, v) if t.grad is not None)]
    return found


@every
@settings(max_examples=30)
@given(values=st.lists(WITH_ENDS, min_size=1, max_size=9), data=st.data())
def test_backends_agree_with_infinite_scores(
    ranker: PermutationRanker, values: list[float], data: st.DataObject
) -> None:
    n = len(values)
    mask = torch.tensor(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    scores = torch.tensor([values, values[::-1]], dtype=torch.float64) / 4
    found = []
    for backend in ("numba", "reference"):
        with rg.use_backend(backend):
            found.append(outcomes(ranker, scores, mask))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)


@every
def test_a_nan_has_no_gradient_and_takes_none_from_others(ranker: PermutationRanker) -> None:
    scores = randn(3, 6)
    spoilt = scores.clone()
    spoilt[1, 2] = torch.nan
    for backend in ("numba", "reference"):
        with rg.use_backend(backend):
            found, expected = (outcomes(ranker, x, None) for x in (spoilt, scores))
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours[::2], theirs[::2])
            assert (ours[1].isnan() | (ours[1] == 0)).all()


@every
@pytest.mark.parametrize("temperature", [0.01, 100.0])
def test_a_long_row_is_no_other_than_a_short_one(
    ranker: PermutationRanker, temperature: float
) -> None:
    """Masked scores make a row long enough for several threads, and change nothing."""
    ranker = type(ranker)(temperature, ranker.renormalize)
    short = randn(2, 4000)
    short[0, :3], short[1, 7] = torch.inf, -torch.inf
    long = torch.cat([randn(2, 50), short, randn(2, 150)], -1)
    mask = torch.zeros(2, 4200, dtype=torch.bool)
    mask[:, 50:4050] = True
    weights, values = randn(2, 4000, seed=3), randn(2, 4000, seed=4)

    def padded(x: Tensor) -> Tensor:
        return torch.nn.functional.pad(x, (50, 150))

    x, y = short.clone().requires_grad_(), long.clone().requires_grad_()
    v, w = values.clone().requires_grad_(), padded(values).requires_grad_()
    found = ranker(y, mask), ranker.reorder(y, w, mask), ranker.sort(y, mask)
    expected = ranker(x), ranker.reorder(x, v), ranker.sort(x)
    torch.testing.assert_close(found[0], padded(expected[0]))
    for ours, theirs in zip(found[1:], expected[1:], strict=True):
        torch.testing.assert_close(ours[:, :4000], theirs)
        assert (ours[:, 4000:] == 0).all()
    finite = expected[2].isfinite()
    (found[0] * padded(weights)).sum().backward()
    (found[1][:, :4000] * weights).sum().backward()
    found[2][:, :4000][finite].sin().sum().backward()
    ((expected[0] + expected[1]) * weights).sum().backward()
    expected[2][finite].sin().sum().backward()
    assert x.grad is not None
    assert v.grad is not None
    scale = float(x.grad.abs().max())
    torch.testing.assert_close(y.grad, padded(x.grad), rtol=1e-7, atol=1e-9 * scale)
    torch.testing.assert_close(w.grad, padded(v.grad))


def test_a_long_row_with_a_nan_is_nan() -> None:
    scores = randn(2, 4200)
    scores[0, 5] = torch.nan
    scores.requires_grad_()
    ranker = NeuralSort(0.01)
    values = torch.ones_like(scores).requires_grad_()
    for out in (ranker(scores), ranker.sort(scores), ranker.reorder(scores, values)):
        assert out[0].isnan().all()
        assert out[1].isfinite().all()
        out[1].square().sum().backward()
    assert scores.grad is not None
    assert values.grad is not None
    assert (scores.grad[0] == 0).all()
    assert (values.grad[0] == 0).all()


@pytest.mark.parametrize("n", [31, 32, 33, 64, 65])
def test_blocks_leave_nothing_over(n: int) -> None:
    """The kernels go over whole blocks of scores; rows end anywhere."""
    scores = randn(3, n)
    for ranker in RANKERS:
        matrix = ranker.permutation(scores)
        torch.testing.assert_close(matrix.sum(-1), torch.ones(3, n, dtype=torch.float64))
        values = (matrix @ scores.unsqueeze(-1)).squeeze(-1)
        torch.testing.assert_close(ranker.sort(scores), values)
    for ranker in RANKERS[:2]:
        matrix = ranker.permutation(scores)
        mass = matrix.sum(-2) if ranker.renormalize else 1
        place = torch.arange(1, n + 1, dtype=torch.float64)
        torch.testing.assert_close(ranker(scores), place @ matrix / mass)
