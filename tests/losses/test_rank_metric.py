import pytest
import torch
from torch import Tensor, nn

from rankgrad.losses import RankMetricLoss


def discounted_gain(ranks: Tensor, relevance: Tensor, mask: Tensor | None = None) -> Tensor:
    gain = relevance / torch.log2(1 + ranks)
    return -(gain if mask is None else torch.where(mask, gain, 0.0)).sum(-1)


SCORES = torch.tensor([[0.3, 0.9, 0.5], [0.1, 0.2, 0.9]])
RELEVANCE = torch.tensor([[1, 0, 2], [0, 0, 1]])


def test_with_the_hard_ranker_it_is_the_metric() -> None:
    metric = RankMetricLoss(discounted_gain, ranker="hard", reduction="none")
    ranks = torch.tensor([[3.0, 1.0, 2.0], [3.0, 2.0, 1.0]])
    torch.testing.assert_close(metric(SCORES, RELEVANCE), discounted_gain(ranks, RELEVANCE))


@pytest.mark.parametrize("ranker", ["sodeep", "projection", "laplace"])
def test_with_a_soft_ranker_it_trains(ranker: str) -> None:
    loss = RankMetricLoss(discounted_gain, ranker=ranker)
    metric = RankMetricLoss(discounted_gain, ranker="hard")
    scores = SCORES.clone().requires_grad_()
    optimizer = torch.optim.Adam([scores], lr=0.05)
    for _ in range(100):
        optimizer.zero_grad()
        loss(scores, RELEVANCE).backward()
        optimizer.step()
    assert metric(scores, RELEVANCE) < metric(SCORES, RELEVANCE)
    assert scores.argsort(descending=True)[0].tolist() == [2, 0, 1]


def test_the_criterion_gets_the_mask() -> None:
    mask = torch.tensor([True, False, True])
    loss = RankMetricLoss(discounted_gain, ranker="logistic")
    scores = SCORES.clone()
    expected = loss(scores[:, mask], RELEVANCE[:, mask])
    scores[:, 1] = torch.nan
    torch.testing.assert_close(loss(scores, RELEVANCE, mask), expected)


def test_targets_may_be_anything() -> None:
    loss = RankMetricLoss(lambda ranks, k: ranks[..., k], ranker="hard", reduction="sum")
    assert loss(SCORES, 0) == 6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    seen = []

    def criterion(ranks: Tensor, _: object) -> Tensor:
        seen.append(ranks.dtype)
        return ranks.sum(-1)

    assert RankMetricLoss(criterion, ranker="hard")(SCORES.to(dtype), None).dtype == dtype
    assert seen == [torch.float32]


def test_no_rows_give_zero_with_a_graph() -> None:
    scores = torch.zeros(0, 3, requires_grad=True)
    loss = RankMetricLoss(discounted_gain)(scores, torch.zeros(0, 3))
    loss.backward()
    assert loss == 0


def test_modules_take_part() -> None:
    criterion = nn.MSELoss(reduction="none")
    loss = RankMetricLoss(criterion, ranker="hard")
    assert criterion in loss.children()
    assert loss(SCORES, torch.tensor([[3.0, 1, 2], [3, 2, 1]])) == 0
    assert "criterion=MSELoss, ranker=Hard(ties='ordinal'), reduction='mean'" in repr(loss)
    assert "criterion=discounted_gain" in repr(RankMetricLoss(discounted_gain))


def test_bad_arguments_are_named() -> None:
    with pytest.raises(TypeError, match="criterion"):
        RankMetricLoss("ndcg")
    with pytest.raises(TypeError, match="scores"):
        RankMetricLoss(discounted_gain)(SCORES.long(), RELEVANCE)
