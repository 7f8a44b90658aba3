import math

import pytest
import torch

from rankgrad.imbalance import BalancedMSELoss, balanced_mse_loss


def brute_force(p: list[float], y: list[float], sigma: float) -> list[float]:
    losses = []
    for i, prediction in enumerate(p):
        likely = [math.exp(-((prediction - t) ** 2) / (2 * sigma**2)) for t in y]
        losses.append(-2 * sigma**2 * math.log(likely[i] / sum(likely)))
    return losses


def test_is_the_formula() -> None:
    g = torch.Generator().manual_seed(0)
    p, y = torch.randn(2, 9, generator=g, dtype=torch.float64)
    for sigma in (0.3, 1.0, 2.5):
        expected = brute_force(p.tolist(), y.tolist(), sigma)
        each = balanced_mse_loss(p, y, sigma, reduction="none")
        torch.testing.assert_close(each, torch.tensor(expected).double())
        torch.testing.assert_close(balanced_mse_loss(p, y, sigma), each.mean())
        torch.testing.assert_close(balanced_mse_loss(p, y, sigma, reduction="sum"), each.sum())


def test_gradients() -> None:
    g = torch.Generator().manual_seed(0)
    p, y = torch.randn(2, 6, generator=g, dtype=torch.float64)
    p.requires_grad_()
    assert torch.autograd.gradcheck(lambda p: balanced_mse_loss(p, y, 0.7), (p,))


def test_predictions_are_not_drawn_to_frequent_labels() -> None:
    """One unknown input, labels 0 (nine times) and 1 (once): MSE says 0.1, the balance 0.5."""
    y = torch.tensor([0.0] * 9 + [1.0])
    best = []
    for loss in (lambda p: (p - y).square().mean(), lambda p: balanced_mse_loss(p, y, 0.7)):
        at = torch.linspace(0, 1, 101)
        best.append(at[torch.stack([loss(x.expand(10)) for x in at]).argmin()].item())
    assert best[0] == pytest.approx(0.1)
    assert best[1] > 0.4


def test_the_noise_is_learned() -> None:
    y = torch.linspace(-1, 1, 40)
    p = y + 0.1 * torch.randn(40, generator=torch.Generator().manual_seed(0))
    loss = BalancedMSELoss(noise=1.0)
    loss(p, y).backward()
    assert loss.noise.grad is not None
    assert loss.noise.grad > 0  # too large
    assert not list(p for p in BalancedMSELoss(learn_noise=False).parameters() if p.requires_grad)


def test_none_and_one_give_zero_with_a_gradient() -> None:
    for n in (0, 1):
        p = torch.randn(n, requires_grad=True)
        loss = balanced_mse_loss(p, torch.zeros(n))
        assert loss == 0
        loss.backward()


def test_half_precision_and_errors() -> None:
    p = torch.randn(5).bfloat16()
    assert balanced_mse_loss(p, torch.zeros(5)).dtype == torch.bfloat16
    with pytest.raises(ValueError, match="noise must be > 0"):
        balanced_mse_loss(torch.zeros(2), torch.zeros(2), 0.0)
    with pytest.raises(ValueError, match=r"shape \[n\]"):
        balanced_mse_loss(torch.zeros(2, 1), torch.zeros(2, 1))
