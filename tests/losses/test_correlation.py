import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from rankgrad.losses import (
    ConcordanceLoss,
    CorrelationLoss,
    concordance_loss,
    correlation_loss,
)


def draw(*shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    return x + 0.5 * y, y


def concordance_by_definition(x: np.ndarray, y: np.ndarray) -> float:
    """Lin's coefficient as one minus the expected squared distance from the diagonal, relative to
    that of independent variables."""
    distance = np.mean((x - y) ** 2)
    independent = np.mean((x[:, None] - y[None, :]) ** 2)
    return 1 - distance / independent


@given(n=st.integers(2, 50), shift=st.floats(-1e3, 1e3), seed=st.integers(0, 1000))
def test_equals_the_definition(n: int, shift: float, seed: int) -> None:
    x, y = draw(n, seed=seed)
    x = x + shift
    expected = stats.pearsonr(x.numpy(), y.numpy()).statistic
    assert correlation_loss(x, y).item() == pytest.approx(1 - expected, abs=1e-9)
    expected = concordance_by_definition(x.numpy(), y.numpy())
    assert concordance_loss(x, y).item() == pytest.approx(1 - expected, abs=1e-9)


def test_correlation_does_not_depend_on_scale_or_shift() -> None:
    x, y = draw(20)
    expected = correlation_loss(x, y)
    torch.testing.assert_close(correlation_loss(5 - 3 * x, y), 2 - expected)
    for scale in (1e-30, 1e30):
        small = (scale * x).float().requires_grad_()
        loss = correlation_loss(small, y.float())
        torch.testing.assert_close(loss.detach(), expected.float())
        (gradient,) = torch.autograd.grad(loss, small)
        reference = x.float().requires_grad_()
        (wanted,) = torch.autograd.grad(correlation_loss(reference, y.float()), reference)
        torch.testing.assert_close(gradient * scale, wanted, rtol=1e-4, atol=1e-6)


def test_a_far_away_mean_costs_no_precision() -> None:
    x, y = (torch.arange(100) % 7).float(), (torch.arange(100) % 5).float()
    torch.testing.assert_close(correlation_loss(x + 1e6, y - 1e6), correlation_loss(x, y))


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6 / 3, 1e-30])
def test_a_constant_side_has_correlation_zero(value: float) -> None:
    constant = torch.full((1000,), value, requires_grad=True)
    varied = torch.randn(1000, requires_grad=True)
    for x, y in [(constant, varied), (varied, constant)]:
        loss = correlation_loss(x, y)
        assert loss == 1
        gradients = torch.autograd.grad(loss, (x, y))
        assert all((g == 0).all() for g in gradients)


def test_concordance_wants_equal_values() -> None:
    y = torch.arange(5.0)
    assert concordance_loss(y, y) == 0
    assert concordance_loss(y + 1, y) > 0
    assert concordance_loss(2 * y, y) > 0
    assert concordance_loss(-y, y) > 1


def test_concordance_of_constants() -> None:
    same = torch.full((7,), 0.1)
    assert concordance_loss(same, same) == 0
    assert concordance_loss(same + 1, same) == 1


def test_modules_are_the_functions() -> None:
    x, y = draw(4, 3)
    for module, function in [
        (CorrelationLoss(dim=0, reduction="sum"), correlation_loss),
        (ConcordanceLoss(dim=0, reduction="sum"), concordance_loss),
    ]:
        torch.testing.assert_close(module(x, y), function(x, y, dim=0, reduction="sum"))
