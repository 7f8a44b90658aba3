import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rankgrad.losses import RankHardLoss, RankLoss, rank_hard_loss, rank_loss
from support import golden, golden_cases

CASES = golden_cases("sodeep_recall_exa")


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def normalized_rank(row: Tensor, i: int) -> Tensor:
    others = [torch.sigmoid(row[j] - row[i]) for j in range(len(row)) if j != i]
    return (1 + sum(others, row.new_zeros(()))) / len(row)


def rank_by_definition(scores: Tensor) -> Tensor:
    n = len(scores)
    each = [normalized_rank(scores[i], i) + normalized_rank(scores[:, i], i) for i in range(n)]
    return torch.stack(each)


def rank_hard_by_definition(scores: Tensor, margin: float, n_hardest: int) -> Tensor:
    losses = []
    for i in range(len(scores)):
        total = scores.new_zeros(())
        for row in (scores[i], scores[:, i]):
            ranks = [normalized_rank(row, j) for j in range(len(row))]
            hardest = sorted(r for j, r in enumerate(ranks) if j != i)[:n_hardest]
            total = total + sum((margin + ranks[i] - r).clamp(min=0) for r in hardest)
        losses.append(total)
    return torch.stack(losses)


@given(n=st.integers(1, 6), seed=st.integers(0, 1000))
def test_rank_loss_equals_the_definition(n: int, seed: int) -> None:
    scores = draw(n, n, seed=seed)
    each = rank_loss(scores, ranker="logistic", reduction="none")
    torch.testing.assert_close(each, rank_by_definition(scores))
    torch.testing.assert_close(rank_loss(scores, ranker="logistic"), each.mean())


@given(
    n=st.integers(1, 6),
    margin=st.sampled_from([0.0, 0.2, 1.0, -0.1]),
    n_hardest=st.integers(1, 7),
    seed=st.integers(0, 1000),
)
def test_rank_hard_loss_equals_the_definition(
    n: int, margin: float, n_hardest: int, seed: int
) -> None:
    scores = draw(n, n, seed=seed)
    loss = RankHardLoss(margin, n_hardest, ranker="logistic", reduction="none")
    torch.testing.assert_close(loss(scores), rank_hard_by_definition(scores, margin, n_hardest))


@pytest.mark.parametrize("case", CASES)
def test_agrees_with_sodeep(case: str) -> None:
    arrays = golden("sodeep_recall_exa")[case]
    scores = torch.tensor(arrays["scores"], requires_grad=True)
    checks = [(rank_loss(scores, reduction="sum"), "rank_loss", "rank_grad")]
    for entry in arrays:
        if entry.startswith("hard_"):
            k = int(entry.split("nmax")[1].split("_")[0])
            # The published margin, whatever it is set to.
            loss = rank_hard_loss(scores, margin=1 / len(scores), n_hardest=k, reduction="sum")
            checks.append((loss, entry, entry.replace("hard_", "hardgrad_")))
    assert len(checks) == 4
    for loss, value, slope in checks:
        (gradient,) = torch.autograd.grad(loss, scores)
        np.testing.assert_allclose(loss.item(), arrays[value], rtol=1e-5, atol=1e-5)
        wanted, got = arrays[slope], gradient.numpy()
        if "ties" in case and value != "rank_loss":
            # Rounding decides which of several equal scores is the hardest. What they get together
            # does not depend on it.
            levels = np.unique(arrays["scores"])
            wanted, got = (
                np.array([g[arrays["scores"] == v].sum() for v in levels]) for g in (wanted, got)
            )
        np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-5)


def test_the_margin_is_used() -> None:
    scores = torch.eye(10) + 0.01 * draw(10, 10).float()
    values = [rank_hard_loss(scores, margin=m, ranker="hard").item() for m in (0.1, 0.5, 0.7)]
    # The hardest negative has rank 2 of 10, in rows and in columns.
    assert values == pytest.approx([0, 2 * 0.4, 2 * 0.6])


LOSSES = [RankLoss, RankHardLoss, lambda **kw: RankHardLoss(n_hardest=3, margin=0.5, **kw)]
both_losses = pytest.mark.parametrize("make", LOSSES, ids=["rank", "hard", "hard3"])


@both_losses
@pytest.mark.parametrize("hidden", [9.0, float("nan"), float("inf")])
def test_a_mask_leaves_pairs_out(make, hidden: float) -> None:
    scores = draw(6, 6)
    mask = torch.tensor([True, False, True, True, False, True])
    expected = make(reduction="none")(scores[mask][:, mask])
    scores[~mask] = hidden
    scores[:, ~mask] = hidden
    scores.requires_grad_()
    each = make(reduction="none")(scores, mask)
    torch.testing.assert_close(each[mask], expected)
    assert (each[~mask] == 0).all()
    torch.testing.assert_close(make()(scores, mask), expected.mean())
    (gradient,) = torch.autograd.grad(each.sum(), scores)
    assert gradient.isfinite().all()
    assert (gradient[~mask] == 0).all()
    assert (gradient[:, ~mask] == 0).all()


@both_losses
def test_batches_of_matrices(make) -> None:
    scores = draw(2, 3, 5, 5)
    each = make(reduction="none")(scores)
    assert each.shape == (2, 3, 5)
    torch.testing.assert_close(each[1, 2], make(reduction="none")(scores[1, 2]))
    torch.testing.assert_close(each, make(reduction="none")(scores.mT))


@both_losses
@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_pairs(make, n: int) -> None:
    scores = torch.ones(n, n, requires_grad=True)
    loss = make()(scores)
    loss.backward()
    assert loss == (2 if n == 1 and make is RankLoss else 0)
    assert scores.grad is not None
    assert (scores.grad == 0).all()


@both_losses
def test_equal_scores_have_a_finite_gradient(make) -> None:
    scores = torch.zeros(4, 4, requires_grad=True)
    loss = make()(scores)
    loss.backward()
    assert loss.isfinite()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()


@both_losses
def test_nan_reaches_its_row_and_its_column(make) -> None:
    scores = draw(4, 4)
    scores[1, 2] = float("nan")
    assert make(reduction="none")(scores).isnan().tolist() == [False, True, True, False]


def test_bad_arguments_are_named() -> None:
    for loss in (RankLoss(), RankHardLoss()):
        with pytest.raises((TypeError, ValueError), match="scores"):
            loss(draw(3, 4))
        with pytest.raises(TypeError, match="scores"):
            loss(torch.eye(3).long())
        with pytest.raises((TypeError, ValueError), match="mask"):
            loss(draw(3, 3), torch.ones(4, dtype=torch.bool))
    with pytest.raises(ValueError, match="n_hardest must be >= 1"):
        RankHardLoss(n_hardest=0)
    with pytest.raises(ValueError, match="margin must be finite"):
        RankHardLoss(margin=float("nan"))
    assert repr(RankHardLoss(0.3, 2, ranker="hard")) == (
        "RankHardLoss(margin=0.3, n_hardest=2, ranker=Hard(ties='ordinal'), reduction='mean')"
    )
