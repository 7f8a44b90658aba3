"""Regression losses with a weight for each sample, and their focal variants."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from rankgrad.checks import (
    check_choice,
    check_floating,
    check_positive,
    check_same_device,
    check_same_shape,
    compute_dtype,
    result_dtype,
)
from rankgrad.losses._reduce import reduce

__all__ = ["focal_l1", "focal_mse", "weighted_huber", "weighted_l1", "weighted_mse"]


def weighted_mse(
    predictions: Float[Tensor, "*shape"],
    targets: Float[Tensor, "*shape"],
    weights: Float[Tensor, "*shape"] | None = None,
    *,
    reduction: str = "mean",
) -> Float[Tensor, "..."]:
    """Return ``w (prediction - target)^2``.

    Args:
        predictions: Any shape, floating.
        targets: The same shape.
        weights: The same shape; None weighs all alike.
        reduction: ``"mean"`` divides by the number of samples, not by the sum of the weights:
            weights of mean 1, as :func:`lds_weights` gives, keep the scale of the loss.
            ``"sum"`` and ``"none"`` are the others. No sample gives zero, with a gradient.

    Raises:
        TypeError: ``predictions`` is not floating point.
        ValueError: the shapes differ or the reduction is unknown.

    >>> import torch
    >>> weighted_mse(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 0.0]), torch.tensor([0.5, 1.5]))
    tensor(3.2500)
    """
    error = _error(predictions, targets)
    return _reduce(error.square(), weights, reduction, predictions)


def weighted_l1(
    predictions: Float[Tensor, "*shape"],
    targets: Float[Tensor, "*shape"],
    weights: Float[Tensor, "*shape"] | None = None,
    *,
    reduction: str = "mean",
) -> Float[Tensor, "..."]:
    """Return ``w |prediction - target|``; arguments as in :func:`weighted_mse`.

    >>> import torch
    >>> weighted_l1(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 0.0]), torch.tensor([0.5, 1.5]))
    tensor(1.7500)
    """
    error = _error(predictions, targets)
    return _reduce(error.abs(), weights, reduction, predictions)


def weighted_huber(
    predictions: Float[Tensor, "*shape"],
    targets: Float[Tensor, "*shape"],
    weights: Float[Tensor, "*shape"] | None = None,
    *,
    beta: float = 1.0,
    reduction: str = "mean",
) -> Float[Tensor, "..."]:
    """Return ``w e^2 / (2 beta)`` where the error ``e`` is below ``beta``, else ``w (e - beta/2)``.

    This is torch's ``smooth_l1_loss``; arguments as in :func:`weighted_mse`.

    >>> import torch
    >>> weighted_huber(torch.tensor([0.5, 2.0]), torch.tensor([0.0, 0.0]))
    tensor(0.8125)
    """
    beta = check_positive("beta", beta)
    error = _error(predictions, targets)
    loss = F.smooth_l1_loss(error, torch.zeros_like(error), beta=beta, reduction="none")
    return _reduce(loss, weights, reduction, predictions)


def focal_mse(
    predictions: Float[Tensor, "*shape"],
    targets: Float[Tensor, "*shape"],
    weights: Float[Tensor, "*shape"] | None = None,
    *,
    activation: str = "sigmoid",
    beta: float = 0.2,
    gamma: float = 1.0,
    reduction: str = "mean",
) -> Float[Tensor, "..."]:
    r"""Return the squared error times a factor that fades where the error is small.

    With ``e = |prediction - target|`` the factor is :math:`(2 \sigma(\beta e) - 1)^\gamma` for
    ``"sigmoid"`` and :math:`\tanh(\beta e)^\gamma` for ``"tanh"``. It is part of the gradient.

    Args:
        predictions: Any shape, floating.
        targets: The same shape.
        weights: The same shape; None weighs all alike.
        activation: ``"sigmoid"`` or ``"tanh"``.
        beta: How fast the factor rises with the error; above zero.
        gamma: How strongly it fades; zero leaves the plain loss.
        reduction: As in :func:`weighted_mse`.

    Source: Yang, Zha, Chen, Wang, Katabi: Delving into Deep Imbalanced Regression. ICML 2021.

    >>> import torch
    >>> focal_mse(torch.tensor([0.0, 10.0]), torch.tensor([0.0, 0.0]), activation="tanh")
    tensor(48.2014)
    """
    error = _error(predictions, targets)
    factor = _focal_factor(error.abs(), activation, beta, gamma)
    return _reduce(error.square() * factor, weights, reduction, predictions)


def focal_l1(
    predictions: Float[Tensor, "*shape"],
    targets: Float[Tensor, "*shape"],
    weights: Float[Tensor, "*shape"] | None = None,
    *,
    activation: str = "sigmoid",
    beta: float = 0.2,
    gamma: float = 1.0,
    reduction: str = "mean",
) -> Float[Tensor, "..."]:
    """Return the absolute error times the factor of :func:`focal_mse`, same arguments.

    >>> import torch
    >>> focal_l1(torch.tensor([0.0, 10.0]), torch.tensor([0.0, 0.0]), activation="tanh")
    tensor(4.8201)
    """
    error = _error(predictions, targets).abs()
    factor = _focal_factor(error, activation, beta, gamma)
    return _reduce(error * factor, weights, reduction, predictions)


def _error(predictions: Tensor, targets: Tensor) -> Tensor:
    check_floating("predictions", predictions)
    check_same_shape("targets", targets, "predictions", predictions)
    check_same_device("targets", targets, "predictions", predictions)
    dtype = compute_dtype(predictions)
    return predictions.to(dtype) - targets.to(dtype)


def _focal_factor(error: Tensor, activation: str, beta: float, gamma: float) -> Tensor:
    check_choice("activation", activation, ("sigmoid", "tanh"))
    beta = check_positive("beta", beta)
    gamma = check_positive("gamma", gamma, zero_allowed=True)
    # 2 sigmoid(x) - 1 is tanh(x / 2), without the loss of digits near zero.
    base = torch.tanh(error * (beta / 2 if activation == "sigmoid" else beta))
    # For gamma < 1 the power has an infinite slope at zero, where the loss has none.
    return torch.where(base > 0, torch.where(base > 0, base, 1.0) ** gamma, base.detach() ** gamma)


def _reduce(loss: Tensor, weights: Tensor | None, reduction: str, like: Tensor) -> Tensor:
    if weights is not None:
        check_same_shape("weights", weights, "predictions", like)
        check_same_device("weights", weights, "predictions", like)
        loss = loss * weights.to(loss.dtype)
    return reduce(loss, reduction).to(result_dtype(like))
