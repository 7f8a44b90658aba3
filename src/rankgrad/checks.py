"""Argument checks with errors that name the argument, what came and what is taken."""

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "REDUCTIONS",
    "anywhere",
    "check_beside",
    "check_choice",
    "check_count",
    "check_finite_number",
    "check_floating",
    "check_mask",
    "check_positive",
    "check_real",
    "check_reduction",
    "check_rows",
    "check_same_device",
    "check_same_shape",
    "check_tensor",
    "compute_dtype",
    "result_dtype",
]

REDUCTIONS = ("mean", "sum", "none")


def check_tensor(name: str, x: Tensor) -> None:
    """Raise ``TypeError`` unless ``x`` is a tensor."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(x).__name__}")


def check_floating(name: str, x: Tensor) -> None:
    """Raise ``TypeError`` unless ``x`` is a tensor of a real floating dtype."""
    check_tensor(name, x)
    if not x.is_floating_point():
        raise TypeError(
            f"{name} must be a floating point tensor, got dtype {x.dtype}; cast it, "
            f"for example with {name}.float()"
        )


def check_rows(name: str, x: Tensor) -> None:
    """Raise unless ``x`` is a floating tensor with at least one dimension."""
    check_floating(name, x)
    if x.dim() == 0:
        raise ValueError(f"{name} must have at least one dimension, got a scalar")


def check_real(name: str, x: Tensor) -> None:
    """Raise ``TypeError`` unless ``x`` is a tensor of real numbers or booleans."""
    check_tensor(name, x)
    if x.is_complex():
        raise TypeError(f"{name} must be a real tensor, got dtype {x.dtype}")


def check_same_shape(name: str, x: Tensor, other_name: str, other: Tensor) -> None:
    """Raise unless ``x`` is a tensor of the shape of the other."""
    check_tensor(name, x)
    if x.shape != other.shape:
        raise ValueError(
            f"{name} must have the shape of {other_name}, {tuple(other.shape)}, "
            f"got {tuple(x.shape)}"
        )


def check_same_device(name: str, x: Tensor, other_name: str, other: Tensor) -> None:
    """Raise unless ``x`` is a tensor on the device of the other."""
    check_tensor(name, x)
    if x.device != other.device:
        raise ValueError(
            f"{name} must be on the device of {other_name}, {other.device}, got {x.device}"
        )


def check_mask(name: str, mask: Tensor, other_name: str, other: Tensor) -> None:
    """Raise unless ``mask`` is a boolean tensor broadcastable to ``other``, on its device."""
    check_tensor(name, mask)
    if mask.dtype != torch.bool:
        raise TypeError(f"{name} must be a boolean tensor (True = valid), got dtype {mask.dtype}")
    check_same_device(name, mask, other_name, other)
    fits = mask.dim() <= other.dim() and all(
        m in (1, n) for m, n in zip(reversed(mask.shape), reversed(other.shape), strict=False)
    )
    if not fits:
        raise ValueError(
            f"{name} must broadcast to the shape of {other_name}, {tuple(other.shape)}, "
            f"got {tuple(mask.shape)}"
        )


def check_beside(
    name: str, x: Tensor, scores_name: str, scores: Tensor, mask: Tensor | None
) -> Tensor | None:
    """Check scores, real values beside them, one each, and a mask; return it in their shape."""
    check_rows(scores_name, scores)
    check_real(name, x)
    check_same_shape(name, x, scores_name, scores)
    check_same_device(name, x, scores_name, scores)
    if mask is None:
        return None
    check_mask("mask", mask, scores_name, scores)
    return mask.broadcast_to(scores.shape)


def check_finite_number(name: str, value: Any) -> float:
    """Return ``value`` as a float; raise unless it is a finite real number (numpy's included)."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}")
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError(f"{name} must be finite, got {value}")
    return float(value)


def check_positive(name: str, value: Any, *, zero_allowed: bool = False) -> float:
    """Return ``value`` as a float; raise unless it is finite and above zero."""
    number = check_finite_number(name, value)
    if number < 0 or (number == 0 and not zero_allowed):
        raise ValueError(f"{name} must be {'>= 0' if zero_allowed else '> 0'}, got {value}")
    return number


def check_count(name: str, value: Any, *, least: int = 1) -> int:
    """Return ``value`` as an int; raise unless it is a whole number, numpy's included, >= least."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an int, got {type(value).__name__}")
    if value < least:
        raise ValueError(f"{name} must be >= {least}, got {value}")
    return int(value)


def anywhere(condition: Tensor) -> bool:
    """Return whether a condition holds somewhere, where one can look without waiting.

    On other devices than the CPU one would wait, compiled code would break, and under ``vmap``
    there are no values to look at: there the answer is False.

    >>> anywhere(torch.tensor([False, True]))
    True
    """
    if condition.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    try:
        return bool(condition.any())
    except RuntimeError:  # vmap's tensors, and fake ones
        return False


def check_reduction(reduction: str) -> None:
    """Raise ``ValueError`` unless ``reduction`` is "mean", "sum" or "none"."""
    check_choice("reduction", reduction, REDUCTIONS)


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raise ``ValueError`` unless ``value`` is one of ``choices``."""
    if value not in choices:
        listed = ", ".join(repr(c) for c in choices)
        raise ValueError(f"{name} must be one of {listed}, got {value!r}")


def compute_dtype(*tensors: Tensor) -> torch.dtype:
    """Return float64 if any of the tensors is float64, else float32.

    >>> compute_dtype(torch.zeros(1, dtype=torch.bfloat16))
    torch.float32
    """
    for t in tensors:  # a generator would take longer than all else that is done to short rows
        if t.dtype == torch.float64:
            return torch.float64
    return torch.float32


def result_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype of a loss of ``x``: its own, or float32 for half precision under autocast.

    So do torch's losses: the scale of a ``GradScaler`` starts at 65536, which float16 cannot hold.

    >>> result_dtype(torch.zeros(1, dtype=torch.float16))
    torch.float16
    >>> with torch.autocast("cpu"):
    ...     result_dtype(torch.zeros(1, dtype=torch.float16))
    torch.float32
    """
    if x.dtype in (torch.float16, torch.bfloat16) and torch.is_autocast_enabled(x.device.type):
        return torch.float32
    return x.dtype
