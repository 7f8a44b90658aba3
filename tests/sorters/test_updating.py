"""The wrapper that tunes a sorter on the scores it sees."""

import copy
import io

import pytest
import torch
from torch import Tensor

import rankgrad as rg
from rankgrad.rankers import LearnedRanker
from rankgrad.sorters import Sorter, UpdatingWrapper, load_sorter, make_sorter


def grus(seed: int = 0) -> Sorter:
    torch.manual_seed(seed)
    return make_sorter("grus")


def skewed(rows: int, n: int = 12) -> Tensor:
    return torch.randn(rows, n, generator=torch.Generator().manual_seed(rows)).exp()


def error(sorter: Sorter, x: Tensor) -> float:
    return (sorter(x) - rg.rank(x, normalize=True)).abs().mean().item()


def test_update_uses_all_that_was_seen_and_helps() -> None:
    wrapper = UpdatingWrapper(grus(), lr=1e-2, batch_size=4)
    before = error(wrapper.sorter, skewed(100))
    for rows in range(10, 20):
        wrapper(skewed(rows))
    assert len(wrapper) == sum(range(10, 20))
    losses = wrapper.update()
    assert len(losses) == -(-sum(range(10, 20)) // 4)
    assert len(wrapper) == 0
    assert error(wrapper.sorter, skewed(100)) < 0.9 * before
    assert wrapper.update() == []


def test_it_ranks_as_the_sorter_does() -> None:
    sorter = grus()
    x = skewed(3)
    assert torch.equal(UpdatingWrapper(sorter)(x), sorter(x))


def test_only_training_mode_collects() -> None:
    wrapper = UpdatingWrapper(grus())
    wrapper.eval()(skewed(3))
    assert len(wrapper) == 0
    wrapper.train()(skewed(3))
    assert len(wrapper) == 3
    wrapper(torch.tensor([[1.0, torch.nan], [1.0, 2.0]]))
    assert len(wrapper) == 4
    wrapper.forget()
    assert len(wrapper) == 0


def test_memory_is_bounded_and_the_newest_stay() -> None:
    wrapper = UpdatingWrapper(grus(), capacity=5)
    for i in range(10):
        wrapper(torch.full((2, 3), float(i)))
    kept = torch.cat(wrapper.get_extra_state()["kept"])
    assert kept[:, 0].tolist() == [7, 8, 8, 9, 9]
    wrapper(torch.arange(30.0).reshape(10, 3))
    kept = torch.cat(wrapper.get_extra_state()["kept"])
    assert kept[:, 0].tolist() == [15, 18, 21, 24, 27]


def test_what_it_keeps_is_its_own() -> None:
    wrapper = UpdatingWrapper(grus())
    x = torch.ones(1, 3)
    wrapper(x)
    x.zero_()
    assert wrapper.get_extra_state()["kept"][0].eq(1).all()


def test_sequences_of_several_lengths() -> None:
    wrapper = UpdatingWrapper(grus(), batch_size=4)
    wrapper(skewed(6, 5))
    wrapper(skewed(3, 9))
    assert len(wrapper.update()) == 3
    wrapper(skewed(6, 5))
    assert len(wrapper.update(steps=7)) == 7


def test_it_saves_and_restores() -> None:
    one = UpdatingWrapper(grus(), lr=1e-3)
    one(skewed(8))
    one.update()
    one(skewed(9))
    file = io.BytesIO()
    torch.save(one.state_dict(), file)
    file.seek(0)
    other = UpdatingWrapper(grus(1), lr=1e-3)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert one.update() == other.update()
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
    copy.deepcopy(one).update()


def test_frozen_weights_stay_frozen_and_gradients_stay() -> None:
    sorter = load_sorter("set").requires_grad_(False)
    wrapper = UpdatingWrapper(sorter, lr=1e-3)
    wrapper(skewed(4))
    with torch.no_grad():
        assert wrapper.update()
    assert not any(p.requires_grad or p.grad is not None for p in sorter.parameters())


def test_in_a_loss() -> None:
    wrapper = UpdatingWrapper(grus(), lr=1e-2)
    loss = rg.SpearmanLoss(LearnedRanker(wrapper))
    assert list(loss.parameters()) == []
    predictions = torch.randn(12, requires_grad=True)
    loss(predictions, torch.randn(12)).backward()
    assert predictions.grad is not None
    assert len(wrapper) == 1
    loss.eval()
    loss(predictions, torch.randn(12))
    assert len(wrapper) == 1
    before = loss(predictions, torch.arange(12.0)).item()
    loss.train()
    assert wrapper.update(steps=5)
    assert loss(predictions, torch.arange(12.0)).item() != before


def test_length_and_mask_are_those_of_the_sorter() -> None:
    wrapper = UpdatingWrapper(make_sorter("mlp", 4))
    with pytest.raises(ValueError, match="4 entries"):
        wrapper(torch.randn(2, 5))
    with pytest.raises(ValueError, match="'mlp' cannot leave scores out"):
        wrapper(torch.randn(2, 4), torch.ones(4, dtype=torch.bool))
    masked = UpdatingWrapper(load_sorter("set"))
    masked(torch.randn(2, 4), torch.ones(4, dtype=torch.bool))
    assert len(masked) == 0


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="no weights"):
        UpdatingWrapper(make_sorter("exa"))
    with pytest.raises(TypeError):
        UpdatingWrapper(torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match="capacity"):
        UpdatingWrapper(grus(), capacity=0)
    with pytest.raises(ValueError, match="lr"):
        UpdatingWrapper(grus(), lr=0.0)
