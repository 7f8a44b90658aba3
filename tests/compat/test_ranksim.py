import numpy as np
import pytest
import torch
from torch import Tensor

from rankgrad.compat.ranksim import (
    TrueRanker,
    batchwise_ranking_regularizer,
    rank,
    rank_normalised,
)
from support import golden, golden_cases

# The order of equal entries is torch's affair, and the processor's: these cases have many.
BY_PROCESSOR = ("near_duplicates", "s3_l0.5_tie1", "s3_l1_tie1", "s3_l2_tie1")


def cases(name: str) -> list[str]:
    return [case for case in golden_cases(name) if case not in BY_PROCESSOR]


@pytest.mark.parametrize("case", cases("ranksim"))
def test_regularizer_agrees(case: str) -> None:
    arrays = golden("ranksim")[case]
    features = torch.tensor(arrays["features"], requires_grad=True)
    targets = torch.tensor(arrays["targets"])
    loss = batchwise_ranking_regularizer(features, targets, float(arrays["lam"]))
    (gradient,) = torch.autograd.grad(loss, features)
    np.testing.assert_allclose(loss.item(), arrays["loss"], rtol=1e-5, atol=1e-6)
    scale = max(np.abs(arrays["grad"]).max(), 1e-3)
    np.testing.assert_allclose(gradient, arrays["grad"], rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize("case", cases("ranksim_ranker"))
def test_ranker_agrees(case: str) -> None:
    arrays = golden("ranksim_ranker")[case]
    seq = torch.tensor(arrays["seq"], requires_grad=True)
    assert rank(seq).tolist() == arrays["rank0"].tolist()
    np.testing.assert_allclose(rank_normalised(seq), arrays["rank_normalised"], rtol=1e-6)
    if "grad" in arrays:
        ranks = TrueRanker.apply(seq, float(arrays["lam"]))
        np.testing.assert_allclose(ranks.detach(), arrays["rank"], rtol=1e-6)
        (gradient,) = torch.autograd.grad(ranks, seq, torch.tensor(arrays["grad_output"]))
        np.testing.assert_allclose(gradient, arrays["grad"], rtol=1e-5, atol=1e-6)


def test_equal_entries_rank_as_torch_sorts_them() -> None:
    for n in (3, 20, 200):
        seq = torch.randint(n // 2, (5, n), generator=torch.Generator().manual_seed(n)).float()
        assert torch.equal(rank(seq), torch.argsort(torch.argsort(seq).flip(1)))
        varied = seq + torch.rand(5, n, generator=torch.Generator().manual_seed(0))
        assert torch.equal(rank(varied), torch.argsort(torch.argsort(varied).flip(1)))


def test_the_weight_sits_inside_the_perturbation() -> None:
    features = torch.randn(20, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    targets = torch.arange(20.0)[:, None]

    def gradient(weight: float) -> Tensor:
        loss = weight * batchwise_ranking_regularizer(features, targets, 2.0)
        return torch.autograd.grad(loss, features)[0]

    assert gradient(100).norm() < 10 * gradient(1).norm()
    assert gradient(1e-6).norm() == 0


def test_equal_labels_are_drawn_from() -> None:
    features = torch.randn(30, 4, generator=torch.Generator().manual_seed(1), requires_grad=True)
    targets = torch.arange(30.0)[:, None] % 7
    drawn = set()
    for seed in range(9):
        torch.manual_seed(seed)
        loss = batchwise_ranking_regularizer(features, targets, 1e3)
        (gradient,) = torch.autograd.grad(loss, features)
        chosen = (gradient != 0).any(1).nonzero()[:, 0].tolist()
        assert len(chosen) <= 7
        assert len({i % 7 for i in chosen}) == len(chosen)
        drawn |= set(chosen)
    assert len(drawn) > 14


def test_where_the_original_breaks() -> None:
    features = torch.randn(6, 3, requires_grad=True)
    targets = torch.arange(6.0)
    torch.testing.assert_close(
        batchwise_ranking_regularizer(features, targets, 1.0),
        batchwise_ranking_regularizer(features, targets[:, None], 1.0),
    )
    two = torch.stack([targets, 0 * targets], dim=1)
    torch.testing.assert_close(
        batchwise_ranking_regularizer(features, two, 1.0),
        batchwise_ranking_regularizer(features, targets, 1.0),
    )
    empty = batchwise_ranking_regularizer(features[:0], targets[:0], 1.0)
    empty.backward()
    assert empty == 0


def test_bad_arguments_are_named() -> None:
    with pytest.raises((TypeError, ValueError), match="targets"):
        batchwise_ranking_regularizer(torch.randn(4, 2), torch.arange(3.0), 1.0)
    with pytest.raises((TypeError, ValueError), match="seq"):
        rank(torch.arange(3.0))


@pytest.mark.compile
def test_the_ranker_compiles_without_a_graph_break() -> None:
    seq = torch.randn(3, 5, requires_grad=True)
    cotangent = torch.randn(3, 5)

    def gradient(apply) -> Tensor:
        return torch.autograd.grad(apply(seq), seq, cotangent)[0]

    compiled = torch.compile(
        lambda s: TrueRanker.apply(s, 0.5), fullgraph=True, backend="aot_eager"
    )
    torch.testing.assert_close(gradient(compiled), gradient(lambda s: TrueRanker.apply(s, 0.5)))
