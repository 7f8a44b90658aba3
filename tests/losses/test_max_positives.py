"""A bound on the number of positives: the same losses, and no size that depends on the data."""

from collections.abc import Callable
from importlib import import_module  # functions hide the modules of their name
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import rankgrad as rg
from losses.detection_problems import problems
from rankgrad.functional import alrp, ap_loss, rank_sort
from rankgrad.losses.detection import _locate, _vmap

pytestmark = pytest.mark.usefixtures("backend")


def by_alrp(x: Tensor, t: Tensor, most: int | None, **options: Any) -> tuple[Tensor, ...]:
    """The second part and the ranks are those of the positives alone."""
    found = (t == 1).nonzero().squeeze(-1)
    errors = x.new_full((len(found) if most is None else most,), torch.nan)
    errors[: len(found)] = 0.1 + 0.01 * found[: len(errors)]
    parts = alrp(x, t, errors, max_positives=most, **options)
    if options.get("reduction") != "none":
        return (*parts[:2], parts.rank[: len(found)])
    return (parts.classification, *(part[: len(found)] for part in parts[1:]))


LOSSES: dict[str, Callable[..., tuple[Tensor, ...]]] = {
    "rank_sort": lambda x, t, most, **options: rank_sort(x, t, max_positives=most, **options),
    "ap": lambda x, t, most, **options: (ap_loss(x, t, max_positives=most, **options),),
    "alrp": by_alrp,
}
each_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
TARGETS = [0.0, 0.0, -1.0, 0.25, 0.5, 1.0, 1.0]


def both_ways(loss: Callable[..., Any], x: Tensor, *args: Any, **options: Any) -> list[Tensor]:
    """Every output, and the gradients of those that have one."""
    x = x.clone().requires_grad_()
    outputs = loss(x, *args, **options)
    weights = [torch.arange(1.0, o.numel() + 1).to(o).view(o.shape) for o in outputs]
    graded = [(o * w).sum() for o, w in zip(outputs, weights, strict=True) if o.requires_grad]
    gradients = [
        g for o in graded for g in torch.autograd.grad(o, x, retain_graph=True, allow_unused=True)
    ]
    return [o.detach() for o in outputs] + [g for g in gradients if g is not None]


@each_loss
@given(
    problem=problems(TARGETS, [0.0, 0.5, 1e4]),
    room=st.integers(0, 4),
    reduction=st.sampled_from(["mean", "sum", "none"]),
)
def test_a_bound_changes_nothing(
    loss: Callable[..., Any], problem: Any, room: int, reduction: str
) -> None:
    x, targets, delta, segments = problem
    t = torch.tensor(targets, dtype=x.dtype)
    positive = t > 0 if loss is LOSSES["rank_sort"] else t == 1
    most = max(1, int(positive.sum()) + room)
    options = {"delta": delta, "segments": segments, "reduction": reduction}
    bounded = both_ways(loss, x, t, most, **options)
    free = both_ways(loss, x, t, None, **options)
    assert len(bounded) == len(free)
    for ours, theirs in zip(bounded, free, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


@each_loss
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("at", ["positive", "negative", "ignored"])
def test_what_is_no_number_goes_where_it_goes_without(
    loss: Callable[..., Any], value: float, at: str
) -> None:
    torch.manual_seed(0)
    x, t = torch.randn(12), torch.tensor([1.0, 0.0, 0.0, 1.0, -1.0, 0.0] * 2)
    x[{"positive": 3, "negative": 1, "ignored": 4}[at]] = value
    for segments in (None, torch.arange(12) // 6):
        bounded = both_ways(loss, x, t, 9, segments=segments)
        free = both_ways(loss, x, t, None, segments=segments)
        for ours, theirs in zip(bounded, free, strict=True):
            torch.testing.assert_close(ours, theirs, equal_nan=True)


@each_loss
def test_segments_next_to_each_other_stay_apart(loss: Callable[..., Any]) -> None:
    torch.manual_seed(0)
    x, t = torch.randn(40), torch.randint(0, 2, (40,)).float()
    near = torch.arange(40) % 4
    for segments in (near, near + 2**62, near - 2**63, near + 2**63 - 4):
        bounded = both_ways(loss, x, t, 30, segments=segments)
        for ours, theirs in zip(bounded, both_ways(loss, x, t, 30, segments=near), strict=True):
            torch.testing.assert_close(ours, theirs)


@each_loss
@pytest.mark.parametrize("n", [0, 1, 5])
def test_without_positives_the_loss_is_zero(loss: Callable[..., Any], n: int) -> None:
    x = torch.full((n,), torch.nan)
    for segments in (None, torch.arange(n)):
        values, gradients = [], []
        for output in both_ways(loss, x, torch.zeros(n), 3, segments=segments):
            (gradients if output.shape == x.shape and n else values).append(output)
        assert not any(v.any() for v in values + gradients)


@each_loss
def test_too_many_positives(loss: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    x, t = torch.randn(6), torch.tensor([1.0, 1.0, 0.0, 0.0, 1.0, 0.0])
    message = r"max_positives must be at least the number of positives, 3 here, got 2"
    with pytest.raises(ValueError, match=message):
        loss(x, t, 2)
    mapped = loss if loss is not by_alrp else lambda x, t, most: alrp(x, t, x[:2], max_positives=2)
    mapped = torch.func.vmap(lambda x, t, loss=mapped: loss(x, t, 2)[0])
    with pytest.raises(ValueError, match=message):
        mapped(x[None], t[None])
    # On a GPU nobody asks how many there are, and the loss says NaN.
    for module in (_locate, _vmap, import_module("rankgrad.losses.detection.alrp")):
        monkeypatch.setattr(module, "check_room", lambda count, most: None)
    x.requires_grad_()
    first = loss(x, t, 2)[0]
    assert first.isnan()
    assert torch.autograd.grad(first, x)[0].isnan().any()
    few = torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    assert mapped(torch.stack([x, x]), torch.stack([t, few])).isnan().tolist() == [True, False]


def test_a_target_that_is_no_number() -> None:
    x, t = torch.randn(3, requires_grad=True), torch.tensor([1.0, torch.nan, 0.0])
    for loss in LOSSES.values():
        assert loss(x, t, 2)[0].isnan()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_rows_under_vmap(reduction: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 20, dtype=torch.double)
    t = (torch.rand(3, 20) < 0.3).double()
    t[1] = 0
    errors = torch.rand(3, 20, dtype=torch.double)

    def by_rank_sort(x: Tensor, t: Tensor, e: Tensor) -> Tensor:
        return sum(rank_sort(x, t, max_positives=15, reduction=reduction))

    def by_ap(x: Tensor, t: Tensor, e: Tensor) -> Tensor:
        return ap_loss(x, t, max_positives=15, reduction=reduction)

    def by_alrp(x: Tensor, t: Tensor, e: Tensor) -> Tensor:
        parts = alrp(x, t, e[:15], max_positives=15, reduction=reduction)
        return parts.classification + 3 * parts.localization.sum() + parts.rank.sum()

    for loss in (by_rank_sort, by_ap, by_alrp):
        rows = x.clone().requires_grad_(), errors.clone().requires_grad_()
        mapped = torch.func.vmap(loss)(rows[0], t, rows[1])
        looped = torch.stack([loss(*row) for row in zip(rows[0], t, rows[1], strict=True)])
        torch.testing.assert_close(mapped, looped)
        weight = torch.arange(1.0, mapped.numel() + 1, dtype=torch.double).view(mapped.shape)
        pairs = [
            torch.autograd.grad((weight * out).sum(), rows, allow_unused=True)
            for out in (mapped, looped)
        ]
        for ours, theirs in zip(*pairs, strict=True):
            torch.testing.assert_close(ours, theirs)


def test_bad_bounds_are_named() -> None:
    x, t = torch.zeros(3), torch.tensor([1.0, 0.0, 0.0])
    for make in (rg.RankSortLoss, rg.APLoss, rg.ALRPLoss):
        with pytest.raises(ValueError, match="max_positives must be >= 1, got 0"):
            make(max_positives=0)
    with pytest.raises(TypeError, match="max_positives"):
        ap_loss(x, t, max_positives=2.5)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(ValueError, match="localization must have max_positives = 2 entries, got 1"):
        alrp(x, t, torch.zeros(1), max_positives=2)


@pytest.mark.compile
@pytest.mark.parametrize("make", [rg.RankSortLoss, rg.APLoss, rg.ALRPLoss])
def test_compiles_once_and_without_a_size_from_the_data(make: Any, backend: str) -> None:
    """What torch's own CUDA graphs ask for: all sizes of the graph are numbers."""
    if backend == "reference":
        pytest.skip("one backend shows it: the operator is opaque to the compiler")
    torch._dynamo.reset()
    graphs: list[torch.fx.GraphModule] = []

    def keep(graph: torch.fx.GraphModule, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    loss_fn = make(max_positives=20)
    compiled = torch.compile(loss_fn, fullgraph=True, backend=keep)
    errors = (torch.rand(20),) if make is rg.ALRPLoss else ()
    for positives in (0, 1, 5, 20):
        targets = torch.zeros(50)
        targets[:positives] = 1.0
        logits = torch.randn(50)
        ours, eager = logits.clone().requires_grad_(), logits.clone().requires_grad_()
        compiled(ours, targets, *errors).backward()
        loss_fn(eager, targets, *errors).backward()
        torch.testing.assert_close(ours.grad, eager.grad)
    (graph,) = graphs
    for node in graph.graph.nodes:
        value = node.meta.get("example_value")
        for x in value if isinstance(value, tuple) else (value,):
            assert not isinstance(x, Tensor) or all(isinstance(n, int) for n in x.shape)
