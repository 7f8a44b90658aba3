from typing import Any

import numpy as np
import pytest
import torch

from rankgrad.recipes.digits import METHODS, DigitsNet, DigitsSettings, digits_study, train
from rankgrad.recipes.experiments import Outcome

pytestmark = pytest.mark.usefixtures("one_thread")

TINY = DigitsSettings(epochs=2, peak=6, val_per_label=1, test_per_label=2, many_above=3)


def method(name: str) -> Any:
    return next(m for m in METHODS if m.name == name)


def run(name: str, seed: int = 0) -> Outcome:
    return train(TINY, method(name), seed, lambda *_: None)


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    return {m.name: run(m.name) for m in METHODS}


def test_the_study_is_four_methods_and_five_seeds() -> None:
    study = digits_study()
    assert [m.name for m in study.methods] == ["L1", "MSE", "LDS", "LDS + RnC"]
    assert study.seeds == (0, 1, 2, 3, 4)
    assert study.settings.epochs == 60


def test_the_network_is_small() -> None:
    net = DigitsNet()
    assert 34_000 < sum(p.numel() for p in net.parameters()) < 38_000
    predictions, features = net(torch.zeros(3, 1, 8, 16))
    assert predictions.shape == (3,)
    assert features.shape == (3, 48)


def test_outcome_holds_all_that_the_report_needs(outcomes: dict[str, Outcome]) -> None:
    for outcome in outcomes.values():
        assert {"mae_all", "mae_many", "gm_few", "pearson_all", "spearman_medium"} <= set(
            outcome.metrics
        )
        assert [row["epoch"] for row in outcome.history] == [1, 2]
        assert outcome.arrays["predictions"].shape == outcome.arrays["targets"].shape == (200,)
        assert outcome.arrays["features"].shape == (200, 48)
        error = np.abs(outcome.arrays["predictions"] - outcome.arrays["targets"]).mean()
        assert outcome.metrics["mae_all"] == pytest.approx(error)
        net = DigitsNet()
        net.load_state_dict(dict(outcome.state or {}))


def test_runs_repeat_exactly(outcomes: dict[str, Outcome]) -> None:
    again = run("LDS + RnC")
    np.testing.assert_array_equal(
        again.arrays["predictions"], outcomes["LDS + RnC"].arrays["predictions"]
    )
    assert again.history == outcomes["LDS + RnC"].history


def test_every_method_and_every_seed_gives_another_model(outcomes: dict[str, Outcome]) -> None:
    predictions = [outcome.arrays["predictions"] for outcome in outcomes.values()]
    predictions.append(run("MSE", seed=1).arrays["predictions"])
    for i, a in enumerate(predictions):
        assert not any(np.array_equal(a, b) for b in predictions[:i])


def test_methods_share_data_and_test_set(outcomes: dict[str, Outcome]) -> None:
    first, *others = outcomes.values()
    for other in others:
        np.testing.assert_array_equal(other.arrays["targets"], first.arrays["targets"])
        np.testing.assert_array_equal(other.arrays["train_counts"], first.arrays["train_counts"])


def test_training_helps() -> None:
    outcome = train(
        DigitsSettings(epochs=12, peak=20, test_per_label=2),
        method("MSE"),
        0,
        lambda *_: None,
    )
    errors = [row["val_mae"] for row in outcome.history]
    assert errors[-1] < 0.8 * errors[0]


def test_progress_is_reported_each_epoch() -> None:
    told: list[tuple[float, str]] = []
    train(TINY, method("L1"), 0, lambda fraction, text: told.append((fraction, text)))
    assert [fraction for fraction, _ in told] == [0.5, 1.0]
    assert told[-1][1].startswith("epoch 2/2, val MAE ")


def test_global_random_numbers_and_threads_are_left_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    run("MSE")
    assert torch.equal(torch.rand(3), expected)
