"""How the ranking losses weigh the box loss beside them."""

import pytest
import torch

import rankgrad as rg


def test_takes_the_value_of_the_reference_and_scales_the_gradient() -> None:
    box = torch.tensor(4.0, requires_grad=True)
    reference = torch.tensor(0.5, requires_grad=True)
    balanced = rg.balance(box, reference)
    balanced.backward()
    assert balanced.item() == pytest.approx(0.5)
    assert box.grad is not None
    assert box.grad.item() == pytest.approx(0.5 / 4)
    assert reference.grad is None


@pytest.mark.parametrize(("loss", "reference"), [(-4.0, 0.5), (4.0, -0.5), (-4.0, -0.5)])
def test_the_factor_is_an_absolute_value(loss: float, reference: float) -> None:
    x = torch.tensor(loss, requires_grad=True)
    balanced = rg.balance(x, torch.tensor(reference))
    balanced.backward()
    assert x.grad is not None
    assert x.grad.item() == pytest.approx(abs(reference / loss))
    assert balanced.item() == pytest.approx(loss * abs(reference / loss))


def test_a_zero_loss_stays_zero_and_keeps_its_gradient() -> None:
    """The original divides by it."""
    x = torch.tensor(0.0, requires_grad=True)
    rg.balance(2 * x, torch.tensor(0.5)).backward()
    assert x.grad is not None
    assert x.grad.item() == 2


def test_a_zero_reference_switches_the_loss_off() -> None:
    x = torch.tensor(3.0, requires_grad=True)
    balanced = rg.balance(x, torch.tensor(0.0))
    balanced.backward()
    assert balanced.item() == 0
    assert x.grad is not None
    assert x.grad.item() == 0


def test_balances_a_step_of_a_detector() -> None:
    torch.manual_seed(0)
    logits, boxes = torch.randn(20, requires_grad=True), torch.randn(20, requires_grad=True)
    targets = torch.zeros(20)
    targets[::4] = torch.rand(5) * 0.9 + 0.1
    rank_loss = rg.RankSortLoss()(logits, targets)
    box_loss = boxes[::4].square().mean()
    total = rank_loss + rg.balance(box_loss, rank_loss)
    total.backward()
    assert total.item() == pytest.approx(2 * rank_loss.item())
    expected = rank_loss.item() / box_loss.item() * 2 * boxes.detach()[::4] / 5
    assert boxes.grad is not None
    torch.testing.assert_close(boxes.grad[::4], expected)


def test_epochs_renew_the_weight_from_the_means_of_the_epoch() -> None:
    schedule = rg.EpochBalance(steps=3)
    assert schedule.weight == 50
    parts = [(0.9, 0.3), (0.6, 0.2), (0.3, 0.1), (0.4, 0.4), (0.5, 0.5), (0.6, 0.6)]
    weights = []
    for classification, localization in parts:
        schedule.update(
            torch.tensor(classification, requires_grad=True), torch.tensor(localization)
        )
        weights.append(schedule.weight)
    assert weights == pytest.approx([50, 50, (0.2 + 0.6) / 0.2, 4, 4, 2])


def test_an_epoch_without_localisation_error_changes_nothing() -> None:
    schedule = rg.EpochBalance(steps=1, initial=7.0)
    schedule.update(torch.tensor(0.5), torch.tensor(0.0))
    assert schedule.weight == 7


def test_a_broken_step_does_not_become_a_weight() -> None:
    schedule = rg.EpochBalance(steps=1)
    schedule.update(torch.tensor(torch.nan), torch.tensor(0.5))
    assert schedule.weight == 50
    schedule.update(torch.tensor(0.5), torch.tensor(0.5))
    assert schedule.weight == 2


@pytest.mark.parametrize("seen", [0, 1, 2, 3])
def test_goes_on_from_a_saved_state(seen: int) -> None:
    whole, before = rg.EpochBalance(steps=3), rg.EpochBalance(steps=3)
    parts = [(torch.rand(()), torch.rand(())) for _ in range(7)]
    for pair in parts[:seen]:
        before.update(*pair)
    after = rg.EpochBalance(steps=3)
    after.load_state_dict(before.state_dict())
    for pair in parts[seen:]:
        after.update(*pair)
    for pair in parts:
        whole.update(*pair)
    assert after.weight == pytest.approx(whole.weight)


def test_a_saved_state_follows_the_losses_to_their_device() -> None:
    schedule = rg.EpochBalance(steps=3)
    schedule.load_state_dict({"weight": 2.0, "seen": 1, "sums": [0.5, 0.5]})
    elsewhere = torch.zeros((), device="meta")
    schedule.update(elsewhere, elsewhere)
    assert schedule.weight == 2.0


@pytest.mark.parametrize("steps", [0, -1])
def test_an_epoch_has_steps(steps: int) -> None:
    with pytest.raises(ValueError, match=rf"steps must be an integer >= 1, got {steps}"):
        rg.EpochBalance(steps=steps)


@pytest.mark.parametrize("initial", [0.0, -1.0])
def test_the_first_weight_is_above_zero(initial: float) -> None:
    with pytest.raises(ValueError, match=rf"initial must be > 0, got {initial}"):
        rg.EpochBalance(steps=1, initial=initial)
