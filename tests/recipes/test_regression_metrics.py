import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rankgrad.recipes.regression import Regions, regression_metrics
from rankgrad.recipes.regression.metrics import METRICS, REGIONS
from support import golden, golden_cases


@pytest.mark.parametrize("case", golden_cases("shot_metrics"))
def test_agrees_with_the_published_shot_metrics(case: str) -> None:
    arrays = golden("shot_metrics")[case]
    regions = Regions(int(arrays["many_shot_thr"]), int(arrays["low_shot_thr"]))
    counts = arrays["train_counts"][arrays["labels"].astype(int)]
    metrics, _ = regression_metrics(arrays["preds"], arrays["labels"], regions.split(counts))
    for row, region in enumerate(("many", "medium", "few")):
        ours = [metrics[f"{name}_{region}"] for name in ("mse", "mae", "gm")]
        np.testing.assert_allclose(ours, arrays["result"][row], rtol=1e-5, atol=1e-12)


@given(
    st.lists(
        st.tuples(st.integers(-5, 5).map(float), st.integers(-5, 5).map(float)),
        min_size=3,
        max_size=30,
    )
)
def test_correlations_equal_those_of_scipy(pairs: list[tuple[float, float]]) -> None:
    p, t = np.array(pairs).T
    metrics, notes = regression_metrics(p, t, {"all": np.ones(len(p), dtype=bool)})
    if np.ptp(p) == 0 or np.ptp(t) == 0:
        assert math.isnan(metrics["pearson_all"])
        assert math.isnan(metrics["spearman_all"])
        assert len(notes) == 1
    else:
        assert metrics["pearson_all"] == pytest.approx(stats.pearsonr(p, t)[0], abs=1e-9)
        assert metrics["spearman_all"] == pytest.approx(stats.spearmanr(p, t)[0], abs=1e-9)
        assert notes == []


def test_an_empty_region_is_nan_with_a_note() -> None:
    regions = Regions(many_above=10, few_below=2).split(np.array([1, 1, 50, 60]))
    values = np.array([1.0, 2.0, 3.0, 4.0])
    metrics, notes = regression_metrics(values, values[::-1].copy(), regions)
    assert notes == ["no sample in the region 'medium': its metrics are NaN"]
    assert all(math.isnan(metrics[f"{name}_medium"]) for name in METRICS)
    assert all(not math.isnan(metrics[f"{name}_{r}"]) for name in METRICS for r in ("all", "few"))
    assert set(metrics) == {f"{name}_{region}" for name in METRICS for region in REGIONS}


def test_regions_include_their_limits_in_medium() -> None:
    split = Regions(many_above=30, few_below=8).split(np.array([0, 7, 8, 30, 31]))
    assert {name: members.tolist() for name, members in split.items()} == {
        "all": [True] * 5,
        "many": [False, False, False, False, True],
        "medium": [False, False, True, True, False],
        "few": [True, True, False, False, False],
    }


def test_nan_predictions_give_nan_not_a_wrong_number() -> None:
    everything = {"all": np.ones(3, dtype=bool)}
    metrics, _ = regression_metrics(np.array([1.0, np.nan, 2.0]), np.arange(3.0), everything)
    assert all(math.isnan(value) for value in metrics.values())
