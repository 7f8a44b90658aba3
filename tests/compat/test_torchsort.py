"""compat.torchsort: the ascending conventions of the package, and the package where it is there."""

import numpy as np
import pytest
import torch

from rankgrad.compat import torchsort
from support import golden, golden_cases

ASCENDING = [case for case in golden_cases("fast_soft_sort") if case.endswith("_asc")]


@pytest.mark.parametrize("case", ASCENDING)
def test_golden(case: str) -> None:
    """torchsort computes what fast-soft-sort does in its ascending direction."""
    arrays = golden("fast_soft_sort")[case]
    for name, call in (("rank", torchsort.soft_rank), ("sort", torchsort.soft_sort)):
        for kind in ("l2", "kl"):
            values = torch.tensor(arrays["values"][None], dtype=torch.float64)
            out = call(values, kind, float(arrays["strength"]))
            expected = arrays[f"{name}_{kind}_out64"]
            np.testing.assert_allclose(out[0], expected, rtol=1e-9, atol=1e-9)


def test_examples_of_the_documentation() -> None:
    x = torch.tensor([[8.0, 0.0, 5.0, 3.0, 2.0, 1.0, 6.0, 7.0, 9.0]], requires_grad=True)
    values = torchsort.soft_sort(x, regularization_strength=1.0)
    torch.testing.assert_close(
        values, torch.tensor([[0.5556, 1.5556, 2.5556, 3.5556, 4.5556, 5.5556, 6.5556, 7.5556,
                               8.5556]]), rtol=0, atol=1e-4)  # fmt: skip
    values = torchsort.soft_sort(x, regularization_strength=0.1)
    torch.testing.assert_close(values, x.sort().values)
    assert torchsort.soft_rank(x).tolist() == [[8, 1, 5, 4, 3, 2, 6, 7, 9]]
    values[0, 0].backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[0, 1, 0, 0, 0, 0, 0, 0, 0]]


@pytest.mark.parametrize("kind", ["l2", "kl"])
@pytest.mark.parametrize("strength", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("name", ["soft_rank", "soft_sort"])
def test_equals_the_package(name: str, strength: float, kind: str) -> None:
    package = pytest.importorskip("torchsort")
    generator = torch.Generator().manual_seed(0)
    ours = torch.randn(4, 30, dtype=torch.float64, generator=generator)
    theirs = ours.clone()
    weights = torch.randn(4, 30, dtype=torch.float64, generator=generator)
    outs = []
    for module, x in ((torchsort, ours), (package, theirs)):
        out = getattr(module, name)(x.requires_grad_(), kind, regularization_strength=strength)
        out.backward(weights)
        outs.append(out)
    torch.testing.assert_close(*outs, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-8, atol=1e-8)


def test_arguments_are_checked() -> None:
    for call in (torchsort.soft_rank, torchsort.soft_sort):
        with pytest.raises(ValueError, match="regularization must be one of 'l2', 'kl'"):
            call(torch.ones(1, 2), "l1")
        with pytest.raises(TypeError, match="values"):
            call(torch.tensor([[1, 2]]))
