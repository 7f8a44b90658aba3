"""Elementary functions in a form that compiles to vector code, for float64.

numba calls the C library once per element for ``math.exp`` and its kin; these are plain arithmetic
without branches, which the compiler turns into eight elements at a time.
"""

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from rankgrad.kernels.cpu.jit import jit

__all__ = [
    "MAGIC",
    "folded",
    "scaled_erfc",
    "small_atan",
    "small_exp",
    "times_two_to",
    "vector_atan",
    "vector_erfc",
    "vector_exp",
]

# Inlined functions keep their own flags: without this one a polynomial is twice the operations.
_plain = jit(forceinline=True, fastmath={"contract"})


@intrinsic
def _bits(typingctx: Any, x: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], context.get_value_type(types.int64))

    return types.int64(x), codegen


@intrinsic
def _float(typingctx: Any, x: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], context.get_value_type(types.float64))

    return types.float64(x), codegen


MAGIC = 6755399441055744.0  # 1.5 * 2^52: adding it rounds to an integer, in the lowest bits


@_plain
def small_exp(r: Any) -> Any:
    """Return exp(r) for ``|r| <= log(2) / 2``, by a Taylor polynomial."""
    p = 1.0 / 479001600.0
    p = p * r + 1.0 / 39916800.0
    p = p * r + 1.0 / 3628800.0
    p = p * r + 1.0 / 362880.0
    p = p * r + 1.0 / 40320.0
    p = p * r + 1.0 / 5040.0
    p = p * r + 1.0 / 720.0
    p = p * r + 1.0 / 120.0
    p = p * r + 1.0 / 24.0
    p = p * r + 1.0 / 6.0
    p = p * r + 0.5
    p = p * r + 1.0
    return p * r + 1.0


@_plain
def times_two_to(x: Any, shifted: Any) -> Any:
    """Return ``x 2^n`` for a whole n of at most 1000 either way, given ``n + MAGIC``."""
    scale: Any = _float((_bits(shifted) << np.int64(52)) + np.int64(1023 << 52))
    return x * scale


@_plain
def vector_exp(x: Any) -> Any:
    """Return exp(x) for x below 700, to two units in the last place; below -700 it is tiny."""
    x = max(x, -700.0)
    shifted = x * 1.4426950408889634 + MAGIC
    whole = shifted - MAGIC
    r = x - whole * 6.93145751953125e-1
    r = r - whole * 1.42860682030941723212e-6
    return times_two_to(small_exp(r), shifted)


_EIGHTH = 0.41421356237309503  # tan(pi / 8)


@_plain
def folded(size: Any) -> Any:
    """Return ``top, bottom, base`` with ``atan(size) = base + atan(top / bottom)``, size >= 0.

    ``atan(y) = pi / 2 - atan(1 / y)`` and ``atan(y) = pi / 4 + atan((y - 1) / (y + 1))`` bring the
    argument below ``tan(pi / 8)``.
    """
    large = size > 1.0 / _EIGHTH
    middle = size > _EIGHTH
    top = -1.0 if large else (size - 1.0 if middle else size)
    bottom = size if large else (size + 1.0 if middle else 1.0)
    base = 0.5 * np.pi if large else (0.25 * np.pi if middle else 0.0)
    return top, bottom, base


@_plain
def small_atan(y: Any) -> Any:
    """Return atan(y) for ``|y| <= tan(pi / 8)``.

    ``(1 - atan(y) / y) / y^2`` is a polynomial in ``y^2``, fitted so that the largest relative
    error of the arctangent is least: 4e-17.
    """
    z = y * y
    p = -0.021259852067174127
    p = p * z + 0.043590960733873495
    p = p * z - 0.05692539348436472
    p = p * z + 0.0664112127459172
    p = p * z - 0.07690068311808643
    p = p * z + 0.09090782413383527
    p = p * z - 0.11111106653631989
    p = p * z + 0.1428571419526255
    p = p * z - 0.19999999999088972
    p = p * z + 0.3333333333333015
    return y - y * z * p


@_plain
def vector_atan(x: Any) -> Any:
    """Return atan(x) to two units in the last place."""
    top, bottom, base = folded(abs(x))
    value = base + small_atan(top / bottom)
    return -value if x < 0.0 else value


@_plain
def scaled_erfc(x: Any) -> Any:
    """Return ``erfc(x) exp(x^2)`` for x >= 0, to a few units in the last place.

    Over ``t = 2 / (2 + x)`` it is smooth on all of the half line: a polynomial in ``2 t - 1``,
    fitted at Chebyshev points.
    """
    t = 2.0 / (2.0 + x)
    u = 2.0 * t - 1.0
    p = -2.421438694000246e-09
    p = p * u + 6.47269189357758e-09
    p = p * u + 9.592622518539433e-09
    p = p * u - 5.0660310080275004e-08
    p = p * u + 2.7974601835012467e-08
    p = p * u + 1.4751221897313387e-07
    p = p * u - 3.1434174161404395e-07
    p = p * u + 1.9183016775059412e-08
    p = p * u + 1.0195711353687253e-06
    p = p * u - 1.838485624575329e-06
    p = p * u - 5.711201160384628e-07
    p = p * u + 8.06928132151303e-06
    p = p * u - 1.0845439171490966e-05
    p = p * u - 1.707754067770877e-05
    p = p * u + 7.223473802584222e-05
    p = p * u - 1.7185017275421462e-05
    p = p * u - 0.0003315366367229333
    p = p * u + 0.00041864793405529976
    p = p * u + 0.0015453060142741107
    p = p * u - 0.003239592526448887
    p = p * u - 0.01075533094352789
    p = p * u + 0.01822111575318687
    p = p * u + 0.13973604627798694
    p = p * u + 0.3435803422069069
    p = p * u + 0.5107913526210119
    return t * p


@_plain
def vector_erfc(x: Any) -> Any:
    """Return erfc(x) to some units in the last place, to twenty near 6, where x^2 loses them."""
    size = abs(x)
    value = scaled_erfc(size) * vector_exp(-size * size)
    return 2.0 - value if x < 0.0 else value
