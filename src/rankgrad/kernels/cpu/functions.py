"""Elementary functions in a form that compiles to vector code, for float64.

numba calls the C library once per element for ``math.exp`` and its kin; these are plain arithmetic
without branches, which the compiler turns into eight elements at a time.
"""

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from rankgrad.kernels.cpu.jit import jit

__all__ = ["vector_atan", "vector_erfc", "vector_exp"]


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


_MAGIC = 6755399441055744.0  # 1.5 * 2^52: adding it rounds to an integer, in the lowest bits


@jit(forceinline=True)
def vector_exp(x: Any) -> Any:
    """Return exp(x) for x below 700, to two units in the last place; below -700 it is tiny.

    The range is reduced to ``|r| <= log(2) / 2``; the rest is a Taylor polynomial.
    """
    x = max(x, -700.0)
    shifted = x * 1.4426950408889634 + _MAGIC
    whole = shifted - _MAGIC
    r = x - whole * 6.93145751953125e-1
    r = r - whole * 1.42860682030941723212e-6
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
    p = p * r + 1.0
    scale: Any = _float((_bits(shifted) << np.int64(52)) + np.int64(1023 << 52))
    return p * scale


_EIGHTH = 0.41421356237309503  # tan(pi / 8)


@jit(forceinline=True)
def vector_atan(x: Any) -> Any:
    """Return atan(x) to two units in the last place.

    ``atan(y) = pi / 2 - atan(1 / y)`` and ``atan(y) = pi / 4 + atan((y - 1) / (y + 1))`` bring the
    argument below ``tan(pi / 8)``, where the series in ``y^2`` is summed to the 20th term.
    """
    size = abs(x)
    large = size > 1.0 / _EIGHTH
    middle = size > _EIGHTH
    top = -1.0 if large else (size - 1.0 if middle else size)
    bottom = size if large else (size + 1.0 if middle else 1.0)
    base = 0.5 * np.pi if large else (0.25 * np.pi if middle else 0.0)
    y = top / bottom
    z = y * y
    p = 1.0 / 41.0
    p = 1.0 / 39.0 - p * z
    p = 1.0 / 37.0 - p * z
    p = 1.0 / 35.0 - p * z
    p = 1.0 / 33.0 - p * z
    p = 1.0 / 31.0 - p * z
    p = 1.0 / 29.0 - p * z
    p = 1.0 / 27.0 - p * z
    p = 1.0 / 25.0 - p * z
    p = 1.0 / 23.0 - p * z
    p = 1.0 / 21.0 - p * z
    p = 1.0 / 19.0 - p * z
    p = 1.0 / 17.0 - p * z
    p = 1.0 / 15.0 - p * z
    p = 1.0 / 13.0 - p * z
    p = 1.0 / 11.0 - p * z
    p = 1.0 / 9.0 - p * z
    p = 1.0 / 7.0 - p * z
    p = 1.0 / 5.0 - p * z
    p = 1.0 / 3.0 - p * z
    value = base + (y - y * z * p)
    return -value if x < 0.0 else value


@jit(forceinline=True)
def vector_erfc(x: Any) -> Any:
    """Return erfc(x) to a dozen units in the last place where x is positive.

    ``erfc(x) exp(x^2) / t`` with ``t = 2 / (2 + x)`` is smooth on all of the half line: a
    polynomial in ``2 t - 1``, fitted at Chebyshev points.
    """
    size = abs(x)
    t = 2.0 / (2.0 + size)
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
    value = t * p * vector_exp(-size * size)
    return 2.0 - value if x < 0.0 else value
