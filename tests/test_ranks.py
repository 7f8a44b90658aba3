"""Hard ranks: rank 1 is the largest, ties as scipy has them, masks as if the rest were gone."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata
from torch import Tensor

import rankgrad as rg

pytestmark = pytest.mark.usefixtures("backend")

TIES = ["ordinal", "average", "min", "max", "dense"]
GRID = st.integers(-3, 3).map(lambda i: i / 2) | st.sampled_from(
    [float("inf"), float("-inf"), -0.0]
)


def expected(x: Tensor, ties: str, descending: bool, normalize: bool = False) -> Tensor:
    """Ranks of one row by scipy, which ranks the smallest first."""
    values = -x.double().numpy() if descending else x.double().numpy()
    ranks = torch.tensor(rankdata(values, method=ties), dtype=torch.float64)
    if normalize and len(ranks):
        ranks /= ranks.max() if ties == "dense" else len(ranks)
    return ranks.to(torch.float64 if x.dtype == torch.float64 else torch.float32)


@pytest.mark.parametrize("ties", TIES)
@given(
    values=st.lists(GRID, max_size=60),
    descending=st.booleans(),
    normalize=st.booleans(),
    dtype=st.sampled_from([torch.float16, torch.float32, torch.float64]),
)
def test_equals_scipy(
    ties: str, values: list[float], descending: bool, normalize: bool, dtype: torch.dtype
) -> None:
    x = torch.tensor(values, dtype=dtype)
    ranks = rg.rank(x, descending=descending, ties=ties, normalize=normalize)
    torch.testing.assert_close(ranks, expected(x, ties, descending, normalize))


@pytest.mark.parametrize("ties", TIES)
@pytest.mark.parametrize("n", [100, 5000])
def test_equals_scipy_on_long_rows(ties: str, n: int) -> None:
    rng = np.random.default_rng(n)
    x = torch.tensor(np.stack([rng.normal(size=n), rng.integers(0, n // 4, n).astype(float)]))
    rows = torch.stack([expected(row, ties, True) for row in x])
    torch.testing.assert_close(rg.rank(x, ties=ties), rows)


@pytest.mark.parametrize("ties", TIES)
@given(
    items=st.lists(st.tuples(GRID | st.just(float("nan")), st.booleans()), min_size=1, max_size=60),
    descending=st.booleans(),
    normalize=st.booleans(),
)
def test_masked_scores_are_as_if_they_were_not_there(
    ties: str, items: list[tuple[float, bool]], descending: bool, normalize: bool
) -> None:
    x = torch.tensor([value for value, _ in items])
    mask = torch.tensor([valid for _, valid in items]) & ~x.isnan()
    ranks = rg.rank(x, descending=descending, ties=ties, normalize=normalize, mask=mask)
    torch.testing.assert_close(ranks[mask], expected(x[mask], ties, descending, normalize))
    assert not ranks[~mask].any()


@pytest.mark.parametrize("ties", TIES)
def test_normalised_ranks_end_at_exactly_one(ties: str) -> None:
    """A quotient, not a product with 1 / n: 49 * (1 / 49) is less than 1."""
    for n in (1, 7, 49, 98):
        places = torch.arange(1, n + 1, dtype=torch.float64)
        assert torch.equal(rg.rank(-places, ties=ties, normalize=True), places / n)


def test_equal_scores_rank_in_order_of_appearance_by_default() -> None:
    assert rg.rank(torch.tensor([1.0, 2.0, 1.0, 2.0])).tolist() == [3.0, 1.0, 4.0, 2.0]


@pytest.mark.parametrize("ties", TIES)
def test_nan_spoils_its_row_and_no_other(ties: str) -> None:
    x = torch.tensor([[1.0, torch.nan, 2.0], [1.0, 3.0, 2.0]])
    ranks = rg.rank(x, ties=ties)
    assert ranks[0].isnan().all()
    assert ranks[1].tolist() == [3.0, 1.0, 2.0]
    masked = rg.rank(x, ties=ties, mask=torch.tensor([True, True, False]))
    assert masked[0, :2].isnan().all()
    assert masked[0, 2] == 0
    assert masked[1].tolist() == [2.0, 1.0, 0.0]


@pytest.mark.parametrize("dim", [0, 1, 2, -2])
def test_any_dimension(dim: int) -> None:
    x = torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(0))
    mask = torch.rand(4, 5, 6, generator=torch.Generator().manual_seed(1)) < 0.7
    rows = rg.rank(x.movedim(dim, -1).contiguous(), mask=mask.movedim(dim, -1).contiguous())
    assert torch.equal(rg.rank(x, dim, mask=mask), rows.movedim(-1, dim))


def test_mask_broadcasts() -> None:
    x = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    for mask in (torch.tensor([True, False, True, True]), torch.rand(3, 1) < 2, torch.tensor(True)):
        whole = mask.broadcast_to(x.shape)
        assert torch.equal(rg.rank(x, mask=mask), rg.rank(x, mask=whole.clone()))


def test_nothing_valid_is_all_zero() -> None:
    for ties in TIES:
        ranks = rg.rank(torch.randn(2, 3), ties=ties, mask=torch.tensor(False), normalize=True)
        assert not ranks.any()


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 3)])
def test_empty(shape: tuple[int, ...]) -> None:
    x = torch.empty(shape)
    assert rg.rank(x).shape == shape
    assert rg.rank(x, mask=torch.ones(shape, dtype=torch.bool)).shape == shape


@pytest.mark.parametrize(
    ("dtype", "result"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_half_precision_is_ranked_in_single(dtype: torch.dtype, result: torch.dtype) -> None:
    """bfloat16 has no integers between 256 and 258: the ranks of a longer row would collide."""
    ranks = rg.rank(torch.linspace(0, 1, 300).to(dtype))
    assert ranks.dtype == result
    assert ranks.unique().numel() == 300


def test_any_strides() -> None:
    base = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    for x in (base.T, base[::2, ::3], base[:1].expand(4, 8), base[:, :1].expand(6, 9)):
        assert torch.equal(rg.rank(x), rg.rank(x.contiguous()))


def test_ranks_are_constants() -> None:
    assert not rg.rank(torch.randn(3, requires_grad=True)).requires_grad


def test_vmap() -> None:
    x = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
    mask = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(1)) < 0.7
    expected = rg.rank(x, mask=mask)

    def ranks(row: Tensor, valid: Tensor) -> Tensor:
        return rg.rank(row, mask=valid)

    assert torch.equal(torch.func.vmap(ranks)(x, mask), expected)
    assert torch.equal(torch.func.vmap(torch.func.vmap(ranks))(x, mask), expected)
    shared = torch.func.vmap(ranks, in_dims=(0, None))(x, mask[0])
    assert torch.equal(shared, rg.rank(x, mask=mask[0]))
    many = torch.func.vmap(ranks, in_dims=(None, 0))(x[0], mask)
    assert torch.equal(many, rg.rank(x[:1].expand_as(x), mask=mask))
