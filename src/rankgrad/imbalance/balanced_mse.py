"""Balanced MSE: undo in the loss what the skew of the training labels does to the prediction."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from rankgrad.checks import (
    check_floating,
    check_positive,
    check_reduction,
    check_same_device,
    check_same_shape,
    compute_dtype,
    result_dtype,
)
from rankgrad.distributed import Group, all_gather, first_of, members
from rankgrad.losses._module import settings
from rankgrad.losses._reduce import reduce

__all__ = ["BalancedMSELoss", "balanced_mse_loss"]


def balanced_mse_loss(
    predictions: Float[Tensor, "*n"],
    targets: Shaped[Tensor, "*n"],
    noise: float | Float[Tensor, ""] = 1.0,
    *,
    reduction: str = "mean",
    group: Group = None,
) -> Float[Tensor, "..."]:
    r"""Return how badly a prediction tells its own target from the others of the batch.

    .. math:: L_i = 2 \sigma^2 \Big( -\log
              \frac{\exp(-(\hat y_i - y_i)^2 / 2\sigma^2)}
                   {\sum_j \exp(-(\hat y_i - y_j)^2 / 2\sigma^2)} \Big)

    The denominator estimates, from the labels of the batch, what the distribution of the training
    labels adds to a plain squared error: predictions are no longer drawn to where labels are
    many. This is the paper's batch-based Monte-Carlo form (BMC); it needs no model of the labels.
    The factor, a constant for the gradient, keeps the scale of a squared error.

    Args:
        predictions: ``[n]``, floating.
        targets: ``[n]``, floating or integer.
        noise: the deviation ``sigma`` of the error, above zero; a tensor may be learned.
        reduction: "mean", "sum" or "none".
        group: the workers whose targets are in the denominator, see :mod:`rankgrad.distributed`;
            "none" gives the losses of this worker's samples, the others those of all.

    Returns:
        The loss in the dtype of ``predictions``; zero, with a gradient, for no sample and for one.

    Raises:
        TypeError: ``predictions`` is not floating point.
        ValueError: the shapes differ, or a setting does not fit.

    Cost: ``O(n^2)`` time and memory; of ``n`` own samples and ``m`` in the group, ``O(n m)``.

    Source: Ren, Zhang, Yu, Liu: Balanced MSE for Imbalanced Visual Regression. CVPR 2022.

    >>> balanced_mse_loss(torch.tensor([0.0, 3.0]), torch.tensor([0.0, 3.0]))
    tensor(0.0221)
    """
    check_floating("predictions", predictions)
    check_reduction(reduction)
    if predictions.dim() != 1:  # a column would be compared with every target of every row
        raise ValueError(f"predictions must have the shape [n], got {tuple(predictions.shape)}")
    check_same_shape("targets", targets, "predictions", predictions)
    check_same_device("targets", targets, "predictions", predictions)
    if not isinstance(noise, Tensor):
        noise = check_positive("noise", noise)
    p = predictions.to(compute_dtype(predictions))
    variance = noise**2
    # Row i, column j: how likely target j is for prediction i.
    logits = -((p[:, None] - all_gather(targets, group).to(p.dtype)) ** 2) / (2 * variance)
    others = members(group)
    first = 0 if others is None else first_of(targets, others)
    own = torch.arange(first, first + p.shape[0], device=p.device)
    loss = F.cross_entropy(logits, own, reduction="none")
    loss = loss * (2 * variance.detach() if isinstance(variance, Tensor) else 2 * variance)
    return reduce(loss, reduction, group=group).to(result_dtype(predictions))


class BalancedMSELoss(nn.Module):
    """Balanced MSE as a module; see :func:`balanced_mse_loss`.

    Args:
        noise: the deviation of the error at the start, above zero.
        learn_noise: whether it is learned with the model; give its parameter to the optimiser.
        reduction: "mean", "sum" or "none".
        group: the workers whose targets are in the denominator, see :mod:`rankgrad.distributed`.

    >>> BalancedMSELoss(noise=2.0)(torch.tensor([0.0, 3.0]), torch.tensor([0, 3])).detach()
    tensor(2.2492)
    """

    def __init__(
        self,
        noise: float = 1.0,
        learn_noise: bool = True,
        reduction: str = "mean",
        group: Group = None,
    ) -> None:
        super().__init__()
        check_reduction(reduction)
        noise = check_positive("noise", noise)
        self.noise = nn.Parameter(torch.tensor(noise), requires_grad=learn_noise)
        self.reduction = reduction
        self.group = group

    def forward(
        self, predictions: Float[Tensor, " n"], targets: Shaped[Tensor, " n"]
    ) -> Float[Tensor, "..."]:
        """Return the loss of these predictions."""
        return balanced_mse_loss(
            predictions, targets, self.noise, reduction=self.reduction, group=self.group
        )

    def extra_repr(self) -> str:
        """Return the settings for ``print``."""
        return f"learn_noise={self.noise.requires_grad}, {settings(self, 'reduction')}"
