"""Hard ranks with the gradient of one perturbed re-ranking."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import rankgrad as rg
from rankgrad.rankers import Blackbox
from support import golden, golden_cases

# Between equal scores the published ranks follow an unstable sort.
CASES = [case for case in golden_cases("ranksim_ranker") if case.endswith("tie0")]


@pytest.mark.parametrize("ties", ["ordinal", "average", "min", "max", "dense"])
@given(
    values=st.lists(st.integers(-4, 4), min_size=1, max_size=8),
    strength=st.sampled_from([0.1, 1.0, 10.0]),
    data=st.data(),
)
def test_is_the_formula(ties: str, values: list[int], strength: float, data: st.DataObject) -> None:
    n = len(values)
    grads = data.draw(st.lists(st.integers(-4, 4), min_size=n, max_size=n))
    scores = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    g = torch.tensor(grads, dtype=torch.float64)
    ranks = Blackbox(strength, ties)(scores)
    assert torch.equal(ranks, rg.rank(scores, ties=ties))
    ranks.backward(g)
    moved = rg.rank(scores + strength * g, ties=ties)
    torch.testing.assert_close(scores.grad, -(ranks.detach() - moved) / strength)


@pytest.mark.parametrize("case", CASES)
def test_ranksim_golden(case: str) -> None:
    """RankSim divides ranks by their number n: a strength of n * lam here is lam there."""
    arrays = golden("ranksim_ranker")[case]
    seq = torch.tensor(arrays["seq"], requires_grad=True)
    n = seq.shape[-1]
    lam = float(arrays["lam"])
    ranks = Blackbox(n * lam)(seq) / n
    np.testing.assert_allclose(ranks.detach(), arrays["rank"], rtol=1e-6)
    ranks.backward(torch.tensor(arrays["grad_output"]))
    np.testing.assert_allclose(seq.grad, arrays["grad"], rtol=1e-5, atol=1e-6)


def test_descending_the_gradient_lowers_the_rank_that_is_penalised() -> None:
    scores = torch.tensor([0.0, 1.0, 2.0, 3.0], requires_grad=True)
    ranks = Blackbox(strength=2.5)(scores)
    ranks[0].backward()
    assert scores.grad is not None
    assert Blackbox()(scores - 3 * scores.grad)[0] < ranks[0]


def test_no_step_no_gradient() -> None:
    scores = torch.tensor([0.0, 1.0, 2.0], requires_grad=True)
    Blackbox(strength=0.5)(scores).backward(torch.tensor([1.0, 0.0, 0.0]))
    assert (scores.grad == 0).all()


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="strength must be > 0"):
        Blackbox(0.0)
    with pytest.raises(ValueError, match="ties must be one of"):
        Blackbox(ties="random")
