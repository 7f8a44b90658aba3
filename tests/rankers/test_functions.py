"""soft_rank, soft_sort and soft_quantile."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import rankgrad as rg
from rankgrad.rankers import Hard, Pairwise, Projection, soft_quantile, soft_rank, soft_sort

SHARP = Projection(strength=1e-9)
SOFT = Projection(strength=2.0)


def randn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("ranker", ["projection", SOFT, Pairwise(rg.Laplace(0.3))])
def test_soft_rank_is_the_ranker(ranker: str | Projection | Pairwise) -> None:
    scores = randn(3, 4)
    call = rg.rankers.as_ranker(ranker)
    torch.testing.assert_close(soft_rank(scores, ranker), call(scores))
    torch.testing.assert_close(soft_rank(scores, ranker, 0), call(scores.t()).t())
    torch.testing.assert_close(soft_rank(scores, ranker, descending=False), call(-scores))
    torch.testing.assert_close(soft_rank(scores, ranker, normalize=True), call(scores) / 4)


@given(
    values=st.lists(st.integers(-6, 6), min_size=1, max_size=8),
    descending=st.booleans(),
    normalize=st.booleans(),
    data=st.data(),
)
def test_soft_rank_with_a_hard_ranker_is_rank(
    values: list[int], descending: bool, normalize: bool, data: st.DataObject
) -> None:
    n = len(values)
    scores = torch.tensor([values], dtype=torch.float64)
    mask = torch.tensor(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    found = soft_rank(
        scores, Hard("average"), descending=descending, normalize=normalize, mask=mask
    )
    expected = rg.rank(
        scores, descending=descending, ties="average", normalize=normalize, mask=mask
    )
    torch.testing.assert_close(found, expected)


def test_soft_sort() -> None:
    scores = randn(3, 5)
    torch.testing.assert_close(soft_sort(scores, SHARP), rg.sort(scores)[0])
    torch.testing.assert_close(
        soft_sort(scores, SHARP, 0, descending=False), scores.sort(dim=0).values
    )
    torch.testing.assert_close(soft_sort(scores, SOFT), SOFT.sort(scores))
    mask = torch.tensor([True, False, True, True, False])
    found = soft_sort(scores, SHARP, mask=mask)
    torch.testing.assert_close(found[:, :3], rg.sort(scores[:, mask])[0])
    assert (found[:, 3:] == 0).all()


def test_soft_sort_wants_a_ranker_that_sorts() -> None:
    with pytest.raises(TypeError, match=r"ranker must be one that sorts.*got Hard"):
        soft_sort(torch.ones(3), "hard")


@pytest.mark.parametrize("q", [0.0, 0.25, 0.5, 0.9, 1.0, 1])
def test_sharp_quantile_is_torch_quantile(q: float) -> None:
    scores = randn(3, 4, 7)
    torch.testing.assert_close(soft_quantile(scores, q, SHARP), scores.quantile(q, dim=-1))
    torch.testing.assert_close(soft_quantile(scores, q, SHARP, 0), scores.quantile(q, dim=0))


def test_many_quantiles_at_once() -> None:
    scores = randn(3, 7)
    q = torch.tensor([[0.1, 0.5], [0.9, 1.0]], dtype=torch.float64)
    found = soft_quantile(scores, q, SHARP)
    assert found.shape == (2, 2, 3)
    torch.testing.assert_close(found.flatten(0, 1), scores.quantile(q.flatten(), dim=-1))
    assert soft_quantile(scores, q[:0], SHARP).shape == (0, 2, 3)


def test_quantile_of_a_masked_row_is_that_of_its_items() -> None:
    scores = randn(3, 6)
    mask = torch.tensor([[1, 1, 0, 1, 1, 0], [0, 0, 1, 0, 0, 0], [0] * 6], dtype=torch.bool)
    held = scores.masked_fill(~mask, torch.nan)
    found = soft_quantile(held, 0.3, SOFT, mask=mask)
    for row in range(2):
        torch.testing.assert_close(found[row], soft_quantile(scores[row, mask[row]], 0.3, SOFT))
    assert found[2].isnan()
    assert soft_quantile(torch.ones(2, 0), 0.5).isnan().all()


def test_quantile_gradient() -> None:
    scores = randn(2, 6).requires_grad_()
    q = torch.tensor([0.13, 0.55], dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([1, 1, 0, 1, 1, 1], dtype=torch.bool)
    assert torch.autograd.gradcheck(lambda s, p: soft_quantile(s, p, SOFT), (scores, q))
    assert torch.autograd.gradcheck(lambda s: soft_quantile(s, 0.4, SOFT, mask=mask), scores)


def test_quantile_dtype() -> None:
    scores = randn(9).bfloat16()
    assert soft_quantile(scores, 0.5).dtype == torch.bfloat16
    assert soft_sort(scores).dtype == torch.bfloat16
    assert soft_rank(scores).dtype == torch.float32


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match=r"q must be in \[0, 1\], got 1.5"):
        soft_quantile(torch.ones(3), 1.5)
    with pytest.raises(TypeError, match="q"):
        soft_quantile(torch.ones(3), torch.tensor(1))
    with pytest.raises(ValueError, match="mask must broadcast"):
        soft_rank(torch.ones(3), mask=torch.ones(2, dtype=torch.bool))
    for call in (soft_rank, soft_sort):
        with pytest.raises(ValueError, match="scores must have at least one dimension"):
            call(torch.tensor(1.0))
        with pytest.raises(TypeError, match="scores"):
            call(torch.tensor([1, 2]))


@pytest.mark.compile
def test_compiles_into_one_graph() -> None:
    def everything(scores: Tensor, mask: Tensor) -> Tensor:
        ranks = soft_rank(scores, normalize=True, mask=mask)
        return ranks.sum() + soft_sort(scores).sin().sum() + soft_quantile(scores, 0.3).sum()

    torch.compiler.reset()
    scores, mask = randn(3, 5), randn(3, 5, seed=1) > 0
    compiled = torch.compile(everything, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(scores, mask), everything(scores, mask))
