"""SoftSort over sorted scores by decaying running sums: linear time.

Its kernel is ``K_ij = exp(-|y_i - y_j| / temperature)``. Down the sorted row, the sum over what is
above, as seen from ``y_i``, shrinks from one element to the next and grows by what is passed: no
exponent is ever positive, nothing cancels.
"""

from typing import Any

import numpy as np

from rankgrad.kernels.cpu.functions import vector_exp
from rankgrad.kernels.cpu.jit import jit

__all__ = [
    "row_sums",
    "softsort_average",
    "softsort_average_vjp",
    "softsort_ranks",
    "softsort_ranks_vjp",
]


@jit()
def _kernel_sums(decay: Any, v: Any, out: Any) -> None:
    """Write ``sum_j K_ij v_j``."""
    n = v.shape[0]
    tail = 0.0
    for k in range(n):
        here = tail + v[k]
        out[k] = here
        tail = here * decay[k]
    tail = 0.0
    for k in range(n - 1, 0, -1):
        tail = (tail + v[k]) * decay[k - 1]
        out[k - 1] += tail


@jit()
def _pulls(y: Any, decay: Any, a: Any, b: Any, c: Any, temperature: Any, out: Any) -> None:
    """Write the gradient of the scores if that of ``K_ij`` is ``a_i b_j - c_i``.

    Equal scores do not pull at each other.
    """
    n = y.shape[0]
    for sign in (1, -1):  # 1: from the largest down, -1: from the smallest up
        k = 0 if sign == 1 else n - 1
        passed_a = passed_b = passed_c = passed = 0.0
        tied_a = tied_b = tied_c = tied = 0.0
        for step in range(n):
            before = k - sign
            if step > 0 and y[k] != y[before]:
                shrink = decay[min(k, before)]
                passed_a, tied_a = (passed_a + tied_a) * shrink, 0.0
                passed_b, tied_b = (passed_b + tied_b) * shrink, 0.0
                passed_c, tied_c = (passed_c + tied_c) * shrink, 0.0
                passed, tied = (passed + tied) * shrink, 0.0
            pull = a[k] * passed_b + b[k] * passed_a - passed_c - c[k] * passed
            out[k] = pull / temperature if sign == 1 else out[k] - pull / temperature
            tied_a += a[k]
            tied_b += b[k]
            tied_c += c[k]
            tied += 1.0
            k += sign


@jit()
def _decays(y: Any, temperature: Any, out: Any) -> None:
    n = y.shape[0]
    for k in range(n - 1):
        out[k] = vector_exp((y[k + 1] - y[k]) / temperature)
    out[n - 1] = 0.0


@jit()
def row_sums(y: Any, temperature: Any, decay: Any, mass: Any) -> None:
    """Write the kernel between neighbours, and its row sums."""
    _decays(y, temperature, decay)
    _kernel_sums(decay, np.ones(y.shape[0]), mass)


@jit()
def softsort_ranks(
    y: Any, ahead: Any, temperature: Any, renormalize: Any, mass: Any, rank: Any
) -> None:
    """Write the sums of the kernel and the ranks; so many scores are ``ahead`` of all of these."""
    n = y.shape[0]
    decay, v = np.empty(n), np.empty(n)
    row_sums(y, temperature, decay, mass)
    for k in range(n):
        v[k] = ahead + k + 1.0 if renormalize else (ahead + k + 1.0) / mass[k]
    _kernel_sums(decay, v, rank)
    if renormalize:
        for k in range(n):
            rank[k] /= mass[k]


@jit()
def softsort_ranks_vjp(
    y: Any, ahead: Any, temperature: Any, renormalize: Any, grad: Any, mass: Any, rank: Any,
    out: Any,
) -> None:  # fmt: skip
    """Write the gradient of the scores for that of the ranks."""
    n = y.shape[0]
    decay, a, b, c = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    _decays(y, temperature, decay)
    if not renormalize:
        _kernel_sums(decay, grad, c)
    for k in range(n):
        place = ahead + k + 1.0
        if renormalize:
            a[k], b[k] = place, grad[k] / mass[k]
            c[k] = b[k] * rank[k]
        else:
            a[k], b[k] = place / mass[k], grad[k]
            c[k] *= a[k] / mass[k]
    _pulls(y, decay, a, b, c, temperature, out)


@jit()
def softsort_average(y: Any, temperature: Any, v: Any, out: Any) -> None:
    """Write the matrix times ``v``."""
    n = y.shape[0]
    decay, mass = np.empty(n), np.empty(n)
    row_sums(y, temperature, decay, mass)
    _kernel_sums(decay, v, out)
    for k in range(n):
        out[k] /= mass[k]


@jit()
def softsort_average_vjp(y: Any, temperature: Any, v: Any, grad: Any, out: Any, to_v: Any) -> None:
    """Write the gradients of the scores and of ``v`` for that of the product."""
    n = y.shape[0]
    decay, mass = np.empty(n), np.empty(n)
    row_sums(y, temperature, decay, mass)
    a, c = np.empty(n), np.empty(n)
    _kernel_sums(decay, v, c)
    for k in range(n):
        a[k] = grad[k] / mass[k]
        c[k] *= a[k] / mass[k]
    _pulls(y, decay, a, v, c, temperature, out)
    _kernel_sums(decay, a, to_v)
