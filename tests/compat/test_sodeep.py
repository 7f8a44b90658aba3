from pathlib import Path

import numpy as np
import pytest
import torch

from rankgrad.compat.sodeep import (
    MapRankingLoss,
    RankHardLoss,
    RankLoss,
    SpearmanLoss,
    UpdatingWrapper,
    get_rank,
    load_sorter,
    model_loader,
)
from rankgrad.rankers import Hard
from rankgrad.sorters import CheckpointError
from support import GOLDEN, golden, golden_cases


def torch_decides(x: np.ndarray) -> bool:
    """Whether ties are broken as torch's sort has it: beyond 16 entries that is another matter on
    another processor."""
    return x.size > 16 and np.unique(x).size < x.size


@pytest.mark.parametrize("case", golden_cases("sodeep_rank"))
def test_get_rank_agrees(case: str) -> None:
    arrays = golden("sodeep_rank")[case]
    x = torch.tensor(arrays["x"])
    if torch_decides(arrays["x"]):
        ascending = torch.argsort(torch.argsort(x, dim=0), dim=0)
        np.testing.assert_allclose(get_rank(x), (len(x) - ascending) / len(x), rtol=1e-6)
        return
    if "rank" in arrays:
        np.testing.assert_allclose(get_rank(x), arrays["rank"], rtol=1e-6)
    else:
        np.testing.assert_allclose(get_rank(x), arrays["rank_dim0"], rtol=1e-6)
        np.testing.assert_allclose(get_rank(x, dim=1), arrays["rank_dim1"], rtol=1e-6)


def test_get_rank_of_integers() -> None:
    assert get_rank(torch.tensor([2**53, 2**53 - 1, 0])).tolist() == [1 / 3, 2 / 3, 1]


@pytest.mark.parametrize(
    "case",
    [
        case
        for case in golden_cases("sodeep_spearman_exa")
        if not torch_decides(golden("sodeep_spearman_exa")[case]["gt"])
    ],
)
def test_spearman_agrees(case: str) -> None:
    arrays = golden("sodeep_spearman_exa")[case]
    predictions = torch.tensor(arrays["pred"], requires_grad=True)
    loss = SpearmanLoss("exa", lbd=float(arrays["lbd"]))(
        predictions, torch.tensor(arrays["gt"]), pr=False
    )
    (gradient,) = torch.autograd.grad(loss, predictions)
    np.testing.assert_allclose(loss.item(), arrays["loss"], rtol=1e-5, atol=1e-6)
    scale = max(np.abs(arrays["grad"]).max(), 2e-2)
    np.testing.assert_allclose(gradient, arrays["grad"], rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize("case", golden_cases("sodeep_map_exa"))
def test_map_ranking_agrees(case: str) -> None:
    arrays = golden("sodeep_map_exa")[case]
    output = torch.tensor(arrays["output"], requires_grad=True)
    loss = MapRankingLoss("exa")(output, torch.tensor(arrays["target"]))
    (gradient,) = torch.autograd.grad(loss, output)
    np.testing.assert_allclose(loss.item(), arrays["loss"], rtol=1e-5)
    np.testing.assert_allclose(gradient, arrays["grad"], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("case", golden_cases("sodeep_recall_exa"))
def test_rank_losses_agree(case: str) -> None:
    arrays = golden("sodeep_recall_exa")[case]
    scores = torch.tensor(arrays["scores"], requires_grad=True)
    loss = RankLoss("exa")(scores)
    (gradient,) = torch.autograd.grad(loss, scores)
    np.testing.assert_allclose(loss.item(), arrays["rank_loss"], rtol=1e-5)
    np.testing.assert_allclose(gradient, arrays["rank_grad"], rtol=1e-3, atol=1e-5)
    hard = [entry for entry in arrays if entry.startswith("hard_")]
    assert len(hard) == 3
    for entry in hard:
        nmax, margin = entry.removeprefix("hard_nmax").split("_m")
        loss = RankHardLoss("exa", margin=float(margin), nmax=int(nmax))(scores)
        (gradient,) = torch.autograd.grad(loss, scores)
        np.testing.assert_allclose(loss.item(), arrays[entry], rtol=1e-5, atol=1e-5)
        if "ties" not in case:  # there rounding decides which of equal scores is the hardest
            wanted = arrays[entry.replace("hard_", "hardgrad_")]
            np.testing.assert_allclose(gradient, wanted, rtol=1e-3, atol=1e-5)


def test_arguments_come_in_the_published_order() -> None:
    assert SpearmanLoss("exa", 100, None, 0.5).lbd == 0.5
    loss = RankHardLoss("exa", 100, None, 0.3, 2)
    assert (loss.margin, loss.nmax) == (0.3, 2)
    MapRankingLoss("exa", 100, None)
    RankLoss("exa", 100, None)


def test_any_ranker_may_stand_for_the_sorter() -> None:
    loss = SpearmanLoss(Hard())
    assert loss(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1, 2, 3])) < 1e-12
    assert loss(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1, 3, 2])) > 0.01


def test_an_unknown_sorter_is_named() -> None:
    with pytest.raises(ValueError, match=r"sorter_type must be .*got 'nonsense'"):
        SpearmanLoss("nonsense")


def test_where_the_original_breaks() -> None:
    equal = torch.zeros(4, requires_grad=True)
    loss = SpearmanLoss("exa")(equal, torch.arange(4.0))
    loss.backward()
    assert loss.isfinite()
    assert equal.grad is not None
    assert equal.grad.isfinite().all()

    scores = torch.randn(4, 2, requires_grad=True)
    loss = MapRankingLoss("exa")(scores, torch.zeros(4, 2))
    loss.backward()
    assert loss == 0

    nothing = torch.zeros(0, requires_grad=True)
    SpearmanLoss("exa")(nothing, torch.zeros(0)).backward()
    matrix = torch.zeros(0, 0, requires_grad=True)
    (RankLoss("exa")(matrix) + RankHardLoss("exa")(matrix)).backward()


# ---------------------------------------------------------------- learned sorters


@pytest.mark.parametrize("name", ["gruc", "grus", "lstme"])
def test_the_published_way_to_a_loss(name: str) -> None:
    """The example of the original's README, but for the import."""
    sorter_checkpoint_path = str(GOLDEN / f"upstream_{name}.pth.tar")
    device = torch.device("cpu")

    criterion = SpearmanLoss(*load_sorter(sorter_checkpoint_path))
    criterion.to(device)

    arrays = golden(f"upstream_{name}")[""]
    x = torch.tensor(arrays["x"][0], requires_grad=True)
    targets = torch.arange(len(x)).float()
    loss = criterion(x, targets)
    wanted = ((arrays["out"][0] - get_rank(targets).numpy()) ** 2).mean()
    np.testing.assert_allclose(loss.item(), wanted, rtol=1e-4)
    loss.backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    assert list(criterion.parameters()) == []


def test_the_other_examples_of_the_readme() -> None:
    criterion = SpearmanLoss("exa")
    criterion.to(torch.device("cpu"))
    arguments = load_sorter(GOLDEN / "upstream_grus.pth.tar")
    assert arguments[:2] == ("grus", 12)
    assert MapRankingLoss(*arguments)(torch.randn(12, 2), torch.ones(12, 2)).isfinite()
    assert RankLoss(*arguments)(torch.randn(12, 12)).isfinite()
    assert RankHardLoss(*arguments, margin=0.2)(torch.randn(12, 12)).isfinite()


def test_shipped_sorters_load_by_name() -> None:
    loss = SpearmanLoss(*load_sorter("set"))
    assert loss(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1, 2, 3])) < 1e-3


def test_weights_of_a_cnn_are_not_skipped() -> None:
    torch.manual_seed(0)
    one, other = model_loader("cnn", 40), model_loader("cnn", 40)
    x, y = torch.randn(40), torch.randn(40)
    losses = [SpearmanLoss("cnn", 40, sorter.state_dict())(x, y) for sorter in (one, other, one)]
    assert losses[0] == losses[2] != losses[1]


def test_a_length_that_does_not_fit_is_an_error() -> None:
    criterion = SpearmanLoss(*load_sorter(GOLDEN / "upstream_lstme.pth.tar"))
    with pytest.raises(ValueError, match=r"12 entries.* got 13"):
        criterion(torch.randn(13), torch.randn(13))


def test_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "junk").write_bytes(b"junk")
    with pytest.raises(CheckpointError):
        load_sorter(tmp_path / "junk")
    with pytest.raises(FileNotFoundError):
        load_sorter(tmp_path / "none")


def test_the_sorter_is_the_raw_one() -> None:
    """No standardisation here: the published losses have none."""
    sorter = model_loader("grus")
    x = torch.randn(9)
    want = (sorter(10 * x) - get_rank(x)).square().mean()
    torch.testing.assert_close(SpearmanLoss(sorter)(10 * x, x), want.detach())


def test_updating_wrapper(tmp_path: Path) -> None:
    torch.manual_seed(0)
    wrapper = UpdatingWrapper(model_loader("grus"), lr_sorter=0.01)
    criterion = SpearmanLoss(wrapper)
    assert np.isnan(wrapper.get_loss_average())
    for _ in range(40):
        criterion(torch.randn(12), torch.randn(12))
    assert len(wrapper.collected_data) == 40
    wrapper.save_data(tmp_path / "data.pt")
    assert len(torch.load(tmp_path / "data.pt", weights_only=True)) == 40
    wrapper.update_sorter()
    # All of it, not only the first batch.
    assert len(wrapper.average_loss) == 40
    assert np.mean(wrapper.average_loss[-10:]) < np.mean(wrapper.average_loss[:10])
    assert wrapper.get_loss_average(10) == pytest.approx(np.mean(wrapper.average_loss[-10:]))
    assert wrapper.collected_data == []
    other = UpdatingWrapper(model_loader("grus"), lr_sorter=0.01)
    other.load_state_dict(wrapper.state_dict())
