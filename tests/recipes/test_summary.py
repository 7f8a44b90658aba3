import math
from pathlib import Path

import pytest

from rankgrad.recipes.experiments import StoredRun, paired, spread
from rankgrad.recipes.regression.summary import COLUMNS, findings, lowest, summary_rows


def run(method: str, seed: int, mae: float) -> StoredRun:
    metrics = {metric: mae for metric, _, _, _ in COLUMNS}
    return StoredRun(method, seed, metrics, [], [], 1.0, Path())


RUNS = [
    *(run("L1", seed, mae) for seed, mae in enumerate([10.0, 12.0, 11.0])),
    *(run("MSE", seed, mae) for seed, mae in enumerate([9.0, 9.0, 9.0])),
    *(run("LDS", seed, mae) for seed, mae in enumerate([8.0, 9.0, 10.0])),
    *(run("LDS + RnC", seed, mae) for seed, mae in enumerate([7.0, 8.0, 9.0])),
]
METHODS = ["L1", "MSE", "LDS", "LDS + RnC"]


def test_spread_is_mean_and_sample_deviation() -> None:
    s = spread(RUNS, "L1", "mae_all")
    assert (s.mean, s.std, s.n) == (11.0, 1.0, 3)
    assert s.text(2) == "11.00 ± 1.00"
    assert spread(RUNS[:1], "L1", "mae_all").text(1) == "10.0"
    assert spread(RUNS, "nobody", "mae_all").text(2) == "–"
    assert spread([run("L1", 0, math.nan)], "L1", "mae_all").text(2) == "–"


def test_pairs_are_matched_by_seed() -> None:
    shuffled = [run("B", 2, 5.0), run("A", 1, 3.0), run("B", 1, 4.0), run("A", 7, 0.0)]
    comparison = paired(shuffled, "A", "B", "mae_all")
    assert comparison.seeds == (1,)
    assert comparison.differences == (-1.0,)
    assert comparison.relative == -0.25
    assert comparison.better() == 1
    assert comparison.better(lower_is_better=False) == 0


def test_equal_is_not_better() -> None:
    assert paired(RUNS, "LDS", "MSE", "mae_all").better() == 1


def test_no_seed_in_common() -> None:
    comparison = paired([run("A", 0, 1.0), run("B", 1, 1.0)], "A", "B", "mae_all")
    assert math.isnan(comparison.mean)
    assert "no seed in common" in findings([], [], [comparison])[0]


def test_findings_say_what_the_numbers_say() -> None:
    pairs = [paired(RUNS, a, b, "mae_all") for a, b in (("LDS", "MSE"), ("LDS + RnC", "LDS"))]
    assert findings(RUNS, METHODS, pairs) == [
        "LDS against MSE: test MAE 9.00 instead of 9.00 (+0.0%), better on 1 of 3 seeds.",
        "LDS + RnC against LDS: test MAE 8.00 instead of 9.00 (−11.1%), better on 3 of 3 seeds.",
        "Of the 3.00 between L1 and the lowest mean (LDS + RnC), plain MSE alone takes 2.00 (67%).",
    ]


@pytest.mark.parametrize("methods", [["L1", "MSE"], ["MSE", "LDS + RnC"], ["L1"]])
def test_no_claim_about_mse_where_it_is_not_between(methods: list[str]) -> None:
    assert findings([r for r in RUNS if r.method in methods], methods, []) == []


def test_table_marks_the_best_mean_of_each_column() -> None:
    rows = summary_rows(RUNS, METHODS)
    assert [row[0] for row in rows] == METHODS
    assert rows[1][1] == "9.00 ± 0.00"
    # The toy numbers stand in every column: errors are best low, correlations high.
    assert lowest(RUNS, METHODS) == {(3, 1), (3, 2), (3, 3), (3, 4), (3, 5), (0, 6), (0, 7)}
    assert lowest(RUNS[:3], ["L1"]) == frozenset()
