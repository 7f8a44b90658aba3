"""Running sums by Triton, along short rows and long ones, against exact sums."""

from fractions import Fraction
from itertools import accumulate

import pytest
import torch

from rankgrad.kernels.cuda.running import running


@pytest.mark.parametrize("rest", [False, True])
@pytest.mark.parametrize("n", [0, 1, 16, 17, 1025, 4096, 4097])
def test_about_32_digits(device: str, n: int, rest: bool) -> None:
    torch.manual_seed(n)
    x = torch.randn(2, n, dtype=torch.float64) * 10.0 ** torch.randint(-8, 9, (2, n))
    less = x * 1e-17 * torch.rand(2, n) if rest else None
    found = running(x.to(device), None if less is None else less.to(device))
    total, low = (part.cpu().tolist() for part in found)
    for row in range(2):
        terms = [Fraction(v) for v in x[row].tolist()]
        if less is not None:
            terms = [a + Fraction(v) for a, v in zip(terms, less[row].tolist(), strict=True)]
        size = sum(map(abs, terms))
        for i, exact in enumerate(accumulate(terms, initial=Fraction(0))):
            error = abs(Fraction(total[row][i]) + Fraction(low[row][i]) - exact)
            assert error <= size * Fraction(1, 10**28)
