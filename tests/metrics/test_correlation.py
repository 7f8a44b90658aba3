import warnings

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from torch import Tensor

from rankgrad.metrics import kendall, pairwise_accuracy, spearman

METRICS = {"spearman": spearman, "kendall": kendall, "pairwise_accuracy": pairwise_accuracy}
each = pytest.mark.parametrize("name", METRICS)


def definition(name: str, scores: Tensor, targets: Tensor) -> float:
    """One row, by scipy."""
    x, y = scores.double().numpy(), targets.double().numpy()
    if len(x) < 2 or len(set(y)) < 2:
        return float("nan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name == "spearman":
            return float(scipy.stats.spearmanr(x, y).statistic)
        if name == "kendall":
            return float(scipy.stats.kendalltau(x, y).statistic)
        if len(set(x)) < 2:
            return 0.5  # all pairs tied; scipy declines
        return float(scipy.stats.somersd(y, x).statistic + 1) / 2


def draw(n: int, levels: int, seed: int, rows: tuple[int, ...] = ()) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(levels, (*rows, n), generator=generator).float() - levels / 3
    targets = torch.randint(levels, (*rows, n), generator=generator)
    return scores, targets


@each
@given(n=st.integers(0, 24), levels=st.integers(1, 30), seed=st.integers(0, 10**6))
def test_equals_scipy_ties_included(name: str, n: int, levels: int, seed: int) -> None:
    scores, targets = draw(n, levels, seed)
    expected = definition(name, scores, targets)
    assert METRICS[name](scores, targets).item() == pytest.approx(expected, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("name", ["spearman", "kendall"])
def test_long_rows_equal_scipy(name: str) -> None:
    scores, targets = draw(20_001, 5_000, 0)
    scores = scores + targets  # correlated
    got = METRICS[name](scores.double(), targets).item()
    assert got == pytest.approx(definition(name, scores, targets), abs=1e-12)


@each
def test_leading_dimensions_are_batch(name: str) -> None:
    scores, targets = draw(7, 4, 1, rows=(3, 5))
    got = METRICS[name](scores, targets, reduction="none")
    assert got.shape == (3, 5)
    for row in np.ndindex(3, 5):
        expected = definition(name, scores[row], targets[row])
        assert got[row].item() == pytest.approx(expected, abs=1e-6, nan_ok=True)


@each
@given(seed=st.integers(0, 10**6), hidden=st.sampled_from([0.0, torch.nan, torch.inf]))
def test_mask_equals_leaving_out(name: str, seed: int, hidden: float) -> None:
    scores, targets = draw(9, 5, seed)
    mask = torch.rand(9, generator=torch.Generator().manual_seed(seed)) < 0.7
    expected = METRICS[name](scores[mask], targets[mask])
    scores[~mask] = hidden
    floats = targets.float().masked_fill(~mask, hidden)
    got = METRICS[name](scores, floats, mask=mask)
    torch.testing.assert_close(got, expected, equal_nan=True)


@each
@given(seed=st.integers(0, 10**6))
def test_order_of_the_samples_does_not_matter(name: str, seed: int) -> None:
    scores, targets = draw(12, 6, seed)
    shuffle = torch.randperm(12, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(
        METRICS[name](scores[shuffle], targets[shuffle]),
        METRICS[name](scores, targets),
        equal_nan=True,
    )


@each
def test_undefined_rows_are_nan_and_left_out_of_the_mean(name: str) -> None:
    scores = torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])
    targets = torch.tensor([[1, 2, 3], [5, 5, 5], [1, 2, 3]])
    rows = METRICS[name](scores, targets, reduction="none")
    assert rows.isnan().tolist() == [False, True, False]
    torch.testing.assert_close(METRICS[name](scores, targets), rows[[0, 2]].mean())
    torch.testing.assert_close(METRICS[name](scores, targets, reduction="sum"), rows[[0, 2]].sum())
    assert METRICS[name](scores[1], targets[1]).isnan()


@each
@pytest.mark.parametrize("where", ["scores", "targets"])
def test_nan_gives_nan_for_that_row(name: str, where: str) -> None:
    inputs = {"scores": torch.randn(2, 4), "targets": torch.randn(2, 4)}
    inputs[where][1, 2] = torch.nan
    assert METRICS[name](**inputs, reduction="none").isnan().tolist() == [False, True]
    assert METRICS[name](**inputs).isnan()


@each
@pytest.mark.parametrize("shape", [(0,), (1,), (3, 0), (0, 4), (2, 1)])
def test_too_little_to_compare_is_nan(name: str, shape: tuple[int, ...]) -> None:
    x = torch.ones(shape)
    assert METRICS[name](x, x).isnan()
    assert METRICS[name](x, x, reduction="none").shape == shape[:-1]


@each
@pytest.mark.parametrize(
    ("dtype", "out"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_dtypes(name: str, dtype: torch.dtype, out: torch.dtype) -> None:
    scores, targets = draw(300, 40, 2)
    got = METRICS[name](scores.to(dtype), targets)
    assert got.dtype == out
    expected = definition(name, scores.to(dtype), targets)
    assert got.item() == pytest.approx(expected, abs=1e-6)


@each
def test_targets_beyond_float32_are_told_apart(name: str) -> None:
    targets = 2**40 + torch.arange(5)
    assert METRICS[name](torch.arange(5.0), targets).item() == 1


@each
def test_infinite_scores_have_their_place(name: str) -> None:
    scores = torch.tensor([-torch.inf, 0.0, 1.0, torch.inf])
    assert METRICS[name](scores, torch.arange(4)).item() == 1


@each
def test_non_contiguous(name: str) -> None:
    scores, targets = draw(6, 4, 3, rows=(8,))
    got = METRICS[name](scores.T[::2].T, targets.T[::2].T, reduction="none")
    expected = METRICS[name](
        scores[:, ::2].contiguous(), targets[:, ::2].contiguous(), reduction="none"
    )
    torch.testing.assert_close(got, expected, equal_nan=True)


def test_with_two_target_values_pairwise_accuracy_is_the_area_under_the_roc_curve() -> None:
    scores, targets = draw(20_000, 3_000, 4)
    targets = targets % 2
    expected = roc_auc_score(targets, scores)
    assert pairwise_accuracy(scores, targets).item() == pytest.approx(expected, abs=1e-6)


def test_bad_arguments_are_named() -> None:
    x = torch.arange(3.0)
    with pytest.raises(TypeError, match="scores"):
        spearman(x.long(), x)
    with pytest.raises((TypeError, ValueError), match="targets"):
        kendall(x, x[:2])
    with pytest.raises(TypeError, match="mask"):
        kendall(x, x, mask=x)
    with pytest.raises(ValueError, match="reduction must be one of"):
        spearman(x, x, reduction="avg")
