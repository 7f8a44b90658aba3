"""Rank & Sort, AP and aLRP: the published numbers, and what a detector may feed them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import rankgrad as rg
from rankgrad.bench.suites.detection import textbook
from rankgrad.functional import alrp, ap_loss, rank_sort
from support import golden

pytestmark = pytest.mark.usefixtures("backend")


def close(ours, published, rtol=1e-6, atol=0.0) -> None:
    published = torch.tensor(published, dtype=torch.float64)
    size = published.abs().max().item() if published.numel() else 0.0
    torch.testing.assert_close(
        torch.as_tensor(ours).detach().double(), published, rtol=rtol, atol=rtol * size + atol
    )


def test_rank_sort_agrees_with_the_published_code():
    for name, case in golden("ranksort").items():
        if name.startswith("cot_"):
            continue  # weights put on outputs that the original mixes: see compat.ranksort
        logits = torch.tensor(case["logits"], requires_grad=True)
        ranking, sorting = rank_sort(
            logits, torch.tensor(case["targets"]), delta=float(case["delta"])
        )
        (ranking + sorting).backward()
        # The original subtracts two float32 sums for the sorting error: 1e-7 of rounding.
        close(ranking, case["ranking_error"], atol=1e-7)
        close(sorting, case["sorting_error"], atol=1e-7)
        close(logits.grad, case["grad"])


def test_ap_loss_agrees_with_the_published_code():
    undefined = {"tie_scores_d0", "all_equal_scores_d0", "exact_boundary_d0"}
    for name, case in golden("aploss").items():
        logits = torch.tensor(case["logits"], requires_grad=True)
        loss = ap_loss(logits, torch.tensor(case["targets"]), delta=float(case["delta"]))
        loss.backward()
        assert logits.grad.isfinite().all()
        if name in undefined:
            assert not np.isfinite(case["grad"]).all()  # 0 / 0 in the original
            assert 0 < loss < 1
            continue
        close(loss, case["loss"])
        close(logits.grad, case["grad"])


def test_alrp_agrees_with_the_published_code():
    for name, case in golden("alrp").items():
        logits = torch.tensor(case["logits"], requires_grad=True)
        errors = torch.tensor(case["regression_losses"], requires_grad=True)
        targets = torch.tensor(case["targets"])
        parts = alrp(logits, targets, errors, delta=float(case["delta"]))
        (to_logits,) = torch.autograd.grad(parts.classification, logits, retain_graph=True)
        (to_errors,) = torch.autograd.grad(parts.localization, errors)
        assert to_logits.isfinite().all()
        if name == "tie_scores_d0":
            assert np.isnan(case["cls_loss"])  # 0 / 0 in the original
            assert 0 < parts.classification < 1
            continue
        close(parts.classification, case["cls_loss"])
        close(parts.rank, case["rank"])
        close(parts.localization, case["loc_loss"])
        close(to_logits, case["grad"])
        close(to_errors, case["loc_grad"])


@given(data=st.data())
def test_rank_sort_is_the_textbook_loop(data):
    n = data.draw(st.integers(1, 40))
    grid = st.integers(-12, 12).map(lambda i: i / 4)
    logits = torch.tensor(data.draw(st.lists(grid, min_size=n, max_size=n)), dtype=torch.double)
    kinds = st.sampled_from([-1.0, 0.0, 0.0, 0.25, 0.5, 0.5, 1.0])
    targets = torch.tensor(data.draw(st.lists(kinds, min_size=n, max_size=n)), dtype=torch.double)
    logits.requires_grad_()
    ranking, sorting = rank_sort(logits, targets)
    (ranking + sorting).backward()
    if not (targets > 0).any():
        assert ranking == sorting == 0
        assert not logits.grad.any()
        return
    loss, grad = textbook(logits, targets)
    close(ranking + sorting, loss.item(), rtol=1e-12)
    close(logits.grad, grad.numpy(), rtol=1e-12)


def test_each_error_has_its_own_gradient():
    torch.manual_seed(0)
    logits = torch.randn(200, requires_grad=True)
    targets = torch.rand(200) * (torch.rand(200) < 0.3)
    ranking, sorting = rank_sort(logits, targets)
    (by_rank,) = torch.autograd.grad(ranking, logits, retain_graph=True)
    (by_sort,) = torch.autograd.grad(sorting, logits, retain_graph=True)
    (both,) = torch.autograd.grad(3 * ranking + 0.5 * sorting, logits)
    torch.testing.assert_close(both, 3 * by_rank + 0.5 * by_sort)
    assert not by_sort[targets == 0].any()  # sorting is among the positives
    assert by_rank[targets == 0].any()
    # What is pulled up at one place is pushed down at others.
    torch.testing.assert_close(by_rank.sum(), torch.tensor(0.0), atol=1e-6, rtol=0)
    torch.testing.assert_close(by_sort.sum(), torch.tensor(0.0), atol=1e-6, rtol=0)


@pytest.mark.parametrize("ids", [[-5, 0, 7], [0, 10**15, -(10**15)]])
def test_segments_are_ranked_on_their_own(ids):
    torch.manual_seed(0)
    logits, targets = torch.randn(3, 60, dtype=torch.double), torch.rand(3, 60) < 0.2
    targets[2] = False
    segments = torch.tensor(ids)[:, None].expand(3, 60)
    mixed = torch.randperm(180)

    together = logits.clone().requires_grad_()
    flat = together.reshape(-1)[mixed]
    loss = ap_loss(
        flat, targets.reshape(-1)[mixed], segments=segments.reshape(-1)[mixed], reduction="sum"
    )
    loss.backward()
    apart = logits.clone().requires_grad_()
    total = sum(ap_loss(x, t, reduction="sum") for x, t in zip(apart, targets, strict=True))
    total.backward()
    torch.testing.assert_close(loss, total)
    torch.testing.assert_close(together.grad, apart.grad)


def test_reductions_and_shapes():
    torch.manual_seed(0)
    logits = torch.randn(4, 3, 5)
    targets = torch.rand(4, 3, 5) * (torch.rand(4, 3, 5) < 0.4)
    none = rank_sort(logits, targets, reduction="none")
    for each, total, mean in zip(
        none,
        rank_sort(logits, targets, reduction="sum"),
        rank_sort(logits, targets),
        strict=True,
    ):
        assert each.shape == logits.shape
        assert not each[targets == 0].any()
        torch.testing.assert_close(each.sum(), total)
        torch.testing.assert_close(total / (targets > 0).sum(), mean)


def test_infinite_scores_tie_with_their_like_and_nan_is_not_hidden():
    inf = torch.inf
    logits = torch.tensor([inf, inf, -inf, -inf, 0.0], dtype=torch.double, requires_grad=True)
    ranking, _ = rank_sort(logits, torch.tensor([1.0, 0.0, 1.0, 0.0, 0.0]))
    # inf: half a negative ahead of rank 1/2 + 1/2; -inf: 1/2 + 1 + 1 ahead of rank 1.5 + 2.5
    assert ranking.item() == pytest.approx((0.5 / 1 + 2.5 / 4) / 2)
    ranking.backward()
    assert logits.grad.isfinite().all()
    assert rank_sort(torch.tensor([0.0, torch.nan]), torch.tensor([1.0, 0.0]))[0].isnan()
    assert not rank_sort(torch.tensor([0.0, torch.nan]), torch.tensor([1.0, -1.0]))[0].isnan()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("n", [0, 1, 7])
def test_without_positives_the_loss_is_zero_and_has_a_graph(dtype, n):
    for loss_fn in (rg.RankSortLoss(), rg.APLoss()):
        logits = torch.randn(n, dtype=dtype, requires_grad=True)
        loss = loss_fn(logits, torch.zeros(n))
        loss.backward()
        assert loss == 0
        assert loss.dtype == dtype
        assert not logits.grad.any()


def test_vmap_is_a_loop_over_images():
    torch.manual_seed(0)
    logits = torch.randn(3, 50, requires_grad=True)
    targets = torch.rand(3, 50) * (torch.rand(3, 50) < 0.3)
    mapped = torch.func.vmap(lambda x, t: sum(rank_sort(x, t)))(logits, targets)
    (grad,) = torch.autograd.grad(mapped.sum(), logits)
    looped = torch.stack([sum(rank_sort(x, t)) for x, t in zip(logits, targets, strict=True)])
    torch.testing.assert_close(mapped, looped)
    torch.testing.assert_close(grad, torch.autograd.grad(looped.sum(), logits)[0])


@pytest.mark.compile
@pytest.mark.parametrize(
    "loss_fn", [rg.RankSortLoss(), rg.RankSortLoss(max_positives=40), rg.APLoss()]
)
def test_compiled_maps_of_modules(loss_fn):
    torch.manual_seed(0)
    logits = torch.randn(3, 50, requires_grad=True)
    targets = (torch.rand(3, 50) < 0.3).float()
    compiled = torch.compile(torch.func.vmap(loss_fn), fullgraph=True)(logits, targets)
    torch.testing.assert_close(compiled, torch.func.vmap(loss_fn)(logits, targets))
    assert not getattr(loss_fn, "parts", None)
    (grad,) = torch.autograd.grad(compiled.sum(), logits)
    wanted = torch.autograd.grad(torch.func.vmap(loss_fn)(logits, targets).sum(), logits)[0]
    torch.testing.assert_close(grad, wanted)


@pytest.mark.compile
@pytest.mark.parametrize("most", [None, 3])
def test_compiled_maps_of_alrp(most):
    torch.manual_seed(0)
    logits, errors = torch.randn(3, 50), torch.rand(3, 3)
    targets = torch.zeros(3, 50).scatter_(1, torch.arange(9).view(3, 3), 1.0)
    mapped = torch.func.vmap(rg.ALRPLoss(max_positives=most))
    wanted = mapped(logits, targets, errors)
    compiled = torch.compile(mapped, fullgraph=True)
    torch.testing.assert_close(compiled(logits, targets, errors), wanted)
    with pytest.raises(RuntimeError, match=r"number of positives|each of the positives"):
        compiled(logits, torch.ones_like(targets), errors)


def test_what_differs_from_the_default_shows():
    assert repr(rg.APLoss()) == "APLoss(delta=1.0, reduction='mean')"
    shown = "RankSortLoss(delta=0.5, reduction='mean', group='world', max_positives=9)"
    assert repr(rg.RankSortLoss(group="world", max_positives=9)) == shown


@pytest.mark.compile  # in that pass our own errors come first, not those of the shape checks
def test_bad_input_is_named():
    x, t = torch.zeros(3), torch.zeros(3)
    with pytest.raises(TypeError, match=r"logits.*floating.*int64"):
        rank_sort(x.long(), t)
    with pytest.raises(
        ValueError, match=r"targets must have the shape of logits, \(3,\), got \(2,\)"
    ):
        rank_sort(x, t[:2])
    with pytest.raises(ValueError, match=r"targets must be at most 1.*got 37"):
        rank_sort(x, t + 37)
    with pytest.raises(ValueError, match="delta must be >= 0, got -1"):
        rank_sort(x, t, delta=-1)
    with pytest.raises(ValueError, match="reduction must be one of"):
        rank_sort(x, t, reduction="average")
    with pytest.raises(ValueError, match=r"localization must have one error .* 0 positives, got 2"):
        alrp(x, t, torch.zeros(2))


@pytest.mark.compile
@pytest.mark.parametrize("loss_fn", [rg.RankSortLoss(), rg.APLoss()], ids=["rank_sort", "ap"])
def test_compiles_once_for_any_number_of_positives(loss_fn, backend):
    if backend == "reference":
        pytest.skip("one backend shows it: the operator is opaque to the compiler")
    torch._dynamo.reset()
    from torch._dynamo.testing import CompileCounterWithBackend

    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(loss_fn, fullgraph=True, backend=counter)
    for positives in (0, 1, 5, 5, 20):
        targets = torch.zeros(50)
        targets[:positives] = 1.0
        logits = torch.randn(50)
        ours, eager = logits.clone().requires_grad_(), logits.clone().requires_grad_()
        compiled(ours, targets).backward()
        loss_fn(eager, targets).backward()
        torch.testing.assert_close(ours.grad, eager.grad)
    assert counter.frame_count == 1
