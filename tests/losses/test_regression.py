import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from rankgrad.losses import (
    PairwiseDifferenceLoss,
    RankDifferenceLoss,
    pairwise_difference_loss,
    rank_difference_loss,
    spearman_loss,
)
from support import golden, golden_cases

CASES = golden_cases("tsan_rank_difference")


def draw(*shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    return x + y, y


@given(n=st.integers(2, 12), shift=st.sampled_from([0.0, 1e6]), seed=st.integers(0, 1000))
def test_all_pairs_in_closed_form(n: int, shift: float, seed: int) -> None:
    predictions, targets = draw(n, seed=seed)
    squares = [
        ((predictions[i] - predictions[j]) - (targets[i] - targets[j])) ** 2
        for i in range(n)
        for j in range(n)
        if i != j
    ]
    loss = pairwise_difference_loss(predictions + shift, targets)
    torch.testing.assert_close(loss, torch.stack(squares).mean(), rtol=1e-6, atol=1e-12)


class Sorter(nn.Module):
    """The recurrent sorter that the golden arrays were made with: it sees the whole row at each
    step, and its last state holds five parts of every rank."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.lstm = nn.GRU(n, 5 * n, batch_first=True)
        weights = golden("upstream_lstme_weights")[""]
        self.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})

    def forward(self, scores: Tensor) -> Tensor:
        """Ranks of the rows; the network was to learn them divided by the length."""
        rows = scores.reshape(-1, scores.shape[-1])
        _, state = self.lstm(rows.unsqueeze(1).expand(-1, rows.shape[1], -1).contiguous())
        return scores.shape[-1] * state[0].unflatten(1, (-1, 5)).sum(-1).reshape(scores.shape)


def test_the_sorter_is_the_golden_one() -> None:
    arrays = golden("upstream_lstme")[""]
    out = Sorter(12)(torch.tensor(arrays["x"])) / 12
    np.testing.assert_allclose(out.detach(), arrays["out"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_agrees_with_tsan(case: str) -> None:
    arrays = golden("tsan_rank_difference")[case]
    predictions = torch.tensor(arrays["pred"], requires_grad=True)
    targets = torch.tensor(arrays["gt"])
    sorter = Sorter(len(targets))
    loss = rank_difference_loss(
        predictions,
        targets,
        beta=float(arrays["beta"]),
        ranker=sorter,
        indices=(torch.tensor(arrays["idx_a"]), torch.tensor(arrays["idx_b"])),
        dim=0,
    )
    (gradient,) = torch.autograd.grad(loss, predictions)
    np.testing.assert_allclose(loss.item(), arrays["loss"], rtol=1e-5)
    scale = max(np.abs(arrays["grad"]).max(), 1e-3)
    np.testing.assert_allclose(gradient, arrays["grad"], rtol=1e-4, atol=1e-5 * scale)
    order = spearman_loss(predictions, targets, ranker=sorter, dim=0)
    np.testing.assert_allclose(order.item(), arrays["spearman"], rtol=1e-5)


def test_random_pairs_estimate_all_pairs() -> None:
    predictions, targets = draw(4000, 5)
    generator = torch.Generator().manual_seed(1)
    drawn = pairwise_difference_loss(
        predictions, targets, pairs="random", generator=generator, reduction="none"
    )
    every = pairwise_difference_loss(predictions, targets, reduction="none")
    # i = j, which adds nothing, is drawn once in five.
    assert (drawn / every).mean() == pytest.approx(4 / 5, rel=0.05)


def test_random_pairs_follow_the_generator() -> None:
    predictions, targets = draw(30)

    def loss(seed: int) -> float:
        generator = torch.Generator().manual_seed(seed)
        return PairwiseDifferenceLoss("random", generator)(predictions, targets).item()

    assert loss(0) == loss(0)
    assert loss(0) != loss(1)
    torch.manual_seed(3)
    first = PairwiseDifferenceLoss("random")(predictions, targets)
    torch.manual_seed(3)
    assert PairwiseDifferenceLoss("random")(predictions, targets) == first


@pytest.mark.filterwarnings("ignore:predictions of shape")
@given(seed=st.integers(0, 1000), n=st.integers(0, 9))
def test_random_pairs_are_of_valid_entries(seed: int, n: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(3, n, generator=generator) < 0.5
    targets = torch.zeros(3, n)
    predictions = torch.where(mask, 1.0, torch.nan)
    each = pairwise_difference_loss(
        predictions, targets, pairs="random", generator=generator, mask=mask, reduction="none"
    )
    assert (each == 0).all()


def test_explicit_pairs() -> None:
    predictions, targets = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([0.0, 0.0, 0.0])
    a, b = torch.tensor([0, 0, 1, 2]), torch.tensor([1, 2, 2, 2])
    loss = pairwise_difference_loss(predictions, targets, indices=(a, b))
    assert loss == (1 + 9 + 4 + 0) / 4
    mask = torch.tensor([True, True, False])
    loss = pairwise_difference_loss(predictions, targets, indices=(a, b), mask=mask)
    assert loss == 1
    rows = pairwise_difference_loss(
        torch.stack([predictions, 2 * predictions]), targets.expand(2, 3), indices=(a, b),
        reduction="none",
    )  # fmt: skip
    assert rows.tolist() == [3.5, 14]


def test_rank_difference_is_the_sum_of_its_parts() -> None:
    predictions, targets = draw(3, 9)
    loss = RankDifferenceLoss(beta=0.1, ranker="laplace", ties="min", reduction="none")
    expected = spearman_loss(
        predictions, targets, ranker="laplace", ties="min", reduction="none"
    ) + 0.1 * pairwise_difference_loss(predictions, targets, reduction="none")
    torch.testing.assert_close(loss(predictions, targets), expected)
    assert repr(RankDifferenceLoss(ranker="hard")) == (
        "RankDifferenceLoss(beta=1.0, ranker=Hard(ties='ordinal'), ties='average', pairs='all', "
        "dim=-1, reduction='mean')"
    )


def test_bad_settings_are_named() -> None:
    with pytest.raises(ValueError, match="pairs must be one of 'all', 'random'"):
        PairwiseDifferenceLoss("some")
    with pytest.raises(ValueError, match="beta must be >= 0"):
        RankDifferenceLoss(beta=-1.0)


@pytest.mark.compile
def test_random_pairs_compile_without_a_graph_break() -> None:
    predictions, targets = draw(2, 9)
    mask = torch.rand(2, 9) < 0.8
    compiled = torch.compile(PairwiseDifferenceLoss("random"), fullgraph=True, backend="aot_eager")
    assert compiled(predictions, targets, mask) > 0
