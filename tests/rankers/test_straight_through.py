"""The values of one ranker, the gradient of another."""

import pytest
import torch
from torch import Tensor

import rankgrad as rg
from rankgrad.rankers import Hard, Pairwise, Projection, StraightThrough


@pytest.mark.parametrize("soft", ["projection", "logistic", "blackbox", Projection("kl", 0.3)])
def test_values_are_hard_and_gradients_soft(soft: str | Projection) -> None:
    generator = torch.Generator().manual_seed(0)
    scores, twin = torch.randn(4, 300, generator=generator).repeat(2, 1, 1).unbind()
    weights = torch.randn(4, 300, generator=generator)
    mask = torch.rand(4, 300, generator=generator) < 0.8
    scores.requires_grad_()
    twin.requires_grad_()
    ranker = StraightThrough(Hard("average"), soft)
    ranks = ranker(scores, mask)
    assert torch.equal(ranks, rg.rank(scores, ties="average", mask=mask))
    (ranks * weights).sum().backward()
    assert isinstance(ranker.soft, rg.rankers.Ranker)
    (ranker.soft(twin, mask) * weights).sum().backward()
    torch.testing.assert_close(scores.grad, twin.grad)


def test_takes_names_and_callables() -> None:
    def mine(scores: Tensor) -> Tensor:
        return -scores

    ranker = StraightThrough(soft=mine)
    scores = torch.tensor([3.0, 5.0], requires_grad=True)
    ranker(scores).sum().backward()
    assert scores.grad is not None
    assert scores.grad.tolist() == [-1, -1]
    assert StraightThrough("hard", "logistic") == StraightThrough(Hard(), Pairwise(rg.Logistic()))
    with pytest.raises(ValueError, match="ranker must be one of"):
        StraightThrough(soft="none")
