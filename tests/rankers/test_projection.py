"""Soft ranks and soft sorting by projection onto the permutahedron."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import rankgrad as rg
from rankgrad.rankers import Projection
from support import golden, golden_cases

CASES = golden_cases("fast_soft_sort")
BACKENDS = ["numba", "reference"]
KINDS = ["l2", "kl"]

quarters = st.lists(st.integers(-12, 12), min_size=1, max_size=8)
strengths = st.sampled_from([0.01, 0.1, 0.3, 1.0, 4.0, 100.0])


def brute_force(x: np.ndarray, kind: str, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """Soft ranks and softly sorted values, largest first, by the min-max formula of isotonic fits.

    The falling fit at i is the smallest over a <= i of the largest over b >= i of the value of the
    block a..b taken alone.
    """
    order = np.argsort(-x, kind="stable")
    s = x[order]
    n = len(s)
    places = np.arange(1.0, n + 1)
    anchors = (n + 1 - places) / strength

    def lse(z: np.ndarray) -> float:
        return float(np.log(np.exp(z - z.max()).sum()) + z.max())

    def rank_level(a: int, b: int) -> float:
        if kind == "l2":
            return float((s[a:b] / strength + places[a:b]).mean())
        return float(np.log(places[a:b].sum()) - lse(-s[a:b] / strength))

    def sort_level(a: int, b: int) -> float:
        if kind == "l2":
            return float((anchors[a:b] - s[a:b]).mean())
        return lse(anchors[a:b]) - lse(s[a:b])

    def fit(level: object) -> np.ndarray:
        return np.array(
            [
                min(max(level(a, b) for b in range(i + 1, n + 1)) for a in range(i + 1))
                for i in range(n)
            ]
        )

    primal = fit(rank_level) - s / strength
    ranks = np.empty(n)
    ranks[order] = primal if kind == "l2" else np.exp(primal)
    return ranks, anchors - fit(sort_level)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
@given(values=quarters, strength=strengths)
def test_equals_the_min_max_formula(
    backend: str, kind: str, values: list[int], strength: float
) -> None:
    x = np.array(values) / 4
    ranks, ordered = brute_force(x, kind, strength)
    ranker = Projection(kind, strength)
    with rg.use_backend(backend):
        scores = torch.tensor(x)
        np.testing.assert_allclose(ranker(scores), ranks, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(ranker.sort(scores), ordered, rtol=1e-9, atol=1e-9)


@given(values=st.lists(st.integers(-12, 12), min_size=1, max_size=5), strength=strengths)
def test_l2_ranks_are_the_nearest_point_of_the_permutahedron(
    values: list[int], strength: float
) -> None:
    """No vertex lies further along the way from the ranks to the point that they project."""
    scores = torch.tensor(values, dtype=torch.float64) / 4
    ranks = Projection("l2", strength)(scores)
    n = len(values)
    # Inside: the largest k ranks sum to no more than the k last places.
    largest = ranks.sort(descending=True).values.cumsum(0)
    assert (largest <= torch.arange(n, 0, -1).cumsum(0) + 1e-9).all()
    toward = -scores / strength - ranks
    for vertex in itertools.permutations(range(1, n + 1)):
        reach = toward @ (torch.tensor(vertex, dtype=torch.float64) - ranks)
        assert reach <= 1e-8 * (1 + toward.abs().max())


@pytest.mark.parametrize("case", CASES)
def test_golden(case: str) -> None:
    arrays = golden("fast_soft_sort")[case]
    ascending = str(arrays["direction"]) == "ASCENDING"
    for dtype, kind, op in itertools.product(
        (torch.float32, torch.float64), KINDS, ("rank", "sort")
    ):
        x = torch.tensor(arrays["values"], dtype=dtype, requires_grad=True)
        cotangent = torch.tensor(arrays["cotangent"], dtype=dtype)
        ranker = Projection(kind, float(arrays["strength"]))
        if op == "rank":
            out = ranker(-x if ascending else x)
        else:
            out = ranker.sort(x, descending=not ascending)
        out.backward(cotangent)
        # The original's float32 exponentials are off by 1e-3; its float64 run on the same input
        # is what both dtypes are held against.
        rtol = 3e-7 if dtype == torch.float32 else 1e-12
        expected = arrays[f"{op}_{kind}_out64"]
        np.testing.assert_allclose(
            out.detach(), expected, rtol=0, atol=rtol * (1 + np.abs(expected).max())
        )
        if (op, kind) == ("sort", "kl"):
            continue  # the published gradient is wrong
        assert x.grad is not None
        grad, expected = x.grad.double().numpy(), arrays[f"{op}_{kind}_vjp64"]
        if op == "sort":  # which of several equal scores gets which part is up to the sort
            same = arrays["values"][:, None] == arrays["values"][None, :]
            grad, expected = same @ grad, same @ expected
        np.testing.assert_allclose(grad, expected, rtol=0, atol=10 * rtol * np.abs(expected).max())


@pytest.mark.parametrize(
    ("backend", "strength"), [("numba", 0.02), ("numba", 0.3), ("numba", 10.0), ("reference", 1.0)]
)
@pytest.mark.parametrize("kind", KINDS)
def test_gradient_is_the_derivative(backend: str, kind: str, strength: float) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = 2 * torch.randn(3, 7, dtype=torch.float64, generator=generator)
    scores.requires_grad_()
    mask = torch.tensor([1, 1, 0, 1, 1, 0, 1], dtype=torch.bool)
    ranker = Projection(kind, strength)

    def everything(s: Tensor) -> tuple[Tensor, ...]:
        with rg.use_backend(backend):
            return ranker(s), ranker(s, mask), ranker.sort(s), ranker.sort(s, mask)

    with rg.use_backend(backend):
        assert torch.autograd.gradcheck(everything, scores)


@pytest.mark.parametrize("kind", KINDS)
@given(values=quarters, strength=strengths, data=st.data())
def test_backends_agree(kind: str, values: list[int], strength: float, data: st.DataObject) -> None:
    n = len(values)
    mask = torch.tensor(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    weights = torch.linspace(-1, 1, n, dtype=torch.float64)
    found = []
    for backend in BACKENDS:
        scores = (torch.tensor(values, dtype=torch.float64) / 4).requires_grad_()
        ranker = Projection(kind, strength)
        with rg.use_backend(backend):
            ranks, ordered = ranker(scores, mask), ranker.sort(scores, mask)
            grads = [torch.autograd.grad(out, scores, weights)[0] for out in (ranks, ordered)]
        found.append([ranks, ordered, *grads])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("kind", KINDS)
@given(
    values=st.lists(st.sampled_from([-torch.inf, 0.0, 0.25, 2.0, torch.inf]), min_size=1),
    strength=strengths,
)
def test_backends_agree_on_what_is_infinite(
    kind: str, values: list[float], strength: float
) -> None:
    found = []
    for backend in BACKENDS:
        scores = torch.tensor(values, dtype=torch.float64).requires_grad_()
        ranker = Projection(kind, strength)
        with rg.use_backend(backend):
            ranks, ordered = ranker(scores), ranker.sort(scores)
            grads = [torch.autograd.grad(out.sum(), scores)[0] for out in (ranks, ordered)]
        found.append([ranks, ordered, *grads])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, equal_nan=True)
    if kind == "kl":  # -inf takes a place and has no share; nothing can have a share beside +inf
        largest = torch.tensor(max(values))
        assert (found[0][1].isfinite() == largest.isfinite()).all()


@pytest.mark.parametrize("kind", KINDS)
@given(values=quarters)
def test_small_strength_is_hard(kind: str, values: list[int]) -> None:
    scores = torch.tensor(values, dtype=torch.float64) / 4
    for strength in (1e-3, 1e-12, 1e-100):
        ranker = Projection(kind, strength)
        torch.testing.assert_close(ranker(scores), rg.rank(scores, ties="average"))
        torch.testing.assert_close(ranker.sort(scores), rg.sort(scores)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_large_strength_is_flat(kind: str) -> None:
    scores = torch.tensor([3.0, -1.0, 0.5, 100.0], dtype=torch.float64)
    for strength in (1e9, 1e100):
        ranker = Projection(kind, strength)
        torch.testing.assert_close(ranker(scores), torch.full_like(scores, 2.5))
        pooled = scores.mean() if kind == "l2" else scores.logsumexp(0) - np.log(4)
        torch.testing.assert_close(ranker.sort(scores), pooled.expand(4))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1e4, 1e12, 1e30])
def test_large_scores(kind: str, dtype: torch.dtype, size: float) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = (size * torch.randn(2, 50, dtype=dtype, generator=generator)).requires_grad_()
    ranks = Projection(kind, 0.1)(scores)
    torch.testing.assert_close(ranks, rg.rank(scores))
    ranks.square().sum().backward()
    assert (scores.grad == 0).all()
    # The same picture, enlarged.
    wide = Projection(kind, 0.5 * size)(scores)
    torch.testing.assert_close(wide, Projection(kind, 0.5)(scores / size), rtol=1e-4, atol=1e-4)


def test_equal_large_scores_share_a_rank_exactly() -> None:
    scores = torch.tensor([1e8, 1e8, 1e8, -1.0, 1e8])
    for kind in KINDS:
        ranks = Projection(kind, 1e-6)(scores)
        assert ranks.tolist() == [2.5, 2.5, 2.5, 5, 2.5]


def test_float32_of_a_long_row_is_as_good_as_float64() -> None:
    scores = torch.randn(200_000, generator=torch.Generator().manual_seed(0))
    for ranker in (Projection("l2", 1e-5), Projection("l2", 1.0), Projection("kl", 1e-5)):
        exact = ranker(scores.double())
        torch.testing.assert_close(ranker(scores).double(), exact, rtol=2e-7, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_million_scores(kind: str) -> None:
    scores = torch.randn(1_000_000, generator=torch.Generator().manual_seed(0)).requires_grad_()
    ranks = Projection(kind, 1e-4)(scores)
    n = scores.numel()
    torch.testing.assert_close(ranks.double().sum().item(), n * (n + 1) / 2, rtol=1e-7, atol=0)
    assert (ranks[scores.argsort(descending=True)].diff() >= 0).all()
    ranks[:1000].sum().backward()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()
    # All ranks rise together when no score moves against another.
    torch.testing.assert_close(scores.grad.double().sum().item() / n, 0.0, rtol=0, atol=1e-5)


def test_backward_twice_gives_the_same() -> None:
    scores = torch.tensor([0.3, 0.1, 0.2], requires_grad=True)
    ranks = Projection()(scores)
    first, second = (
        torch.autograd.grad(ranks, scores, torch.tensor([1.0, 2.0, -1.0]), retain_graph=True)[0]
        for _ in range(2)
    )
    assert torch.equal(first, second)


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match=r"regularization must be one of 'l2', 'kl', got 'l1'"):
        Projection("l1")
    for bad in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="strength must be"):
            Projection(strength=bad)


@given(values=st.lists(st.integers(-100, 100), min_size=2, max_size=9, unique=True))
def test_l2_is_hard_below_the_smallest_gap_and_l2_sort_above_the_largest(values: list[int]) -> None:
    scores = torch.tensor(values, dtype=torch.float64)
    gaps = -rg.sort(scores)[0].diff()
    below = Projection("l2", 0.999 * gaps.min().item())
    torch.testing.assert_close(below(scores), rg.rank(scores))
    sharp = Projection("l2", 0.999 / gaps.max().item())
    torch.testing.assert_close(sharp.sort(scores), rg.sort(scores)[0])
