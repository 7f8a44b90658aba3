"""The rules that every loss of predictions and targets follows."""

import warnings
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from rankgrad import Laplace, Ramp
from rankgrad.losses import (
    ConcordanceLoss,
    CorrelationLoss,
    KendallLoss,
    PairwiseDifferenceLoss,
    RankDifferenceLoss,
    SpearmanLoss,
)

Make = Callable[..., nn.Module]

LOSSES: dict[str, Make] = {
    "correlation": CorrelationLoss,
    "concordance": ConcordanceLoss,
    "spearman": SpearmanLoss,
    "spearman correlation": partial(SpearmanLoss, form="correlation"),
    "spearman l1": partial(SpearmanLoss, l1_weight=0.5),
    "spearman projection": partial(SpearmanLoss, ranker="projection"),
    "kendall": KendallLoss,
    "kendall ramp": partial(KendallLoss, comparison=Ramp(0.5)),
    "kendall laplace": partial(KendallLoss, comparison=Laplace(0.5), standardize=False),
    "pairwise difference": PairwiseDifferenceLoss,
    "rank difference": RankDifferenceLoss,
}
every_loss = pytest.mark.parametrize("make", LOSSES.values(), ids=LOSSES.keys())


def draw(*shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Predictions, and targets of which many are equal."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(5, shape, generator=generator).float()
    return torch.randn(shape, generator=generator) + 0.5 * targets, targets


def loss_and_gradient(loss: nn.Module, x: Tensor, *args: Tensor) -> tuple[Tensor, Tensor]:
    x = x.detach().clone().requires_grad_()
    value = loss(x, *args)
    (gradient,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), gradient


@every_loss
def test_reductions_are_over_rows(make: Make) -> None:
    predictions, targets = draw(2, 3, 7)
    each = make(reduction="none")(predictions, targets)
    assert each.shape == (2, 3)
    row = make()(predictions[1, 2], targets[1, 2])
    torch.testing.assert_close(each[1, 2], row)
    torch.testing.assert_close(make()(predictions, targets), each.mean())
    torch.testing.assert_close(make(reduction="sum")(predictions, targets), each.sum())


@every_loss
def test_rows_without_a_loss_do_not_count_in_the_mean(make: Make) -> None:
    predictions, targets = draw(2, 6)
    mask = torch.tensor([[True] * 6, [False] * 6])
    value, gradient = loss_and_gradient(make(), predictions, targets, mask)
    torch.testing.assert_close(value, make()(predictions[0], targets[0]))
    assert gradient.isfinite().all()


@every_loss
@pytest.mark.parametrize("shape", [(0,), (0, 4), (3, 0)])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_nothing_gives_zero_with_a_graph(
    make: Make, shape: tuple[int, ...], reduction: str
) -> None:
    predictions = torch.zeros(shape, requires_grad=True)
    value = make(reduction=reduction)(predictions, torch.zeros(shape))
    assert (value == 0).all()
    value.sum().backward()
    assert predictions.grad is not None


@every_loss
def test_one_entry_gives_zero(make: Make) -> None:
    value, gradient = loss_and_gradient(make(), torch.tensor([2.0]), torch.tensor([2.0]))
    assert value == 0
    assert gradient == 0


@every_loss
@pytest.mark.parametrize("value", [0.0, 1.0, -1e-30, 1e30, 0.1])
@pytest.mark.parametrize("n", [2, 7, 300])
def test_constant_predictions_or_targets_have_a_finite_gradient(
    make: Make, value: float, n: int
) -> None:
    constant, varied = torch.full((n,), value), torch.arange(n) / n
    for predictions, targets in [(constant, varied), (varied, constant), (constant, constant)]:
        loss, gradient = loss_and_gradient(make(), predictions, targets)
        if abs(value) < 1e30:  # whose differences have squares beyond float32
            assert loss.isfinite()
            assert gradient.isfinite().all()


@every_loss
def test_float64_stays_float64(make: Make) -> None:
    predictions, targets = draw(9)
    exact = make()(predictions.double(), targets.double())
    assert exact.dtype == torch.float64
    torch.testing.assert_close(make()(predictions, targets).double(), exact, rtol=1e-5, atol=1e-6)
    # Wider targets make the computation wider, not the result.
    assert make()(predictions, targets.double()).dtype == torch.float32


@every_loss
def test_integer_targets_are_taken_exactly(make: Make) -> None:
    predictions, targets = draw(3, 9)
    torch.testing.assert_close(make()(predictions, targets.long()), make()(predictions, targets))
    torch.testing.assert_close(
        make()(predictions, targets > 2), make()(predictions, (targets > 2).float())
    )


@every_loss
def test_strides_do_not_matter(make: Make) -> None:
    predictions, targets = draw(9, 4)
    expected = make()(predictions.T.contiguous(), targets.T.contiguous())
    torch.testing.assert_close(make()(predictions.T, targets.T), expected)
    torch.testing.assert_close(make(dim=0)(predictions, targets), expected)
    torch.testing.assert_close(
        make()(predictions[:, :1].T.expand(3, 9), targets[:, :1].T.expand(3, 9)),
        make()(predictions[:, 0], targets[:, 0]),
    )


@every_loss
def test_bad_arguments_are_named(make: Make) -> None:
    predictions, targets = draw(2, 5)
    with pytest.raises(TypeError, match="predictions"):
        make()(predictions.long(), targets)
    with pytest.raises((TypeError, ValueError), match="targets"):
        make()(predictions, targets[:, :3])
    with pytest.raises(TypeError, match="mask"):
        make()(predictions, targets, targets)
    with pytest.raises((TypeError, ValueError), match="mask"):
        make()(predictions, targets, targets[:, :3] > 0)
    with pytest.raises(ValueError, match="reduction must be one of"):
        make(reduction="average")


@every_loss
def test_repr_shows_the_settings(make: Make) -> None:
    assert "dim=0, reduction='sum'" in repr(make(dim=0, reduction="sum"))


@every_loss
def test_a_column_of_predictions_is_warned_of(make: Make) -> None:
    """The usual output of a network, [batch, 1], is a batch of rows of one: nothing to order."""
    predictions, targets = draw(9)
    with pytest.warns(UserWarning, match=r"9 rows of one entry along dim=-1"):
        make()(predictions[:, None], targets[:, None])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        row = make(dim=0)(predictions[:, None], targets[:, None])
        make()(predictions[:1, None], targets[:1, None])
    torch.testing.assert_close(row, make()(predictions, targets))
