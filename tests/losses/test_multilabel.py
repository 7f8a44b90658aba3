import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rankgrad.losses import MapRankingLoss, map_ranking_loss
from support import golden, golden_cases


def draw(*shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(shape, generator=generator, dtype=torch.float64)
    return scores, (torch.rand(shape, generator=generator) < 0.3).double()


def brute_force(scores: Tensor, targets: Tensor) -> Tensor:
    """Class by class, positive by positive, with logistic ranks."""
    n, classes = scores.shape
    losses = []
    for c in range(classes):
        total = scores.new_zeros(())
        for i in range(n):
            if targets[i, c] > 0:
                ahead = [torch.sigmoid(scores[j, c] - scores[i, c]) for j in range(n) if j != i]
                total = total + 1 + sum(ahead)
        losses.append(total / n)
    return torch.stack(losses)


@given(n=st.integers(1, 9), classes=st.integers(1, 3), seed=st.integers(0, 1000))
def test_equals_the_definition(n: int, classes: int, seed: int) -> None:
    scores, targets = draw(n, classes, seed=seed)
    each = map_ranking_loss(scores, targets, ranker="logistic", reduction="none")
    expected = brute_force(scores, targets)
    torch.testing.assert_close(each, expected)
    positives = targets.sum(0)
    mean = map_ranking_loss(scores, targets, ranker="logistic")
    torch.testing.assert_close(mean, expected.sum() / (positives > 0).sum().clamp(min=1))
    each = map_ranking_loss(scores, targets, ranker="logistic", normalize=True, reduction="none")
    torch.testing.assert_close(each, expected / positives.clamp(min=1))


@pytest.mark.parametrize("case", golden_cases("sodeep_map_exa"))
def test_agrees_with_sodeep(case: str) -> None:
    arrays = golden("sodeep_map_exa")[case]
    scores = torch.tensor(arrays["output"], requires_grad=True)
    loss = map_ranking_loss(scores, torch.tensor(arrays["target"]), reduction="sum")
    (gradient,) = torch.autograd.grad(loss, scores)
    np.testing.assert_allclose(loss.item(), arrays["loss"], rtol=1e-5)
    np.testing.assert_allclose(gradient, arrays["grad"], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("kind", [torch.float32, torch.int64, torch.bool])
def test_targets_of_any_dtype(kind: torch.dtype) -> None:
    scores, targets = draw(7, 3)
    torch.testing.assert_close(
        map_ranking_loss(scores, targets.to(kind)), map_ranking_loss(scores, targets)
    )


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("hidden", [5.0, float("nan")])
def test_a_mask_leaves_samples_of_a_class_out(normalize: bool, hidden: float) -> None:
    scores, targets = draw(7, 3, seed=2)
    mask = torch.rand(7, 3, generator=torch.Generator().manual_seed(0)) < 0.6
    expected = [
        map_ranking_loss(
            scores[mask[:, c], c, None], targets[mask[:, c], c, None], normalize=normalize
        )
        for c in range(3)
    ]
    scores[~mask] = hidden
    scores.requires_grad_()
    loss = MapRankingLoss(normalize=normalize, reduction="none")
    each = loss(scores, targets, mask)
    torch.testing.assert_close(each, torch.stack(expected))
    (gradient,) = torch.autograd.grad(each.sum(), scores)
    assert (gradient[~mask] == 0).all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("shape", [(0, 3), (4, 0), (4, 3), (1, 1), (2, 4, 3)])
@pytest.mark.parametrize("normalize", [False, True])
def test_without_a_positive_the_loss_is_zero_with_a_graph(
    shape: tuple[int, ...], normalize: bool
) -> None:
    scores = torch.ones(shape, requires_grad=True)
    loss = map_ranking_loss(scores, torch.zeros(shape), normalize=normalize)
    loss.backward()
    assert loss == 0
    assert scores.grad is not None
    assert (scores.grad == 0).all()


def test_equal_scores_have_the_middle_rank() -> None:
    scores = torch.zeros(5, 1, requires_grad=True)
    loss = map_ranking_loss(scores, torch.tensor([[1], [0], [0], [0], [0]]))
    loss.backward()
    assert loss.item() == pytest.approx(3 / 5)
    assert scores.grad is not None
    assert scores.grad.isfinite().all()


def test_strides_and_batches_do_not_matter() -> None:
    scores, targets = draw(3, 6, 2)
    expected = torch.stack(
        [map_ranking_loss(s, t, reduction="none") for s, t in zip(scores, targets, strict=True)]
    )
    torch.testing.assert_close(map_ranking_loss(scores, targets, reduction="none"), expected)
    wide = torch.repeat_interleave(scores, 2, dim=1)[:, ::2]
    torch.testing.assert_close(map_ranking_loss(wide, targets, reduction="none"), expected)


def test_bad_arguments_are_named() -> None:
    scores, targets = draw(4, 2)
    with pytest.raises(TypeError, match="scores"):
        map_ranking_loss(scores.long(), targets)
    with pytest.raises((TypeError, ValueError), match="scores"):
        map_ranking_loss(scores[0], targets[0])
    with pytest.raises((TypeError, ValueError), match="targets"):
        map_ranking_loss(scores, targets[:2])
    with pytest.raises(TypeError, match="mask"):
        map_ranking_loss(scores, targets, mask=targets)
    assert repr(MapRankingLoss(ranker="hard")) == (
        "MapRankingLoss(ranker=Hard(ties='ordinal'), normalize=False, reduction='mean')"
    )
