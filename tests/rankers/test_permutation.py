"""What holds for every ranker that relaxes the permutation matrix."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import rankgrad as rg
from rankgrad.rankers import NeuralSort, PermutationRanker, Sinkhorn, SoftSort, SortingNetwork

UNROLLED = Sinkhorn(0.2, gradient="unrolled", iterations=3)
RANKERS = [
    NeuralSort(0.7),
    NeuralSort(0.7, renormalize=False),
    SoftSort(0.3),
    SoftSort(0.3, renormalize=False),
    Sinkhorn(0.3, tolerance=1e-12),
    UNROLLED,
    SortingNetwork("odd_even", steepness=4.0),
    SortingNetwork("bitonic", "logistic", steepness=4.0),
]
# Columns sum to 1 as well.
BALANCED = [ranker for ranker in RANKERS if isinstance(ranker, Sinkhorn | SortingNetwork)]
# The order in which scores come does not matter. (SoftSort has a kink at equal scores.)
EQUIVARIANT = [ranker for ranker in RANKERS if not isinstance(ranker, SortingNetwork)]
# Close to hard at a gap of 0.01.
SHARP = [
    NeuralSort(1e-5),
    SoftSort(1e-5),
    Sinkhorn(1e-6),
    SortingNetwork("odd_even", "logistic", 1e5),
    SortingNetwork("bitonic", "normal", 1e5),
    SortingNetwork("bitonic", "cauchy", 1e8),
]
few = settings(max_examples=20)
every = pytest.mark.parametrize("ranker", RANKERS, ids=str)
scores_with_ties = st.lists(st.integers(-6, 6), min_size=1, max_size=9)


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def random_mask() -> Tensor:
    mask = torch.rand(4, 7, generator=torch.Generator().manual_seed(5)) < 0.6
    mask[1], mask[2] = False, True
    return mask


@every
def test_rows_are_distributions(ranker: PermutationRanker) -> None:
    matrix = ranker.permutation(randn(3, 2, 9))
    assert matrix.shape == (3, 2, 9, 9)
    assert (matrix >= 0).all()
    if ranker != Sinkhorn(0.2, gradient="unrolled", iterations=3):  # whose rows come last
        torch.testing.assert_close(matrix.sum(-1), torch.ones(3, 2, 9).double())


@pytest.mark.parametrize("ranker", BALANCED, ids=str)
def test_columns_are_distributions(ranker: PermutationRanker) -> None:
    matrix = ranker.permutation(randn(3, 9))
    torch.testing.assert_close(matrix.sum(-2), torch.ones(3, 9).double())


@every
def test_everything_agrees_with_the_matrix(ranker: PermutationRanker) -> None:
    """Values and gradients of what never builds the matrix are those of what uses it."""
    values, weights = randn(4, 7, seed=1), randn(4, 7, seed=2)
    place = torch.arange(1, 8, dtype=torch.float64)

    def ranks(x: Tensor) -> Tensor:
        matrix = ranker.permutation(x)
        if isinstance(ranker, SoftSort) and ranker.renormalize:
            ordered = x.sort(-1, descending=True).values
            near = -(ordered.unsqueeze(-1) - x.unsqueeze(-2)).abs() / ranker.temperature
            matrix = near.softmax(dim=-2)
        return place @ matrix / (matrix.sum(-2) if getattr(ranker, "renormalize", False) else 1)

    pairs = [
        (ranker, ranks),
        (ranker.sort, lambda x: (ranker.permutation(x) @ x.unsqueeze(-1)).squeeze(-1)),
        (
            lambda x: ranker.reorder(x, values),
            lambda x: (ranker.permutation(x) @ values.unsqueeze(-1)).squeeze(-1),
        ),
    ]
    for fast, dense in pairs:
        x, y = randn(4, 7).requires_grad_(), randn(4, 7).requires_grad_()
        found, expected = fast(x), dense(y)
        torch.testing.assert_close(found, expected)
        (found * weights).sum().backward()
        (expected * weights).sum().backward()
        torch.testing.assert_close(x.grad, y.grad)


@every
@pytest.mark.parametrize("n", [1, 2, 5])
def test_gradcheck(ranker: PermutationRanker, n: int) -> None:
    scores = randn(2, n, seed=n).requires_grad_()
    values = randn(2, n, seed=9).requires_grad_()
    assert torch.autograd.gradcheck(ranker, scores)
    assert torch.autograd.gradcheck(ranker.permutation, scores, fast_mode=True)
    assert torch.autograd.gradcheck(ranker.sort, scores)
    assert torch.autograd.gradcheck(ranker.reorder, (scores, values))


@every
def test_mask_equals_removing_the_items(ranker: PermutationRanker) -> None:
    scores, values, mask = randn(4, 7), randn(4, 7, seed=1), random_mask()
    held = scores.masked_fill(~mask, torch.inf).requires_grad_()
    matrix = ranker.permutation(held, mask)
    reordered = ranker.reorder(held, values.masked_fill(~mask, torch.nan), mask)
    for row in range(4):
        m, kept = int(mask[row].sum()), mask[row]
        torch.testing.assert_close(matrix[row, :m][:, kept], ranker.permutation(scores[row, kept]))
        assert (matrix[row, m:] == 0).all()
        assert (matrix[row][:, ~kept] == 0).all()
        expected = ranker.reorder(scores[row, kept], values[row, kept])
        torch.testing.assert_close(reordered[row, :m], expected)
        assert (reordered[row, m:] == 0).all()
    (matrix.square().sum() + reordered.square().sum()).backward()
    assert held.grad is not None
    assert held.grad.isfinite().all()
    assert (held.grad[~mask] == 0).all()


@pytest.mark.parametrize("ranker", EQUIVARIANT, ids=str)
@few
@given(values=scores_with_ties, data=st.data())
def test_the_order_of_the_scores_does_not_matter(
    ranker: PermutationRanker, values: list[int], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(values))))
    weights = randn(len(values))
    x = (torch.tensor(values, dtype=torch.float64) / 4).requires_grad_()
    y = x.detach()[order].requires_grad_()
    ranks, moved = ranker(x), ranker(y)
    torch.testing.assert_close(moved, ranks[order], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(ranker.sort(y), ranker.sort(x), rtol=1e-6, atol=1e-6)
    if isinstance(ranker, SoftSort) and len(set(values)) < len(values):
        return
    (ranks * weights).sum().backward()
    (moved * weights[order]).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(y.grad, x.grad[order], rtol=1e-5, atol=1e-5)


@every
@few
@given(values=scores_with_ties, shift=st.integers(-50, 50))
def test_a_shift_moves_nothing_but_the_values(
    ranker: PermutationRanker, values: list[int], shift: int
) -> None:
    scores = torch.tensor(values, dtype=torch.float64) / 4
    moved = scores + shift
    torch.testing.assert_close(ranker(moved), ranker(scores), rtol=1e-6, atol=1e-6)
    matrix = ranker.permutation(scores)
    torch.testing.assert_close(ranker.permutation(moved), matrix, rtol=1e-6, atol=1e-6)
    expected = ranker.sort(scores) + shift * matrix.sum(-1)
    torch.testing.assert_close(ranker.sort(moved), expected, rtol=1e-6, atol=1e-6)


# Without renormalisation columns do not sum to 1, and ranks may swap and leave [1, n].
MONOTONE = [r for r in EQUIVARIANT if getattr(r, "renormalize", True)]


@pytest.mark.parametrize("ranker", MONOTONE, ids=str)
@few
@given(values=scores_with_ties)
def test_ranks_never_contradict_the_order(ranker: PermutationRanker, values: list[int]) -> None:
    scores = torch.tensor(values, dtype=torch.float64) / 4
    ranks = ranker(scores)[scores.argsort(descending=True, stable=True)]
    assert (ranks.diff() >= -1e-6).all()
    assert ranks.min() >= 1 - 1e-6
    assert ranks.max() <= len(values) + 1e-6


@pytest.mark.parametrize(
    "ranker", [r for r in RANKERS if not getattr(r, "renormalize", False)], ids=str
)
@few
@given(values=scores_with_ties)
def test_ranks_sum_to_the_triangle_number(ranker: PermutationRanker, values: list[int]) -> None:
    n = len(values)
    ranks = ranker(torch.tensor(values, dtype=torch.float64) / 4)
    if ranker == Sinkhorn(0.2, gradient="unrolled", iterations=3):
        return  # its rows do not sum to 1 yet
    torch.testing.assert_close(ranks.sum().item(), n * (n + 1) / 2)


@pytest.mark.parametrize("ranker", SHARP, ids=str)
@few
@given(values=st.lists(st.integers(-50, 50), min_size=1, max_size=9, unique=True))
def test_sharp_is_hard(ranker: PermutationRanker, values: list[int]) -> None:
    scores = torch.tensor(values, dtype=torch.float64) / 100
    ranks = rg.rank(scores)
    torch.testing.assert_close(ranker(scores), ranks, rtol=0, atol=1e-4)
    hard = (ranks == torch.arange(1, len(values) + 1).unsqueeze(-1)).double()
    torch.testing.assert_close(ranker.permutation(scores), hard, rtol=0, atol=1e-4)
    torch.testing.assert_close(ranker.sort(scores), rg.sort(scores)[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("ranker", [*SHARP, *EQUIVARIANT], ids=str)
def test_equal_scores_share_their_ranks(ranker: PermutationRanker) -> None:
    scores = torch.tensor([0.5, 0.1, 0.5, 0.5, 0.1])
    if isinstance(ranker, SortingNetwork):
        expected = rg.rank(scores, ties="average")
        assert (ranker(scores).sum() - expected.sum()).abs() < 1e-4
        assert (ranker(scores)[[0, 2, 3]] <= 3).all()
    else:
        ranks = ranker(scores)
        torch.testing.assert_close(ranks[[0, 2]], ranks[[2, 3]])
        torch.testing.assert_close(ranks[1], ranks[4])
        if ranker in SHARP:
            torch.testing.assert_close(ranks, rg.rank(scores, ties="average"))


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_infinite_scores_take_the_ends(ranker: PermutationRanker, dtype: torch.dtype) -> None:
    scores = torch.tensor([0.5, -torch.inf, torch.inf, -0.1, 0.3], dtype=dtype).requires_grad_()
    inner = scores.detach()[[0, 3, 4]]
    ranks = ranker(scores)
    assert ranks[[1, 2]].tolist() == [5, 1]
    values = ranker.sort(scores)
    assert values[[0, 4]].tolist() == [torch.inf, -torch.inf]
    matrix = ranker.permutation(scores)
    if isinstance(ranker, NeuralSort | SoftSort):  # the others depend on the number of scores
        above = matrix[:, [0, 3, 4]].sum(0) if not ranker.renormalize else 1
        torch.testing.assert_close(ranks[[0, 3, 4]], ranker(inner) + above)
        torch.testing.assert_close(values[1:4], ranker.sort(inner))
    (ranks.square().sum() + values[1:4].square().sum() + matrix.square().sum()).backward()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()
    assert (scores.grad[[1, 2]] == 0).all()


@every
def test_nan_spoils_its_row_alone(ranker: PermutationRanker) -> None:
    scores = randn(3, 5)
    scores[1, 2] = torch.nan
    for found, expected in (
        (ranker.permutation(scores), ranker.permutation(scores[::2])),
        (ranker.reorder(scores, scores * 0 + 1), ranker.reorder(scores[::2], scores[::2] * 0 + 1)),
    ):
        assert found[1].isnan().all()
        torch.testing.assert_close(found[::2], expected)


@every
def test_empty(ranker: PermutationRanker) -> None:
    scores = torch.ones(3, 0, requires_grad=True)
    assert ranker.permutation(scores).shape == (3, 0, 0)
    assert ranker.reorder(scores, scores).shape == (3, 0)
    ranker.permutation(scores).sum().backward()
    assert scores.grad is not None
    assert ranker.permutation(torch.ones(0, 4)).shape == (0, 4, 4)


@every
def test_dtypes(ranker: PermutationRanker) -> None:
    scores = randn(3, 5)
    matrix = ranker.permutation(scores)
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        low = scores.to(dtype).requires_grad_()
        found = ranker.permutation(low)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, ranker.permutation(low.float()))
        ranker.reorder(low, low).square().sum().backward()
        assert low.grad is not None
        assert low.grad.dtype == dtype
    assert ranker.reorder(scores.float(), scores).dtype == torch.float64
    torch.testing.assert_close(ranker.permutation(scores.float()).double(), matrix, rtol=1e-4,
                               atol=1e-5)  # fmt: skip
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(ranker.permutation(scores), matrix)


@every
def test_layout_does_not_matter(ranker: PermutationRanker) -> None:
    scores = randn(6, 5)
    expected = ranker.permutation(scores)
    torch.testing.assert_close(ranker.permutation(scores.t().contiguous().t()), expected)
    row = scores[:1].clone().requires_grad_()
    torch.testing.assert_close(ranker.permutation(row.expand(2, 5)), expected[:1].expand(2, 5, 5))


@every
def test_vmap(ranker: PermutationRanker) -> None:
    scores, values = randn(3, 4, 5), randn(3, 4, 5, seed=1)
    mask = randn(3, 4, 5, seed=2) > -0.5
    vmap = torch.func.vmap
    expected = ranker.permutation(scores, mask)
    torch.testing.assert_close(vmap(vmap(ranker.permutation))(scores, mask), expected)
    torch.testing.assert_close(
        vmap(ranker.reorder, (1, 1), 1)(scores, values), ranker.reorder(scores, values)
    )
    torch.testing.assert_close(
        vmap(ranker.reorder, (None, 0))(scores[0], values),
        ranker.reorder(scores[:1].expand(3, 4, 5), values),
    )


@every
@few
@given(values=st.lists(st.integers(-9, 9), min_size=1, max_size=12), data=st.data())
def test_backends_agree(ranker: PermutationRanker, values: list[int], data: st.DataObject) -> None:
    n = len(values)
    mask = torch.tensor(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    scale = data.draw(st.sampled_from([0.01, 0.1, 0.5]))
    results = []
    for backend in ("numba", "reference"):
        with rg.use_backend(backend):
            x = (torch.tensor([values, values[::-1]]).double() * scale).requires_grad_()
            ranks, matrix = ranker(x, mask), ranker.permutation(x, mask)
            (ranks.square().sum() + (matrix * randn(n, n)).sum()).backward()
            results.append((ranks, ranker.sort(x, mask), matrix, x.grad))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


@every
def test_bad_arguments_are_named(ranker: PermutationRanker) -> None:
    scores = torch.ones(2, 3)
    with pytest.raises((TypeError, ValueError), match="values"):
        ranker.reorder(scores, torch.ones(3))
    with pytest.raises(TypeError, match="values"):
        ranker.reorder(scores, torch.ones(2, 3, dtype=torch.int64))
    with pytest.raises(TypeError, match="scores"):
        ranker.permutation(torch.ones(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="mask must broadcast"):
        ranker.permutation(scores, torch.ones(2, dtype=torch.bool))


@pytest.mark.compile
@every
def test_compiles_into_one_graph(ranker: PermutationRanker) -> None:
    def loss(scores: Tensor, mask: Tensor) -> Tensor:
        matrix = ranker.permutation(scores, mask)
        return matrix.square().sum() + ranker.reorder(scores, scores.sin(), mask).cos().sum()

    torch.compiler.reset()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    mask = randn(3, 6) > -1
    leaf, twin = (randn(3, 6).requires_grad_() for _ in range(2))
    value, expected = compiled(leaf, mask), loss(twin, mask)
    torch.testing.assert_close(value, expected)
    value.backward()
    expected.backward()
    torch.testing.assert_close(leaf.grad, twin.grad)
