"""Metrics, the age-bias correction, the table of predictions, saliency."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch

pytest.importorskip("nibabel")

from rankgrad.data.nifti import Scan
from rankgrad.recipes.brain_age.bias import AgeBias, fit_age_bias
from rankgrad.recipes.brain_age.evaluation import age_metrics, by_sex, discordant
from rankgrad.recipes.brain_age.model import BrainAgeModel
from rankgrad.recipes.brain_age.prediction import write_predictions
from rankgrad.recipes.brain_age.saliency import saliency
from rankgrad.recipes.brain_age.settings import BrainAgeSettings

RNG = np.random.default_rng(0)
AGES = RNG.uniform(20, 90, 60)
# As networks do: the young too old, the old too young.
PREDICTED = 0.8 * AGES + 11 + RNG.normal(0, 4, 60)


def test_metrics_are_those_of_scipy() -> None:
    found = age_metrics(PREDICTED, AGES)
    error = PREDICTED - AGES
    assert found["MAE"] == pytest.approx(np.abs(error).mean())
    assert found["RMSE"] == pytest.approx(math.sqrt((error**2).mean()))
    assert found["Pearson"] == pytest.approx(scipy.stats.pearsonr(PREDICTED, AGES)[0])
    assert found["Spearman"] == pytest.approx(scipy.stats.spearmanr(PREDICTED, AGES)[0])


def test_metrics_of_little() -> None:
    one = age_metrics(np.array([50.0]), np.array([53.0]))
    assert (one["MAE"], one["RMSE"]) == (3, 3)
    assert math.isnan(one["Pearson"])
    assert math.isnan(one["Spearman"])
    assert all(math.isnan(v) for v in age_metrics(np.zeros(0), np.zeros(0)).values())
    constant = age_metrics(np.full(3, 50.0), np.array([40.0, 50.0, 60.0]))
    assert math.isnan(constant["Spearman"])
    missing = age_metrics(np.array([50.0, math.nan]), np.array([53.0, 20.0]))
    assert missing["MAE"] == 3


def test_by_sex_leaves_out_those_that_do_not_occur() -> None:
    sexes = [0, None, 0, 0, None]
    found = by_sex(PREDICTED[:5], AGES[:5], sexes)
    assert {name: n for name, (n, _) in found.items()} == {"all": 5, "female": 3}
    chosen = np.array([0, 2, 3])
    assert found["female"][1] == age_metrics(PREDICTED[chosen], AGES[chosen])


def test_discordant_pairs_by_hand() -> None:
    found = discordant(PREDICTED, AGES)
    for name, count, share in found:
        low, high = (
            (20.0, math.inf) if name == "over 20" else tuple(float(x) for x in name.split("–"))
        )
        wrong = [
            float((AGES[i] < AGES[j]) != (PREDICTED[i] < PREDICTED[j]))
            for i in range(60)
            for j in range(i)
            if low < abs(AGES[i] - AGES[j]) <= high
        ]
        assert (count, share) == (len(wrong), pytest.approx(np.mean(wrong)))
    assert sum(n for _, n, _ in found) == 60 * 59 // 2


def test_equal_predictions_are_half_wrong_and_equal_ages_do_not_count() -> None:
    found = discordant(np.array([50.0, 50.0, 60.0]), np.array([40.0, 43.0, 43.0]))
    assert [(n, s) for _, n, s in found if n] == [(2, 0.25)]


def test_correction_takes_the_trend_off() -> None:
    bias = fit_age_bias(PREDICTED, AGES)
    assert bias.usable
    assert bias.scans == 60
    slope, intercept = np.polyfit(AGES, PREDICTED, 1)
    assert (bias.slope, bias.intercept) == pytest.approx((slope, intercept))
    raw, corrected = PREDICTED - AGES, bias.gap(PREDICTED, AGES)
    assert np.corrcoef(raw, AGES)[0, 1] < -0.5
    assert np.corrcoef(corrected, AGES)[0, 1] == pytest.approx(0, abs=1e-9)
    missing = fit_age_bias(np.append(PREDICTED, np.nan), np.append(AGES, 50.0))
    assert (missing.slope, missing.scans) == (bias.slope, 60)
    again = fit_age_bias(bias.age(PREDICTED), AGES)
    assert (again.slope, again.intercept) == pytest.approx((1, 0), abs=1e-9)


def test_correction_of_nothing_to_correct_is_said() -> None:
    assert not fit_age_bias(np.array([50.0]), np.array([50.0])).usable
    assert not fit_age_bias(np.array([50.0, 51.0]), np.array([60.0, 60.0])).usable
    assert not fit_age_bias(np.array([60.0, 40.0]), np.array([40.0, 60.0])).usable


def scan(name: str, age: float, sex: int | None) -> Scan:
    return Scan(Path(name), name, name.partition("_")[0], age, sex, "test")


def test_predictions_as_a_table(tmp_path: Path) -> None:
    scans = [scan("sub-1_T1w.nii.gz", 64.0, 1), scan("sub-2_T1w.nii.gz", math.nan, None)]
    ages = np.array([[60.0, 66.0], [50.0, 54.0]])
    write_predictions(tmp_path / "a.csv", scans, ages, AgeBias(0.8, 10.0, 9))
    rows = list(csv.DictReader((tmp_path / "a.csv").open()))
    assert rows[0] == {
        "file": "sub-1_T1w.nii.gz", "subject": "sub-1", "sex": "male", "age": "64.000",
        "predicted_age": "66.000", "gap": "2.000", "first_stage_age": "60.000",
        "corrected_age": "70.000", "corrected_gap": "4.800",
    }  # fmt: skip
    assert (rows[1]["gap"], rows[1]["corrected_gap"], rows[1]["sex"]) == ("", "", "")
    assert rows[1]["corrected_age"] == "55.000"
    write_predictions(tmp_path / "b.csv", scans, ages[:, :1])
    assert "corrected_age" not in (tmp_path / "b.csv").read_text()
    assert "first_stage_age" not in (tmp_path / "b.csv").read_text()


@pytest.mark.parametrize("second", [False, True])
def test_saliency_is_the_smoothed_gradient(second: bool) -> None:
    torch.manual_seed(0)
    settings = BrainAgeSettings(filters=2, blocks=1, size=(14, 15, 16), weight=0.0)
    model = BrainAgeModel(settings, second=second).eval()
    with torch.no_grad():
        model.first.last_bias.fill_(50.0)
    image, sex = torch.randn(2, 1, 14, 15, 16), torch.eye(2)
    image[:, :, :3] = 0.0
    found = saliency(model, image, sex)
    assert found.shape == (2, 14, 15, 16)
    assert (found[:, :3] == 0).all()
    # The mean of the absolute differences around one voxel.
    near = []
    for dx in (-1, 0, 1):
        for dy in (-1, 0, 1):
            for dz in (-1, 0, 1):
                moved = image.double()
                moved[0, 0, 7 + dx, 7 + dy, 8 + dz] += 1e-4
                with torch.no_grad():
                    ages = [model.double()(x, sex.double())[0, -1] for x in (moved, image.double())]
                near.append(abs((ages[0] - ages[1]) / 1e-4))
    torch.testing.assert_close(
        found[0, 7, 7, 8].double(), torch.stack(near).mean(), rtol=1e-3, atol=1e-6
    )
