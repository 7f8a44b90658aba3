import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from rankgrad import Cauchy, Comparison, Laplace, Logistic, Normal, Ramp, Step
from rankgrad.losses import KendallLoss, kendall_loss

COMPARISONS = [Step(), Ramp(0.7), Logistic(0.5), Laplace(0.3), Normal(1.0), Cauchy(0.4)]


def draw(n: int, distinct: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(distinct, (n,), generator=generator).double()
    return torch.randn(n, generator=generator, dtype=torch.float64) + 0.3 * targets, targets


def brute_force(predictions: Tensor, targets: Tensor, comparison: Comparison) -> Tensor:
    """Pair by pair."""
    agreement = predictions.new_zeros(())
    untied = [0, 0]
    n = len(targets)
    for i in range(n):
        for j in range(i):
            untied[0] += int(predictions[i] != predictions[j])
            untied[1] += int(targets[i] != targets[j])
            sign = (targets[i] - targets[j]).sign()
            agreement = agreement + sign * (
                2 * comparison.value(predictions[i] - predictions[j]) - 1
            )
    scale = ((untied[0] or n * (n - 1) / 2) * untied[1]) ** 0.5
    return 1 - agreement / (scale or 1)


@pytest.mark.parametrize("comparison", COMPARISONS, ids=lambda c: c.kind)
@settings(max_examples=15)
@given(n=st.integers(2, 90), distinct=st.sampled_from([1, 2, 5, 1000]), seed=st.integers(0, 1000))
def test_equals_the_definition(comparison: Comparison, n: int, distinct: int, seed: int) -> None:
    predictions, targets = draw(n, distinct, seed)
    # Some of the predictions are equal.
    predictions[: n // 3] = predictions[0].clone()
    predictions.requires_grad_()
    loss = kendall_loss(predictions, targets, comparison=comparison, standardize=False)
    expected = brute_force_at_once(predictions, targets, comparison)
    torch.testing.assert_close(loss, expected)
    if comparison.kind != "step":
        gradients = [torch.autograd.grad(x, predictions)[0] for x in (loss, expected)]
        torch.testing.assert_close(*gradients)


def brute_force_at_once(predictions: Tensor, targets: Tensor, comparison: Comparison) -> Tensor:
    """The matrix of all pairs."""
    gap = predictions[:, None] - predictions
    # The value of the one and the derivative of the other: autograd's is another one at ties.
    ahead = comparison.value(gap.detach()) + comparison.derivative(gap.detach()) * (
        gap - gap.detach()
    )
    agreement = ((targets[:, None] - targets).sign() * (2 * ahead - 1)).sum() / 2
    untied = [((x[:, None] != x).sum() / 2).item() for x in (predictions.detach(), targets)]
    n = len(targets)
    return 1 - agreement / (((untied[0] or n * (n - 1) / 2) * untied[1]) ** 0.5 or 1)


def test_the_matrix_is_the_sum_over_pairs() -> None:
    predictions, targets = draw(9, 4, 0)
    torch.testing.assert_close(
        brute_force_at_once(predictions, targets, Logistic(0.5)),
        brute_force(predictions, targets, Logistic(0.5)),
    )


@given(n=st.integers(2, 200), distinct=st.sampled_from([2, 5, 1000]), seed=st.integers(0, 1000))
def test_with_steps_it_is_the_metric(n: int, distinct: int, seed: int) -> None:
    predictions, targets = draw(n, distinct, seed)
    predictions = predictions.round()
    expected = stats.kendalltau(predictions.numpy(), targets.numpy()).statistic
    loss = kendall_loss(predictions, targets, comparison=Step())
    if expected != expected:  # a constant side
        assert loss == 1
    else:
        assert loss.item() == pytest.approx(1 - expected, abs=1e-9)


def test_gradient_is_the_derivative() -> None:
    predictions, targets = draw(40, 5, 0)
    predictions.requires_grad_()
    for comparison in (Logistic(0.5), Normal(0.5)):
        assert torch.autograd.gradcheck(
            lambda x, c=comparison: kendall_loss(x, targets, comparison=c, standardize=False),
            predictions,
            fast_mode=True,
        )


def test_standardized_predictions_have_no_scale() -> None:
    predictions, targets = (x.float() for x in draw(50, 5, 0))
    expected = kendall_loss(predictions, targets)
    for scale in (1e-30, 1e-3, 1e30):
        torch.testing.assert_close(kendall_loss(scale * predictions, targets), expected)
    torch.testing.assert_close(
        kendall_loss(predictions, targets),
        kendall_loss(predictions / predictions.std(correction=0), targets, standardize=False),
    )


def test_training_can_start_from_equal_predictions() -> None:
    predictions = torch.zeros(6, requires_grad=True)
    targets = torch.arange(6.0)
    loss = kendall_loss(predictions, targets, comparison=Logistic(1.0))
    (gradient,) = torch.autograd.grad(loss, predictions)
    assert loss == 1
    assert (gradient[:-1] > gradient[1:]).all()
    nearly = torch.linspace(-1e-6, 1e-6, 6).requires_grad_()
    loss = kendall_loss(nearly, targets, comparison=Logistic(1.0), standardize=False)
    (expected,) = torch.autograd.grad(loss, nearly)
    torch.testing.assert_close(gradient, expected)


def test_equal_targets_teach_nothing() -> None:
    predictions = torch.randn(40, requires_grad=True)
    loss = kendall_loss(predictions, torch.ones(40))
    (gradient,) = torch.autograd.grad(loss, predictions)
    assert loss == 1
    assert (gradient == 0).all()


def test_many_predictions_in_linear_memory() -> None:
    targets = torch.rand(50_000, generator=torch.Generator().manual_seed(0))
    predictions = (targets + 0.1 * torch.rand(50_000)).requires_grad_()
    loss = kendall_loss(predictions, targets, comparison=Laplace(0.05))
    loss.backward()
    assert 0 < loss < 0.2
    assert predictions.grad is not None
    assert predictions.grad.isfinite().all()


def test_module_is_the_function() -> None:
    predictions, targets = draw(9, 4, 0)
    loss = KendallLoss(comparison=Ramp(0.5), standardize=False)
    expected = kendall_loss(predictions, targets, comparison=Ramp(0.5), standardize=False)
    torch.testing.assert_close(loss(predictions, targets), expected)
    with pytest.raises(TypeError, match="comparison"):
        KendallLoss(comparison="step")
