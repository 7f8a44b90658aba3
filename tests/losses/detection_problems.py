"""What the tests of the detection losses draw, and how they compare."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

GRID = st.integers(-4, 4).map(lambda i: i / 4)
EDGES = st.sampled_from([-math.inf, -1.0, 0.0, 0.25, math.inf])
HUGE = st.sampled_from([-1e30, -1.0, 0.0, 0.25, 1e30, 1.0000001e30])
TINY = st.integers(-3, 3).map(lambda i: i * 1e-30)
FAR = st.integers(-10, 10).map(lambda i: 1e6 + i * 1e-3)
NORMAL = st.floats(-3, 3, width=32)


@st.composite
def problems(
    draw: st.DrawFn, targets: Sequence[float], deltas: Sequence[float]
) -> tuple[Tensor, list[float], float, Tensor | None]:
    """Up to a dozen logits of one kind, a target each, a half width and perhaps segments."""
    scores: Any = draw(st.sampled_from([GRID, EDGES, HUGE, TINY, FAR, NORMAL]))
    dtypes = [torch.float64] if scores is FAR else [torch.float32, torch.float64]
    dtype = draw(st.sampled_from(dtypes))
    items = draw(st.lists(st.tuples(scores, st.sampled_from(targets)), max_size=12))
    n = len(items)
    ids = st.sampled_from([-5, 0, 7, 2**62, 2**63 - 1, -(2**63)])
    segments = draw(st.none() | st.lists(ids, min_size=n, max_size=n))
    return (
        torch.tensor([score for score, _ in items], dtype=dtype),
        [target for _, target in items],
        draw(st.sampled_from(deltas)),
        None if segments is None else torch.tensor(segments, dtype=torch.int64),
    )


def assert_same(got: tuple[Tensor, ...], expected: tuple[Tensor, ...], rtol: float = 2e-6) -> None:
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=rtol, atol=rtol)
