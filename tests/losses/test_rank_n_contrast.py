import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rankgrad.losses.rank_n_contrast import RankNContrastLoss, rank_n_contrast_loss
from support import golden, golden_cases

pytestmark = pytest.mark.usefixtures("backend")

CASES = golden_cases("rank_n_contrast")


def overflows_upstream(case: str) -> bool:
    return "note" in golden("rank_n_contrast")[case]


def brute_force(features: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """The loss of every anchor, by the definition."""
    labels = labels.reshape(len(labels), -1)
    n = len(features)
    anchors = []
    for i in range(n):
        others = [k for k in range(n) if k != i]
        apart = {k: (labels[i] - labels[k]).abs().sum() for k in others}
        similar = {k: -(features[i] - features[k]).norm() / temperature for k in others}
        total = features.sum() * 0
        for j in others:
            negatives = torch.stack([similar[k] for k in others if apart[k] >= apart[j]])
            total = total + negatives.logsumexp(0) - similar[j]
        anchors.append(total / max(len(others), 1))
    return torch.stack(anchors)


def loss_and_gradient(case: str, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    arrays = golden("rank_n_contrast")[case]
    features = torch.tensor(arrays["features"], dtype=dtype, requires_grad=True)
    loss = rank_n_contrast_loss(
        features,
        torch.tensor(arrays["labels"]),
        temperature=float(arrays["temperature"]),
    )
    (gradient,) = torch.autograd.grad(loss, features)
    return loss.detach(), gradient


@pytest.mark.parametrize("case", [c for c in CASES if not overflows_upstream(c)])
def test_agrees_with_the_original(case: str) -> None:
    expected = golden("rank_n_contrast")[case]
    loss, gradient = loss_and_gradient(case)
    np.testing.assert_allclose(loss, expected["loss"], rtol=1e-5)
    # With two samples the gradient is zero; the original leaves rounding noise there.
    scale = max(float(np.abs(expected["grad"]).max()), 0.1)
    np.testing.assert_allclose(gradient, expected["grad"], rtol=1e-5, atol=1e-5 * scale)


@pytest.mark.parametrize("case", [c for c in CASES if overflows_upstream(c)])
def test_is_right_where_the_original_overflows(case: str) -> None:
    arrays = golden("rank_n_contrast")[case]
    features = torch.tensor(arrays["features"]).double().requires_grad_()
    views = features.shape[1]
    expected = brute_force(
        features.flatten(0, 1),
        torch.tensor(arrays["labels"]).repeat_interleave(views, 0),
        float(arrays["temperature"]),
    ).mean()
    (expected_gradient,) = torch.autograd.grad(expected, features)

    loss, gradient = loss_and_gradient(case, torch.float64)
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-10, atol=1e-12)

    loss, gradient = loss_and_gradient(case)
    torch.testing.assert_close(loss, expected.detach().float(), rtol=1e-5, atol=1e-6)
    # float32 distances of some thousands leave some 1e-5 in the exponents.
    torch.testing.assert_close(gradient, expected_gradient.float(), rtol=1e-4, atol=2e-5)


@given(
    n=st.integers(0, 9),
    label_dims=st.integers(1, 2),
    distinct_labels=st.integers(1, 9),
    scale=st.sampled_from([0.0, 1.0, 300.0]),
    temperature=st.floats(0.1, 10),
    seed=st.integers(0, 1000),
)
def test_equals_the_definition(
    n: int, label_dims: int, distinct_labels: int, scale: float, temperature: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(n, 3, generator=generator, dtype=torch.float64) * scale
    labels = torch.randint(distinct_labels, (n, label_dims), generator=generator)
    loss = rank_n_contrast_loss(features, labels, temperature=temperature, reduction="none")
    if n == 0:
        assert loss.shape == (0,)
    else:
        torch.testing.assert_close(loss, brute_force(features, labels, temperature))


def test_gradient_is_the_derivative() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(7, 2, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0.0, 1.0, 1.0, 2.0, 3.5, 3.5, 7.0])
    assert torch.autograd.gradcheck(lambda x: rank_n_contrast_loss(x, labels), features)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("outlier", [1.0, 1e4])
@pytest.mark.parametrize(("n", "d"), [(33, 1), (50, 7), (70, 130)])
def test_larger_batches_with_ties_and_outliers(
    n: int, d: int, outlier: float, dtype: torch.dtype
) -> None:
    """Sizes that fill no tile; for all but the outlier its exponential is zero even in float64."""
    generator = torch.Generator().manual_seed(n)
    features = torch.randn(n, d, generator=generator, dtype=torch.float64)
    features[3] *= outlier
    features[7] = features[8] + 1e-7
    features[9] = features[10]
    labels = torch.randint(n // 3, (n,), generator=generator)
    weights = torch.rand(n, generator=generator, dtype=torch.float64)
    features = features.to(dtype)

    exact = features.double().clone().requires_grad_()
    expected = brute_force(exact, labels, 2.0)
    (expected * weights).sum().backward()
    mine = features.requires_grad_()
    each = rank_n_contrast_loss(mine, labels, reduction="none")
    (each * weights.to(dtype)).sum().backward()

    assert exact.grad is not None
    assert mine.grad is not None
    # The definition has no derivative where two samples coincide; ours is zero there.
    # Exponents are differences of distances, which in float32 keep seven digits.
    tolerance = 1e-10 if dtype == torch.float64 else 2e-5 * max(1.0, outlier / 100)
    torch.testing.assert_close(each.double(), expected.detach(), rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(
        mine.grad.double(), exact.grad.nan_to_num(), rtol=10 * tolerance, atol=10 * tolerance
    )


def test_coinciding_features_have_a_finite_gradient() -> None:
    features = torch.zeros(5, 3, requires_grad=True)
    rank_n_contrast_loss(features, torch.arange(5)).backward()
    assert features.grad is not None
    assert torch.equal(features.grad, torch.zeros(5, 3))


@pytest.mark.parametrize("shape", [(0, 3), (1, 3), (0, 2, 3), (1, 1, 3)])
def test_fewer_than_two_samples_give_zero_with_a_graph(shape: tuple[int, ...]) -> None:
    features = torch.ones(shape, requires_grad=True)
    loss = rank_n_contrast_loss(features, torch.zeros(shape[0]))
    loss.backward()
    assert loss.item() == 0
    assert features.grad is not None
    assert torch.equal(features.grad, torch.zeros(shape))


def test_views_are_samples_that_share_a_label() -> None:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(4, 3, 5, generator=generator)
    labels = torch.tensor([3.0, 1.0, 1.0, 9.0])
    per_anchor = rank_n_contrast_loss(features, labels, reduction="none")
    flat = rank_n_contrast_loss(
        features.flatten(0, 1), labels.repeat_interleave(3), reduction="none"
    )
    assert per_anchor.shape == (4, 3)
    torch.testing.assert_close(per_anchor, flat.reshape(4, 3))


def test_reductions() -> None:
    features, labels = torch.randn(6, 2), torch.arange(6)
    each = rank_n_contrast_loss(features, labels, reduction="none")
    torch.testing.assert_close(rank_n_contrast_loss(features, labels, reduction="sum"), each.sum())
    torch.testing.assert_close(rank_n_contrast_loss(features, labels), each.mean())


@pytest.mark.parametrize("hidden", [0.0, float("nan"), float("inf")])
def test_mask_equals_leaving_the_samples_out(hidden: float) -> None:
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(7, 3, generator=generator)
    labels = torch.tensor([1.0, 2.0, 2.0, 5.0, 6.0, 8.0, 8.0])
    mask = torch.tensor([True, True, False, True, False, True, True])
    expected = rank_n_contrast_loss(features[mask], labels[mask])

    features[~mask] = hidden
    labels[~mask] = hidden
    features.requires_grad_()
    loss = rank_n_contrast_loss(features, labels, mask=mask)
    loss.backward()
    torch.testing.assert_close(loss.detach(), expected)
    assert features.grad is not None
    assert features.grad.isfinite().all()
    assert (features.grad[~mask] == 0).all()
    each = rank_n_contrast_loss(features, labels, mask=mask, reduction="none")
    assert (each[~mask] == 0).all()


def test_mask_that_hides_everything() -> None:
    features = torch.randn(3, 2, requires_grad=True)
    loss = rank_n_contrast_loss(features, torch.arange(3), mask=torch.zeros(3, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0


@pytest.mark.parametrize("where", ["features", "labels"])
def test_nan_gives_nan(where: str) -> None:
    inputs = {"features": torch.randn(4, 2), "labels": torch.arange(4.0)}
    inputs[where][2] = float("nan")
    assert rank_n_contrast_loss(**inputs).isnan()


def test_large_integer_labels_are_not_rounded() -> None:
    # In float32 all four labels are one number.
    labels = 2**30 + torch.tensor([0, 1, 2, 3])
    features = torch.randn(4, 2, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(
        rank_n_contrast_loss(features, labels), rank_n_contrast_loss(features, torch.arange(4))
    )


def test_features_in_label_order_have_the_lower_loss() -> None:
    labels = torch.arange(10.0)
    in_order = labels[:, None]
    shuffled = in_order[torch.randperm(10, generator=torch.Generator().manual_seed(6))]
    assert rank_n_contrast_loss(in_order, labels) < rank_n_contrast_loss(shuffled, labels)


def test_module_is_the_function() -> None:
    features, labels = torch.randn(5, 3), torch.arange(5)
    loss = RankNContrastLoss(temperature=0.7, reduction="sum")
    torch.testing.assert_close(
        loss(features, labels),
        rank_n_contrast_loss(features, labels, temperature=0.7, reduction="sum"),
    )
    assert repr(loss) == "RankNContrastLoss(temperature=0.7, reduction='sum')"


def test_bad_arguments_are_named() -> None:
    features, labels = torch.randn(4, 2), torch.arange(4)
    with pytest.raises(ValueError, match="temperature must be > 0"):
        RankNContrastLoss(temperature=0.0)
    with pytest.raises(ValueError, match="reduction must be one of"):
        rank_n_contrast_loss(features, labels, reduction="avg")
    with pytest.raises(TypeError, match="features"):
        rank_n_contrast_loss(features.long(), labels)
    with pytest.raises((TypeError, ValueError), match="labels"):
        rank_n_contrast_loss(features, labels[:3])
    with pytest.raises(TypeError, match="labels"):
        rank_n_contrast_loss(features, [0, 1, 2, 3])
    with pytest.raises(TypeError, match="mask"):
        rank_n_contrast_loss(features, labels, mask=labels)
