import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn

from rankgrad.losses import SpearmanLoss, spearman_loss
from rankgrad.rankers import Hard
from support import golden, golden_cases

CASES = golden_cases("sodeep_spearman_exa")


def draw(*shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(6, shape, generator=generator).double()
    return torch.randn(shape, generator=generator, dtype=torch.float64) + targets, targets


def brute_force(predictions: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """The squared-error form with logistic ranks, pair by pair."""
    n = len(predictions)
    total = predictions.new_zeros(())
    for i in range(n):
        soft, wanted = torch.ones(()), 1.0
        for j in range(n):
            if j != i:
                gap = predictions[j] - predictions[i]
                soft = soft + torch.sigmoid(gap / temperature)
                wanted += 1.0 if targets[j] > targets[i] else 0.5 * float(targets[j] == targets[i])
        total = total + ((soft - wanted) / n) ** 2
    return total / n


@given(n=st.integers(1, 9), seed=st.integers(0, 1000))
def test_equals_the_definition(n: int, seed: int) -> None:
    predictions, targets = draw(n, seed=seed)
    loss = spearman_loss(predictions, targets, ranker="logistic")
    torch.testing.assert_close(loss, brute_force(predictions, targets, 1.0))


@given(n=st.integers(2, 30), seed=st.integers(0, 1000))
def test_with_hard_ranks_it_is_the_metric(n: int, seed: int) -> None:
    _, predictions = draw(n, seed=seed + 1)
    _, targets = draw(n, seed=seed)
    loss = spearman_loss(predictions, targets, ranker=Hard(ties="average"), form="correlation")
    if predictions.unique().numel() == 1 or targets.unique().numel() == 1:
        assert loss == 1
    else:
        expected = stats.spearmanr(predictions.numpy(), targets.numpy()).statistic
        assert loss.item() == pytest.approx(1 - expected, abs=1e-9)


@pytest.mark.parametrize("n", [2, 5, 100])
def test_the_two_forms_without_ties(n: int) -> None:
    predictions, targets = torch.randn(2, n, dtype=torch.float64)
    mse = spearman_loss(predictions, targets, ranker="hard")
    correlation = spearman_loss(predictions, targets, ranker="hard", form="correlation")
    torch.testing.assert_close(mse, correlation * (n * n - 1) / (6 * n * n))


@pytest.mark.parametrize("case", [c for c in CASES if not c.startswith("tiedgt")])
def test_agrees_with_sodeep(case: str) -> None:
    arrays = golden("sodeep_spearman_exa")[case]
    predictions = torch.tensor(arrays["pred"], requires_grad=True)
    targets = torch.tensor(arrays["gt"])
    loss = spearman_loss(predictions, targets, l1_weight=float(arrays["lbd"]))
    (gradient,) = torch.autograd.grad(loss, predictions)
    np.testing.assert_allclose(loss.item(), arrays["loss"], rtol=1e-5, atol=1e-6)
    # The original's float32 sigmoids are saturated where its gradient is tiny.
    scale = max(np.abs(arrays["grad"]).max(), 2e-2)
    np.testing.assert_allclose(gradient, arrays["grad"], rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize("case", [c for c in CASES if c.startswith("tiedgt")])
def test_tied_targets_share_a_rank_unlike_in_sodeep(case: str) -> None:
    arrays = golden("sodeep_spearman_exa")[case]
    predictions, targets = torch.tensor(arrays["pred"]), torch.tensor(arrays["gt"])
    assert len(np.unique(arrays["gt"])) < len(arrays["gt"]) or len(arrays["gt"]) == 2
    shared = stats.rankdata(-arrays["gt"]) / len(arrays["gt"])
    expected = np.mean((arrays["rank_pred"] - shared) ** 2)
    expected += arrays["lbd"] * np.abs(arrays["pred"] - arrays["gt"]).mean()
    loss = spearman_loss(predictions, targets, l1_weight=float(arrays["lbd"]))
    np.testing.assert_allclose(loss, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("form", ["mse", "correlation"])
@pytest.mark.parametrize("ranker", ["logistic", "projection"])
def test_gradient_is_the_derivative(form: str, ranker: str) -> None:
    predictions, targets = draw(2, 6)
    predictions.requires_grad_()

    def loss(x: Tensor) -> Tensor:
        return spearman_loss(x, targets, ranker=ranker, form=form, l1_weight=0.3, reduction="none")

    assert torch.autograd.gradcheck(loss, predictions)


@pytest.mark.parametrize("form", ["mse", "correlation"])
@pytest.mark.parametrize("ranker", ["sodeep", "projection", "laplace"])
def test_descent_sorts_the_predictions(form: str, ranker: str) -> None:
    targets = torch.arange(8.0)
    predictions = torch.randn(8, generator=torch.Generator().manual_seed(1)).requires_grad_()
    loss = SpearmanLoss(ranker=ranker, form=form)
    optimizer = torch.optim.Adam([predictions], lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        loss(predictions, targets).backward()
        optimizer.step()
    assert predictions.argsort().tolist() == list(range(8))


def test_ties_says_how_equal_targets_rank() -> None:
    predictions, targets = torch.tensor([3.0, 2.0, 1.0]), torch.tensor([1.0, 1.0, 0.0])
    loss = {
        ties: spearman_loss(predictions, targets, ranker="hard", ties=ties).item()
        for ties in ("ordinal", "average", "min", "max", "dense")
    }
    expected = {
        "ordinal": 0,  # 1 2 3
        "average": 2 * 0.25,  # 1.5 1.5 3
        "min": 1,  # 1 1 3
        "max": 1,  # 2 2 3
        "dense": 2,  # 1 1 2
    }
    assert loss == pytest.approx({ties: total / 27 for ties, total in expected.items()})


def test_equal_ranks_on_a_side_have_correlation_zero() -> None:
    predictions = torch.zeros(5, requires_grad=True)
    loss = spearman_loss(predictions, torch.arange(5.0), form="correlation")
    loss.backward()
    assert loss == 1
    assert predictions.grad is not None
    assert (predictions.grad == 0).all()


class Sorter(nn.Module):
    """A ranker with a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, scores: Tensor) -> Tensor:
        return (scores.shape[-1] + 1) / 2 - self.scale * (scores - scores.mean(-1, keepdim=True))


def test_a_learned_ranker_is_a_part_of_the_loss() -> None:
    sorter = Sorter()
    loss = SpearmanLoss(ranker=sorter)
    assert list(loss.parameters()) == [sorter.scale]
    loss.double()
    loss(torch.randn(4, dtype=torch.float64), torch.arange(4)).backward()
    assert sorter.scale.grad is not None


def test_module_is_the_function() -> None:
    predictions, targets = draw(4, 3)
    settings = {
        "form": "correlation",
        "ties": "min",
        "l1_weight": 0.5,
        "dim": 0,
        "reduction": "sum",
    }
    loss = SpearmanLoss(ranker="laplace", **settings)
    expected = spearman_loss(predictions, targets, ranker="laplace", **settings)
    torch.testing.assert_close(loss(predictions, targets), expected)
    assert repr(SpearmanLoss(ranker="hard")) == (
        "SpearmanLoss(ranker=Hard(ties='ordinal'), form='mse', ties='average', l1_weight=0.0, "
        "dim=-1, reduction='mean')"
    )


def test_bad_settings_are_named() -> None:
    with pytest.raises(ValueError, match="form must be one of 'mse', 'correlation'"):
        SpearmanLoss(form="rho")
    with pytest.raises(ValueError, match="ties must be one of"):
        SpearmanLoss(ties="mean")
    with pytest.raises(ValueError, match="l1_weight must be >= 0"):
        SpearmanLoss(l1_weight=-1.0)
    with pytest.raises(ValueError, match="ranker must be one of"):
        SpearmanLoss(ranker="best")
