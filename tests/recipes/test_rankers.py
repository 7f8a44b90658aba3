"""The numbers behind the page of rankers."""

import math

import numpy as np
import pytest

from rankgrad.rankers import RANKERS, as_ranker
from rankgrad.recipes.rankers import EXAMPLE, LEARNED, SWEEPS, Curve, largest_error, ranked, sweep


@pytest.fixture(scope="module")
def curves() -> dict[str, Curve]:
    return {name: sweep(EXAMPLE, name, points=9) for name in SWEEPS}


def test_every_shorthand_is_there() -> None:
    assert {*SWEEPS, *LEARNED, "hard"} == set(RANKERS)


@pytest.mark.parametrize("name", list(SWEEPS))
def test_the_default_is_the_shorthand(name: str) -> None:
    assert SWEEPS[name].make(SWEEPS[name].default) == as_ranker(name)


@pytest.mark.parametrize("name", list(SWEEPS))
def test_a_sweep_runs_from_hard_to_soft(curves: dict[str, Curve], name: str) -> None:
    curve = curves[name]
    assert curve.swept.ranks.shape == curve.swept.pull.shape == (9, len(EXAMPLE))
    errors = largest_error(EXAMPLE, curve.swept.ranks)
    assert errors[0] < 0.1
    if name in ("blackbox", "straight_through"):
        assert (errors == 0).all()
        assert (curve.swept.pull[-1] > 0).any()
    else:
        assert errors[-1] > 1.5
    assert curve.softness[0] < curve.faithful() <= curve.softness[-1]


# The ranks of two have no slope, and the scale of sodeep is a constant to its gradient.
@pytest.mark.parametrize("name", sorted(set(SWEEPS) - {"blackbox", "straight_through", "sodeep"}))
def test_pull_is_minus_the_slope_of_the_rank(name: str) -> None:
    step = 1e-5
    scores = [1.01 * score for score in EXAMPLE]  # none at a corner of the ramp
    curve = sweep(scores, name, points=1)
    for item in range(len(scores)):
        ranks = []
        for sign in (1, -1):
            moved = list(scores)
            moved[item] += sign * step
            ranks.append(sweep(moved, name, points=1).default.ranks[item])
        slope = (ranks[0] - ranks[1]) / (2 * step)
        assert math.isclose(-slope, curve.default.pull[item], rel_tol=1e-3, abs_tol=1e-4)


def test_tied_scores_may_hold_any_of_their_places() -> None:
    scores = (1.0, 2.0, 1.0, 1.0)
    ranks = np.array([[2.0, 1.0, 3.0, 4.0], [3.0, 1.0, 3.0, 3.0], [2.0, 1.5, 3.0, 4.5]])
    assert largest_error(scores, ranks).tolist() == [0, 0, 0.5]


@pytest.mark.parametrize("name", LEARNED)
def test_learned_rankers_rank_the_example(name: str) -> None:
    found = ranked(EXAMPLE, name)
    assert largest_error(EXAMPLE, found.ranks) < 0.5
    assert np.isfinite(found.pull).all()


def test_equal_scores_have_no_width_to_sweep_over() -> None:
    assert all(np.isfinite(sweep((0.5, 0.5), name, 5).swept.pull).all() for name in SWEEPS)
