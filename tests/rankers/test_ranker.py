"""What holds for every ranker, whatever its idea."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import rankgrad as rg
from rankgrad.rankers import RANKERS, Pairwise, Projection, SortingRanker, as_ranker

EVERY = list(RANKERS)
# Those whose ranks are sums over pairs, or projections, or hard.
EXACT = [
    "hard", "ramp", "logistic", "laplace", "normal", "cauchy", "sodeep",
    "projection", "projection_kl", "blackbox", "straight_through",
]  # fmt: skip
SORTING = [name for name in EVERY if isinstance(as_ranker(name), SortingRanker)]
# Close to hard at a gap of 0.01.
SHARP = [
    Pairwise(rg.Step()),
    Pairwise(rg.Ramp(1e-3)),
    Pairwise(rg.Logistic(1e-4)),
    Pairwise(rg.Laplace(1e-4)),
    Pairwise(rg.Normal(1e-4)),
    Pairwise(rg.Cauchy(1e-7)),
    Projection("l2", 1e-3),
    Projection("kl", 1e-3),
]

distinct = st.lists(st.integers(-200, 200), min_size=1, max_size=9, unique=True)
with_ties = st.lists(st.integers(-6, 6), min_size=1, max_size=9)


def scores_of(values: list[int], scale: float = 4.0) -> Tensor:
    return torch.tensor(values, dtype=torch.float64) / scale


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("shape", [(1,), (2,), (5,), (3, 4), (2, 3, 4), (0, 4), (3, 0), (0,)])
def test_shape_dtype_and_gradient(name: str, shape: tuple[int, ...]) -> None:
    for dtype in (torch.float32, torch.float64):
        scores = randn(*shape, dtype=dtype).requires_grad_()
        ranks = as_ranker(name)(scores)
        assert ranks.shape == scores.shape
        assert ranks.dtype == dtype
        assert ranks.isfinite().all()
        if name != "hard":
            ranks.sum().backward()
            assert scores.grad is not None
            assert scores.grad.isfinite().all()


@pytest.mark.parametrize("name", EVERY)
def test_one_score_has_rank_one(name: str) -> None:
    torch.testing.assert_close(as_ranker(name)(torch.tensor([[3.0], [-1e6]])), torch.ones(2, 1))


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(name: str, dtype: torch.dtype) -> None:
    scores = randn(3, 7).to(dtype).requires_grad_()
    ranks = as_ranker(name)(scores)
    assert ranks.dtype == torch.float32
    torch.testing.assert_close(ranks, as_ranker(name)(scores.float()))
    if name != "hard":
        ranks.square().sum().backward()
        assert scores.grad is not None
        assert scores.grad.dtype == dtype


@pytest.mark.parametrize("name", EVERY)
def test_autocast_changes_nothing(name: str) -> None:
    scores = randn(3, 7, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        inside = as_ranker(name)(scores)
    torch.testing.assert_close(inside, as_ranker(name)(scores))


@pytest.mark.parametrize("name", EVERY)
def test_mask_equals_removing_the_items(name: str) -> None:
    ranker = as_ranker(name)
    scores = randn(4, 9)
    mask = torch.rand(4, 9, generator=torch.Generator().manual_seed(1)) < 0.6
    mask[2] = False
    mask[3] = True
    weights = randn(4, 9, seed=2)
    held = scores.clone()
    held[~mask] = torch.nan  # what a masked score holds must reach nothing
    held.requires_grad_()
    ranks = ranker(held, mask)
    assert (ranks[~mask] == 0).all()
    if name != "hard":
        (ranks * weights).sum().backward()
        assert held.grad is not None
        assert (held.grad[~mask] == 0).all()
    for row in range(4):
        alone = scores[row, mask[row]].requires_grad_()
        expected = ranker(alone)
        torch.testing.assert_close(ranks[row, mask[row]], expected)
        if name != "hard":
            (expected * weights[row, mask[row]]).sum().backward()
            torch.testing.assert_close(held.grad[row, mask[row]], alone.grad)


@pytest.mark.parametrize("name", EVERY)
def test_mask_broadcasts(name: str) -> None:
    scores = randn(2, 3, 5)
    mask = torch.tensor([True, False, True, True, False])
    whole = as_ranker(name)(scores, mask.expand(2, 3, 5))
    torch.testing.assert_close(as_ranker(name)(scores, mask), whole)


@pytest.mark.parametrize("name", EVERY)
def test_nan_spoils_its_row_alone(name: str) -> None:
    scores = randn(3, 5)
    spoilt = scores.clone()
    spoilt[1, 2] = torch.nan
    ranks = as_ranker(name)(spoilt.requires_grad_())
    assert ranks[1].isnan().all()
    torch.testing.assert_close(ranks[::2], as_ranker(name)(scores[::2]))
    if name != "hard":
        ranks[::2].square().sum().backward()
        assert spoilt.grad is not None
        assert spoilt.grad[::2].isfinite().all()


@pytest.mark.parametrize("name", EXACT)
def test_infinite_scores_take_the_ends(name: str) -> None:
    scores = torch.tensor([0.5, -torch.inf, torch.inf, -0.5])
    ranks = as_ranker(name)(scores)
    inner = as_ranker(name)(scores[[0, 3]])
    assert ranks[[1, 2]].tolist() == [4, 1]
    if name != "sodeep":  # whose steepness depends on the number of scores
        torch.testing.assert_close(ranks[[0, 3]], inner + 1)


@pytest.mark.parametrize("name", EVERY)
def test_layout_does_not_matter(name: str) -> None:
    scores = randn(6, 8)
    expected = as_ranker(name)(scores)
    torch.testing.assert_close(as_ranker(name)(scores.t().contiguous().t()), expected)
    torch.testing.assert_close(as_ranker(name)(scores.repeat_interleave(2, 1)[:, ::2]), expected)
    row = scores[:1].clone().requires_grad_()
    ranks = as_ranker(name)(row.expand(3, 8))
    torch.testing.assert_close(ranks, expected[:1].expand(3, 8))
    if name != "hard":
        ranks.sum(dim=0).square().sum().backward()


# SoDeep's slope knows the order of the scores; a network's soft swaps know where a score starts.
@pytest.mark.parametrize("name", sorted(set(EVERY) - {"sodeep", "odd_even", "bitonic"}))
def test_permutation_equivariance(name: str) -> None:
    scores = randn(4, 9)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(3))
    ranks = as_ranker(name)(scores)
    torch.testing.assert_close(
        as_ranker(name)(scores[:, order]), ranks[:, order], rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("name", EVERY)
def test_shift_invariance(name: str) -> None:
    scores = randn(4, 9)
    ranks = as_ranker(name)(scores)
    torch.testing.assert_close(as_ranker(name)(scores + 1.5), ranks, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", sorted(set(EXACT) - {"sodeep"}))
@given(values=distinct, shift=st.integers(-40, 40), data=st.data())
def test_order_and_origin_do_not_matter(
    name: str, values: list[int], shift: int, data: st.DataObject
) -> None:
    scores = scores_of(values)
    order = data.draw(st.permutations(range(len(values))))
    ranks = as_ranker(name)(scores)
    moved = as_ranker(name)(scores[order] + shift)
    torch.testing.assert_close(moved, ranks[order], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", EXACT)
@given(values=with_ties)
def test_ranks_are_monotone_and_sum_to_the_triangle_number(name: str, values: list[int]) -> None:
    scores = scores_of(values)
    n = len(values)
    ranks = as_ranker(name)(scores)
    in_order = ranks[scores.argsort(descending=True, stable=True)]
    assert (in_order.diff() >= -1e-9).all()
    assert ranks.min() >= 1 - 1e-9
    assert ranks.max() <= n + 1e-9
    torch.testing.assert_close(ranks.sum().item(), n * (n + 1) / 2)


@pytest.mark.parametrize("ranker", SHARP, ids=str)
@given(values=with_ties)
def test_sharp_rankers_give_average_ranks(ranker: Pairwise | Projection, values: list[int]) -> None:
    scores = scores_of(values, 100.0)
    expected = rg.rank(scores, ties="average")
    torch.testing.assert_close(ranker(scores), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", EVERY)
def test_vmap_adds_a_batch_dimension(name: str) -> None:
    ranker = as_ranker(name)
    scores = randn(3, 4, 5)
    mask = randn(3, 4, 5, seed=1) > -0.5
    torch.testing.assert_close(torch.func.vmap(ranker)(scores), ranker(scores))
    torch.testing.assert_close(torch.func.vmap(ranker, (2, 2))(scores, mask),
                               ranker(scores.movedim(2, 0), mask.movedim(2, 0)))  # fmt: skip
    torch.testing.assert_close(
        torch.func.vmap(ranker, (0, None))(scores, mask[0]), ranker(scores, mask[0])
    )


@pytest.mark.parametrize("name", sorted(set(EVERY) - {"hard"}))
def test_gradient_through_vmap(name: str) -> None:
    ranker = as_ranker(name)
    weights = randn(3, 4, 5, seed=1)
    mapped, plain = (randn(3, 4, 5).requires_grad_() for _ in range(2))
    (torch.func.vmap(ranker, 1, 1)(mapped) * weights).sum().backward()
    (ranker(plain) * weights).sum().backward()
    torch.testing.assert_close(mapped.grad, plain.grad)


# Left out: odd-even networks and the shipped set sorter, which are quadratic; NeuralSort and
# Sinkhorn, whose bands are wide for scores as close as a million of them are; the bitonic network,
# which takes half a minute (test_network.py has 65,536).
@pytest.mark.parametrize("name", [*EXACT, "softsort"])
def test_a_million_scores(name: str) -> None:
    scores = randn(1_000_000, dtype=torch.float32).requires_grad_()
    ranks = as_ranker(name)(scores)
    in_order = ranks[scores.argsort(descending=True, stable=True)].double()
    assert (in_order.diff() >= -0.1).all()  # float32 resolves 0.06 at a million
    assert in_order[0] >= 1
    assert in_order[-1] <= 1_000_000
    if name != "softsort":
        torch.testing.assert_close(in_order.mean().item(), 500_000.5, rtol=1e-7, atol=0)
    if name != "hard":
        ranks.square().mean().backward()
        assert scores.grad is not None
        assert scores.grad.isfinite().all()
        assert scores.grad.abs().max() > 0


@pytest.mark.compile
@pytest.mark.parametrize("name", EVERY)
def test_compiles_into_one_graph(name: str) -> None:
    ranker = as_ranker(name)

    def loss(scores: Tensor, mask: Tensor) -> Tensor:
        return ranker(scores, mask).square().sum() + ranker(scores).sin().sum()

    torch.compiler.reset()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    scores = randn(3, 6)
    mask = scores > -1
    leaf, twin = scores.clone().requires_grad_(), scores.clone().requires_grad_()
    # Uncompiled first: a shipped sorter is read from its file then, which no graph can hold.
    expected = loss(twin, mask)
    value = compiled(leaf, mask)
    torch.testing.assert_close(value, expected)
    if name != "hard":
        value.backward()
        expected.backward()
        torch.testing.assert_close(leaf.grad, twin.grad)


@pytest.mark.parametrize("name", SORTING)
def test_sorting_rankers_sort_what_is_valid(name: str) -> None:
    ranker = as_ranker(name)
    assert isinstance(ranker, SortingRanker)
    scores = randn(3, 6)
    mask = randn(3, 6, seed=1) > -0.3
    mask[1] = False
    held = scores.masked_fill(~mask, torch.nan)
    values = ranker.sort(held, mask)
    for row in range(3):
        m = int(mask[row].sum())
        torch.testing.assert_close(values[row, :m], ranker.sort(scores[row, mask[row]]))
        assert (values[row, m:] == 0).all()
    torch.testing.assert_close(ranker.sort(scores, descending=False), -ranker.sort(-scores))
    assert ranker.sort(scores.bfloat16()).dtype == torch.bfloat16
    assert ranker.sort(scores[:, :0]).shape == (3, 0)
    scores[0, 3] = torch.nan
    assert ranker.sort(scores)[0].isnan().all()
    assert ranker.sort(scores)[1:].isfinite().all()


@pytest.mark.parametrize("name", EVERY)
def test_a_ranker_is_a_value(name: str) -> None:
    ranker = as_ranker(name)
    assert ranker == as_ranker(name) == copy.deepcopy(ranker)
    assert hash(ranker) == hash(as_ranker(name))
    assert type(ranker).__name__ in repr(ranker)
    with pytest.raises(AttributeError):
        ranker.strength = 2.0


@pytest.mark.parametrize("name", EVERY)
def test_bad_input_is_named(name: str) -> None:
    ranker = as_ranker(name)
    with pytest.raises(TypeError, match="scores"):
        ranker(torch.tensor([1, 2]))
    with pytest.raises((TypeError, ValueError), match="scores"):
        ranker(torch.tensor(1.0))
    with pytest.raises(TypeError, match="mask"):
        ranker(torch.ones(2, 3), torch.ones(2, 3))
    with pytest.raises(ValueError, match="mask must broadcast"):
        ranker(torch.ones(2, 3), torch.ones(2, dtype=torch.bool))
