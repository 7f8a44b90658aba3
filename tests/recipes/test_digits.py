import numpy as np
import pytest
import torch

from rankgrad.recipes.digits import METHODS, digits_study
from rankgrad.recipes.experiments import Outcome
from rankgrad.recipes.regression.loading import load_data
from rankgrad.recipes.regression.models import build_regressor

pytestmark = pytest.mark.usefixtures("one_thread")


def run(name: str, seed: int = 0, *, epochs: int = 2) -> Outcome:
    study = digits_study(epochs=epochs)
    method = next(m for m in METHODS if m.name == name)
    return study.train(study.settings, method, seed, lambda *_: None)


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    return {m.name: run(m.name) for m in METHODS}


def test_the_study_is_four_methods_and_five_seeds() -> None:
    study = digits_study()
    assert [m.name for m in study.methods] == ["L1", "MSE", "LDS", "LDS + RnC"]
    assert study.seeds == (0, 1, 2, 3, 4)
    assert study.settings.epochs == 60


def test_the_network_is_small() -> None:
    study = digits_study()
    data = load_data(study.settings.data, 0)
    model = build_regressor(study.settings.model, data, METHODS[0])
    assert 34_000 < sum(p.numel() for p in model.parameters()) < 38_000
    predictions, features = model(torch.zeros(3, 1, 8, 16))
    assert predictions.shape == (3,)
    assert features.shape == (3, 48)


def test_outcome_holds_all_that_the_report_needs(outcomes: dict[str, Outcome]) -> None:
    for outcome in outcomes.values():
        assert {"mae_all", "mae_many", "gm_few", "pearson_all", "spearman_medium"} <= set(
            outcome.metrics
        )
        assert [row["epoch"] for row in outcome.history] == [1, 2]
        assert outcome.arrays["predictions"].shape == outcome.arrays["targets"].shape == (1000,)
        assert outcome.arrays["features"].shape == (1000, 48)
        error = np.abs(outcome.arrays["predictions"] - outcome.arrays["targets"]).mean()
        assert outcome.metrics["mae_all"] == pytest.approx(error)
        # The test set is balanced.
        assert outcome.metrics["mae_balanced"] == pytest.approx(outcome.metrics["mae_all"])
        # Nothing is chosen by validation: the last epoch's model is tested.
        assert outcome.metrics["val_mae_balanced"] == outcome.history[-1]["val_mae"]


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
    errors = [row["val_mae"] for row in run("MSE", epochs=6).history]
    assert errors[-1] < 0.8 * errors[0]


def test_progress_is_reported_each_epoch() -> None:
    told: list[tuple[float, str]] = []
    study = digits_study(epochs=2)
    study.train(study.settings, METHODS[0], 0, lambda *x: told.append(x))
    assert [fraction for fraction, _ in told] == [0.5, 1.0]
    assert told[-1][1].startswith("epoch 2/2, val MAE ")


def test_global_random_numbers_and_threads_are_left_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    run("MSE", epochs=1)
    assert torch.equal(torch.rand(3), expected)
