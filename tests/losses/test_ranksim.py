import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

import rankgrad as rg
from rankgrad.losses import RankSimLoss, rank_sim_loss
from rankgrad.rankers import Blackbox
from support import golden, golden_cases


def draw(n: int, d: int = 4, distinct: int | None = None, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features, and labels that are all different unless told how many there are."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(n, d, generator=generator, dtype=torch.float64)
    if distinct is None:
        return features, torch.randperm(n, generator=generator).double() ** 1.5
    return features, torch.randint(distinct, (n,), generator=generator).double()


def descending(x: np.ndarray) -> np.ndarray:
    return stats.rankdata(-x) / len(x)


def by_definition(
    features: Tensor, labels: Tensor, strength: float
) -> tuple[np.ndarray, np.ndarray]:
    """The loss of each row, and its blackbox gradient for the cosines of that row."""
    units = torch.nn.functional.normalize(features.reshape(len(features), -1), dim=1).numpy()
    labels = labels.reshape(len(labels), -1).numpy()
    losses, slopes = [], []
    for i in range(len(units)):
        cosines = units @ units[i]
        now = descending(cosines)
        error = now - descending(-np.abs(labels - labels[i]).sum(1))
        losses.append((error**2).mean())
        moved = descending(cosines + strength * 2 * error / len(error))
        slopes.append((moved - now) / strength)
    return np.array(losses), np.array(slopes)


def loss_and_gradient(features: Tensor, *args: Tensor, loss: RankSimLoss) -> tuple[Tensor, Tensor]:
    features = features.detach().clone().requires_grad_()
    value = loss(features, *args)
    (gradient,) = torch.autograd.grad(value.sum(), features)
    return value.detach(), gradient


@settings(max_examples=30)
@given(
    n=st.integers(1, 60),
    label_dims=st.sampled_from([0, 1, 2]),
    distinct=st.sampled_from([2, 6, 1000]),
    strength=st.sampled_from([1e-3, 0.5, 2.0, 100.0]),
    seed=st.integers(0, 1000),
)
def test_equals_the_definition(
    n: int, label_dims: int, distinct: int, strength: float, seed: int
) -> None:
    features, _ = draw(n, seed=seed)
    shape = (n, label_dims) if label_dims else (n,)
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(distinct, shape, generator=generator).double()
    losses, slopes = by_definition(features, labels, strength)

    loss = RankSimLoss(strength=strength, unique="none", reduction="none")
    np.testing.assert_allclose(loss(features, labels), losses, atol=1e-12)

    features.requires_grad_()
    units = torch.nn.functional.normalize(features, dim=1)
    (expected,) = torch.autograd.grad(((units @ units.T) * torch.tensor(slopes)).sum(), features)
    for reduction, factor in [("sum", 1), ("mean", n)]:
        loss = RankSimLoss(0.3, strength, unique="none", reduction=reduction)
        value = loss(features, labels)
        (gradient,) = torch.autograd.grad(value, features)
        np.testing.assert_allclose(value.item(), 0.3 * losses.sum() / factor, atol=1e-12)
        torch.testing.assert_close(gradient, 0.3 * expected / factor)


# The original does not average the ranks of equal values: see tests/compat for the others.
@pytest.mark.parametrize(
    "case",
    [c for c in golden_cases("ranksim") if not c.startswith(("intlabels", "near_duplicates"))],
)
def test_value_agrees_with_the_original(case: str) -> None:
    arrays = golden("ranksim")[case]
    loss, gradient = loss_and_gradient(
        torch.tensor(arrays["features"]),
        torch.tensor(arrays["targets"]),
        loss=RankSimLoss(strength=float(arrays["lam"])),
    )
    np.testing.assert_allclose(loss.item(), arrays["loss"], rtol=1e-5, atol=1e-6)
    scale = max(np.abs(arrays["grad"]).max(), 1e-3)
    np.testing.assert_allclose(gradient, arrays["grad"], rtol=1e-4, atol=1e-5 * scale)


def test_weight_and_strength_are_apart() -> None:
    features, labels = draw(30)
    value, gradient = loss_and_gradient(features, labels, loss=RankSimLoss())
    # A weight in front, a weight outside and the scale of a GradScaler do the same.
    weighted, slope = loss_and_gradient(features, labels, loss=RankSimLoss(weight=1e-4))
    torch.testing.assert_close(weighted, 1e-4 * value)
    torch.testing.assert_close(slope, 1e-4 * gradient)
    features.requires_grad_()
    (scaled,) = torch.autograd.grad(65536.0 * RankSimLoss()(features, labels), features)
    torch.testing.assert_close(scaled, 65536 * gradient)
    # The strength changes how far the ranks move, not the value.
    value2, gradient2 = loss_and_gradient(
        features.detach(), labels, loss=RankSimLoss(strength=50.0)
    )
    assert value2 == value
    assert not torch.allclose(gradient2, gradient)


def test_row_cotangents_are_apart() -> None:
    features, labels = draw(12)
    features.requires_grad_()
    loss = RankSimLoss(reduction="none", unique="none")
    cotangent = torch.randn(12, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(loss(features, labels) @ cotangent, features)
    rows = [torch.autograd.grad(loss(features, labels)[i], features)[0] for i in range(12)]
    torch.testing.assert_close(gradient, torch.einsum("i,i...", cotangent, torch.stack(rows)))


def test_descent_orders_the_neighbours() -> None:
    features, labels = draw(16, 8, seed=3)
    features.requires_grad_()
    loss = RankSimLoss()
    optimizer = torch.optim.Adam([features], lr=0.05)
    before = loss(features, labels).item()
    for _ in range(150):
        optimizer.zero_grad()
        loss(features, labels).backward()
        optimizer.step()
    assert loss(features, labels).item() < 0.1 * before


@pytest.mark.parametrize("label_dims", [0, 2])
def test_one_sample_of_each_label_takes_part(label_dims: int) -> None:
    features, labels = draw(40, distinct=6)
    if label_dims:
        labels = torch.stack([labels % 3, labels // 3], dim=1)
    first = [i for i in range(40) if not any((labels[j] == labels[i]).all() for j in range(i))]
    assert 1 < len(first) < 40
    losses, _ = by_definition(features[first], labels[first], 1.0)
    each = rank_sim_loss(features, labels, unique="first", reduction="none")
    np.testing.assert_allclose(each[first], losses, atol=1e-12)
    each[first] = 0
    assert (each == 0).all()
    mean = rank_sim_loss(features, labels, unique="first", reduction="mean")
    np.testing.assert_allclose(mean, losses.mean(), atol=1e-12)

    seen = set()
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        features.grad = None
        features.requires_grad_()
        loss = rank_sim_loss(features, labels, generator=generator, strength=1e3)
        loss.backward()
        assert features.grad is not None
        chosen = (features.grad != 0).any(1).nonzero()[:, 0].tolist()
        assert len({tuple(labels[i].reshape(-1).tolist()) for i in chosen}) == len(chosen)
        seen |= set(chosen)
    assert len(seen) > 35


def test_sampling_follows_the_generator() -> None:
    features, labels = draw(60, distinct=9)

    def loss(seed: int) -> float:
        generator = torch.Generator().manual_seed(seed)
        return RankSimLoss(generator=generator)(features, labels).item()

    assert loss(0) == loss(0)
    assert len({loss(seed) for seed in range(9)}) > 1


@pytest.mark.parametrize("unique", ["sample", "first", "none"])
@pytest.mark.parametrize("ranker", ["blackbox", "sodeep"])
@pytest.mark.parametrize("hidden", [0.0, float("nan")])
def test_a_mask_leaves_samples_out(unique: str, ranker: str, hidden: float) -> None:
    features, labels = draw(20)
    mask = torch.rand(20, generator=torch.Generator().manual_seed(0)) < 0.6
    loss = RankSimLoss(unique=unique, ranker=ranker, reduction="none")
    expected, slope = loss_and_gradient(features[mask], labels[mask], loss=loss)
    features[~mask] = hidden
    labels[~mask] = hidden
    value, gradient = loss_and_gradient(features, labels, mask, loss=loss)
    torch.testing.assert_close(value[mask], expected)
    torch.testing.assert_close(gradient[mask], slope)
    assert (value[~mask] == 0).all()
    assert (gradient[~mask] == 0).all()


def test_a_masked_sample_does_not_stand_for_its_label() -> None:
    features, labels = draw(6)
    labels[3] = labels[0]
    mask = torch.arange(6) > 0
    for unique in ("first", "sample"):
        torch.testing.assert_close(
            rank_sim_loss(features, labels, mask=mask, unique=unique),
            rank_sim_loss(features[1:], labels[1:]),
        )


@settings(max_examples=25)
@given(
    n=st.integers(1, 80),
    distinct=st.sampled_from([2, 9, None]),
    unique=st.sampled_from(["first", "none"]),
    double=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_backends_agree(n: int, distinct: int | None, unique: str, double: bool, seed: int) -> None:
    features, labels = draw(n, 3, distinct, seed)
    if not double:
        features, labels = features.float(), labels.float()
    loss = RankSimLoss(unique=unique, strength=0.7, reduction="none")
    value, gradient = loss_and_gradient(features, labels, loss=loss)
    with rg.use_backend("reference"):
        expected, slope = loss_and_gradient(features, labels, loss=loss)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient, slope)


def test_other_rankers_are_differentiated_as_they_are() -> None:
    features, labels = draw(7)
    features.requires_grad_()
    for ranker in ("logistic", "projection"):
        loss = RankSimLoss(weight=0.7, ranker=ranker, reduction="none")
        assert torch.autograd.gradcheck(lambda x, loss=loss: loss(x, labels), features)
    hard = RankSimLoss(ranker="hard")(features, labels)
    torch.testing.assert_close(hard, RankSimLoss()(features, labels))


def test_a_blackbox_object_keeps_the_published_coupling() -> None:
    n = 30
    features, labels = draw(n)
    strength = 2.0
    features.requires_grad_()
    loss = RankSimLoss(ranker=Blackbox(n * strength, ties="average"))
    (coupled,) = torch.autograd.grad(loss(features, labels), features)
    _, apart = loss_and_gradient(features, labels, loss=RankSimLoss(strength=strength))
    torch.testing.assert_close(coupled, apart)  # they agree at weight one
    # A large weight pushes the perturbation as far as it goes; beyond that it does nothing.
    large, larger = (
        torch.autograd.grad(weight * loss(features, labels), features)[0] for weight in (1e6, 1e9)
    )
    torch.testing.assert_close(large, larger)


@pytest.mark.parametrize("ranker", ["blackbox", "logistic"])
@pytest.mark.parametrize("n", [0, 1, 2])
@pytest.mark.parametrize("reduction", ["sum", "mean", "none"])
def test_few_samples(ranker: str, n: int, reduction: str) -> None:
    features = torch.randn(n, 3)
    loss = RankSimLoss(ranker=ranker, reduction=reduction)
    value, gradient = loss_and_gradient(features, torch.arange(n), loss=loss)
    assert value.shape == ((n,) if reduction == "none" else ())
    if ranker == "blackbox" or n < 2:
        assert (value == 0).all()
        assert (gradient == 0).all()


@pytest.mark.parametrize("ranker", ["blackbox", "logistic"])
def test_features_of_length_zero_have_no_gradient(ranker: str) -> None:
    features, labels = draw(9)
    features[4] = 0
    value, gradient = loss_and_gradient(features, labels, loss=RankSimLoss(ranker=ranker))
    assert value.isfinite()
    assert gradient.isfinite().all()
    assert (gradient[4] == 0).all()
    assert gradient.abs().max() < 1e3
    nothing = torch.zeros(9, 4)
    value, gradient = loss_and_gradient(nothing, labels, loss=RankSimLoss(ranker=ranker))
    assert value.isfinite()
    assert (gradient == 0).all()


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_scale_of_the_features_does_not_matter(scale: float) -> None:
    features, labels = draw(20)
    value, gradient = loss_and_gradient(features.float(), labels, loss=RankSimLoss())
    small, slope = loss_and_gradient(scale * features.float(), labels, loss=RankSimLoss())
    torch.testing.assert_close(small, value)
    torch.testing.assert_close(slope * scale, gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("where", ["features", "labels"])
@pytest.mark.parametrize("ranker", ["blackbox", "logistic"])
def test_nan_gives_nan(where: str, ranker: str) -> None:
    features, labels = draw(5)
    (features[2] if where == "features" else labels[2:3])[0] = float("nan")
    value, gradient = loss_and_gradient(features, labels, loss=RankSimLoss(ranker=ranker))
    assert value.isnan()
    assert gradient.isnan().any()


def test_an_infinite_label_gives_nan_not_a_crash() -> None:
    features, labels = draw(5)
    labels[1] = float("inf")
    assert rank_sim_loss(features, labels).isnan()
    with rg.use_backend("reference"):
        assert rank_sim_loss(features, labels).isnan()


def test_shapes_and_strides() -> None:
    features, labels = draw(12, 6)
    expected = rank_sim_loss(features, labels)
    torch.testing.assert_close(rank_sim_loss(features.reshape(12, 2, 3), labels), expected)
    torch.testing.assert_close(rank_sim_loss(features.T.contiguous().T, labels), expected)
    torch.testing.assert_close(rank_sim_loss(features, labels[:, None]), expected)
    whole = labels.round()
    torch.testing.assert_close(
        rank_sim_loss(features, whole.long()), rank_sim_loss(features, whole)
    )
    wide = torch.stack([labels, torch.zeros(12)], dim=1)
    torch.testing.assert_close(rank_sim_loss(features, wide), expected)
    torch.testing.assert_close(rank_sim_loss(features, wide[:, 0]), expected)


def test_no_gradient_is_computed_where_none_is_wanted() -> None:
    features, labels = draw(9)
    expected = rank_sim_loss(features.clone().requires_grad_(), labels)
    with torch.no_grad():
        value = rank_sim_loss(features.requires_grad_(), labels)
    assert not value.requires_grad
    torch.testing.assert_close(value, expected.detach())


def test_bad_arguments_are_named() -> None:
    features, labels = draw(5)
    with pytest.raises(TypeError, match="features"):
        rank_sim_loss(features.long(), labels)
    with pytest.raises((TypeError, ValueError), match="labels"):
        rank_sim_loss(features, labels[:3])
    with pytest.raises(TypeError, match="labels"):
        rank_sim_loss(features, [0, 1, 2, 3, 4])
    with pytest.raises(TypeError, match="mask"):
        rank_sim_loss(features, labels, mask=labels)
    with pytest.raises(ValueError, match="strength must be > 0"):
        RankSimLoss(strength=0.0)
    with pytest.raises(ValueError, match="weight must be finite"):
        RankSimLoss(weight=float("inf"))
    with pytest.raises(ValueError, match="unique must be one of"):
        RankSimLoss(unique="last")
    assert repr(RankSimLoss()) == (
        "RankSimLoss(weight=1.0, strength=2.0, unique='sample', reduction='sum', ranker='blackbox')"
    )


@pytest.mark.compile
@pytest.mark.parametrize(
    ("ranker", "unique", "label_dims"),
    [("blackbox", "sample", 0), ("blackbox", "first", 2), ("logistic", "none", 0)],
)
def test_compiles_without_a_graph_break(ranker: str, unique: str, label_dims: int) -> None:
    features, labels = draw(12)
    labels = torch.arange(12.0)
    if unique == "first":
        labels[3] = labels[7]
    if label_dims:
        labels = torch.stack([labels, labels], dim=1)
    mask = torch.tensor([True] * 9 + [False] * 3)
    loss = RankSimLoss(0.5, unique=unique, ranker=ranker, reduction="none")
    torch._dynamo.reset()  # one function, many settings: more than its limit of recompilations
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    for args in [(labels,), (labels, mask)]:
        expected = loss_and_gradient(features, *args, loss=loss)
        value = loss_and_gradient(features, *args, loss=compiled)
        torch.testing.assert_close(value, expected)
