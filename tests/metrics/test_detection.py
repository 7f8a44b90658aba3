"""Matching detections with true boxes, and the optimal LRP error, against cases worked by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rankgrad.metrics import match_boxes, olrp

TRUTH = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10]])


def boxes(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float32).view(-1, 4)


# ---------------------------------------------------------------- who takes which box


def test_the_better_score_takes_the_box_even_if_it_fits_worse() -> None:
    found = boxes([0, 0, 10, 10], [0, 0, 10, 8])
    ious, taken = match_boxes(found, torch.tensor([0.1, 0.9]), TRUTH)
    torch.testing.assert_close(ious, torch.tensor([0.0, 0.8]))
    assert taken.tolist() == [-1, 0]


def test_each_takes_the_box_that_fits_best_among_those_left() -> None:
    truth = boxes([0, 0, 10, 10], [0, 0, 10, 8])
    found = boxes([0, 0, 10, 9], [0, 0, 10, 9])
    ious, taken = match_boxes(found, torch.tensor([0.9, 0.8]), truth)
    torch.testing.assert_close(ious, torch.tensor([0.9, 8 / 9]))
    assert taken.tolist() == [0, 1]


@pytest.mark.parametrize(("threshold", "expected"), [(0.5, [0]), (0.51, [-1])])
def test_the_threshold_itself_is_enough(threshold: float, expected: list[int]) -> None:
    _, taken = match_boxes(boxes([0, 0, 10, 5]), torch.tensor([0.9]), TRUTH, threshold=threshold)
    assert taken.tolist() == expected


def test_without_detections_or_truth_nothing_is_taken() -> None:
    ious, taken = match_boxes(boxes(), torch.zeros(0), TRUTH)
    assert ious.shape == taken.shape == (0,)
    _, taken = match_boxes(TRUTH, torch.tensor([0.5, 0.6]), boxes())
    assert taken.tolist() == [-1, -1]


# ---------------------------------------------------------------- oLRP


def test_one_perfect_detection_of_one_box_is_no_error() -> None:
    result = olrp(torch.tensor([0.3]), torch.tensor([1.0]), 1)
    assert [v.item() for v in result[:4]] == [0, 0, 0, 0]
    assert result.score.item() == pytest.approx(0.3)


def test_by_hand() -> None:
    """Four boxes; right with IoU 0.8, wrong, right with IoU 0.6, wrong.

    Of 1: (0.4 + 0 + 3) / 4 = 0.85.  Of 2: (0.4 + 1 + 3) / 5 = 0.88.
    Of 3: (0.4 + 0.8 + 1 + 2) / 5 = 0.84.  Of 4: (1.2 + 2 + 2) / 6 = 0.8667.
    """
    scores, ious = torch.tensor([0.9, 0.8, 0.7, 0.1]), torch.tensor([0.8, 0.0, 0.6, 0.0])
    result = olrp(scores, ious, 4)
    assert result.total.item() == pytest.approx(0.84)
    assert result.localization.item() == pytest.approx(0.3)  # mean of 0.2 and 0.4
    assert result.false_positive.item() == pytest.approx(1 / 3)
    assert result.false_negative.item() == pytest.approx(0.5)
    assert result.score.item() == pytest.approx(0.7)


def test_a_higher_threshold_by_hand() -> None:
    """At IoU 0.7 the second is wrong: (0.2 / 0.3 + 0 + 1) / 2."""
    result = olrp(torch.tensor([0.9, 0.8]), torch.tensor([0.8, 0.6]), 2, threshold=0.7)
    assert result.total.item() == pytest.approx((0.2 / 0.3 + 1) / 2, abs=1e-6)
    assert result.score.item() == pytest.approx(0.9)


def test_equal_scores_are_kept_together() -> None:
    """Alone the first would give 0; with the second, which scores the same, (0 + 1 + 0) / 2."""
    result = olrp(torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0.0]), 1)
    assert result.total.item() == pytest.approx(0.5)


def test_only_wrong_detections_are_total_error() -> None:
    result = olrp(torch.tensor([0.9]), torch.tensor([0.0]), 3)
    assert result.total.item() == 1
    assert math.isnan(result.localization.item())


def test_no_detections_is_total_error_and_no_truth_is_no_number() -> None:
    nothing = torch.zeros(0)
    result = olrp(nothing, nothing, 2)
    assert (result.total, result.false_negative) == (1, 1)
    assert result.score.item() == math.inf
    assert all(math.isnan(v.item()) for v in olrp(torch.ones(1), torch.zeros(1), 0))


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.sampled_from([0.0, 0.5, 0.7, 1.0])), min_size=1, max_size=12
    ),
    st.integers(0, 5),
)
def test_it_is_the_least_over_all_thresholds(
    detections: list[tuple[int, float]], missed: int
) -> None:
    scores = torch.tensor([float(s) for s, _ in detections])
    ious = torch.tensor([i for _, i in detections])
    truths = int((ious >= 0.5).sum()) + missed
    if truths == 0:
        return
    errors = []
    for s in range(7):
        kept = ious[scores >= s]
        tp = (kept >= 0.5).sum().item()
        fp, fn = len(kept) - tp, truths - tp
        off = (1 - kept[kept >= 0.5]).sum().item() / 0.5
        errors.append((off + fp + fn) / (tp + fp + fn))
    assert olrp(scores, ious, truths).total.item() == pytest.approx(min(errors), abs=1e-6)


def test_matching_takes_what_a_network_gives() -> None:
    """Boxes and scores that want a gradient; the result has none."""
    boxes = torch.tensor([[0.0, 0, 10, 8], [0, 0, 10, 10]], requires_grad=True)
    scores = torch.tensor([0.9, 0.8], requires_grad=True)
    ious, taken = match_boxes(boxes, scores, boxes[1:].detach())
    torch.testing.assert_close(ious, torch.tensor([0.8, 0.0]))
    assert taken.tolist() == [0, -1]


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="threshold must be in"):
        olrp(torch.zeros(2), torch.zeros(2), 1, threshold=1.0)
