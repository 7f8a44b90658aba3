"""The names and conventions of the authors' Rank & Sort code."""

import numpy as np
import pytest
import torch

from rankgrad.compat.ranksort import APLoss, RankSort, aLRPLoss
from support import golden, golden_cases

pytestmark = pytest.mark.usefixtures("backend")


def assert_gradient(got: torch.Tensor | None, expected: np.ndarray) -> None:
    assert got is not None
    scale = np.abs(expected).max(initial=0.0)
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6 * scale)


@pytest.mark.parametrize("case", golden_cases("ranksort"))
def test_rank_sort(case: str) -> None:
    """The first output carries the gradient of both errors, the second none."""
    arrays = golden("ranksort")[case]
    logits = torch.tensor(arrays["logits"], requires_grad=True)
    errors = RankSort.apply(logits, torch.tensor(arrays["targets"]), float(arrays["delta"]))
    weights = torch.tensor(arrays.get("cotangent", np.ones(2, np.float32)))
    np.testing.assert_allclose(errors[0].item(), arrays["ranking_error"], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(errors[1].item(), arrays["sorting_error"], rtol=1e-6, atol=1e-7)
    torch.autograd.backward(errors, list(weights))
    assert_gradient(logits.grad, arrays["grad"])


def test_the_sorting_error_alone_has_a_zero_gradient() -> None:
    logits = torch.randn(6, requires_grad=True)
    _, sorting = RankSort.apply(logits, torch.tensor([0.3, 0.9, 0.0, 0.0, 0.5, 0.0]))
    sorting.backward()
    assert logits.grad is not None
    assert not logits.grad.any()


@pytest.mark.parametrize("case", golden_cases("aploss"))
def test_ap(case: str) -> None:
    arrays = golden("aploss")[case]
    logits = torch.tensor(arrays["logits"], requires_grad=True)
    loss = APLoss.apply(logits, torch.tensor(arrays["targets"]), float(arrays["delta"]))
    loss.backward()
    if np.isnan(arrays["grad"]).any():  # ties count whole where the original divides by zero
        assert logits.grad is not None
        assert logits.grad.isfinite().all()
        return
    np.testing.assert_allclose(loss.item(), arrays["loss"], rtol=1e-6, atol=1e-7)
    assert_gradient(logits.grad, arrays["grad"])


@pytest.mark.parametrize("case", golden_cases("alrp"))
def test_alrp(case: str) -> None:
    arrays = golden("alrp")[case]
    logits = torch.tensor(arrays["logits"], requires_grad=True)
    errors = torch.tensor(arrays["regression_losses"])
    targets = torch.tensor(arrays["targets"])
    loss, rank, order = aLRPLoss.apply(logits, targets, errors, float(arrays["delta"]))
    loss.backward()
    scores = logits.detach()[targets == 1]
    assert (scores[order].diff() >= 0).all()
    if np.isnan(arrays["cls_loss"]):
        assert loss.isfinite()
        return
    np.testing.assert_allclose(loss.item(), arrays["cls_loss"], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(rank, arrays["rank"], rtol=1e-6)
    np.testing.assert_array_equal(order, arrays["order"])
    assert_gradient(logits.grad, arrays["grad"])


def test_the_localisation_term_of_the_heads() -> None:
    """How the authors' heads put rank and order to use."""
    arrays = golden("alrp")["rand2_d1"]
    errors = torch.tensor(arrays["regression_losses"])
    logits, targets = torch.tensor(arrays["logits"]), torch.tensor(arrays["targets"])
    _, rank, order = aLRPLoss.apply(logits, targets, errors, float(arrays["delta"]))
    falling = order.flip(0)
    located = (errors[falling].cumsum(0) / rank[falling]).mean()
    np.testing.assert_allclose(located, arrays["loc_loss"], rtol=1e-6)


def test_the_defaults_are_the_published_ones() -> None:
    logits, targets = torch.randn(20), (torch.arange(20) % 3 == 0).float()
    for got, expected in zip(
        RankSort.apply(logits, targets), RankSort.apply(logits, targets, 0.5, 1e-10), strict=True
    ):
        assert torch.equal(got, expected)
    assert torch.equal(APLoss.apply(logits, targets), APLoss.apply(logits, targets, 1.0))
    errors = torch.rand(int(targets.sum()))
    assert torch.equal(
        aLRPLoss.apply(logits, targets, errors)[0],
        aLRPLoss.apply(logits, targets, errors, 1.0, 1e-5)[0],
    )


def test_no_positive_is_zero_where_the_original_raises() -> None:
    logits = torch.randn(3, requires_grad=True)
    losses = (
        *RankSort.apply(logits, torch.zeros(3)),
        APLoss.apply(logits, torch.zeros(3)),
        aLRPLoss.apply(logits, torch.zeros(3), torch.zeros(0))[0],
    )
    assert not any(loss.item() for loss in losses)
    sum(losses).backward()
    assert logits.grad is not None
    assert not logits.grad.any()
