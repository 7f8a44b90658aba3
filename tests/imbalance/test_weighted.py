from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from rankgrad.imbalance import focal_l1, focal_mse, weighted_huber, weighted_l1, weighted_mse
from support import golden, golden_cases

LOSSES: dict[str, Callable[..., Tensor]] = {
    "mse": weighted_mse,
    "l1": weighted_l1,
    "huber": weighted_huber,
    "focal_mse": focal_mse,
    "focal_l1": focal_l1,
}
PARAMETERS = {"beta": "beta", "gamma": "gamma", "activate": "activation"}


@pytest.mark.parametrize("case", golden_cases("weighted_losses"))
def test_agrees_with_the_original(case: str) -> None:
    arrays = golden("weighted_losses")[case]
    loss_name = max((name for name in LOSSES if case.startswith(name)), key=len)
    options = {
        ours: arrays[theirs].item() for theirs, ours in PARAMETERS.items() if theirs in arrays
    }
    options |= {k: float(v) for k, v in options.items() if k != "activation"}
    predictions = torch.tensor(arrays["inputs"], requires_grad=True)
    weights = torch.tensor(arrays["weights"]) if "weights" in arrays else None
    loss = LOSSES[loss_name](predictions, torch.tensor(arrays["targets"]), weights, **options)
    (gradient,) = torch.autograd.grad(loss, predictions)
    np.testing.assert_allclose(loss.detach(), arrays["loss"], rtol=2e-6)
    np.testing.assert_allclose(gradient, arrays["grad"], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", list(LOSSES))
def test_gradient_is_the_derivative(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    predictions, targets, weights = torch.randn(3, 6, generator=generator, dtype=torch.float64)
    predictions, weights = predictions.clone().requires_grad_(), weights.abs()
    assert torch.autograd.gradcheck(lambda x: LOSSES[name](x, targets, weights), predictions)


@pytest.mark.parametrize("name", list(LOSSES))
def test_reductions_and_dtypes(name: str) -> None:
    loss = LOSSES[name]
    predictions, targets, weights = torch.randn(3, 5), torch.randn(3, 5), torch.rand(3, 5)
    each = loss(predictions, targets, weights, reduction="none")
    assert each.shape == (3, 5)
    torch.testing.assert_close(loss(predictions, targets, weights), each.mean())
    torch.testing.assert_close(loss(predictions, targets, weights, reduction="sum"), each.sum())
    torch.testing.assert_close(each, loss(predictions, targets, reduction="none") * weights)
    half = loss(predictions.half(), targets, weights)
    assert half.dtype == torch.float16
    assert loss(predictions.double(), targets).dtype == torch.float64


@pytest.mark.parametrize("name", list(LOSSES))
def test_no_samples_give_zero_with_a_graph(name: str) -> None:
    predictions = torch.zeros(0, requires_grad=True)
    loss = LOSSES[name](predictions, torch.zeros(0))
    loss.backward()
    assert loss.item() == 0


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
def test_focal_losses_at_zero_error(gamma: float, activation: str) -> None:
    predictions = torch.tensor([0.0, 1.0], requires_grad=True)
    for loss in (focal_l1, focal_mse):
        value = loss(predictions, torch.tensor([0.0, 0.0]), gamma=gamma, activation=activation)
        (gradient,) = torch.autograd.grad(value, predictions)
        assert gradient[0] == 0
        assert gradient[1] > 0


def test_focal_losses_without_focus_are_the_plain_ones() -> None:
    predictions, targets = torch.randn(9), torch.randn(9)
    torch.testing.assert_close(
        focal_mse(predictions, targets, gamma=0.0), F.mse_loss(predictions, targets)
    )
    torch.testing.assert_close(
        focal_l1(predictions, targets, gamma=0.0), F.l1_loss(predictions, targets)
    )


def test_bad_arguments_are_named() -> None:
    x = torch.zeros(2)
    with pytest.raises((TypeError, ValueError), match="targets"):
        weighted_mse(x, torch.zeros(3))
    with pytest.raises((TypeError, ValueError), match="weights"):
        weighted_l1(x, x, torch.zeros(1))
    with pytest.raises(TypeError, match="predictions"):
        weighted_mse(x.long(), x.long())
    with pytest.raises(ValueError, match="reduction must be one of"):
        weighted_mse(x, x, reduction="max")
    with pytest.raises(ValueError, match="beta must be > 0"):
        weighted_huber(x, x, beta=0.0)
    with pytest.raises(ValueError, match="gamma must be >= 0"):
        focal_mse(x, x, gamma=-1.0)
    with pytest.raises(ValueError, match="activation must be one of"):
        focal_l1(x, x, activation="relu")
