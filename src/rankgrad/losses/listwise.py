"""Likelihoods of whole lists: ListMLE and ListNet."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from rankgrad.checks import check_choice, check_reduction, result_dtype
from rankgrad.distributed import Group
from rankgrad.losses._lists import lists
from rankgrad.losses._module import settings
from rankgrad.losses._reduce import reduce
from rankgrad.metrics.of_ranks import not_negative
from rankgrad.sorting import argsort

__all__ = ["ListMLELoss", "ListNetLoss", "list_mle_loss", "list_net_loss"]

TIES = ("shared", "ordinal")
TARGETS = ("softmax", "proportional")
_BLOCK = 256


def list_mle_loss(
    scores: Float[Tensor, "*batch n"],
    relevance: Shaped[Tensor, "*batch n"],
    *,
    ties: str = "shared",
    mask: Bool[Tensor, "*mask"] | None = None,
    reduction: str = "mean",
    group: Group = None,
) -> Float[Tensor, "*lists"]:
    r"""Return minus the log likelihood of the order by relevance, under the Plackett-Luce model.

    .. math:: \sum_i \Big(\log \sum_{j \in R_i} e^{s_j} - s_i\Big)

    where ``R_i`` are the items that are not drawn before item ``i``. With ``ties="shared"`` these
    are all items that are not more relevant than ``i``: the order in which items come does not
    matter. With "ordinal" equally relevant items are drawn in the order in which they come.

    Args:
        scores: every row of the last dimension is one list.
        relevance: in the shape of ``scores``; any numbers, only their order counts.
        ties: "shared" or "ordinal".
        mask: boolean, broadcastable to ``scores``, True = valid; the same as leaving the others
            out.
        reduction: over the lists: "mean", "sum" or "none". A list whose items are all equally
            relevant, for instance not at all, says nothing about their order: it has loss 0 and
            is left out of the mean.
        group: the workers over whose rows the loss is reduced, see
            :mod:`rankgrad.distributed`. Each row is ranked by itself.

    Returns:
        The loss in the dtype of ``scores``. A list with a NaN is NaN.

    Raises:
        TypeError: ``scores`` is not floating point, or ``mask`` not boolean.
        ValueError: a shape, device or setting does not fit.

    Cost: ``O(n log n)``.

    Source: Xia, Liu, Wang, Zhang, Li: Listwise approach to learning to rank: theory and
    algorithm. ICML 2008.

    >>> list_mle_loss(torch.tensor([0.0, 0.0, 0.0]), torch.tensor([2, 0, 1]))  # log 3!
    tensor(1.7918)
    """
    check_reduction(reduction)
    check_choice("ties", ties, TIES)
    given = lists(scores, relevance, mask)
    counts = given.ordered()
    if scores.shape[-1] == 0:
        return reduce(given.scores.sum(dim=-1), reduction, counts, group=group).to(
            result_dtype(scores)
        )
    # Masked items come first and weigh nothing, so that the others end in a common tail.
    order = argsort(torch.where(given.valid, given.relevance, torch.inf))
    valid = given.valid.gather(-1, order)
    nothing = torch.finfo(given.scores.dtype).min / 4
    in_order = torch.where(valid, given.scores.gather(-1, order), nothing)
    tail = _running(in_order.flip(-1)).flip(-1)
    if ties == "shared":
        # From the first of the equally relevant items on.
        grades = torch.where(valid, given.relevance.gather(-1, order), torch.inf)
        opens = F.pad(grades[..., 1:] != grades[..., :-1], (1, 0), value=True)
        place = torch.arange(grades.shape[-1], device=grades.device)
        tail = tail.gather(-1, torch.where(opens, place, 0).cummax(dim=-1).values)
    loss = torch.where(valid, tail - in_order, 0.0).sum(dim=-1)
    loss = torch.where(given.relevance.isnan().any(dim=-1), torch.nan, loss)
    return reduce(loss, reduction, counts, group=group).to(result_dtype(scores))


def _running(x: Tensor) -> Tensor:
    """Return ``log sum exp`` of all up to each place, of finite ``x``."""
    if x.device.type == "cpu" or x.numel() != x.shape[-1]:
        return x.logcumsumexp(dim=-1)
    return _running_by_blocks(x)


def _running_by_blocks(x: Tensor) -> Tensor:
    """Return :func:`_running` of a single row.

    On a GPU torch runs over a single row in no fixed order, over several in that of each row.
    """
    n = x.shape[-1]
    nothing = torch.finfo(x.dtype).min / 4
    whole = (n // _BLOCK + 2) * _BLOCK  # two blocks at least
    blocks = F.pad(x.reshape(n), (0, whole - n), value=nothing).view(-1, _BLOCK)
    inside = blocks.logcumsumexp(dim=-1)
    before = F.pad(inside[:-1, -1], (1, 0), value=nothing)
    before = before.expand(2, -1).logcumsumexp(dim=-1)[0]
    return torch.logaddexp(inside, before[:, None]).flatten()[:n].view(x.shape)


def list_net_loss(
    scores: Float[Tensor, "*batch n"],
    relevance: Shaped[Tensor, "*batch n"],
    *,
    target: str = "softmax",
    mask: Bool[Tensor, "*mask"] | None = None,
    reduction: str = "mean",
    group: Group = None,
) -> Float[Tensor, "*lists"]:
    r"""Return the cross entropy between who should come first and who does.

    .. math:: -\sum_i p_i \log \mathrm{softmax}(s)_i

    with ``p = softmax(y)`` as published, or ``p = y / sum(y)`` ("proportional"), for which items
    without relevance draw nothing.

    Args:
        scores: every row of the last dimension is one list.
        relevance: in the shape of ``scores``; for "proportional" not negative.
        target: "softmax" or "proportional".
        mask: boolean, broadcastable to ``scores``, True = valid; the same as leaving the others
            out.
        reduction: over the lists: "mean", "sum" or "none". A list whose items are all equally
            relevant, for instance not at all, says nothing about their order: it has loss 0 and
            is left out of the mean.
        group: the workers over whose rows the loss is reduced, see
            :mod:`rankgrad.distributed`. Each row is ranked by itself.

    Returns:
        The loss in the dtype of ``scores``. A list with a NaN is NaN.

    Raises:
        TypeError: ``scores`` is not floating point, or ``mask`` not boolean.
        ValueError: a shape, device or setting does not fit, or, for "proportional", relevance is
            negative (NaN instead on other devices than the CPU and in compiled code).

    Cost: ``O(n)``.

    Source: Cao, Qin, Liu, Tsai, Li: Learning to rank: from pairwise approach to listwise
    approach. ICML 2007.

    >>> scores, relevance = torch.tensor([2.0, 1.0, 0.0]), torch.tensor([0, 1, 0])
    >>> list_net_loss(scores, relevance), list_net_loss(scores, relevance, target="proportional")
    (tensor(1.4076), tensor(1.4076))
    """
    check_reduction(reduction)
    check_choice("target", target, TARGETS)
    given = lists(scores, relevance, mask)
    nothing = torch.finfo(given.scores.dtype).min / 4
    log_share = torch.where(given.valid, given.scores, nothing).log_softmax(dim=-1)
    if target == "softmax":
        wanted = torch.where(given.valid, given.grades, nothing).softmax(dim=-1)
    else:
        grades = not_negative(given.grades)
        total = grades.sum(dim=-1, keepdim=True)
        wanted = grades / torch.where(total == 0, 1.0, total)
    loss = -torch.where(given.valid, wanted * log_share, 0.0).sum(dim=-1)
    return reduce(loss, reduction, given.ordered(), group=group).to(result_dtype(scores))


class ListMLELoss(nn.Module):
    """The likelihood of the order by relevance; see :func:`list_mle_loss`.

    Args:
        ties: "shared" or "ordinal".
        reduction: "mean", "sum" or "none", over the lists.
        group: the workers over whose rows the loss is reduced, see
            :mod:`rankgrad.distributed`. Each row is ranked by itself.

    >>> ListMLELoss()(torch.tensor([2.0, 1.0, 0.0]), torch.tensor([2, 1, 0]))
    tensor(0.7209)
    """

    def __init__(self, ties: str = "shared", reduction: str = "mean", group: Group = None) -> None:
        super().__init__()
        check_choice("ties", ties, TIES)
        check_reduction(reduction)
        self.ties, self.reduction = ties, reduction
        self.group = group

    def forward(
        self,
        scores: Float[Tensor, "*batch n"],
        relevance: Shaped[Tensor, "*batch n"],
        mask: Bool[Tensor, "*mask"] | None = None,
    ) -> Float[Tensor, "*lists"]:
        """Return the loss of these lists."""
        return list_mle_loss(
            scores, relevance, ties=self.ties, mask=mask, reduction=self.reduction, group=self.group
        )

    def extra_repr(self) -> str:
        """Return the settings for ``print``."""
        return settings(self, "ties", "reduction")


class ListNetLoss(nn.Module):
    """The cross entropy of who comes first; see :func:`list_net_loss`.

    Args:
        target: "softmax" or "proportional".
        reduction: "mean", "sum" or "none", over the lists.
        group: the workers over whose rows the loss is reduced, see
            :mod:`rankgrad.distributed`. Each row is ranked by itself.

    >>> ListNetLoss()(torch.tensor([2.0, 1.0, 0.0]), torch.tensor([2, 1, 0]))
    tensor(0.8324)
    """

    def __init__(
        self, target: str = "softmax", reduction: str = "mean", group: Group = None
    ) -> None:
        super().__init__()
        check_choice("target", target, TARGETS)
        check_reduction(reduction)
        self.target, self.reduction = target, reduction
        self.group = group

    def forward(
        self,
        scores: Float[Tensor, "*batch n"],
        relevance: Shaped[Tensor, "*batch n"],
        mask: Bool[Tensor, "*mask"] | None = None,
    ) -> Float[Tensor, "*lists"]:
        """Return the loss of these lists."""
        return list_net_loss(
            scores,
            relevance,
            target=self.target,
            mask=mask,
            reduction=self.reduction,
            group=self.group,
        )

    def extra_repr(self) -> str:
        """Return the settings for ``print``."""
        return settings(self, "target", "reduction")
