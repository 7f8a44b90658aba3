import itertools
import math
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    label_ranking_average_precision_score,
    ndcg_score,
)
from torch import Tensor

from rankgrad.metrics import (
    average_precision,
    mean_average_precision,
    mrr,
    ndcg,
    precision_at_k,
    recall_at_k,
)

METRICS: dict[str, Callable[..., Tensor]] = {
    "average_precision": average_precision,
    "mrr": mrr,
    "ndcg": ndcg,
    "ndcg_exponential_at_3": partial(ndcg, k=3, gain="exponential"),
    "precision_at_2": partial(precision_at_k, k=2),
    "recall_at_3": partial(recall_at_k, k=3),
    "recall_at_2_capped": partial(recall_at_k, k=2, kind="capped"),
    "recall_at_2_any": partial(recall_at_k, k=2, kind="any"),
}
each = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS.keys())


def draw(n: int, levels: int, seed: int, rows: tuple[int, ...] = ()) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(levels, (*rows, n), generator=generator).float() / levels
    relevance = (torch.randint(6, (*rows, n), generator=generator) - 2).clamp(min=0)
    return scores, relevance


lists = given(n=st.integers(0, 12), levels=st.integers(1, 15), seed=st.integers(0, 10**6))
few = given(n=st.integers(1, 6), levels=st.integers(1, 6), seed=st.integers(0, 10**6))


def expectation(value: Callable[[list[int]], float], scores: Tensor, relevance: Tensor) -> float:
    """The mean of ``value(relevance from first to last)`` over all orders that sort the scores."""
    orders = [
        order
        for order in itertools.permutations(range(len(scores)))
        if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order))
    ]
    return sum(value([int(relevance[i]) for i in order]) for order in orders) / len(orders)


@lists
def test_average_precision_equals_sklearn(n: int, levels: int, seed: int) -> None:
    scores, relevance = draw(n, levels, seed)
    got = average_precision(scores, relevance)
    if (relevance > 0).any():
        expected = average_precision_score(relevance > 0, scores)
        assert got.item() == pytest.approx(expected, abs=1e-6)
    else:
        assert got.item() == 0


def test_mean_average_precision_over_classes_equals_sklearn() -> None:
    scores, relevance = draw(4, 10, 0, rows=(50,))
    relevance[:, 2] = 0  # a class that does not occur is left out
    present = [0, 1, 3]
    expected = average_precision_score(relevance[:, present] > 0, scores[:, present])
    got = mean_average_precision(scores, relevance, dim=0)
    assert got.item() == pytest.approx(expected, abs=1e-6)
    mask = torch.ones_like(scores, dtype=torch.bool)
    mask[25:] = False
    torch.testing.assert_close(
        mean_average_precision(scores, relevance, 0, mask=mask),
        mean_average_precision(scores[:25], relevance[:25], 0),
    )


@given(
    n=st.integers(2, 12),
    levels=st.integers(1, 15),
    k=st.sampled_from([None, 1, 3, 12, 20]),
    seed=st.integers(0, 10**6),
)
def test_ndcg_equals_sklearn(n: int, levels: int, k: int | None, seed: int) -> None:
    scores, relevance = draw(n, levels, seed)
    expected = ndcg_score(relevance[None], scores[None], k=k)
    assert ndcg(scores, relevance, k).item() == pytest.approx(expected, abs=1e-6)
    expected = ndcg_score(2 ** relevance[None] - 1, scores[None], k=k)
    got = ndcg(scores, relevance, k, gain="exponential")
    assert got.item() == pytest.approx(expected, abs=1e-6)


@given(n=st.integers(2, 12), levels=st.integers(1, 15), seed=st.integers(0, 10**6))
def test_mrr_with_one_relevant_item_equals_sklearn(n: int, levels: int, seed: int) -> None:
    scores, _ = draw(n, levels, seed, rows=(3,))
    generator = torch.Generator().manual_seed(seed)
    relevance = torch.zeros(3, n).scatter(1, torch.randint(n, (3, 1), generator=generator), 1)
    expected = label_ranking_average_precision_score(relevance, scores)
    assert mrr(scores, relevance).item() == pytest.approx(expected, abs=1e-6)


def test_mrr_takes_the_first_relevant_item() -> None:
    scores, relevance = torch.tensor([0.5, 0.9, 0.7, 0.1]), torch.tensor([1, 0, 2, 1])
    assert mrr(scores, relevance).item() == 0.5


@few
def test_precision_at_k_is_an_expectation_over_ties(n: int, levels: int, seed: int) -> None:
    scores, relevance = draw(n, levels, seed)
    for k in (1, 2, 4, 9):
        got = precision_at_k(scores, relevance, k, reduction="none").item()
        expected = expectation(lambda r, k=k: sum(x > 0 for x in r[:k]) / k, scores, relevance)
        assert got == pytest.approx(expected, abs=1e-6)


@few
def test_recall_at_k_is_an_expectation_over_ties(n: int, levels: int, seed: int) -> None:
    scores, relevance = draw(n, levels, seed)
    count = max(int((relevance > 0).sum()), 1)
    for k in (1, 2, 4, 9):
        values = {
            "all": lambda r, k=k: sum(x > 0 for x in r[:k]) / count,
            "capped": lambda r, k=k: sum(x > 0 for x in r[:k]) / min(count, k),
            "any": lambda r, k=k: float(any(x > 0 for x in r[:k])),
        }
        for kind, value in values.items():
            expected = expectation(value, scores, relevance)
            got = recall_at_k(scores, relevance, k, kind=kind)
            assert got.item() == pytest.approx(expected, abs=1e-6), kind


def test_any_hit_among_many_equal_scores() -> None:
    relevance = torch.zeros(100_000)
    relevance[:30] = 1
    expected = 1 - math.prod((100_000 - 1000 - i) / (100_000 - i) for i in range(30))
    got = recall_at_k(torch.zeros(100_000), relevance, 1000, kind="any")
    assert got.item() == pytest.approx(expected, abs=1e-6)


@each
def test_leading_dimensions_are_batch(metric: Callable[..., Tensor]) -> None:
    scores, relevance = draw(7, 5, 1, rows=(3, 4))
    got = metric(scores, relevance, reduction="none")
    assert got.shape == (3, 4)
    for row in np.ndindex(3, 4):
        torch.testing.assert_close(got[row], metric(scores[row], relevance[row]))


@each
@given(seed=st.integers(0, 10**6), hidden=st.sampled_from([9.0, torch.nan, torch.inf]))
def test_mask_equals_leaving_out(metric: Callable[..., Tensor], seed: int, hidden: float) -> None:
    scores, relevance = draw(9, 5, seed)
    mask = torch.rand(9, generator=torch.Generator().manual_seed(seed)) < 0.7
    expected = metric(scores[mask], relevance[mask])
    scores[~mask] = hidden
    relevance[~mask] = 7
    torch.testing.assert_close(metric(scores, relevance, mask=mask), expected)


@each
@given(seed=st.integers(0, 10**6))
def test_order_of_the_items_does_not_matter(metric: Callable[..., Tensor], seed: int) -> None:
    scores, relevance = draw(12, 6, seed)
    shuffle = torch.randperm(12, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(
        metric(scores[shuffle], relevance[shuffle]), metric(scores, relevance)
    )


@each
def test_lists_without_a_relevant_item_are_zero_and_left_out_of_the_mean(
    metric: Callable[..., Tensor],
) -> None:
    scores = torch.tensor([[0.3, 0.2, 0.1], [0.3, 0.2, 0.1], [0.1, 0.2, 0.3]])
    relevance = torch.tensor([[1, 0, 0], [0, 0, 0], [1, 0, 0]])
    rows = metric(scores, relevance, reduction="none")
    assert rows[1] == 0
    torch.testing.assert_close(metric(scores, relevance), rows[[0, 2]].mean())
    assert metric(scores[1], relevance[1]) == 0


@each
@pytest.mark.parametrize("shape", [(0,), (1,), (3, 0), (0, 4), (2, 1)])
def test_nothing_to_find(metric: Callable[..., Tensor], shape: tuple[int, ...]) -> None:
    scores = torch.ones(shape)
    assert metric(scores, torch.zeros(shape)) == 0
    assert metric(scores, torch.zeros(shape), reduction="none").shape == shape[:-1]


@each
def test_nan_gives_nan_for_that_row(metric: Callable[..., Tensor]) -> None:
    scores, relevance = torch.rand(2, 4), torch.tensor([[1, 0, 1, 0], [1, 0, 0, 0]])
    scores[1, 2] = torch.nan
    assert metric(scores, relevance, reduction="none").isnan().tolist() == [False, True]


@each
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtypes(metric: Callable[..., Tensor], dtype: torch.dtype) -> None:
    scores, relevance = draw(40, 30, 2)
    got = metric(scores.to(dtype), relevance)
    assert got.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    expected = metric(scores.to(dtype).double(), relevance)
    torch.testing.assert_close(got.double(), expected, atol=1e-6, rtol=0)


@each
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.bfloat16, torch.float64])
def test_relevance_may_be_of_any_dtype(metric: Callable[..., Tensor], dtype: torch.dtype) -> None:
    scores, relevance = draw(10, 30, 3)
    relevance = (relevance > 0).long()
    torch.testing.assert_close(metric(scores, relevance.to(dtype)), metric(scores, relevance))


def test_bad_arguments_are_named() -> None:
    x = torch.rand(3)
    with pytest.raises(TypeError, match="scores"):
        average_precision(x.long(), x)
    with pytest.raises((TypeError, ValueError), match="relevance"):
        mrr(x, x[:2])
    with pytest.raises(ValueError, match="k must be >= 1, got 0"):
        precision_at_k(x, x, 0)
    with pytest.raises(TypeError, match="k"):
        recall_at_k(x, x, 1.5)
    with pytest.raises(ValueError, match="kind must be one of"):
        recall_at_k(x, x, 1, kind="some")
    with pytest.raises(ValueError, match="gain must be one of"):
        ndcg(x, x, gain="cubic")


@pytest.mark.compile
@each
def test_compiles_without_a_graph_break(metric: Callable[..., Tensor]) -> None:
    scores, relevance = draw(9, 5, 4, rows=(3,))
    compiled = torch.compile(metric, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(scores, relevance), metric(scores, relevance))


@each
def test_vmap(metric: Callable[..., Tensor]) -> None:
    scores, relevance = draw(9, 5, 5, rows=(3,))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch names operators without a batching rule
        got = torch.func.vmap(metric)(scores, relevance)
    torch.testing.assert_close(got, metric(scores, relevance, reduction="none"))


def test_negative_relevance_is_refused() -> None:
    scores, relevance = torch.rand(4), torch.tensor([1, 2, 0, -1])
    for gain in ("linear", "exponential"):
        with pytest.raises(ValueError, match="relevance must not be negative"):
            ndcg(scores, relevance, gain=gain)
        masked = ndcg(scores, relevance, gain=gain, mask=relevance >= 0)
        torch.testing.assert_close(masked, ndcg(scores[:3], relevance[:3], gain=gain))
