"""The sums among positives behind Rank & Sort against the matrix of all pairs in float64."""

from itertools import pairwise

import pytest
import torch

from kernels.among_positives import KINDS, draw, errors, pulls
from rankgrad.kernels import implementation, use_backend

BACKENDS = ["reference", "numba"]
CPU = torch.device("cpu")


@pytest.mark.parametrize("delta", [0.0, 0.5])
@pytest.mark.parametrize("p", [0, 1, 300])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_agrees_with_the_matrix_of_pairs(backend: str, kind: str, p: int, delta: float) -> None:
    b = draw(kind, p)
    with use_backend(backend):
        found = implementation("rank_sort_errors", CPU)(*b, delta)
        wanted = errors(b, delta)
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-10, equal_nan=True)
        cotangents = torch.randn(2, p, dtype=torch.float64)
        facts = wanted[[2, 3, 1, 4]]
        args = (b.scores, b.quality, facts, cotangents, b.starts, delta)
        found = implementation("rank_sort_pulls", CPU)(*args)
    wanted = pulls(b, facts, cotangents, delta)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-10, equal_nan=True)


@pytest.mark.parametrize("p", [0, 1, 100])
def test_prefix_sums_start_anew_with_each_segment(p: int) -> None:
    values, starts = torch.randn(p).double(), torch.tensor([0, p // 3, p // 3, p])
    found = implementation("prefix_sums", CPU)(values, starts)
    parts = [values[a:b].cumsum(0) for a, b in pairwise(starts.tolist())]
    torch.testing.assert_close(found, torch.cat(parts), rtol=1e-12, atol=1e-12)
