import numpy as np
import pytest
import torch

from rankgrad.compat.tsan import SpearmanLoss, get_rank, get_tiedrank, rank_difference_loss
from rankgrad.rankers import Hard
from support import GOLDEN, golden, golden_cases


@pytest.mark.parametrize("case", golden_cases("tsan_rank"))
def test_ranks_agree(case: str) -> None:
    arrays = golden("tsan_rank")[case]
    x = torch.tensor(arrays["x"])
    np.testing.assert_allclose(get_tiedrank(x), arrays["tiedrank"], rtol=1e-6)
    if len(np.unique(arrays["x"])) == arrays["x"].size:  # else the order is torch's affair
        np.testing.assert_allclose(get_rank(x), arrays["rank"], rtol=1e-6)


@pytest.mark.parametrize("case", golden_cases("tsan_rank_difference"))
def test_loss_agrees_down_to_the_pairs_that_are_drawn(case: str) -> None:
    arrays = golden("tsan_rank_difference")[case]
    predictions = torch.tensor(arrays["pred"], requires_grad=True)
    ages = torch.tensor(arrays["gt"])
    criterion = rank_difference_loss(GOLDEN / "upstream_lstme.pth.tar", beta=float(arrays["beta"]))
    np.random.seed(int(arrays["seed"]))
    loss = criterion(predictions, ages)
    (gradient,) = torch.autograd.grad(loss, predictions)
    np.testing.assert_allclose(loss.item(), arrays["loss"], rtol=1e-5)
    scale = max(np.abs(arrays["grad"]).max(), 1e-3)
    np.testing.assert_allclose(gradient, arrays["grad"], rtol=1e-4, atol=1e-5 * scale)
    order = criterion.spearman_loss(predictions, ages)
    np.testing.assert_allclose(order.item(), arrays["spearman"], rtol=1e-5)


def test_whole_ages_are_ranked_exactly() -> None:
    ages = torch.tensor([2**24, 2**24 + 1, 2**24])
    torch.testing.assert_close(get_tiedrank(ages), torch.tensor([2.5, 1.0, 2.5]) / 3)


def test_rankers_are_taken_and_weights_are_frozen() -> None:
    column = torch.tensor([[3.0], [1.0], [2.0]])
    assert rank_difference_loss(Hard(), beta=1.0)(column, column) == 0
    plain = SpearmanLoss("exa")(column, column.flip(0) + 1)
    weighted = SpearmanLoss("exa", lbd=2.0)(column, column.flip(0) + 1)
    torch.testing.assert_close(weighted - plain, torch.tensor(2 * (0 + 1 + 2) / 3))
    learned = rank_difference_loss(GOLDEN / "upstream_lstme.pth.tar")
    assert list(learned.parameters()) == []
