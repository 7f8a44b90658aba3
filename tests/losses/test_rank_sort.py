"""Rank & Sort loss, against the formulas pair by pair and the authors' numbers."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from torch import Tensor

import rankgrad as rg
from losses.detection_problems import assert_same, problems
from rankgrad.functional import rank_sort
from support import golden, golden_cases, ramp

pytestmark = pytest.mark.usefixtures("backend")

DELTAS = [0.0, 1e-6, 0.5, 1e4]


def brute_force(
    logits: Tensor,
    targets: Tensor,
    delta: float,
    segments: Tensor | None = None,
    weights: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ranking and sorting error of every logit, and the update that each error asks for.

    ``weights`` are the cotangents of the two errors of every logit.
    """
    s, t = logits.double().tolist(), targets.double().tolist()
    n = len(s)
    group = [0] * n if segments is None else segments.tolist()
    ones = torch.ones(n, dtype=torch.float64)
    of_ranking, of_sorting = (w.tolist() for w in weights or (ones, ones))
    ranking, sorting, up_ranking, up_sorting = torch.zeros(4, n, dtype=torch.float64)
    for i in (i for i in range(n) if t[i] > 0):
        positives = [k for k in range(n) if t[k] > 0 and group[k] == group[i]]
        negatives = [j for j in range(n) if t[j] == 0 and group[j] == group[i]]
        h = {j: ramp(s[j], s[i], delta) for j in positives + negatives}
        false = sum(h[j] for j in negatives)
        true = sum(h[k] for k in positives)
        ranking[i] = false / (true + false)
        now = sum(h[k] * (1 - t[k]) for k in positives) / true
        better = [k for k in positives if t[k] >= t[i]]
        goal = sum(h[k] * (1 - t[k]) for k in better) / sum(h[k] for k in better)
        sorting[i] = now - goal
        if false > 1e-5:
            up_ranking[i] -= of_ranking[i] * ranking[i]
            for j in negatives:
                up_ranking[j] += of_ranking[i] * ranking[i] * h[j] / false
        worse = [k for k in positives if t[k] < t[i]]
        missorted = sum(h[k] for k in worse)
        if missorted > 1e-5:
            up_sorting[i] -= of_sorting[i] * sorting[i]
            for k in worse:
                up_sorting[k] += of_sorting[i] * sorting[i] * h[k] / missorted
    return ranking, sorting, up_ranking, up_sorting


def updates(
    logits: Tensor, targets: Tensor, delta: float, segments: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The same four by the library, with reduction "none"."""
    x = logits.clone().requires_grad_()
    ranking, sorting = rank_sort(x, targets, delta=delta, segments=segments, reduction="none")
    return (
        ranking.detach(),
        sorting.detach(),
        *torch.autograd.grad(ranking.sum(), x, retain_graph=True),
        *torch.autograd.grad(sorting.sum(), x),
    )


def sample(n: int = 30, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Random logits; a third of them positive, a few ignored."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, generator=generator, dtype=dtype)
    targets = torch.rand(n, generator=generator, dtype=dtype)
    targets[torch.rand(n, generator=generator) < 0.6] = 0.0
    targets[::11] = -1.0
    return logits, targets


# --- the authors' numbers ---


@pytest.mark.parametrize("case", golden_cases("ranksort"))
def test_agrees_with_the_original(case: str) -> None:
    arrays = golden("ranksort")[case]
    logits = torch.tensor(arrays["logits"], requires_grad=True)
    targets, delta = torch.tensor(arrays["targets"]), float(arrays["delta"])
    ranking, sorting = rank_sort(logits, targets, delta=delta)
    np.testing.assert_allclose(ranking.item(), arrays["ranking_error"], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(sorting.item(), arrays["sorting_error"], rtol=1e-6, atol=1e-7)
    # The original hands out the gradient of the sum, scaled by the first cotangent.
    (ranking + sorting).backward()
    expected = arrays["grad"]
    if "cotangent" in arrays:
        if arrays["cotangent"][0] == 0:
            return
        expected = expected / arrays["cotangent"][0]
    scale = np.abs(expected).max(initial=0.0)
    assert logits.grad is not None
    np.testing.assert_allclose(logits.grad, expected, rtol=1e-6, atol=1e-6 * scale)


# --- the definition ---

TARGETS = [0.0, 0.0, 0.0, -1.0, 0.25, 0.5, 0.9, 1.0]
PROBLEMS = problems(TARGETS, DELTAS).map(
    lambda drawn: (drawn[0], torch.tensor(drawn[1], dtype=drawn[0].dtype), *drawn[2:])
)


@given(problem=PROBLEMS)
def test_is_the_definition(problem: tuple[Tensor, Tensor, float, Tensor | None]) -> None:
    assert_same(updates(*problem), brute_force(*problem))


@pytest.mark.parametrize("delta", DELTAS)
@pytest.mark.parametrize("n", [200, 400])
def test_is_the_definition_for_many(n: int, delta: float) -> None:
    """Enough positives for whole blocks of the sorting term."""
    logits, targets = sample(n)
    logits[::5] = (4 * logits[::5]).round() / 4
    targets[::7] = (4 * targets[::7]).round() / 4
    segments = torch.arange(n) % 2 if n == 400 else None
    expected = brute_force(logits, targets, delta, segments)
    assert_same(updates(logits, targets, delta, segments), expected, rtol=1e-9)


@pytest.mark.parametrize("delta", [1e-6, 0.5])
def test_infinite_and_huge_positives_disturb_no_other(delta: float) -> None:
    logits, targets = sample(400)
    positives = (targets > 0).nonzero().flatten()
    logits[positives[:8]] = torch.tensor([math.inf, -math.inf, 1e30, -1e30]).double().repeat(2)
    negative = targets == 0
    logits[negative & (torch.rand(targets.shape) > 0.9)] = 1e30
    assert_same(updates(logits, targets, delta), brute_force(logits, targets, delta), rtol=1e-6)


def test_a_worked_example() -> None:
    """The README of the loss: two positives, two negatives."""
    logits = torch.tensor([2.0, 1.0, 0.5, -1.0])
    ranking, sorting = rank_sort(logits, torch.tensor([0.0, 0.5, 0.9, 0.0]), delta=0.5)
    # of 1.0: H(2 - 1) / (H(0) + H(-0.5) + 1) = 1 / 1.5; of 0.5: 1 / (1 + 0.5 + 1)
    assert ranking.item() == pytest.approx((1 / 1.5 + 1 / 2.5) / 2)
    # of 1.0: nothing; of 0.5: (1 * 0.5 + 0.5 * 0.1) / 1.5 - 0.1
    assert sorting.item() == pytest.approx((0 + 0.55 / 1.5 - 0.1) / 2)


def test_the_element_itself_counts_half_or_whole() -> None:
    logits, targets = torch.tensor([0.0, 5.0]), torch.tensor([1.0, 0.0])
    assert rank_sort(logits, targets, delta=0.5)[0].item() == pytest.approx(2 / 3)
    assert rank_sort(logits, targets, delta=0.0)[0].item() == pytest.approx(1 / 2)


def test_the_gradient_moves_mass_and_makes_none() -> None:
    logits, targets = sample()
    for delta in DELTAS:
        *_, up_ranking, up_sorting = updates(logits, targets, delta)
        for update in (up_ranking, up_sorting):
            assert update.sum().abs() < 1e-12
            assert not update[targets < 0].any()
        assert (up_ranking[targets == 0] >= 0).all()
        assert (up_ranking[targets > 0] <= 0).all()
        assert not up_sorting[targets == 0].any()


# --- cotangents and reductions ---


def test_each_error_has_a_gradient_of_its_own() -> None:
    logits, targets = sample()
    _, _, up_ranking, up_sorting = brute_force(logits, targets, 0.5)
    p = int((targets > 0).sum())
    x = logits.clone().requires_grad_()
    for a, b in [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (2.0, -0.3)]:
        ranking, sorting = rank_sort(x, targets)
        (grad,) = torch.autograd.grad(a * ranking + b * sorting, x)
        torch.testing.assert_close(grad, (a * up_ranking + b * up_sorting) / p)
    for error, update in zip(rank_sort(x, targets), (up_ranking, up_sorting), strict=True):
        (grad,) = torch.autograd.grad(error, x, retain_graph=True)
        torch.testing.assert_close(grad, update / p)


@pytest.mark.parametrize("delta", DELTAS)
def test_each_positive_has_a_weight_of_its_own(delta: float) -> None:
    logits, targets = sample()
    weights = torch.linspace(-1, 2, 30).double(), torch.linspace(3, -1, 30).double()
    expected = brute_force(logits, targets, delta, weights=weights)
    x = logits.clone().requires_grad_()
    errors = rank_sort(x, targets, delta=delta, reduction="none")
    for error, weight, update in zip(errors, weights, expected[2:], strict=True):
        (grad,) = torch.autograd.grad(error, x, weight, retain_graph=True)
        torch.testing.assert_close(grad, update)


def test_reductions() -> None:
    logits, targets = sample()
    x = logits.requires_grad_()
    p = int((targets > 0).sum())
    none = rank_sort(x, targets, reduction="none")
    total = rank_sort(x, targets, reduction="sum")
    mean = rank_sort(x, targets, reduction="mean")
    for n, s, m in zip(none, total, mean, strict=True):
        assert n.shape == logits.shape
        assert not n[targets <= 0].any()
        torch.testing.assert_close(n.sum(), s)
        torch.testing.assert_close(s / p, m)
        (of_n,) = torch.autograd.grad(n.sum() / p, x, retain_graph=True)
        (of_s,) = torch.autograd.grad(s / p, x, retain_graph=True)
        (of_m,) = torch.autograd.grad(m, x, retain_graph=True)
        torch.testing.assert_close(of_s, of_m)
        torch.testing.assert_close(of_n, of_m)


# --- segments ---


def test_each_segment_is_ranked_on_its_own() -> None:
    logits, targets = sample(60)
    ids = torch.tensor([-7, 3, 10**15])[torch.arange(60) % 3]
    together = updates(logits, targets, 0.5, ids)
    for i in ids.unique():
        alone = updates(logits[ids == i], targets[ids == i], 0.5)
        assert_same(tuple(x[ids == i] for x in together), alone, rtol=1e-12)


def test_segments_without_a_positive_have_no_part_in_it() -> None:
    logits, targets = sample(40)
    ids = torch.arange(40) % 4
    targets[ids == 2] = targets[ids == 2].clamp(max=0)
    *errors, up_ranking, up_sorting = updates(logits, targets, 0.5, ids)
    assert not up_ranking[ids == 2].any()
    assert not up_sorting[ids == 2].any()
    mean = rank_sort(logits, targets, segments=ids)
    for error, m in zip(errors, mean, strict=True):
        torch.testing.assert_close(error.sum() / (targets > 0).sum(), m)


# --- corners ---


@pytest.mark.parametrize("segments", [False, True])
@pytest.mark.parametrize("values", [[], [0.0], [0.0, -1.0, 0.0], [-1.0]])
def test_no_positive_is_zero_with_a_graph(values: list[float], segments: bool) -> None:
    """Distributed training waits for the gradient of every parameter, also of an empty batch."""
    ids = torch.zeros(len(values), dtype=torch.int64) if segments else None
    for reduction in ("mean", "sum", "none"):
        x = torch.ones(len(values), requires_grad=True)
        ranking, sorting = rank_sort(x, torch.tensor(values), segments=ids, reduction=reduction)
        assert not ranking.any()
        assert not sorting.any()
        (ranking.sum() + sorting.sum()).backward()
        assert x.grad is not None
        assert not x.grad.any()


def test_a_lone_positive_has_nothing_to_do() -> None:
    for delta in DELTAS:
        assert_same(updates(torch.ones(1), torch.ones(1), delta), (torch.zeros(1).double(),) * 4)


def test_no_negative_leaves_the_sorting() -> None:
    logits, targets = sample()
    targets = targets.abs() * 0.9 + 0.05
    ranking, sorting = rank_sort(logits, targets)
    assert ranking == 0
    assert sorting > 0


@pytest.mark.parametrize("delta", [0.0, 0.5])
@pytest.mark.parametrize("n", [12, 3000])
@pytest.mark.parametrize("who", ["positive", "negative"])
def test_nan_spoils_its_segment_and_no_other(delta: float, n: int, who: str) -> None:
    logits, targets = sample(n, seed=1)
    ids = torch.arange(n) % 3
    clean = updates(logits, targets, delta, ids)
    flags = (targets > 0) if who == "positive" else (targets == 0)
    logits[(flags & (ids == 1)).nonzero()[0]] = torch.nan
    spoilt = updates(logits, targets, delta, ids)
    rest = ids != 1
    assert_same(tuple(x[rest] for x in spoilt), tuple(x[rest] for x in clean), rtol=1e-12)
    assert spoilt[0][(ids == 1) & (targets > 0)].isnan().all()
    for reduction in ("mean", "sum"):
        assert rank_sort(logits, targets, delta=delta, reduction=reduction)[0].isnan()


def test_ignored_logits_may_hold_anything() -> None:
    logits, targets = sample()
    clean = updates(logits, targets, 0.5)
    logits[targets < 0] = torch.tensor([torch.nan, torch.inf, -torch.inf]).double()
    assert_same(updates(logits, targets, 0.5), clean)


@pytest.mark.parametrize("segments", [False, True])
def test_a_nan_target_is_noticed(segments: bool) -> None:
    logits, targets = sample()
    targets[3] = torch.nan
    ids = torch.zeros(30, dtype=torch.int64) if segments else None
    for reduction in ("mean", "sum"):
        errors = rank_sort(logits, targets, segments=ids, reduction=reduction)
        assert all(error.isnan() for error in errors)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(dtype: torch.dtype) -> None:
    logits, targets = sample(200)
    half = logits.to(dtype).requires_grad_()
    single = half.detach().float().requires_grad_()
    for t in (targets.float(), targets):
        of_half, of_single = rank_sort(half, t), rank_sort(single, t)
        for a, b in zip(of_half, of_single, strict=True):
            assert a.dtype == dtype
            assert torch.equal(a, b.to(dtype))
        (grad,) = torch.autograd.grad(sum(of_half), half)
        (expected,) = torch.autograd.grad(sum(of_single), single)
        assert grad.dtype == dtype
        assert torch.equal(grad, expected.to(dtype))


def test_shapes_and_strides() -> None:
    logits, targets = sample(24)
    expected = updates(logits, targets, 0.5)
    grid = logits.view(4, 6).T.contiguous().T, targets.view(4, 6).T.contiguous().T
    assert not grid[0].is_contiguous()
    got = updates(*grid, 0.5)
    assert all(x.shape == (4, 6) for x in got)
    assert_same(tuple(x.flatten() for x in got), expected, rtol=1e-12)
    spread = logits[:1].expand(24).requires_grad_()
    rank_sort(spread, targets.view(24))[0].backward()
    scalar = rank_sort(torch.tensor(0.5), torch.tensor(0.7))
    assert scalar[0].shape == ()


def test_inputs_are_left_alone() -> None:
    logits, targets = sample()
    before = logits.clone(), targets.clone()
    updates(logits, targets, 0.5)
    assert torch.equal(logits, before[0])
    assert torch.equal(targets, before[1])


def test_twice_through_the_same_graph() -> None:
    logits, targets = sample()
    x = logits.requires_grad_()
    loss = sum(rank_sort(x, targets))
    first = torch.autograd.grad(loss, x, retain_graph=True)
    second = torch.autograd.grad(loss, x)
    torch.testing.assert_close(first, second, rtol=0, atol=0)


# --- transforms and training ---


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("segments", [False, True])
def test_vmap(reduction: str, segments: bool) -> None:
    logits, targets = (x.view(3, 4, 10) for x in sample(120))
    targets[0, 1] = 0  # a sample without a positive
    huge = torch.tensor([5, -(2**63), 2**62, 0])
    ids = huge[torch.arange(120) % 4].view(3, 4, 10) if segments else torch.zeros(3, 4, 10).long()
    x, y = logits.clone().requires_grad_(), logits.clone().requires_grad_()

    def loss(s: Tensor, t: Tensor, i: Tensor) -> Tensor:
        ranking, sorting = rank_sort(s, t, segments=i if segments else None, reduction=reduction)
        return ranking + 2 * sorting

    expected = torch.stack(
        [torch.stack([loss(x[i, j], targets[i, j], ids[i, j]) for j in range(4)]) for i in range(3)]
    )
    got = torch.func.vmap(torch.func.vmap(loss))(y, targets, ids)
    torch.testing.assert_close(got, expected)
    weights = torch.linspace(-1, 2, got.numel(), dtype=torch.float64).view(got.shape)
    (got * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(y.grad, x.grad)


def test_vmap_over_shared_targets() -> None:
    logits, targets = sample(10)
    batch = torch.stack((logits, -logits, logits.flip(0)))
    got = torch.func.vmap(lambda s, t: sum(rank_sort(s, t)), in_dims=(1, None))(batch.T, targets)
    torch.testing.assert_close(got, torch.stack([sum(rank_sort(s, targets)) for s in batch]))


def test_under_autocast_and_a_gradient_scaler() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(4, 1)
    scaler = torch.amp.GradScaler("cpu")
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    features, (_, targets) = torch.randn(30, 4), sample(30)
    loss_fn = rg.RankSortLoss()
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = layer(features).squeeze(1)
            assert logits.dtype == torch.bfloat16
            loss = loss_fn(logits, targets.float())
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.05


def test_training_orders_the_positives_by_quality() -> None:
    logits, targets = sample(60)
    x = logits.clone().requires_grad_()
    for _ in range(400):
        (grad,) = torch.autograd.grad(rg.RankSortLoss(delta=0.5)(x, targets), x)
        x = (x - 10.0 * grad).detach().requires_grad_()
    assert rg.RankSortLoss(delta=0.0)(x, targets) < 0.01
    positives = targets > 0
    assert x[positives].min() > x[targets == 0].max()


# --- the module ---


def test_module_is_the_function() -> None:
    logits, targets = sample()
    ids = torch.arange(30) % 2
    for reduction in ("mean", "sum", "none"):
        loss_fn = rg.RankSortLoss(delta=0.3, reduction=reduction)
        loss = loss_fn(logits, targets, ids)
        ranking, sorting = rank_sort(logits, targets, delta=0.3, segments=ids, reduction=reduction)
        torch.testing.assert_close(loss, ranking + sorting)
        assert set(loss_fn.parts) == {"ranking", "sorting"}
        torch.testing.assert_close(loss_fn.parts["ranking"], ranking)
        torch.testing.assert_close(loss_fn.parts["sorting"], sorting)


def test_module_holds_settings_and_nothing_else() -> None:
    loss_fn = rg.RankSortLoss(delta=0.25, reduction="sum")
    assert repr(loss_fn) == "RankSortLoss(delta=0.25, reduction='sum')"
    assert not loss_fn.state_dict()
    assert not list(loss_fn.parameters())
    x = torch.randn(4, requires_grad=True)
    expected = loss_fn(x, torch.tensor([0.0, 1.0, 0.0, 0.3]))
    assert not any(part.requires_grad for part in loss_fn.parts.values())
    for clone in (copy.deepcopy(loss_fn), pickle.loads(pickle.dumps(loss_fn))):
        assert repr(clone) == repr(loss_fn)
        torch.testing.assert_close(clone(x, torch.tensor([0.0, 1.0, 0.0, 0.3])), expected)


def test_bad_settings() -> None:
    for make in (rg.RankSortLoss, lambda **kw: rank_sort(torch.ones(1), torch.ones(1), **kw)):
        with pytest.raises(ValueError, match=r"delta must be >= 0, got -0.1"):
            make(delta=-0.1)
        with pytest.raises(ValueError, match=r"delta must be finite, got nan"):
            make(delta=math.nan)
        with pytest.raises(ValueError, match=r"reduction must be one of 'mean', .*, got 'max'"):
            make(reduction="max")


def test_a_target_above_one_is_no_iou() -> None:
    with pytest.raises(ValueError, match=r"targets must be at most 1 .*, got 1.5"):
        rank_sort(torch.zeros(2), torch.tensor([1.5, 0.0]))
