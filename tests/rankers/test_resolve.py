"""What may stand after ``ranker=``."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

import rankgrad as rg
from rankgrad.rankers import RANKERS, Custom, Hard, Pairwise, Projection, Ranker, as_ranker


def test_names() -> None:
    assert as_ranker("hard") == Hard()
    assert as_ranker("laplace") == Pairwise(rg.Laplace())
    assert as_ranker("sodeep") == Pairwise(rg.Logistic(), "auto")
    assert as_ranker("projection_kl") == Projection("kl")
    for name in RANKERS:
        assert isinstance(as_ranker(name), Ranker)
        assert f'"{name}"' in str(as_ranker.__doc__)


def test_a_ranker_is_itself() -> None:
    ranker = Projection(strength=0.3)
    assert as_ranker(ranker) is ranker


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"ranker must be one of 'hard', .*, got 'sharp'"):
        as_ranker("sharp")


def test_anything_else_is_refused() -> None:
    with pytest.raises(TypeError, match="ranker"):
        as_ranker(3)
    with pytest.raises(TypeError, match=r"ranker must be an object, not a class.*Projection\(\)"):
        as_ranker(Projection)


def test_a_callable_is_wrapped() -> None:
    def flip(scores: Tensor) -> Tensor:
        return -scores

    ranker = as_ranker(flip)
    assert ranker == Custom(flip)
    scores = torch.tensor([[1.0, 2.0]])
    assert torch.equal(ranker(scores), -scores)
    assert torch.equal(as_ranker(torch.nn.Identity())(scores), scores)
    with pytest.raises(TypeError, match=r"takes scores only; let it take \(scores, mask\)"):
        ranker(scores, torch.tensor([True, False]))
    with pytest.raises(ValueError, match="must return ranks in the shape of the scores"):
        as_ranker(lambda s: s.sum())(scores)


def test_a_module_says_by_its_forward_whether_it_takes_a_mask() -> None:
    class Takes(torch.nn.Module):
        def forward(self, scores: Tensor, mask: Tensor) -> Tensor:
            return torch.where(mask, scores, 7.0)

    scores, mask = torch.tensor([1.0, 2.0]), torch.tensor([True, False])
    assert as_ranker(Takes())(scores, mask).tolist() == [1, 0]
    with pytest.raises(TypeError, match=r"takes scores only; let it take \(scores, mask\)"):
        as_ranker(torch.nn.Identity())(scores, mask)


def test_a_callable_may_be_one_that_cannot_be_hashed() -> None:
    @dataclass
    class Shifted:
        by: float

        def __call__(self, scores: Tensor, mask: Tensor | None = None) -> Tensor:
            return scores + self.by

    ranks = as_ranker(Shifted(1.0))(torch.tensor([1.0, 2.0]), torch.tensor([True, False]))
    assert ranks.tolist() == [2, 0]


def test_a_callable_may_take_a_mask() -> None:
    seen = []

    def masked(scores: Tensor, mask: Tensor | None = None) -> Tensor:
        seen.append(mask)
        return scores

    scores = torch.tensor([[1.0, 2.0]])
    mask = torch.tensor([True, False])
    assert as_ranker(masked)(scores, mask).tolist() == [[1, 0]]
    assert as_ranker(masked)(scores).tolist() == [[1, 2]]
    assert seen[0].tolist() == [[True, False]]
    assert seen[1] is None
