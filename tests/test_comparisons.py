"""Comparisons: softened steps that know their value and their derivative."""

import dataclasses
import math
import pickle
from collections.abc import Callable

import pytest
import torch

import rankgrad as rg

WIDE = [
    rg.Ramp(0.4),
    rg.Ramp(3.0),
    rg.Logistic(),
    rg.Logistic(0.3),
    rg.Laplace(0.3),
    rg.Normal(0.3),
    rg.Cauchy(0.3),
]
ALL = [rg.Step(), rg.Step(tie=0.0), rg.Step(tie=1.0), *WIDE]
FORMULAS: dict[str, Callable[[float], float]] = {
    "ramp": lambda z: min(max(z / 2 + 0.5, 0.0), 1.0),
    "logistic": lambda z: 1 / (1 + math.exp(-z)),
    "laplace": lambda z: math.exp(z) / 2 if z < 0 else 1 - math.exp(-z) / 2,
    "normal": lambda z: (1 + math.erf(z / math.sqrt(2))) / 2,
    "cauchy": lambda z: 0.5 + math.atan(z) / math.pi,
}
POINTS = torch.linspace(-5, 5, 41, dtype=torch.float64)


@pytest.mark.parametrize("comparison", WIDE, ids=str)
def test_value_is_the_formula_stretched_by_the_scale(comparison: rg.Comparison) -> None:
    formula = FORMULAS[comparison.kind]
    expected = [formula(x / comparison.scale) for x in POINTS.tolist()]
    torch.testing.assert_close(comparison.value(POINTS), torch.tensor(expected).double())


@pytest.mark.parametrize("tie", [0.0, 0.25, 0.5, 1.0])
def test_step_is_one_above_zero_below_and_tie_at_zero(tie: float) -> None:
    x = torch.tensor([-torch.inf, -1e-30, -0.0, 0.0, 1e-30, torch.inf])
    torch.testing.assert_close(rg.Step(tie).value(x), torch.tensor([0.0, 0.0, tie, tie, 1.0, 1.0]))


@pytest.mark.parametrize("comparison", ALL, ids=str)
def test_rises_from_zero_to_one(comparison: rg.Comparison) -> None:
    values = comparison.value(POINTS)
    assert (values.diff() >= 0).all()
    ends = comparison.value(torch.tensor([-torch.inf, torch.inf]))
    torch.testing.assert_close(ends, torch.tensor([0.0, 1.0]))


@pytest.mark.parametrize("comparison", ALL, ids=str)
def test_what_one_side_wins_the_other_loses(comparison: rg.Comparison) -> None:
    x = POINTS[POINTS != 0]
    torch.testing.assert_close(comparison.value(-x), 1 - comparison.value(x))
    assert comparison.value(torch.zeros(1)).item() == comparison.tie


@pytest.mark.parametrize("comparison", WIDE, ids=str)
def test_derivative_is_that_of_the_value(comparison: rg.Comparison) -> None:
    x = (POINTS + 0.013).requires_grad_()  # no kink of a ramp falls there
    (slope,) = torch.autograd.grad(comparison.value(x).sum(), x)
    torch.testing.assert_close(comparison.derivative(x.detach()), slope)


@pytest.mark.parametrize("comparison", WIDE, ids=str)
def test_a_tie_lies_on_the_slope(comparison: rg.Comparison) -> None:
    h = 1e-6
    ends = comparison.value(torch.tensor([-h, h], dtype=torch.float64))
    slope = comparison.derivative(torch.zeros(1, dtype=torch.float64)).item()
    assert slope == pytest.approx(((ends[1] - ends[0]) / (2 * h)).item(), rel=1e-5)


def test_step_has_no_slope() -> None:
    assert not rg.Step().derivative(POINTS).any()


def test_far_tails_keep_their_digits() -> None:
    x = torch.tensor([-10.0], dtype=torch.float64)
    assert rg.Normal().value(x).item() == pytest.approx(math.erfc(10 / math.sqrt(2)) / 2)
    assert rg.Laplace().value(x).item() == pytest.approx(math.exp(-10) / 2)
    assert rg.Logistic().derivative(-20 * x).item() == pytest.approx(math.exp(-200))


@pytest.mark.parametrize("comparison", ALL, ids=str)
def test_nan_stays_nan(comparison: rg.Comparison) -> None:
    assert comparison.value(torch.tensor([torch.nan])).isnan().all()


@pytest.mark.parametrize("comparison", ALL, ids=str)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_keeps_dtype_and_shape(comparison: rg.Comparison, dtype: torch.dtype) -> None:
    for shape in [(), (0,), (2, 3)]:
        x = torch.ones(shape, dtype=dtype)
        for out in (comparison.value(x), comparison.derivative(x)):
            assert out.dtype == dtype
            assert out.shape == x.shape


def test_are_values_frozen_hashable_and_picklable() -> None:
    assert len({*ALL, *ALL}) == len(ALL)
    assert rg.Ramp(0.5) == rg.Ramp(half_width=0.5) != rg.Ramp(0.6)
    assert rg.Normal(1.0) != rg.Cauchy(1.0)
    for comparison in ALL:
        assert pickle.loads(pickle.dumps(comparison)) == comparison
    with pytest.raises(dataclasses.FrozenInstanceError):
        rg.Ramp(0.5).half_width = 1.0


def test_print_as_they_are_written() -> None:
    assert repr(rg.Step()) == "Step(tie=0.5)"
    assert repr(rg.Ramp(0.5)) == "Ramp(half_width=0.5)"
    assert repr(rg.Logistic(0.1)) == "Logistic(temperature=0.1)"


@pytest.mark.parametrize("width", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("kind", [rg.Ramp, rg.Logistic, rg.Laplace, rg.Normal, rg.Cauchy])
def test_a_width_must_be_above_zero_and_finite(
    kind: Callable[[float], rg.Comparison], width: float
) -> None:
    with pytest.raises(ValueError, match=rf"(half_width|temperature) must be .*, got {width}"):
        kind(width)


@pytest.mark.parametrize("tie", [-0.1, 1.1, math.nan])
def test_a_tie_must_lie_between_zero_and_one(tie: float) -> None:
    with pytest.raises(ValueError, match=rf"tie must be .*, got {tie}"):
        rg.Step(tie)


def test_the_base_class_is_abstract() -> None:
    with pytest.raises(TypeError, match="abstract"):
        rg.Comparison()
