"""The scaling of NeuralNDCG: columns and rows of a matrix in turn, and what it does to values."""

from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import rankgrad as rg
from rankgrad import functional
from rankgrad.losses._scaled_product import scaled_product
from rankgrad.rankers import NeuralSort, SoftSort

BACKENDS = ("numba", "reference")
STEPS = (1, 2, 50)
Product = Callable[[Tensor, Tensor], Tensor]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    with rg.use_backend(request.param):
        yield request.param


def ours(steps: int) -> Product:
    return lambda matrix, values: scaled_product(matrix, values, steps)[0]


def by_factors(matrix: Tensor, values: Tensor, steps: int, small: float = 1e-10) -> Tensor:
    """The definition, one sum after the other; autograd goes back through it."""
    u = torch.ones_like(values)
    for _ in range(steps):
        v = 1 / (matrix * u.unsqueeze(-1)).sum(-2).clamp(min=small)
        u = 1 / (matrix * v.unsqueeze(-2)).sum(-1).clamp(min=small)
    return u * (matrix * (v * values).unsqueeze(-2)).sum(-1)


def by_matrices(matrix: Tensor, values: Tensor, steps: int) -> Tensor:
    """The same in plain words: columns that sum to 1, then rows that sum to 1, and again."""
    for _ in range(steps):
        matrix = matrix / matrix.sum(-2, keepdim=True)
        matrix = matrix / matrix.sum(-1, keepdim=True)
    return (matrix * values.unsqueeze(-2)).sum(-1)


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Matrices without zeros, and values."""
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.rand(*shape, shape[-1], generator=generator, dtype=torch.float64) + 0.01
    values = torch.randn(*shape, generator=generator, dtype=torch.float64)
    return matrix.to(dtype), values.to(dtype)


def outcomes(product: Product, matrix: Tensor, values: Tensor) -> list[Tensor]:
    """The product and its gradients."""
    matrix, values = (x.detach().clone().requires_grad_() for x in (matrix, values))
    out = product(matrix, values)
    weights = torch.linspace(-1, 2, max(out.numel(), 1), dtype=out.dtype)[: out.numel()]
    return [out.detach(), *torch.autograd.grad(out, (matrix, values), weights.view_as(out))]


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("n", [1, 2, 5, 17, 70])
def test_it_is_what_scaled_matrices_do(backend: str, steps: int, n: int) -> None:
    given_ones = draw(3, n, seed=n)
    found = outcomes(ours(steps), *given_ones)
    for formula in (by_factors, by_matrices):
        expected = outcomes(partial(formula, steps=steps), *given_ones)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("ranker", [NeuralSort(0.01), NeuralSort(0.1), SoftSort(0.001)], ids=str)
@pytest.mark.parametrize("n", [40, 300])
def test_bands_are_what_whole_matrices_are(ranker: NeuralSort | SoftSort, n: int) -> None:
    """In the order of the scores most of such a matrix is zero. Both ways of threads."""
    generator = torch.Generator().manual_seed(n)
    scores = torch.randn(2, n, generator=generator, dtype=torch.float64)
    matrix, values = ranker.permutation(scores), draw(2, n)[1]
    assert n < 100 or (matrix < 1e-280).double().mean() > 0.2
    for rows in (1, 2):
        one = matrix[:rows], values[:rows]
        found = outcomes(ours(50), *one)
        expected = outcomes(partial(by_factors, steps=50), *one)
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)


def test_few_long_rows_share_the_threads() -> None:
    matrix, values = draw(1, 301)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(outcomes(ours(3), matrix, values))
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(*found, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@settings(max_examples=60)
@given(
    n=st.integers(1, 21),
    rows=st.integers(0, 3),
    steps=st.sampled_from(STEPS),
    empty=st.sampled_from(["", "columns", "rows", "both", "all"]),
    least=st.sampled_from([1.0, 1e-3, 1e-20]),
    transposed=st.booleans(),
    seed=st.integers(0, 99),
)
def test_backends_agree(
    dtype: torch.dtype, n: int, rows: int, steps: int, empty: str, least: float, transposed: bool,
    seed: int,
) -> None:  # fmt: skip
    matrix, values = draw(rows, n, seed=seed, dtype=dtype)
    gone = torch.rand(rows, n, generator=torch.Generator().manual_seed(seed)) < 0.3
    if empty in ("columns", "both"):
        matrix = matrix.masked_fill(gone.unsqueeze(-2), 0.0)
        values = values.masked_fill(gone, 0.0)
    if empty in ("rows", "both"):
        matrix = matrix.masked_fill(gone.unsqueeze(-1), 0.0)
    if empty == "all":
        matrix = torch.zeros_like(matrix)
    matrix[:, 0] *= least  # sums below what counts as none, or near it
    if transposed:
        matrix = matrix.mT
    expected = outcomes(partial(by_factors, steps=steps), matrix.double(), values.double())
    _, state = scaled_product(matrix.double(), values.double(), steps)
    v, u = state.amax(2).clamp(min=1).unbind(1)
    top = values.abs().amax(-1, keepdim=True).double()
    # What the terms of a sum are as large as, which may cancel.
    sizes = top, u.unsqueeze(-1) * v.unsqueeze(-2) * top.unsqueeze(-1), torch.ones(())
    digits = 1e-10 if dtype == torch.float64 else 1e-4
    for backend in BACKENDS:
        with rg.use_backend(backend):
            found = outcomes(ours(steps), matrix, values)
        for got, wanted, size in zip(found, expected, sizes, strict=True):
            assert got.dtype == dtype
            assert ((got - wanted).abs() <= digits * size).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_float32_is_as_exact_as_the_formula(backend: str, dtype: torch.dtype) -> None:
    matrix, values = draw(4, 100, dtype=torch.float32)
    exact = outcomes(partial(by_factors, steps=50), matrix.double(), values.double())
    found = outcomes(ours(50), matrix.to(dtype), values.to(dtype))
    for got, wanted in zip(found, exact, strict=True):
        most = 1e-5 if dtype == torch.float32 else 1e-12
        assert (got.double() - wanted).abs().max() < most * wanted.abs().max()


def test_what_no_longer_changes_need_not_be_computed(backend: str) -> None:
    """A doubly stochastic matrix has factors of 1 from the first step on, and all are given."""
    matrix = torch.tensor([[0.5, 0.5], [0.5, 0.5]], dtype=torch.float64).expand(3, 2, 2)
    values = torch.tensor([[1.0, 2.0]], dtype=torch.float64).expand(3, 2)
    _, state = scaled_product(matrix, values, 7)
    torch.testing.assert_close(state, torch.ones(3, 2, 7, 2, dtype=torch.float64))
    found = outcomes(ours(7), matrix, values)
    torch.testing.assert_close(found, outcomes(partial(by_factors, steps=7), matrix, values))


def test_a_nan_stays_in_its_matrix(backend: str) -> None:
    matrix, values = draw(3, 6)
    matrix[1, 2, 3] = torch.nan
    kept = [0, 2]
    found = outcomes(ours(5), matrix, values)
    expected = outcomes(ours(5), *draw(3, 6))
    for got, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(got[kept], wanted[kept])
        assert got[1].isnan().any()
    assert found[0][1].isnan().all()


def test_nothing_at_all(backend: str) -> None:
    for shape in [(0, 4), (2, 0), (0, 0)]:
        matrix, values = torch.zeros(*shape, shape[-1]), torch.zeros(shape)
        out, to_matrix, to_values = outcomes(ours(3), matrix, values)
        assert (out.shape, to_matrix.shape, to_values.shape) == (shape, matrix.shape, shape)


@pytest.mark.parametrize("steps", STEPS)
def test_gradient_by_differences(backend: str, steps: int) -> None:
    matrix, values = (x.requires_grad_() for x in draw(2, 5))
    assert torch.autograd.gradcheck(ours(steps), (matrix, values))


def test_many_dimensions_and_vmap(backend: str) -> None:
    matrix, values = draw(2, 3, 5)
    rows = outcomes(ours(4), matrix.flatten(0, 1), values.flatten(0, 1))
    for product in (ours(4), torch.func.vmap(ours(4)), torch.func.vmap(torch.func.vmap(ours(4)))):
        found = outcomes(product, matrix, values)
        torch.testing.assert_close([x.flatten(0, 1) for x in found], rows)
    shared = torch.func.vmap(ours(4), in_dims=(None, 0))(matrix[0, 0], values[0])
    torch.testing.assert_close(shared, ours(4)(matrix[0, :1].expand(3, 5, 5), values[0]))


def test_autocast_changes_nothing(backend: str) -> None:
    matrix, values = draw(2, 5, dtype=torch.float32)
    expected = outcomes(ours(4), matrix, values)
    with torch.autocast("cpu"):
        torch.testing.assert_close(outcomes(ours(4), matrix, values), expected, rtol=0, atol=0)


@pytest.mark.compile
@pytest.mark.parametrize("steps", [2, 50])
def test_compiles_without_a_break(steps: int) -> None:
    scores = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    relevance = torch.arange(24).view(3, 8) % 4
    loss = partial(functional.neural_ndcg_loss, scaling_steps=steps)

    def both(function: Callable[..., Tensor]) -> list[Tensor]:
        x = scores.clone().requires_grad_()
        value = function(x, relevance)
        return [value.detach(), *torch.autograd.grad(value, x)]

    torch._dynamo.reset()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(both(compiled), both(loss))
