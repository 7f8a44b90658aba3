"""The diffsort package's module over our network."""

import numpy as np
import pytest
import torch

from rankgrad.compat.diffsort import DiffSortNet
from support import golden, golden_cases

DISTRIBUTIONS = ["cauchy", "logistic", "logistic_phi", "gaussian", "reciprocal", "optimal"]


def kind_of(case: str) -> str:
    return "odd_even" if case.startswith("odd_even") else "bitonic"


@pytest.mark.parametrize("case", golden_cases("diffsort"))
def test_golden(case: str) -> None:
    arrays = golden("diffsort")[case]
    distribution = case.removeprefix(f"{kind_of(case)}_n").split("_", 1)[1].rsplit("_s", 1)[0]
    sorter = DiffSortNet(
        kind_of(case),
        arrays["x"].shape[1],
        steepness=float(arrays["steepness"]),
        art_lambda=float(arrays["art_lambda"]),
        distribution=distribution,
    )
    x = torch.tensor(arrays["x"], requires_grad=True)
    ascending, permutation = sorter(x)
    np.testing.assert_allclose(ascending.detach(), arrays["sorted"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(permutation.detach(), arrays["perm"], atol=2e-5)
    loss = (permutation * torch.tensor(arrays["cot_perm"])).sum()
    (loss + (ascending * torch.tensor(arrays["cot_sorted"])).sum()).backward()
    # Row 1 has ties: there the slope of "logistic_phi" changes by the last digit of a gap.
    rows = [0, 2] if distribution == "logistic_phi" else [0, 1, 2]
    scale = abs(arrays["grad"][rows]).max()
    np.testing.assert_allclose(x.grad[rows], arrays["grad"][rows], rtol=1e-4, atol=2e-5 * scale)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("size", [2, 3, 5, 7, 11, 19])
@pytest.mark.parametrize("kind", ["odd_even", "bitonic"])
def test_equals_the_package(kind: str, size: int, distribution: str) -> None:
    diffsort = pytest.importorskip("diffsort")
    draw = torch.Generator().manual_seed(size)
    x = torch.randn(3, size, generator=draw, dtype=torch.float64)
    weights = torch.randn(3, size, size, generator=draw, dtype=torch.float64)
    results = []
    for module in (diffsort.DiffSortNet, DiffSortNet):
        leaf = x.clone().requires_grad_()
        ascending, permutation = module(kind, size, "cpu", 4.0, 0.25, None, distribution)(leaf)
        ((permutation * weights).sum() + (ascending * weights[:, 0]).sum()).backward()
        results.append((ascending, permutation, leaf.grad))
    for theirs, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("size", [22, 43, 44])
def test_sorts_where_the_package_does_not(size: int) -> None:
    """A bitonic network with its first wires taken away does not sort at every size."""
    draw = torch.Generator().manual_seed(0)
    x = (torch.rand(2000, size, generator=draw) < torch.rand(2000, 1, generator=draw)).float()
    settings = {"steepness": 1e9, "distribution": "logistic"}
    ascending, permutation = DiffSortNet("bitonic", size, **settings)(x)
    torch.testing.assert_close(ascending, x.sort(dim=-1).values)
    torch.testing.assert_close(permutation.sum(1), torch.ones(2000, size))
    diffsort = pytest.importorskip("diffsort")
    theirs, _ = diffsort.DiffSortNet("bitonic", size, **settings)(x)
    assert (theirs - ascending).abs().max() > 0.5


def test_interface() -> None:
    """One can give the older name of the distribution; half precision comes back as it came."""
    x = torch.tensor([[0.3, 0.1, 0.2]])
    old = DiffSortNet("odd_even", 3, interpolation_type="logistic")
    new = DiffSortNet("odd_even", 3, distribution="logistic")
    assert old.distribution == "logistic"
    assert torch.equal(old(x)[0], new(x)[0])
    assert "odd_even" in repr(new)
    for out in new(x.half()):
        assert out.dtype == torch.float16
    ascending, permutation = new(x[:0])
    assert ascending.shape == (0, 3)
    assert permutation.shape == (0, 3, 3)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="sorting_network_type must be one of"):
        DiffSortNet("bubble", 3)
    with pytest.raises(ValueError, match="interpolation_type is an older name"):
        DiffSortNet("odd_even", 3, interpolation_type="logistic", distribution="optimal")
    with pytest.raises(ValueError, match="distribution must be one of"):
        DiffSortNet("odd_even", 3, distribution="gumbel")
    sorter = DiffSortNet("odd_even", 3)
    with pytest.raises(ValueError, match=r"vectors must have the shape \(batch, 3\)"):
        sorter(torch.ones(2, 4))
    with pytest.raises(TypeError, match="vectors"):
        sorter(torch.ones(2, 3, dtype=torch.int64))


@pytest.mark.compile
def test_compiles_into_one_graph() -> None:
    sorter = DiffSortNet("bitonic", 6)
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    torch.compiler.reset()
    compiled = torch.compile(sorter, fullgraph=True, backend="aot_eager")
    for found, expected in zip(compiled(x), sorter(x), strict=True):
        torch.testing.assert_close(found, expected)
