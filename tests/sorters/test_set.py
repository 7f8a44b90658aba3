"""The sorter of our own: what it promises by construction, and what it was trained for."""

import pytest
import torch
from torch import Tensor

import rankgrad as rg
from rankgrad.data.sequences import PUBLISHED, sequences
from rankgrad.sorters import Sorter, load_sorter, make_sorter


@pytest.fixture(scope="module")
def sorter() -> Sorter:
    return load_sorter("set").requires_grad_(False)


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def errors(ranks: Sorter, n: int, rows: int) -> list[float]:
    found = []
    for name in PUBLISHED:
        x = sequences(rows, n, name, generator=torch.Generator().manual_seed(77))
        found.append((ranks(x) - rg.rank(x, normalize=True)).abs().mean().item())
    return found


@pytest.mark.parametrize(
    ("n", "rows", "goal"), [(100, 60, 0.003), (10, 200, 0.01), (1000, 5, 0.01)]
)
def test_error_is_below_the_goal_and_below_the_programmed_sorter_everywhere(
    sorter: Sorter, n: int, rows: int, goal: float
) -> None:
    ours, programmed = errors(sorter, n, rows), errors(make_sorter("exa"), n, rows)
    assert sum(ours) / 10 < goal
    worse = [d for d, a, b in zip(PUBLISHED, ours, programmed, strict=True) if a >= b]
    assert not worse


def test_it_is_small() -> None:
    assert sum(p.numel() * p.element_size() for p in load_sorter("set").parameters()) < 1e4


def test_order_does_not_matter(sorter: Sorter) -> None:
    x = randn(3, 50)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(sorter(x[:, order]), sorter(x)[:, order])


def test_scale_and_shift_do_not_matter(sorter: Sorter) -> None:
    x = randn(3, 50)
    torch.testing.assert_close(sorter(1e-6 * x + 5), sorter(x), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(sorter(1e200 * x), sorter(x), atol=1e-6, rtol=1e-6)


def test_upside_down(sorter: Sorter) -> None:
    x = randn(3, 50)
    torch.testing.assert_close(sorter(-x), 1 + 1 / 50 - sorter(x))


def test_equal_scores_share_the_middle_rank(sorter: Sorter) -> None:
    x = torch.full((2, 9), 7.3, requires_grad=True)
    ranks = sorter(x)
    torch.testing.assert_close(ranks, torch.full((2, 9), 5 / 9))
    ranks.sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    pair = sorter(torch.tensor([1.0, 3.0, 3.0, 5.0]))
    assert pair[1] == pair[2]


def test_a_mask_takes_scores_out(sorter: Sorter) -> None:
    x = randn(4, 30)
    mask = torch.rand(4, 30, generator=torch.Generator().manual_seed(2)) < 0.6
    x[~mask] = torch.nan
    ranks = sorter(x, mask)
    for row in range(4):
        alone = sorter(x[row][mask[row]])
        torch.testing.assert_close(ranks[row][mask[row]], alone)


def test_few_and_many_scores_are_computed_differently_to_the_same_end(
    sorter: Sorter, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = randn(2, 40).requires_grad_()
    mask = torch.rand(2, 40, generator=torch.Generator().manual_seed(2)) < 0.8
    results = []
    for limit in (0, 512):
        monkeypatch.setattr("rankgrad.sorters.set._SHORT", limit)
        ranks = sorter(x, mask)[mask]
        (gradient,) = torch.autograd.grad(ranks.square().sum(), x)
        results.append((ranks, gradient))
    torch.testing.assert_close(*results)


def test_infinite_scores_come_first_and_last(sorter: Sorter) -> None:
    x = torch.tensor([0.0, 1.0, torch.inf, 2.0, -torch.inf], requires_grad=True)
    ranks = sorter(x)
    assert (5 * ranks).round().tolist() == [4, 3, 1, 2, 5]
    ranks[0].backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_nan_is_nan(sorter: Sorter) -> None:
    x = randn(2, 6)
    x[0, 3] = torch.nan
    ranks = sorter(x)
    assert ranks[0].isnan().all()
    assert ranks[1].isfinite().all()


def test_gradient_is_the_derivative(sorter: Sorter) -> None:
    x = randn(2, 8, seed=3).requires_grad_()
    assert torch.autograd.gradcheck(sorter, (x,), eps=1e-7, atol=1e-4, rtol=1e-3)
    mask = torch.tensor([True] * 6 + [False] * 2)
    assert torch.autograd.gradcheck(
        lambda s: sorter(s, mask)[:, :6], (x,), eps=1e-7, atol=1e-4, rtol=1e-3
    )


@pytest.mark.parametrize("n", [10, 100, 1000])
def test_most_scores_have_a_gradient(sorter: Sorter, n: int) -> None:
    """Ranks that are exact have none: this is what the widths of the last round are for."""
    x = sequences(20, n, "normal", generator=torch.Generator().manual_seed(5)).requires_grad_()
    targets = torch.randn(20, n, generator=torch.Generator().manual_seed(6))
    loss = (sorter(x) - rg.rank(targets, normalize=True)).square().sum()
    (gradient,) = torch.autograd.grad(loss, x)
    size = gradient.abs()
    alive = (size > 0.05 * size.mean(-1, keepdim=True)).float().mean()
    assert alive > (0.5 if n == 10 else 0.8)


@pytest.mark.compile
def test_compiles_in_one_graph(sorter: Sorter) -> None:
    x = randn(2, 20, dtype=torch.float32)
    compiled = torch.compile(sorter, fullgraph=True)
    torch.testing.assert_close(compiled(x), sorter(x), atol=1e-5, rtol=1e-5)
