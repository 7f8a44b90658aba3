"""Sinkhorn ranks against dense entropic transport."""

import pytest
import torch
from torch import Tensor

from rankgrad.rankers import NeuralSort, Sinkhorn


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def transport(scores: Tensor, temperature: float, iterations: int) -> Tensor:
    """The plan at the cost (score - place)^2 / 2, by plain alternation from zero potentials."""
    n = len(scores)
    place = (n + 1 - 2 * torch.arange(1, n + 1, dtype=torch.float64)) / (2 * n)
    logits = -0.5 * (scores - place.unsqueeze(-1)).square() / temperature
    for _ in range(iterations):
        logits = logits.log_softmax(1)
        logits = logits.log_softmax(0)
    return logits.exp()


@pytest.mark.parametrize("n", [1, 2, 6, 30])
@pytest.mark.parametrize("temperature", [0.15, 0.5, 5.0])
@pytest.mark.parametrize("warm_start", [True, False])
def test_is_entropic_transport(n: int, temperature: float, warm_start: bool) -> None:
    """Values, and the implicit gradient against that of all iterations."""
    x, y = (randn(n).requires_grad_() for _ in range(2))
    ranker = Sinkhorn(temperature, tolerance=1e-12, warm_start=warm_start)
    matrix, expected = ranker.permutation(x), transport(y, temperature, 1500)
    torch.testing.assert_close(matrix, expected)
    place = torch.arange(1, n + 1, dtype=torch.float64)
    torch.testing.assert_close(ranker(x), place @ expected)
    weights = randn(n, n, seed=1)
    (matrix * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n", [2, 7])
def test_unrolled_is_plain_alternation(n: int) -> None:
    """Rows, then columns, exactly so many times; also before it has converged."""
    for iterations in (1, 3):
        ranker = Sinkhorn(0.1, "unrolled", iterations, warm_start=False)
        x, y = (randn(n).requires_grad_() for _ in range(2))
        matrix = ranker.permutation(x)
        place = (n + 1 - 2 * torch.arange(1, n + 1, dtype=torch.float64)) / (2 * n)
        logits = place.unsqueeze(-1) * y / 0.1
        for _ in range(iterations):
            logits = logits.log_softmax(1).log_softmax(0)
        torch.testing.assert_close(matrix, logits.exp())
        matrix[0, 0].backward()
        logits.exp()[0, 0].backward()
        torch.testing.assert_close(x.grad, y.grad)


def test_its_first_step_is_neuralsort() -> None:
    scores, n = randn(3, 8), 8
    neural = NeuralSort(2 * n * 0.1)
    torch.testing.assert_close(Sinkhorn(0.1, "unrolled", 1)(scores), neural(scores))
    matrix = neural.permutation(scores)
    balanced = matrix / matrix.sum(-2, keepdim=True)
    torch.testing.assert_close(Sinkhorn(0.1, "unrolled", 1).permutation(scores), balanced)


def test_many_unrolled_steps_are_the_fixed_point() -> None:
    x, y = (randn(2, 9).requires_grad_() for _ in range(2))
    found, expected = Sinkhorn(0.3, "unrolled", 60)(x), Sinkhorn(0.3, tolerance=1e-12)(y)
    torch.testing.assert_close(found, expected)
    (found * randn(2, 9, seed=1)).sum().backward()
    (expected * randn(2, 9, seed=1)).sum().backward()
    torch.testing.assert_close(x.grad, y.grad)


def imbalance(ranker: Sinkhorn, scores: Tensor) -> float:
    return (ranker.permutation(scores).sum(-1) - 1).abs().max().item()


@pytest.mark.parametrize("temperature", [0.003, 0.01, 0.1])
@pytest.mark.parametrize("tolerance", [1e-3, 1e-6, 1e-10])
def test_stops_within_the_tolerance(temperature: float, tolerance: float) -> None:
    scores = torch.cat((randn(2, 40), randn(2, 40, seed=1) + 4), -1)
    assert imbalance(Sinkhorn(temperature, tolerance=tolerance), scores) <= tolerance


def test_over_relaxation_and_warm_start_save_iterations() -> None:
    scores, steps = randn(2, 100), 130
    assert imbalance(Sinkhorn(0.003, iterations=steps), scores) < 1e-6
    assert imbalance(Sinkhorn(0.003, "unrolled", steps), scores) > 1e-4
    assert imbalance(Sinkhorn(1e-6, iterations=1), scores) < 1e-6
    assert imbalance(Sinkhorn(1e-6, iterations=20, warm_start=False), scores) > 0.01


def test_rows_of_a_batch_converge_on_their_own() -> None:
    easy, hard = randn(1, 20), 30 * randn(1, 20, seed=1)
    ranker = Sinkhorn(0.1)
    together = ranker(torch.cat((easy, hard)))
    torch.testing.assert_close(together, torch.cat((ranker(easy), ranker(hard))), atol=1e-4, rtol=0)


def test_the_gradient_stays_finite_where_nothing_mixes() -> None:
    scores = torch.tensor([0.0, 10.0, 20.0, 30.0], requires_grad=True)
    Sinkhorn(1e-3)(scores).square().sum().backward()
    assert scores.grad is not None
    assert scores.grad.abs().max() < 1e-6


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="temperature must be > 0"):
        Sinkhorn(0.0)
    with pytest.raises(ValueError, match="tolerance must be > 0"):
        Sinkhorn(tolerance=0.0)
    with pytest.raises(ValueError, match="gradient must be one of 'implicit', 'unrolled'"):
        Sinkhorn(gradient="exact")
    with pytest.raises(ValueError, match="iterations must be >= 1"):
        Sinkhorn(iterations=0)
