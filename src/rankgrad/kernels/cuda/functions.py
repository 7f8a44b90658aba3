"""Distribution functions inside kernels: the value and the density at a standardised difference.

Triton's own ``erf`` loses the tails and its ``erfc`` and ``atan`` are not there on every device, so
both are polynomials here, fitted to the last digit of float32 and of float64. Tails keep their
relative accuracy: a lone far pair is not rounded away. (No polynomial starts with a bare number:
assigned to a name it would become a float32.)
"""

import triton
import triton.language as tl

__all__ = ["distribution"]


@triton.jit
def _logistic(z):
    e = tl.exp(-tl.abs(z))
    r = 1.0 / (1.0 + e)
    return tl.where(z >= 0, r, e * r), e * r * r


@triton.jit
def _tail_polynomial(y):
    """Return ``exp(y^2 / 2) erfc(y / sqrt 2)`` for ``y >= 0``."""
    if y.dtype == tl.float64:
        r = 1.0 / ((1.0 + 1.4142135623730951 * y) * (y + 5.0))
        t = (y - 5.0) * (1.0 + 1.4142135623730951 * y) * r
        p = -1.1813659168615554e-09 * t - 6.945964513893918e-10
        p = p * t + 1.3388262155074929e-08
        p = p * t + 9.09349879996018e-09
        p = p * t - 9.324922867577401e-08
        p = p * t - 6.583835624870755e-08
        p = p * t + 5.888643230567308e-07
        p = p * t + 2.984138144857402e-07
        p = p * t - 3.900662099982202e-06
        p = p * t + 3.599052099984183e-07
        p = p * t + 2.6677800158482315e-05
        p = p * t - 3.3494652941400114e-05
        p = p * t - 0.0001524217247251685
        p = p * t + 0.0005657785649293077
        p = p * t - 8.920056148705138e-05
        p = p * t - 0.004922530261320059
        p = p * t + 0.02041770277919961
        p = p * t - 0.05035710967164388
        p = p * t + 0.0887977226580831
        p = p * t - 0.11431809794394726
        p = p * t + 0.09529732267787229
        p = p * t - 0.008387416356565458
        p = p * t - 0.14010482724123563
        p = p * t + 1.2416418529896744
        return p * (y + 5.0) * r
    else:
        r = 1.0 / ((1.0 + 1.4142135623730951 * y) * (y + 4.0))
        t = (y - 4.0) * (1.0 + 1.4142135623730951 * y) * r
        p = 3.45684e-05 * t - 1.7963955e-04
        p = p * t - 2.0683157e-04
        p = p * t + 0.0020270168
        p = p * t - 0.0013483019
        p = p * t - 0.014523232
        p = p * t + 0.057768606
        p = p * t - 0.11664901
        p = p * t + 0.14029819
        p = p * t - 0.063441314
        p = p * t - 0.13235664
        p = p * t + 1.2569557
        return p * (y + 4.0) * r


@triton.jit
def _normal(z):
    y = tl.minimum(tl.abs(z), 40.0)  # where exp() is 0 in every dtype; infinity would make NaN
    e = tl.exp(-0.5 * y * y)
    tail = 0.5 * e * _tail_polynomial(y)
    return tl.where(z >= 0, 1.0 - tail, tail), 0.3989422804014327 * e


@triton.jit
def _angle(s):
    """Return ``atan(t) / (pi t)`` for ``s = t^2`` in [0, 1]."""
    if s.dtype == tl.float64:
        p = -6.156860460820865e-06 * s + 6.819410757828095e-05
        p = p * s - 0.00035817960961223724
        p = p * s + 0.0011940244638905812
        p = p * s - 0.0028619498242028456
        p = p * s + 0.005322012720013991
        p = p * s - 0.008138745682116148
        p = p * s + 0.0107815591522673
        p = p * s - 0.012990623547755372
        p = p * s + 0.014861077866074423
        p = p * s - 0.016671236692427923
        p = p * s + 0.01870652488244145
        p = p * s - 0.02121778870049551
        p = p * s + 0.024485029873840183
        p = p * s - 0.02893723278487258
        p = p * s + 0.03536776343459355
        p = p * s - 0.04547284082359603
        p = p * s + 0.06366197723563756
        p = p * s - 0.10610329539458851
        p = p * s + 0.31830988618379064
        return p
    else:
        p = 8.805354e-04 * s - 0.0050074123
        p = p * s + 0.013412822
        p = p * s - 0.023735907
        p = p * s + 0.033799324
        p = p * s - 0.045192994
        p = p * s + 0.0636361
        p = p * s - 0.106102355
        p = p * s + 0.31830987
        return p


@triton.jit
def _cauchy(z):
    u = tl.abs(z)
    far = u > 1.0
    t = tl.where(far, 1.0 / tl.where(far, u, 1.0), u)
    a = t * _angle(t * t)
    below = tl.where(far, a, 0.5 - a)  # the value at -|z|
    return tl.where(z >= 0, 1.0 - below, below), 0.3183098861837907 / (1.0 + z * z)


@triton.jit
def distribution(z, KIND: tl.constexpr):
    """Return the distribution function of a kind at ``z``, and its density."""
    if KIND == "logistic":
        h, d = _logistic(z)
    elif KIND == "normal":
        h, d = _normal(z)
    else:
        h, d = _cauchy(z)
    return h, d
