"""Rank-N-Contrast: order the features as the labels are ordered."""

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from rankgrad import kernels
from rankgrad.checks import (
    check_floating,
    check_mask,
    check_positive,
    check_real,
    check_reduction,
    check_same_device,
    compute_dtype,
    result_dtype,
)
from rankgrad.losses._module import settings
from rankgrad.losses._reduce import reduce
from rankgrad.losses._rows import real
from rankgrad.losses._world import Group, gathered
from rankgrad.operators import operator

__all__ = ["RankNContrastLoss", "rank_n_contrast_loss"]


@operator("rank_n_contrast")
def _contrast(
    points: Tensor, labels: Tensor, valid: Tensor, temperature: float, want_slope: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the loss of each anchor, its derivative for the distances, and these."""
    distance = kernels.implementation("distances", points.device)(points)
    serve = kernels.implementation("contrast_rows", points.device)
    loss, slope = serve(distance, labels, valid, temperature, want_slope)
    return loss, slope, distance


@_contrast.register_fake
def _(
    points: Tensor, labels: Tensor, valid: Tensor, temperature: float, want_slope: bool
) -> tuple[Tensor, Tensor, Tensor]:
    n = points.shape[0]
    square = points.new_empty(n, n)
    return points.new_empty(n), points.new_empty((n, n) if want_slope else 0), square


@operator("rank_n_contrast_vjp")
def _contrast_vjp(grad: Tensor, slope: Tensor, distance: Tensor, points: Tensor) -> Tensor:
    """Return the gradient for the points by that of the anchors."""
    vjp: Tensor = kernels.implementation("contrast_vjp", points.device)(
        grad, slope, distance, points
    )
    return vjp


@_contrast_vjp.register_fake
def _(grad: Tensor, slope: Tensor, distance: Tensor, points: Tensor) -> Tensor:
    return torch.empty_like(points)


def _setup(ctx, inputs, output):  # type: ignore[no-untyped-def]  # torch's own context object
    ctx.mark_non_differentiable(*output[1:])
    ctx.save_for_backward(*output[1:], inputs[0])


def _backward(ctx, grad, _slope, _distance):  # type: ignore[no-untyped-def]
    return _contrast_vjp(grad, *ctx.saved_tensors), None, None, None, None


_contrast.register_autograd(_backward, setup_context=_setup)


@gathered("features", "labels", along=0, mask_shape=lambda shape: shape[:1])
def rank_n_contrast_loss(
    features: Float[Tensor, "n d"] | Float[Tensor, "n views d"],
    labels: Shaped[Tensor, " n"] | Shaped[Tensor, "n label_dims"],
    *,
    temperature: float = 2.0,
    mask: Bool[Tensor, " n"] | None = None,
    reduction: str = "mean",
    group: Group = None,
) -> Float[Tensor, "..."]:
    r"""Contrast every pair of samples with the samples that are at least as far away in label.

    With the similarity ``s_ij = -||f_i - f_j|| / temperature`` and the label distance
    ``d_ij = sum_l |y_il - y_jl|``, the loss of anchor ``i`` is the mean over ``j != i`` of

    .. math:: -\log \frac{\exp(s_{ij})}{\sum_{k \ne i,\; d_{ik} \ge d_{ij}} \exp(s_{ik})}

    The sum contains ``j`` itself and every sample whose label is exactly as far away. All
    exponentials stay in the log domain, so no distance is too large for it. Where two features
    coincide the distance has no derivative; zero is taken.

    Args:
        features: ``[n, d]``, or ``[n, views, d]`` for several views of each sample. The views
            count as samples of their own that share a label.
        labels: ``[n]``, or ``[n, L]`` for several label dimensions; floating or integer.
        temperature: Divides the distances; above zero.
        mask: ``[n]``, True for the samples that take part.
        reduction: ``"none"`` gives the loss of each anchor, ``[n]`` or ``[n, views]`` (zero where
            the mask is False); ``"sum"`` adds them up; ``"mean"`` is their mean over the anchors
            that take part.
        group: the workers whose samples are ranked together, see :mod:`rankgrad.distributed`;
            the result is that of the whole batch.

    Returns:
        The loss in the dtype of ``features``. Fewer than two samples give zero, with a gradient.

    Raises:
        TypeError: ``features`` is not floating point, or ``mask`` not boolean.
        ValueError: a shape, the temperature or the reduction does not fit.

    Cost: ``O(n^2 d)`` time, on a GPU or for several label dimensions ``O(n^2 (d + log n))``, and
    ``O(n^2)`` memory, ``n`` counting views. There is no second derivative.

    Source: Zha, Cao, Son, Yang, Katabi: Rank-N-Contrast: Learning Continuous Representations for
    Regression. NeurIPS 2023.

    >>> import torch
    >>> from rankgrad.losses.rank_n_contrast import rank_n_contrast_loss
    >>> labels = torch.tensor([1.0, 2.0, 3.0])
    >>> in_order = torch.tensor([[0.0], [1.0], [2.0]])
    >>> out_of_order = torch.tensor([[0.0], [2.0], [1.0]])
    >>> rank_n_contrast_loss(in_order, labels)
    tensor(0.3891)
    >>> rank_n_contrast_loss(out_of_order, labels)
    tensor(0.5192)
    """
    check_floating("features", features)
    if features.dim() not in (2, 3):
        raise ValueError(
            f"features must have the shape [n, d] or [n, views, d], got {tuple(features.shape)}"
        )
    check_real("labels", labels)
    if labels.dim() not in (1, 2) or labels.shape[0] != features.shape[0]:
        raise ValueError(
            f"labels must have the shape [n] or [n, L] with n = {features.shape[0]} as in "
            f"features, got {tuple(labels.shape)}"
        )
    check_same_device("labels", labels, "features", features)
    temperature = check_positive("temperature", temperature)
    check_reduction(reduction)
    valid = torch.ones(features.shape[0], dtype=torch.bool, device=features.device)
    if mask is not None:
        check_mask("mask", mask, "labels", labels[:, 0] if labels.dim() == 2 else labels)
        valid = mask.expand_as(valid)

    views = features.shape[1] if features.dim() == 3 else 1
    points = features.to(compute_dtype(features))
    points = points.flatten(0, 1) if points.dim() == 3 else points
    valid = valid.repeat_interleave(views)
    # What a masked sample holds, NaN included, must not reach the others.
    points = torch.where(valid[:, None], points, 0.0)
    targets = real(labels.detach())
    targets = targets if targets.dim() == 2 else targets[:, None]
    targets = targets.repeat_interleave(views, dim=0)
    targets = torch.where(valid[:, None], targets, 0.0)

    trained = torch.is_grad_enabled() and points.requires_grad
    anchors: Tensor = _contrast(points, targets, valid, temperature, trained)[0]
    loss = reduce(anchors, reduction, valid)
    if reduction == "none":
        loss = loss.reshape(features.shape[:-1])
    return loss.to(result_dtype(features))


class RankNContrastLoss(nn.Module):
    """Rank-N-Contrast as a module; see :func:`rank_n_contrast_loss`.

    Args:
        temperature: Divides the feature distances; above zero.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        group: the workers whose samples are ranked together, see :mod:`rankgrad.distributed`;
            the result is that of the whole batch.

    >>> import torch
    >>> loss = RankNContrastLoss(temperature=1.0)
    >>> loss(torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([1, 2, 3]))
    tensor(0.3355)
    """

    def __init__(
        self, temperature: float = 2.0, reduction: str = "mean", group: Group = None
    ) -> None:
        super().__init__()
        self.temperature = check_positive("temperature", temperature)
        check_reduction(reduction)
        self.reduction = reduction
        self.group = group

    def forward(
        self,
        features: Float[Tensor, "n d"] | Float[Tensor, "n views d"],
        labels: Shaped[Tensor, " n"] | Shaped[Tensor, "n label_dims"],
        mask: Bool[Tensor, " n"] | None = None,
    ) -> Float[Tensor, "..."]:
        """Return the loss of these features and labels."""
        return rank_n_contrast_loss(
            features,
            labels,
            temperature=self.temperature,
            mask=mask,
            reduction=self.reduction,
            group=self.group,
        )

    def extra_repr(self) -> str:
        """Return the settings for ``print``."""
        return settings(self, "temperature", "reduction")
