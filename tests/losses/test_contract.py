"""What holds for every loss, whatever it computes: one table, and the rules of the house."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import rankgrad as rg
from rankgrad import functional, losses
from rankgrad.rankers import Pairwise

# Rows of one are meant here.
pytestmark = pytest.mark.filterwarnings("ignore:predictions of shape")

LOGISTIC = Pairwise(rg.Logistic(0.1))

# What a loss is called with: scores in rows that are lists of their own, scores per class,
# score matrices, features of samples, or the logits of a detector.
LISTS, CLASSES, MATRIX, SAMPLES, LOGITS = "lists", "classes", "matrix", "samples", "logits"


@dataclass(frozen=True)
class Case:
    """A loss as ``loss(x, *others, mask=..., reduction=...)``, and what is known of it."""

    of: type
    loss: Callable[..., Tensor]
    kind: str = LISTS
    masks: bool = True
    # The same loss for scores in another order, and for scores that are all larger.
    orderless: bool = True
    shiftless: bool = True
    derivative: bool = True
    # Near-linear in time: a million scores are no trouble.
    linear: bool = False

    def draw(self, n: int, seed: int = 0, rows: int = 3) -> tuple[Tensor, tuple[Tensor, ...]]:
        """What the loss is called with, ``n`` items; float64, in general position."""
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(rows, n, dtype=torch.float64, generator=generator)
        y = torch.randint(5, (rows, n), generator=generator).double()
        y[:, :1], y[:, 1:2] = 4, 0  # no list is without a pair to order
        if self.kind == CLASSES:
            return x.unsqueeze(-1), ((y > 2).double().unsqueeze(-1),)
        if self.kind == MATRIX:
            return torch.randn(rows, n, n, dtype=torch.float64, generator=generator), ()
        if self.kind == SAMPLES:
            labels = torch.randperm(n, generator=generator) // 2
            return torch.randn(n, 3, dtype=torch.float64, generator=generator), (labels.double(),)
        if self.kind == LOGITS:
            relevant = y[0] > 2
            if self.of is losses.RankSortLoss:
                return x[0], (torch.where(relevant, y[0] / 5, 0.0),)
            if self.of is losses.ALRPLoss:
                return x[0], (relevant.double(), y[0, relevant] / 10)
            return x[0], (relevant.double(),)
        return x, (y,)


def smooth_ap(x: Tensor, y: Tensor, **options: Any) -> Tensor:
    return functional.smooth_ap_loss(x, y > 2, temperature=0.1, **options)


def recall(x: Tensor, y: Tensor, **options: Any) -> Tensor:
    return functional.recall_at_k_loss(x, y > 2, (1, 3), temperature=0.1, **options)


def discounted_gain(ranks: Tensor, relevance: Tensor, mask: Tensor | None = None) -> Tensor:
    gain = relevance / torch.log2(1 + ranks)
    return -(gain if mask is None else torch.where(mask, gain, 0.0)).sum(-1)


def of_ranks(x: Tensor, y: Tensor, *, mask: Tensor | None = None, reduction: str) -> Tensor:
    return losses.RankMetricLoss(discounted_gain, LOGISTIC, reduction)(x, y, mask)


def module(make: Callable[..., Callable[..., Tensor]], **options: Any) -> Callable[..., Tensor]:
    def loss(*args: Tensor, mask: Tensor | None = None, reduction: str) -> Tensor:
        masks = () if mask is None else (mask,)
        return make(reduction=reduction, **options)(*args, *masks)

    return loss


F, L = functional, losses
CASES = {
    "correlation": Case(L.CorrelationLoss, F.correlation_loss, linear=True),
    "concordance": Case(L.ConcordanceLoss, F.concordance_loss, shiftless=False, linear=True),
    "spearman": Case(L.SpearmanLoss, F.spearman_loss, orderless=False, derivative=False,
                     linear=True),
    "spearman correlation": Case(
        L.SpearmanLoss, partial(F.spearman_loss, form="correlation", ranker=LOGISTIC)
    ),
    "spearman projection": Case(
        L.SpearmanLoss, partial(F.spearman_loss, ranker="projection"), linear=True
    ),
    "spearman l1": Case(
        L.SpearmanLoss, partial(F.spearman_loss, l1_weight=0.5, ranker="laplace"), shiftless=False,
        linear=True,
    ),
    "kendall": Case(L.KendallLoss, F.kendall_loss, derivative=False),
    "kendall ramp": Case(
        L.KendallLoss, partial(F.kendall_loss, comparison=rg.Ramp(0.5)), derivative=False
    ),
    "kendall laplace": Case(
        L.KendallLoss, partial(F.kendall_loss, comparison=rg.Laplace(0.5), standardize=False)
    ),
    "pairwise difference": Case(
        L.PairwiseDifferenceLoss, F.pairwise_difference_loss, linear=True
    ),
    "rank difference": Case(
        L.RankDifferenceLoss, partial(F.rank_difference_loss, ranker="laplace"), linear=True
    ),
    "map ranking": Case(
        L.MapRankingLoss, partial(F.map_ranking_loss, ranker="laplace"), CLASSES, linear=True
    ),
    "map ranking normalized": Case(
        L.MapRankingLoss, partial(F.map_ranking_loss, ranker=LOGISTIC, normalize=True), CLASSES
    ),
    "rank": Case(L.RankLoss, partial(F.rank_loss, ranker=LOGISTIC), MATRIX),
    "rank hard": Case(L.RankHardLoss, partial(F.rank_hard_loss, ranker=LOGISTIC), MATRIX),
    "rank hard 3": Case(
        L.RankHardLoss, partial(F.rank_hard_loss, ranker=LOGISTIC, n_hardest=3, margin=0.5), MATRIX
    ),
    "smooth ap": Case(L.SmoothAPLoss, smooth_ap),
    "smooth ap by laplace": Case(L.SmoothAPLoss, partial(smooth_ap, ranker="laplace"), linear=True),
    "smooth ap of embeddings": Case(L.SmoothAPLoss, module(L.SmoothAPLoss, temperature=0.1),
                                    SAMPLES, masks=False),
    "recall at k": Case(L.RecallAtKLoss, recall),
    "recall at k by laplace": Case(
        L.RecallAtKLoss,
        partial(F.recall_at_k_loss, k=(1, 10**6), k_temperature=(1.0, 1e5), ranker="laplace"),
        linear=True,
    ),
    "recall at k of embeddings": Case(
        L.RecallAtKLoss, module(L.RecallAtKLoss, temperature=0.1, include_self=False), SAMPLES,
        masks=False,
    ),
    "approx ndcg": Case(L.ApproxNDCGLoss, F.approx_ndcg_loss),
    "approx ndcg by laplace": Case(
        L.ApproxNDCGLoss, partial(F.approx_ndcg_loss, ranker="laplace"), linear=True
    ),
    "approx mrr": Case(L.ApproxMRRLoss, F.approx_mrr_loss),
    "neural ndcg": Case(L.NeuralNDCGLoss, partial(F.neural_ndcg_loss, scaling_steps=5)),
    "neural ndcg unscaled": Case(
        L.NeuralNDCGLoss, partial(F.neural_ndcg_loss, ranker="softsort", scaling_steps=0),
        linear=True,
    ),
    "list mle": Case(L.ListMLELoss, F.list_mle_loss, linear=True),
    "list mle ordinal": Case(
        L.ListMLELoss, partial(F.list_mle_loss, ties="ordinal"), orderless=False
    ),
    "list net": Case(L.ListNetLoss, F.list_net_loss, linear=True),
    "list net proportional": Case(L.ListNetLoss, partial(F.list_net_loss, target="proportional")),
    **{
        scheme: Case(L.LambdaLoss, partial(F.lambda_loss, scheme=scheme))
        for scheme in ("lambdarank", "ndcg_loss1", "ndcg_loss2", "ndcg_loss2pp")
    },
    "lambdarank at 2": Case(L.LambdaLoss, partial(F.lambda_loss, scheme="lambdarank", k=2)),
    "rank-n-contrast": Case(L.RankNContrastLoss, F.rank_n_contrast_loss, SAMPLES),
    "ranksim": Case(
        L.RankSimLoss, partial(F.rank_sim_loss, unique="none"), SAMPLES, derivative=False
    ),
    "ranksim first": Case(
        L.RankSimLoss, partial(F.rank_sim_loss, unique="first"), SAMPLES, orderless=False,
        derivative=False,
    ),
    "ranksim logistic": Case(
        L.RankSimLoss, partial(F.rank_sim_loss, unique="none", ranker=LOGISTIC), SAMPLES
    ),
    "your own": Case(L.RankMetricLoss, of_ranks),
    "rank and sort": Case(L.RankSortLoss, module(L.RankSortLoss), LOGITS, masks=False,
                          derivative=False, linear=True),
    "average precision": Case(L.APLoss, module(L.APLoss), LOGITS, masks=False, derivative=False,
                              linear=True),
    "alrp": Case(L.ALRPLoss, module(L.ALRPLoss), LOGITS, masks=False, derivative=False,
                 linear=True),
}  # fmt: skip


def of(*, kinds: tuple[str, ...] = (), **wanted: bool) -> pytest.MarkDecorator:
    """All losses, or those of these kinds with these traits."""
    names = [
        name
        for name, case in CASES.items()
        if (not kinds or case.kind in kinds)
        and all(getattr(case, trait) == value for trait, value in wanted.items())
    ]
    return pytest.mark.parametrize("case", [CASES[name] for name in names], ids=names)


every_loss = of()


def run(
    case: Case, x: Tensor, *others: Tensor, reduction: str = "mean", **options: Tensor
) -> tuple[Tensor, Tensor]:
    """The loss and the gradient of its sum."""
    x = x.detach().requires_grad_()
    value = case.loss(x, *others, reduction=reduction, **options)
    (gradient,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), gradient


def test_every_loss_is_in_the_table() -> None:
    public = {getattr(losses, name) for name in losses.__all__ if name.endswith("Loss")}
    assert {case.of for case in CASES.values()} == public


def test_every_loss_is_a_module_over_a_function_of_its_name() -> None:
    # These two have functions that return the parts of the loss, not the loss; RankMetricLoss is
    # a function of the user's.
    parts = {"RankSortLoss": "rank_sort", "ALRPLoss": "alrp", "RankMetricLoss": None}
    for name in losses.__all__:
        if name.endswith("Loss") and name not in parts:
            snake = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
            assert snake in losses.__all__
            assert getattr(functional, snake) is getattr(losses, snake)
    assert all(name in functional.__all__ for name in parts.values() if name)


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtype_of_the_result_is_that_of_the_scores(case: Case, dtype: torch.dtype) -> None:
    x, others = case.draw(9)
    x = x.to(dtype)
    if case.of is losses.ALRPLoss:  # its localisation errors are a part of the loss as they come
        others = tuple(y.to(dtype) for y in others)
    value, gradient = run(case, x, *others)
    assert value.dtype == gradient.dtype == dtype
    assert gradient.isfinite().all()
    # Half precision is computed in float32.
    compute = torch.float64 if dtype == torch.float64 else torch.float32
    exact, slope = run(case, x.to(compute), *others)
    torch.testing.assert_close(value, exact.to(dtype))
    torch.testing.assert_close(gradient, slope.to(dtype))
    if dtype == torch.float32:
        exact, slope = run(case, x.double(), *others)
        torch.testing.assert_close(value, exact.float(), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(gradient, slope.float(), rtol=1e-3, atol=1e-4)


@every_loss
def test_autocast_changes_nothing(case: Case) -> None:
    x, others = case.draw(9)
    x = x.float()
    expected = run(case, x, *others)
    x.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        value = case.loss(x, *others, reduction="mean")
    (gradient,) = torch.autograd.grad(value, x)
    torch.testing.assert_close((value.detach(), gradient), expected, rtol=0, atol=0)


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_under_autocast_the_loss_of_half_precision_holds_every_scale(
    case: Case, dtype: torch.dtype
) -> None:
    """As torch's losses do: 65536, where a GradScaler starts, is beyond float16."""
    x, others = case.draw(9)
    x = x.to(dtype)
    if case.of is losses.ALRPLoss:
        others = tuple(y.to(dtype) for y in others)
    with torch.autocast("cpu", dtype):
        value = case.loss(x, *others, reduction="mean")
    assert value.dtype == torch.float32
    if case.of is losses.ALRPLoss:
        others = tuple(y.float() for y in others)
    torch.testing.assert_close(value, run(case, x.float(), *others)[0])


@every_loss
def test_a_scaled_half_precision_gradient_overflows_only_where_it_must(case: Case) -> None:
    """A GradScaler's scale, as large as float16 holds it and its product with the gradient."""
    x, others = case.draw(9)
    x = x.half()
    if case.of is losses.ALRPLoss:
        others = tuple(y.half() for y in others)
    _, slope = run(case, x.float(), *others)
    largest = torch.finfo(torch.float16).max / max(1.0, 1.1 * slope.abs().max().item())
    scale = 2.0 ** math.floor(math.log2(largest))
    x.requires_grad_()
    value = case.loss(x, *others, reduction="mean")
    (gradient,) = torch.autograd.grad(value * torch.tensor(scale), x)
    assert gradient.isfinite().all()
    torch.testing.assert_close(gradient, (scale * slope).half(), rtol=5e-3, atol=1e-3 * scale)


@every_loss
def test_layout_does_not_matter(case: Case) -> None:
    x, others = case.draw(9)
    expected = run(case, x, *others, reduction="sum")
    layouts = [x.repeat_interleave(2, -1)[..., ::2], x.mT.contiguous().mT if x.dim() > 1 else x]
    for strided in layouts:
        shifted = [torch.stack((y, y), -1)[..., 0] for y in others]
        torch.testing.assert_close(run(case, strided, *shifted, reduction="sum"), expected)
    for expanded in (x[:1].expand(x.shape), x[..., :1].expand(x.shape)):
        torch.testing.assert_close(
            run(case, expanded, *others), run(case, expanded.contiguous(), *others)
        )


@every_loss
@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_items(case: Case, n: int) -> None:
    x, others = case.draw(n)
    value, gradient = run(case, x, *others)
    assert value.isfinite()
    assert gradient.shape == x.shape
    assert gradient.isfinite().all()
    if n == 0:
        assert value == 0


@of(kinds=(LISTS, CLASSES, MATRIX))
def test_no_rows(case: Case) -> None:
    x, others = case.draw(4, rows=0)
    value, gradient = run(case, x, *others)
    assert value == 0
    assert gradient.shape == x.shape


@every_loss
def test_nan_stays_in_its_row(case: Case) -> None:
    x, others = case.draw(9)
    if case.kind in (SAMPLES, LOGITS):  # which are one row
        x.view(-1)[4] = torch.nan
        assert run(case, x, *others)[0].isnan()
        return
    expected, slope = run(case, x, *others, reduction="none")
    x[1, 2] = torch.nan
    value, gradient = run(case, x, *others, reduction="none")
    assert value[1].isnan().any()
    torch.testing.assert_close(value[::2], expected[::2])
    torch.testing.assert_close(gradient[::2], slope[::2])


def left_out(case: Case, mask: Tensor, x: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """Scores, or samples, without those that are masked."""
    if case.kind == MATRIX:
        return (x[:, mask][:, :, mask],)
    if case.kind == SAMPLES:
        return tuple(y[mask] for y in (x, *others))
    return tuple(y[:, mask] for y in (x, *others))


@of(masks=True)
@settings(max_examples=12)
@given(
    n=st.integers(1, 12),
    hidden=st.sampled_from([0.0, 3.0, torch.inf, -torch.inf, torch.nan]),
    seed=st.integers(0, 10**6),
)
def test_a_mask_is_the_same_as_leaving_out(case: Case, n: int, hidden: float, seed: int) -> None:
    x, others = case.draw(n, seed, rows=2)
    mask = torch.rand(n, generator=torch.Generator().manual_seed(seed)) < 0.6
    expected, slope = run(case, *left_out(case, mask, x, *others))
    x, others = x.clone(), tuple(y.clone() for y in others)
    items = 0 if case.kind == SAMPLES else 1
    for y in (x, *others):
        y.movedim(items, 0)[~mask] = hidden if y is x else 4.0
    if case.kind == MATRIX:
        x[:, :, ~mask] = hidden
    shaped = {CLASSES: mask[:, None], MATRIX: mask, SAMPLES: mask, LISTS: mask}[case.kind]
    value, gradient = run(case, x, *others, mask=shaped)
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-7)
    (kept,) = left_out(case, mask, gradient)
    torch.testing.assert_close(kept, slope, rtol=1e-5, atol=1e-7)
    assert (gradient.movedim(items, 0)[~mask] == 0).all()


@of(orderless=True)
@settings(max_examples=10)
@given(seed=st.integers(0, 10**6))
def test_the_order_of_the_items_does_not_matter(case: Case, seed: int) -> None:
    if case.of is losses.ALRPLoss:
        return  # its localisation errors are those of the positives, as they come
    x, others = case.draw(8, seed, rows=2)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(seed))
    dim = 0 if case.kind in (SAMPLES, LOGITS) else 1
    moved, *rest = (y.index_select(dim, order) for y in (x, *others))
    slope_order = partial(torch.index_select, dim=dim, index=order)
    value, gradient = run(case, x, *others)
    if case.kind == MATRIX:
        moved = moved[:, :, order]
    other, slope = run(case, moved, *rest)
    torch.testing.assert_close(other, value)
    expected = slope_order(gradient)
    torch.testing.assert_close(slope, expected[:, :, order] if case.kind == MATRIX else expected)


@of(kinds=(LISTS, CLASSES, MATRIX, LOGITS), shiftless=True)
def test_a_common_shift_does_not_matter(case: Case) -> None:
    x, others = case.draw(9)
    torch.testing.assert_close(run(case, x + 16, *others), run(case, x, *others))


@of(derivative=True)
def test_gradient_is_the_derivative(case: Case) -> None:
    x, others = case.draw(6, rows=1 if case.kind == MATRIX else 2)
    loss = partial(case.loss, reduction="none")
    assert torch.autograd.gradcheck(lambda s: loss(s, *others), x.requires_grad_())


@of(kinds=(LISTS, CLASSES, MATRIX))
def test_vmap(case: Case) -> None:
    x, others = case.draw(6)
    mapped, plain = (x.clone().requires_grad_() for _ in range(2))
    loss = partial(case.loss, reduction="sum")
    value = torch.func.vmap(loss)(mapped, *others)
    rows = zip(plain, *others, strict=True)
    torch.testing.assert_close(value, torch.stack([loss(*row) for row in rows]))
    value.sum().backward()
    case.loss(plain, *others, reduction="sum").backward()
    torch.testing.assert_close(mapped.grad, plain.grad)


# Left out: what is quadratic in its nature (LambdaLoss and NeuralNDCG's scaling go by pairs,
# score matrices and similarities hold all of them), rankers of the logistic comparison at a fixed
# temperature, whose time depends on how the scores lie, and Kendall, for whose n log(n)^2 a
# tenth of the items will do (in its own file).
@of(linear=True)
def test_a_million_items(case: Case) -> None:
    n = 1_000_000
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, n, generator=generator)
    y = torch.zeros(1, n)
    y[:, ::1000] = 4  # a thousand to be found
    others: tuple[Tensor, ...] = (y,)
    if case.kind == CLASSES:
        x, others = x.mT, (y.mT / 4,)
    elif case.kind == LOGITS:
        x, others = x[0], (y[0] / 4,)
        if case.of is losses.ALRPLoss:
            others = (*others, torch.full((1000,), 0.3))
    value, gradient = run(case, x, *others)
    assert value.isfinite()
    assert gradient.isfinite().all()
    # Down the gradient what is wanted rises against the rest.
    wanted = others[0] > 0
    assert gradient[wanted].mean() < gradient[~wanted].mean()


@pytest.mark.compile
@every_loss
def test_compiles_once_for_any_number_of_positives(case: Case) -> None:
    from torch._dynamo.testing import CompileCounterWithBackend

    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(case.loss, fullgraph=True, backend=counter)
    for seed in range(4):
        x, others = case.draw(6, seed)
        options = {}
        if case.masks:
            shape = {MATRIX: x.shape[:2], SAMPLES: x.shape[:1]}.get(case.kind, x.shape)
            options["mask"] = (torch.arange(shape.numel()) % 5 > 0).view(shape)
        leaf, twin = (x.clone().requires_grad_() for _ in range(2))
        value = compiled(leaf, *others, reduction="mean", **options)
        expected = case.loss(twin, *others, reduction="mean", **options)
        torch.testing.assert_close(value, expected)
        value.backward()
        expected.backward()
        torch.testing.assert_close(leaf.grad, twin.grad)
    # aLRP takes a tensor with an element for each positive: its length becomes dynamic, once.
    assert counter.frame_count <= (2 if case.of is losses.ALRPLoss else 1)
