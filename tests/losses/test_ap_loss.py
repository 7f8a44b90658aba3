"""AP loss, against the formulas pair by pair, scikit-learn and the authors' numbers."""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_curve
from torch import Tensor

import rankgrad as rg
from losses.detection_problems import GRID, assert_same, problems
from rankgrad.functional import ap_loss
from support import golden, golden_cases, ramp

pytestmark = pytest.mark.usefixtures("backend")

DELTAS = [0.0, 1e-6, 1.0, 1e4]
# With delta 0 and tied scores the original divides 0 by 0.
UNDEFINED = [case for case in golden_cases("aploss") if "note" in golden("aploss")[case]]


def brute_force(
    logits: Tensor,
    targets: Tensor,
    delta: float,
    segments: Tensor | None = None,
    weights: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The error of every logit, and the update it asks for; ``weights`` are the cotangents."""
    s, t = logits.double().tolist(), targets.tolist()
    n = len(s)
    group = [0] * n if segments is None else segments.tolist()
    weight = [1.0] * n if weights is None else weights.tolist()
    error, update = torch.zeros(2, n, dtype=torch.float64)
    ahead, precision = {}, {}
    positives = [i for i in range(n) if t[i] == 1]
    for i in positives:
        ahead[i] = {
            j: ramp(s[j], s[i], delta) for j in range(n) if t[j] == 0 and group[j] == group[i]
        }
        true = 1 + sum(
            ramp(s[k], s[i], delta) for k in positives if k != i and group[k] == group[i]
        )
        precision[i] = true / (true + sum(ahead[i].values()))
    for i in positives:
        error[i] = 1 - max(precision[k] for k in positives if group[k] == group[i] and s[k] <= s[i])
        update[i] -= weight[i] * error[i]
        false = sum(ahead[i].values())
        for j, h in ahead[i].items():
            update[j] += weight[i] * error[i] * h / false if false > 0 else 0.0
    return error, update


def updates(
    logits: Tensor, targets: Tensor, delta: float, segments: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The same two by the library, with reduction "none"."""
    x = logits.clone().requires_grad_()
    error = ap_loss(x, targets, delta=delta, segments=segments, reduction="none")
    (grad,) = torch.autograd.grad(error.sum(), x)
    return error.detach(), grad


def sample(n: int = 30, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Random logits; some 30 % of them positive, a few ignored."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, generator=generator, dtype=dtype)
    targets = (torch.rand(n, generator=generator) < 0.3).long()
    targets[::11] = -1
    return logits, targets


# --- the authors' numbers ---


@pytest.mark.parametrize("case", [c for c in golden_cases("aploss") if c not in UNDEFINED])
def test_agrees_with_the_original(case: str) -> None:
    arrays = golden("aploss")[case]
    logits = torch.tensor(arrays["logits"], requires_grad=True)
    loss = ap_loss(logits, torch.tensor(arrays["targets"]), delta=float(arrays["delta"]))
    loss.backward()
    np.testing.assert_allclose(loss.item(), arrays["loss"], rtol=1e-6, atol=1e-7)
    scale = np.abs(arrays["grad"]).max(initial=0.0)
    assert logits.grad is not None
    np.testing.assert_allclose(logits.grad, arrays["grad"], rtol=1e-6, atol=1e-6 * scale)


@pytest.mark.parametrize("case", UNDEFINED)
def test_is_defined_where_the_original_is_not(case: str) -> None:
    arrays = golden("aploss")[case]
    assert np.isnan(arrays["grad"]).any()
    inputs = torch.tensor(arrays["logits"]), torch.tensor(arrays["targets"])
    assert_same(updates(*inputs, 0.0), brute_force(*inputs, 0.0))


# --- the definition ---

PROBLEMS = problems([0, 0, 1, 1, -1, 2], DELTAS).map(
    lambda drawn: (drawn[0], torch.tensor(drawn[1]), *drawn[2:])
)


@given(problem=PROBLEMS)
def test_is_the_definition(problem: tuple[Tensor, Tensor, float, Tensor | None]) -> None:
    assert_same(updates(*problem), brute_force(*problem))


@pytest.mark.parametrize("delta", DELTAS)
def test_is_the_definition_for_many(delta: float) -> None:
    logits, targets = sample(300)
    logits[::5] = (4 * logits[::5]).round() / 4
    for segments in (None, torch.arange(300) % 3):
        expected = brute_force(logits, targets, delta, segments)
        assert_same(updates(logits, targets, delta, segments), expected, rtol=1e-9)


@given(values=st.lists(st.tuples(GRID, st.booleans()), min_size=1, max_size=30))
def test_with_delta_zero_it_is_interpolated_average_precision(
    values: list[tuple[float, bool]],
) -> None:
    logits = torch.tensor([value for value, _ in values], dtype=torch.float64)
    targets = torch.tensor([positive for _, positive in values])
    if not targets.any():
        return
    precision, _, thresholds = precision_recall_curve(targets.numpy(), logits.numpy())
    best = np.maximum.accumulate(precision[: len(thresholds)])  # at or below each threshold
    expected = best[np.searchsorted(thresholds, logits[targets].numpy())].mean()
    assert 1 - ap_loss(logits, targets, delta=0.0).item() == pytest.approx(expected)


def test_a_worked_example() -> None:
    loss = ap_loss(torch.tensor([2.0, 1.0, 0.5, -1.0]), torch.tensor([0, 1, 1, 0]), delta=1.0)
    # of 0.5: true 1 + H(0.5) = 1.75, false H(1.5) = 1; of 1.0: 1.25 and 1, which is worse
    assert loss.item() == pytest.approx(1 - 1.75 / 2.75)


def test_the_gradient_moves_mass_and_makes_none() -> None:
    logits, targets = sample()
    for delta in DELTAS:
        _, update = updates(logits, targets, delta)
        assert update.sum().abs() < 1e-12
        assert not update[targets < 0].any()
        assert (update[targets == 0] >= 0).all()
        assert (update[targets == 1] <= 0).all()


# --- cotangents, reductions, segments ---


@pytest.mark.parametrize("delta", DELTAS)
def test_each_positive_has_a_weight_of_its_own(delta: float) -> None:
    logits, targets = sample()
    weights = torch.linspace(-1, 2, 30, dtype=torch.float64)
    _, update = brute_force(logits, targets, delta, weights=weights)
    x = logits.clone().requires_grad_()
    error = ap_loss(x, targets, delta=delta, reduction="none")
    torch.testing.assert_close(torch.autograd.grad(error, x, weights)[0], update)


def test_reductions() -> None:
    logits, targets = sample()
    x = logits.requires_grad_()
    p = int((targets == 1).sum())
    n, s, m = (ap_loss(x, targets, reduction=r) for r in ("none", "sum", "mean"))
    assert n.shape == logits.shape
    assert not n[targets != 1].any()
    torch.testing.assert_close(n.sum(), s)
    torch.testing.assert_close(s / p, m)
    grads = [torch.autograd.grad(loss, x)[0] for loss in (n.sum() / p, s / p, m)]
    torch.testing.assert_close(grads[0], grads[2])
    torch.testing.assert_close(grads[1], grads[2])


def test_each_segment_is_ranked_on_its_own() -> None:
    logits, targets = sample(60)
    ids = torch.tensor([-7, 3, 10**15])[torch.arange(60) % 3]
    targets[ids == 3] = 0
    together = updates(logits, targets, 1.0, ids)
    for i in ids.unique():
        alone = updates(logits[ids == i], targets[ids == i], 1.0)
        assert_same(tuple(x[ids == i] for x in together), alone, rtol=1e-12)


# --- corners ---


@pytest.mark.parametrize("segments", [False, True])
@pytest.mark.parametrize("values", [[], [0], [0, -1, 0, 2], [-1]])
def test_no_positive_is_zero_with_a_graph(values: list[int], segments: bool) -> None:
    ids = torch.zeros(len(values), dtype=torch.int64) if segments else None
    for reduction in ("mean", "sum", "none"):
        x = torch.ones(len(values), requires_grad=True)
        targets = torch.tensor(values, dtype=torch.int64)
        loss = ap_loss(x, targets, segments=ids, reduction=reduction)
        assert not loss.any()
        loss.sum().backward()
        assert x.grad is not None
        assert not x.grad.any()


@pytest.mark.parametrize("delta", [0.0, 1.0])
@pytest.mark.parametrize("n", [15, 3000])
@pytest.mark.parametrize("who", [0, 1])
def test_nan_spoils_its_segment_and_no_other(delta: float, n: int, who: int) -> None:
    logits, targets = sample(n, seed=1)
    targets[:6] = torch.tensor([0, 0, 0, 1, 1, 1])
    ids = torch.arange(n) % 3
    clean = updates(logits, targets, delta, ids)
    logits[((targets == who) & (ids == 1)).nonzero()[0]] = torch.nan
    spoilt = updates(logits, targets, delta, ids)
    rest = ids != 1
    assert_same(tuple(x[rest] for x in spoilt), tuple(x[rest] for x in clean), rtol=1e-12)
    assert spoilt[0][(ids == 1) & (targets == 1)].isnan().all()
    assert ap_loss(logits, targets, delta=delta).isnan()


def test_a_nan_target_is_noticed() -> None:
    logits, targets = sample()
    broken = targets.double()
    broken[3] = torch.nan
    assert ap_loss(logits, broken).isnan()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(dtype: torch.dtype) -> None:
    logits, targets = sample(200)
    half = logits.to(dtype).requires_grad_()
    single = half.detach().float().requires_grad_()
    of_half, of_single = ap_loss(half, targets), ap_loss(single, targets)
    assert torch.equal(of_half, of_single.to(dtype))
    (grad,), (exact,) = (
        torch.autograd.grad(of_half, half),
        torch.autograd.grad(of_single, single),
    )
    assert torch.equal(grad, exact.to(dtype))


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float32])
def test_any_real_targets(dtype: torch.dtype) -> None:
    logits, targets = sample()
    targets = targets.clamp(min=0)
    assert torch.equal(ap_loss(logits, targets.to(dtype)), ap_loss(logits, targets))


def test_shapes_and_strides() -> None:
    logits, targets = sample(24)
    expected = updates(logits, targets, 1.0)
    got = updates(logits.view(4, 6).T.contiguous().T, targets.view(4, 6).T.contiguous().T, 1.0)
    assert_same(tuple(x.flatten() for x in got), expected, rtol=1e-12)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("segments", [False, True])
def test_vmap(reduction: str, segments: bool) -> None:
    logits, targets = (x.view(4, 30) for x in sample(120))
    targets[1] = 0
    ids = (torch.arange(120) % 3).view(4, 30)
    x, y = logits.clone().requires_grad_(), logits.clone().requires_grad_()

    def loss(s: Tensor, t: Tensor, i: Tensor) -> Tensor:
        return ap_loss(s, t, segments=i if segments else None, reduction=reduction)

    expected = torch.stack([loss(x[i], targets[i], ids[i]) for i in range(4)])
    got = torch.func.vmap(loss)(y, targets, ids)
    torch.testing.assert_close(got, expected)
    weights = torch.linspace(-1, 2, got.numel(), dtype=torch.float64).view(got.shape)
    (got * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(y.grad, x.grad)


# --- the module ---


def test_module_is_the_function_with_settings() -> None:
    logits, targets = sample()
    ids = torch.arange(30) % 2
    loss_fn = rg.APLoss(delta=0.3, reduction="sum")
    expected = ap_loss(logits, targets, delta=0.3, segments=ids, reduction="sum")
    assert repr(loss_fn) == "APLoss(delta=0.3, reduction='sum')"
    assert not loss_fn.state_dict()
    for module in (loss_fn, copy.deepcopy(loss_fn), pickle.loads(pickle.dumps(loss_fn))):
        assert torch.equal(module(logits, targets, ids), expected)


def test_bad_settings() -> None:
    for make in (rg.APLoss, lambda **kw: ap_loss(torch.ones(1), torch.ones(1), **kw)):
        with pytest.raises(ValueError, match=r"delta must be >= 0, got -1.0"):
            make(delta=-1.0)
        with pytest.raises(ValueError, match=r"reduction must be one of 'mean', .*, got 'max'"):
            make(reduction="max")
