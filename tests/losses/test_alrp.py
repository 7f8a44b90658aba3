"""aLRP loss, against the formulas pair by pair and the authors' numbers."""

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
from rankgrad.functional import alrp
from support import golden, golden_cases, ramp

pytestmark = pytest.mark.usefixtures("backend")

DELTAS = [0.0, 1e-6, 1.0, 1e4]
# With delta 0 and tied scores the original divides 0 by 0.
UNDEFINED = [c for c in golden_cases("alrp") if np.isnan(golden("alrp")[c]["cls_loss"])]


def brute_force(
    logits: Tensor,
    targets: Tensor,
    localization: Tensor,
    delta: float,
    segments: Tensor | None = None,
    weights: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Error and update by logit, rank and share by positive.

    The share is what a localisation error is multiplied by: the sum of 1 / rank over the
    positives that it counts for. Of equal scores the later one counts as the higher.
    """
    s, t, e = logits.double().tolist(), targets.tolist(), localization.double().tolist()
    n = len(s)
    group = [0] * n if segments is None else segments.tolist()
    weight = [1.0] * n if weights is None else weights.tolist()
    positives = [i for i in range(n) if t[i] == 1]
    error, update = torch.zeros(2, n, dtype=torch.float64)
    rank, share = torch.zeros(2, len(positives), dtype=torch.float64)
    for a, i in enumerate(positives):
        negatives = [j for j in range(n) if t[j] == 0 and group[j] == group[i]]
        others = [b for b, k in enumerate(positives) if k != i and group[k] == group[i]]
        h = {j: ramp(s[j], s[i], delta) for j in negatives}
        false = sum(h.values())
        true = {b: ramp(s[positives[b]], s[i], delta) for b in others}
        rank[a] = 1 + sum(true.values()) + false
        error[i] = false / rank[a]
        share[a] += 1 / rank[a]
        for b in others:
            if (s[positives[b]], b) > (s[i], a):
                share[b] += 1 / rank[a]
        if false > 1e-5:
            pull = weight[i] * (sum(true[b] * e[b] for b in others) + false) / rank[a]
            update[i] -= pull
            for j in negatives:
                update[j] += pull * h[j] / false
    return error, update, rank, share


def updates(
    logits: Tensor,
    targets: Tensor,
    localization: Tensor,
    delta: float,
    segments: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The same four by the library, with reduction "none"."""
    x, e = logits.clone().requires_grad_(), localization.clone().requires_grad_()
    parts = alrp(x, targets, e, delta=delta, segments=segments, reduction="none")
    (update,) = torch.autograd.grad(parts.classification.sum(), x)
    (share,) = torch.autograd.grad(parts.localization.sum(), e)
    torch.testing.assert_close(parts.localization.detach(), share * localization, equal_nan=True)
    assert not parts.rank.requires_grad
    return parts.classification.detach(), update, parts.rank, share


def sample(n: int = 30, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Random logits; some 30 % of them positive, a few ignored; a box error for each positive."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, generator=generator, dtype=torch.float64)
    targets = (torch.rand(n, generator=generator) < 0.3).long()
    targets[::11] = -1
    return logits, targets, torch.rand(int((targets == 1).sum()), generator=generator).double()


# --- the authors' numbers ---


@pytest.mark.parametrize("case", [c for c in golden_cases("alrp") if c not in UNDEFINED])
def test_agrees_with_the_original(case: str) -> None:
    arrays = golden("alrp")[case]
    logits = torch.tensor(arrays["logits"], requires_grad=True)
    errors = torch.tensor(arrays["regression_losses"], requires_grad=True)
    parts = alrp(logits, torch.tensor(arrays["targets"]), errors, delta=float(arrays["delta"]))
    (parts.classification + parts.localization).backward()
    assert logits.grad is not None
    assert errors.grad is not None
    for got, name in [
        (parts.classification.detach(), "cls_loss"),
        (parts.localization.detach(), "loc_loss"),
        (parts.rank, "rank"),
        (logits.grad, "grad"),
        (errors.grad, "loc_grad"),
    ]:
        scale = np.abs(arrays[name]).max(initial=0.0)
        np.testing.assert_allclose(got, arrays[name], rtol=1e-6, atol=1e-6 * scale, err_msg=name)


@pytest.mark.parametrize("case", UNDEFINED)
def test_is_defined_where_the_original_is_not(case: str) -> None:
    arrays = golden("alrp")[case]
    names = ("logits", "targets", "regression_losses")
    inputs = tuple(torch.tensor(arrays[name]) for name in names)
    assert_same(updates(*inputs, 0.0), brute_force(*inputs, 0.0))


# --- the definition ---


def with_errors(
    drawn: tuple[Tensor, list[float], float, Tensor | None],
) -> tuple[Tensor, Tensor, Tensor, float, Tensor | None]:
    logits, targets, *rest = drawn
    errors = torch.linspace(0.1, 1, targets.count(1), dtype=logits.dtype)
    return logits, torch.tensor(targets, dtype=torch.int64), errors, *rest


PROBLEMS = problems([0, 0, 1, 1, -1], DELTAS).map(with_errors)


@given(problem=PROBLEMS)
def test_is_the_definition(problem: tuple[Tensor, Tensor, Tensor, float, Tensor | None]) -> None:
    assert_same(updates(*problem), brute_force(*problem))


@pytest.mark.parametrize("delta", DELTAS)
def test_is_the_definition_for_many(delta: float) -> None:
    logits, targets, errors = sample(300)
    logits[::5] = (4 * logits[::5]).round() / 4
    for segments in (None, torch.arange(300) % 3):
        expected = brute_force(logits, targets, errors, delta, segments)
        assert_same(updates(logits, targets, errors, delta, segments), expected, rtol=1e-9)


@pytest.mark.parametrize("delta", DELTAS)
def test_each_positive_has_a_weight_of_its_own(delta: float) -> None:
    logits, targets, errors = sample()
    weights = torch.linspace(-1, 2, 30, dtype=torch.float64)
    _, update, _, _ = brute_force(logits, targets, errors, delta, weights=weights)
    x = logits.clone().requires_grad_()
    parts = alrp(x, targets, errors, delta=delta, reduction="none")
    torch.testing.assert_close(torch.autograd.grad(parts.classification, x, weights)[0], update)


def test_reductions() -> None:
    logits, targets, errors = sample()
    x, e = logits.requires_grad_(), errors.requires_grad_()
    p = len(errors)
    none, total, mean = (alrp(x, targets, e, reduction=r) for r in ("none", "sum", "mean"))
    for part, source in [(0, x), (1, e)]:
        torch.testing.assert_close(none[part].sum(), total[part])
        torch.testing.assert_close(total[part] / p, mean[part])
        of_none, of_mean = (
            torch.autograd.grad(loss, source)[0] for loss in (none[part].sum() / p, mean[part])
        )
        torch.testing.assert_close(of_none, of_mean)


def test_each_part_has_a_gradient_of_its_own() -> None:
    logits, targets, errors = sample()
    x, e = logits.requires_grad_(), errors.requires_grad_()
    parts = alrp(x, targets, e)
    grads = torch.autograd.grad(parts.classification, (x, e), allow_unused=True)
    assert grads[1] is None
    assert grads[0].any()
    grads = torch.autograd.grad(parts.localization, (x, e), materialize_grads=True)
    assert not grads[0].any()
    assert (grads[1] > 0).all()


# --- corners ---


@pytest.mark.parametrize("segments", [False, True])
@pytest.mark.parametrize("values", [[], [0], [0, -1, 0]])
def test_no_positive_is_zero_with_a_graph(values: list[int], segments: bool) -> None:
    ids = torch.zeros(len(values), dtype=torch.int64) if segments else None
    for reduction in ("mean", "sum", "none"):
        x, e = torch.ones(len(values), requires_grad=True), torch.ones(0, requires_grad=True)
        targets = torch.tensor(values, dtype=torch.int64)
        parts = alrp(x, targets, e, segments=ids, reduction=reduction)
        assert not parts.classification.any()
        assert not parts.localization.any()
        assert parts.rank.shape == (0,)
        (parts.classification.sum() + parts.localization.sum()).backward()
        assert x.grad is not None
        assert e.grad is not None
        assert not x.grad.any()


@pytest.mark.parametrize("delta", [0.0, 1.0])
@pytest.mark.parametrize("who", [0, 1])
def test_nan_spoils_its_segment_and_no_other(delta: float, who: int) -> None:
    logits, targets, errors = sample(120, seed=1)
    ids = torch.arange(120) % 3
    of_positive = ids[targets == 1]
    clean = updates(logits, targets, errors, delta, ids)
    logits[((targets == who) & (ids == 1)).nonzero()[0]] = torch.nan
    spoilt = updates(logits, targets, errors, delta, ids)
    for got, expected in zip(spoilt, clean, strict=True):
        rest = (ids if got.shape == ids.shape else of_positive) != 1
        torch.testing.assert_close(got[rest], expected[rest])
    error, _, rank, share = spoilt
    assert error[(ids == 1) & (targets == 1)].isnan().all()
    assert rank[of_positive == 1].isnan().all()
    assert share[of_positive == 1].isnan().all()
    for loss in alrp(logits, targets, errors, delta=delta)[:2]:
        assert loss.isnan()


def test_a_nan_target_is_noticed() -> None:
    logits, targets, errors = sample()
    broken = targets.double()
    broken[0] = torch.nan  # was ignored before
    assert alrp(logits, broken, errors).classification.isnan()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(dtype: torch.dtype) -> None:
    logits, targets, errors = sample(200)
    half = logits.to(dtype), errors.to(dtype)
    single = half[0].float(), half[1].float()
    of_half, of_single = (alrp(x, targets, e) for x, e in (half, single))
    for part in (0, 1):
        assert of_half[part].dtype == dtype
        torch.testing.assert_close(of_half[part], of_single[part].to(dtype))


@pytest.mark.parametrize("n_errors", [0, 1, 3])
def test_one_localisation_error_for_each_positive(n_errors: int) -> None:
    logits, targets = torch.zeros(4), torch.tensor([1, 1, 0, 0])
    with pytest.raises(
        ValueError, match=rf"localization .* each of the 2 positives, got {n_errors}"
    ):
        alrp(logits, targets, torch.ones(n_errors))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_vmap(reduction: str) -> None:
    logits = torch.randn(4, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    targets = torch.stack([torch.arange(9).roll(i) for i in range(4)]) % 3 - 1
    errors = torch.rand(4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    inputs = [(logits.clone().requires_grad_(), errors.clone().requires_grad_()) for _ in range(2)]

    def loss(s: Tensor, t: Tensor, e: Tensor) -> tuple[Tensor, ...]:
        return tuple(alrp(s, t, e, reduction=reduction))

    rows = [loss(inputs[0][0][i], targets[i], inputs[0][1][i]) for i in range(4)]
    expected = [torch.stack(parts) for parts in zip(*rows, strict=True)]
    got = torch.func.vmap(loss)(inputs[1][0], targets, inputs[1][1])
    torch.testing.assert_close(list(got), expected)
    for parts in (got, expected):
        scales = torch.arange(1, 5).view(4, *(1,) * (parts[0].dim() - 1))
        ((parts[0] * scales).sum() + (parts[1] * scales).sum()).backward()
    for a, b in zip(*inputs, strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_vmap_wants_as_many_positives_in_each_sample() -> None:
    targets = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]])  # 4 in all, as many as errors
    with pytest.raises(RuntimeError, match="localization must have one error for each"):
        torch.func.vmap(lambda s, t, e: alrp(s, t, e)[0])(
            torch.zeros(2, 4), targets, torch.ones(2, 2)
        )


# --- the module ---


def test_module_is_the_weighted_sum_of_the_parts() -> None:
    logits, targets, errors = sample()
    ids = torch.arange(30) % 2
    loss_fn = rg.ALRPLoss(delta=0.3, localization_weight=2.5, reduction="sum")
    parts = alrp(logits, targets, errors, delta=0.3, segments=ids, reduction="sum")
    expected = parts.classification + 2.5 * parts.localization
    assert repr(loss_fn) == "ALRPLoss(delta=0.3, localization_weight=2.5, reduction='sum')"
    assert not loss_fn.state_dict()
    for module in (loss_fn, copy.deepcopy(loss_fn), pickle.loads(pickle.dumps(loss_fn))):
        x = logits.clone().requires_grad_()
        torch.testing.assert_close(module(x, targets, errors, ids), expected)
        assert set(module.parts) == {"classification", "localization"}
        torch.testing.assert_close(module.parts["localization"], parts.localization)
        assert not any(part.requires_grad for part in module.parts.values())


def test_bad_settings() -> None:
    with pytest.raises(ValueError, match=r"delta must be >= 0, got -1.0"):
        rg.ALRPLoss(delta=-1.0)
    with pytest.raises(ValueError, match=r"reduction must be one of 'mean', 'sum', got 'none'"):
        rg.ALRPLoss(reduction="none")
    with pytest.raises(ValueError, match=r"localization_weight must be finite, got inf"):
        rg.ALRPLoss(localization_weight=math.inf)
    with pytest.raises(ValueError, match=r"delta must be >= 0, got -1.0"):
        alrp(torch.ones(1), torch.ones(1), torch.ones(1), delta=-1.0)
