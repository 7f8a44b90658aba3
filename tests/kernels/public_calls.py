"""How every public name is called on tensors without data: what the tests of waiting go through."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

import rankgrad as rg
from losses.test_contract import CASES, MATRIX, SAMPLES, Case
from rankgrad import functional, imbalance, metrics
from rankgrad.rankers import (
    RANKERS,
    LearnedRanker,
    PermutationRanker,
    ShippedRanker,
    Sinkhorn,
    SortingRanker,
)
from rankgrad.sorters import make_sorter

__all__ = ["CALLS", "SAME"]

# Takes a device; what it returns is the call itself.
Call = Callable[[str], Callable[[], Any]]
N = 9
WAYS = ((False, 3), (True, 1))  # masked or not; of one row torch adds up by other kernels


def zeros(*shape: int, device: str, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.zeros(shape, dtype=dtype, device=device)


def leaf(*shape: int, device: str) -> Tensor:
    return torch.zeros(shape, device=device, requires_grad=True)


def on(device: str, make: Callable[[], Any]) -> Any:
    """Make a module on a device; moving parameters without data is not for every release."""
    with torch.device(device):
        return make()


def loss_call(case: Case, masked: bool, rows: int) -> Call:
    x, others = case.draw(N, rows=rows)
    mask_shape = {MATRIX: x.shape[:2], SAMPLES: x.shape[:1]}.get(case.kind, x.shape)

    def prepared(device: str) -> Callable[[], Tensor]:
        rest = [zeros(*y.shape, device=device, dtype=y.dtype) for y in others]
        mask = zeros(*mask_shape, device=device, dtype=torch.bool)
        options = {"mask": mask} if masked else {}
        return partial(case.loss, leaf(*x.shape, device=device), *rest, reduction="mean", **options)

    return prepared


def rows_call(function: Callable[..., Any], masked: bool, rows: int, *others: Any) -> Call:
    """Of a function of scores and a mask."""

    def prepared(device: str) -> Callable[[], Any]:
        mask = zeros(rows, N, device=device, dtype=torch.bool) if masked else None
        return partial(function, leaf(rows, N, device=device), *others, mask=mask)

    return prepared


def metric_call(function: Callable[..., Tensor], masked: bool) -> Call:
    def prepared(device: str) -> Callable[[], Tensor]:
        x, y = (zeros(3, N, device=device) for _ in range(2))
        mask = zeros(3, N, device=device, dtype=torch.bool) if masked else None
        return partial(function, x, y, mask=mask)

    return prepared


def samples_call(function: Callable[..., Any], *others: int) -> Call:
    """Of predictions and so many tensors in their shape."""
    return lambda device: partial(
        function, leaf(N, device=device), *(zeros(N, device=device) for _ in others)
    )


def fds(device: str) -> Callable[[], Tensor]:
    layer = on(device, lambda: imbalance.FDS(4, 5))
    x, y = leaf(N, 4, device=device), zeros(N, device=device)

    def run() -> Tensor:
        total = x.sum()
        for _ in range(3):  # epochs: the statistics of one change the features of the next
            total = total + layer(x, y).sum()
            layer.observe(x, y)
            layer.step()
        return total

    return run


def memory(device: str) -> Callable[[], Tensor]:
    loss = on(device, lambda: rg.SmoothAPLoss(memory=rg.CrossBatchMemory(8, 4)))
    x, y = leaf(5, 4, device=device), zeros(5, device=device, dtype=torch.int64)
    return lambda: loss(x, y) + loss(x, y)


def mined(device: str) -> Callable[[], Tensor]:
    x, y = leaf(5, 4, device=device), zeros(5, device=device, dtype=torch.int64)
    return lambda: rg.SmoothAPLoss()(x, y, (y, y, y))


def balanced_mse(device: str) -> Callable[[], Tensor]:
    loss = on(device, imbalance.BalancedMSELoss)
    return samples_call(loss, 1)(device)


def learned(device: str) -> Callable[[], Tensor]:
    ranker = on(device, lambda: LearnedRanker(make_sorter("set")))
    return lambda: ranker(leaf(3, N, device=device))


def schedule(device: str) -> Callable[[], None]:
    return partial(rg.EpochBalance(1).update, zeros(device=device), zeros(device=device))


def boxes(device: str) -> Callable[[], Any]:
    x = zeros(N, 4, device=device)
    return partial(metrics.match_boxes, x, x[:, 0], x)


def detection(function: Callable[..., Any], *others: int) -> Call:
    """With a bound on the number of positives."""
    return lambda device: partial(
        function,
        leaf(N, device=device),
        zeros(N, device=device),
        *(zeros(n, device=device) for n in others),
        max_positives=4,
    )


def bins(dtype: torch.dtype) -> Call:
    return lambda device: partial(imbalance.label_bins, zeros(N, device=device, dtype=dtype), 5)


def weights(num_bins: int | None) -> Call:
    return lambda device: partial(imbalance.lds_weights, zeros(N, device=device), num_bins=num_bins)


CALLS: dict[str, dict[str, Call]] = {
    "rank_sort": {"bounded": detection(functional.rank_sort)},
    "ap_loss": {"bounded": detection(functional.ap_loss)},
    "alrp": {"bounded": detection(functional.alrp, 4)},
    "balance": {"": lambda d: partial(functional.balance, leaf(device=d), zeros(device=d))},
    "EpochBalance": {"": schedule},
    "CrossBatchMemory": {"": memory},
    "rank": {ties: rows_call(partial(rg.rank, ties=ties), True, 1) for ties in ("min", "dense")},
    "sort": {"": lambda d: partial(rg.sort, leaf(3, N, device=d))},
    "pairwise_sum": {
        "segments": lambda d: partial(
            rg.pairwise_sum, *[leaf(3, N, device=d)] * 2, comparison=rg.Cauchy(1.0),
            segments=zeros(3, N, device=d, dtype=torch.int64),
        )
    },
    "soft_quantile": {"": rows_call(rg.soft_quantile, True, 3, 0.5)},
    "soft_topk": {str(rows): rows_call(rg.soft_topk, True, rows, 2) for rows in (1, 3)},
    "LearnedRanker": {"": learned},
    "match_boxes": {"": boxes},
    "olrp": {"": lambda d: partial(metrics.olrp, *[zeros(N, device=d)] * 2, truths=3)},
    "FDS": {"": fds},
    "BalancedMSELoss": {"": balanced_mse},
    "balanced_mse_loss": {"": samples_call(imbalance.balanced_mse_loss, 1)},
    "calibrate": {
        "": lambda d: partial(
            imbalance.calibrate, leaf(N, 4, device=d), *(zeros(4, device=d) for _ in range(4))
        )
    },
    "label_bins": {str(dtype): bins(dtype) for dtype in (torch.float32, torch.float64)},
    "smooth_counts": {
        "": lambda d: partial(
            imbalance.smooth_counts, *[zeros(5, device=d, dtype=torch.float64)] * 2
        )
    },
    "lds_bin_weights": {"": lambda d: partial(imbalance.lds_bin_weights, zeros(N, device=d))},
    "lds_weights": {str(count): weights(count) for count in (None, 5)},
}  # fmt: skip

# A loss of the table is the function of its name, in snake case.
SAME = {
    re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", case.of.__name__).lower()
    for case in CASES.values()
}

for label, case in CASES.items():
    ways = CALLS.setdefault(case.of.__name__, {})
    for masked, rows in WAYS:
        ways[f"{label}, {rows}"] = loss_call(case, masked and case.masks, rows)
CALLS["SmoothAPLoss"]["mined"] = mined

for label, ranker in RANKERS.items():
    if isinstance(ranker, ShippedRanker):  # read from a file: see LearnedRanker
        continue
    ways = CALLS.setdefault(type(ranker).__name__, {})
    for masked, rows in WAYS:
        what = f"{label}, {rows}"
        ways[what] = rows_call(ranker, masked, rows)
        if isinstance(ranker, SortingRanker):
            ways[f"{what}, sort"] = rows_call(ranker.sort, masked, rows)
        if isinstance(ranker, PermutationRanker):
            ways[f"{what}, permutation"] = rows_call(ranker.permutation, masked, rows)
CALLS["unrolled"] = {"": rows_call(Sinkhorn(gradient="unrolled"), True, 3)}
for name in ("soft_rank", "soft_sort"):
    CALLS[name] = {"masked": rows_call(getattr(rg, name), True, 3)}

for name in metrics.__all__:
    if name not in CALLS and name.islower():  # the classes of torchmetrics call these
        options = {"k": 3} if name.endswith("_at_k") else {}
        of = partial(getattr(metrics, name), **options)
        CALLS[name] = {f"masked: {masked}": metric_call(of, masked) for masked in (False, True)}
for name in ("weighted_mse", "weighted_l1", "weighted_huber", "focal_mse", "focal_l1"):
    CALLS[name] = {"": samples_call(getattr(imbalance, name), 1, 2)}
