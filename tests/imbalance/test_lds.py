import inspect

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rankgrad.imbalance import (
    label_bins,
    lds_bin_weights,
    lds_weights,
    smooth_counts,
    smoothing_window,
)
from support import golden, golden_cases

CASES = golden_cases("lds_weights")
WINDOWS = {
    "gaussian5s2": ("gaussian", 5, 2.0),
    "gaussian9s1": ("gaussian", 9, 1.0),
    "triang5s2": ("triangular", 5, 2.0),
    "triang9s1": ("triangular", 9, 1.0),
    "laplace5s2": ("laplace", 5, 2.0),
    "laplace9s1": ("laplace", 9, 1.0),
}


def settings(case: str) -> tuple[str, Tensor | None]:
    window = case.rsplit("_", 1)[1]
    reweighting = "inverse" if "_inverse_" in case else "sqrt_inverse"
    return reweighting, None if window == "nolds" else smoothing_window(*WINDOWS[window])


def truncated_upstream(case: str) -> bool:
    reweighting, window = settings(case)
    return reweighting == "inverse" and window is not None


@pytest.mark.parametrize("case", [c for c in CASES if not truncated_upstream(c)])
def test_agrees_with_the_original(case: str) -> None:
    arrays = golden("lds_weights")[case]
    reweighting, window = settings(case)
    counts = torch.tensor(arrays["label_counts"])
    weights = lds_bin_weights(counts, reweighting=reweighting, window=window)
    expected = arrays["weight_per_bin"]
    filled = counts.numpy() > 0
    np.testing.assert_allclose(weights.numpy()[filled], expected[filled], rtol=1e-5)

    bins = label_bins(torch.tensor(arrays["labels"]), len(counts))
    np.testing.assert_allclose(weights[bins], arrays["weights"], rtol=1e-5)


@pytest.mark.parametrize("case", [c for c in CASES if truncated_upstream(c)])
def test_differs_from_the_original_by_its_truncation_only(case: str) -> None:
    arrays = golden("lds_weights")[case]
    reweighting, window = settings(case)
    assert window is not None
    counts = torch.tensor(arrays["label_counts"])
    filled = (counts > 0).numpy()

    smoothed = smooth_counts(counts.double().clamp(5, 1000), window).numpy()[filled]
    # Up to one factor their weights are 1 / integer; the largest count gives the factor.
    theirs = 1 / arrays["weight_per_bin"][filled].astype(np.float64)
    top = smoothed.argmax()
    theirs *= np.floor(smoothed[top]) / theirs[top]
    np.testing.assert_allclose(theirs, theirs.round(), atol=0.01)
    assert (theirs.round() <= smoothed + 1e-9).all()
    assert (theirs.round() >= smoothed - 1 - 1e-9).all()

    ours = lds_bin_weights(counts, reweighting=reweighting, window=window).numpy()[filled]
    np.testing.assert_allclose(ours, arrays["weight_per_bin"][filled], rtol=0.1)


@given(
    counts=st.lists(st.integers(0, 30), min_size=1, max_size=12),
    size=st.sampled_from([1, 3, 7]),
    shape=st.sampled_from(["gaussian", "triangular", "laplace"]),
)
def test_smoothing_is_a_sum_over_neighbouring_bins(
    counts: list[int], size: int, shape: str
) -> None:
    window = smoothing_window(shape, size)
    half = size // 2
    expected = [
        sum(
            counts[j] * float(window[j - i + half])
            for j in range(max(0, i - half), min(len(counts), i + half + 1))
        )
        for i in range(len(counts))
    ]
    smoothed = smooth_counts(torch.tensor(counts), window)
    np.testing.assert_allclose(smoothed, expected, rtol=1e-9, atol=1e-9)


@given(
    labels=st.lists(st.floats(-50, 150, width=32), min_size=1, max_size=40),
    reweighting=st.sampled_from(["sqrt_inverse", "inverse"]),
    smooth=st.booleans(),
)
def test_weights_have_mean_one(labels: list[float], reweighting: str, smooth: bool) -> None:
    window = smoothing_window() if smooth else None
    weights = lds_weights(
        torch.tensor(labels).double(), reweighting=reweighting, window=window, num_bins=100
    )
    assert (weights > 0).all()
    torch.testing.assert_close(weights.mean(), torch.tensor(1.0).double())


def test_rare_labels_weigh_more() -> None:
    labels = torch.tensor([1.0] * 16 + [2.0])
    weights = lds_weights(labels)
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights[-1] / weights[0], torch.tensor(4.0))
    inverse = lds_weights(labels, reweighting="inverse", clip=(1.0, 1000.0))
    torch.testing.assert_close(inverse[-1] / inverse[0], torch.tensor(16.0))


def test_smoothing_lends_a_rare_label_the_counts_of_its_neighbours() -> None:
    alone = torch.tensor([10] * 50 + [40])
    beside = torch.tensor([10] * 50 + [11])
    window = smoothing_window()
    assert lds_weights(beside, window=window)[-1] < lds_weights(alone, window=window)[-1]


def test_bins_of_fractional_labels() -> None:
    # 0.3 / 0.1 is below 3 and 0.6 / 0.2 below 3 in floating point.
    labels = torch.arange(51).double() / 10
    assert torch.equal(label_bins(labels, 51, width=0.1), torch.arange(51))
    assert label_bins(torch.tensor([-3.0, 0.0, 99.0]), 5, low=-2.0).tolist() == [0, 2, 4]


def test_bins_far_from_every_sample_have_no_weight() -> None:
    counts = torch.zeros(30, dtype=torch.long)
    counts[2] = 7
    weights = lds_bin_weights(counts, window=smoothing_window(size=5))
    assert weights[:5].isfinite().all()
    assert weights[5:].isnan().all()


def test_no_labels_no_weights() -> None:
    assert lds_weights(torch.zeros(0)).shape == (0,)


def test_bad_arguments_are_named() -> None:
    labels = torch.tensor([1.0, 2.0])
    with pytest.raises(ValueError, match="reweighting must be one of"):
        lds_weights(labels, reweighting="linear")
    with pytest.raises(ValueError, match="width must be > 0"):
        lds_weights(labels, width=0.0)
    with pytest.raises(ValueError, match="labels must be finite"):
        lds_weights(torch.tensor([1.0, float("nan")]))
    with pytest.raises(ValueError, match="num_bins must be at least 1"):
        label_bins(labels, 0)
    with pytest.raises(ValueError, match="clip must be"):
        lds_weights(labels, reweighting="inverse", clip=(9.0, 1.0))


def test_float32_labels_on_an_edge_lie_on_it() -> None:
    tenths = [k / 10 for k in range(51)]
    # (label - low) / width of 4.7 in float32 is 46.999998.
    assert torch.equal(label_bins(torch.tensor(tenths), 51, width=0.1), torch.arange(51))
    below = torch.nextafter(torch.tensor(tenths), torch.tensor(-1.0))
    assert torch.equal(label_bins(below, 51, width=0.1), (torch.arange(51) - 1).clamp(min=0))


def test_windows_of_any_dtype_serve_and_one_without_a_centre_is_named() -> None:
    counts = torch.tensor([4, 0, 2])
    window = torch.tensor([0.5, 1.0, 0.5])
    expected = smooth_counts(counts, window.double())
    unchecked = inspect.unwrap(smooth_counts)  # the tests' type checks want float64
    assert torch.equal(unchecked(counts, window), expected)
    with pytest.raises(ValueError, match="window must have an odd size, got 4"):
        smooth_counts(counts, torch.ones(4, dtype=torch.float64))
