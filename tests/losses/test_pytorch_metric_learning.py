"""The retrieval losses among the parts of pytorch-metric-learning, where it is installed."""

import pytest
import torch
from torch import Tensor

from rankgrad.losses import RecallAtKLoss, SmoothAPLoss, smooth_ap_loss

pml = pytest.importorskip("pytorch_metric_learning")
from pytorch_metric_learning import distances, losses, miners  # noqa: E402  # after the skip

both = pytest.mark.parametrize("make", [SmoothAPLoss, RecallAtKLoss])


def batch(seed: int = 0, n: int = 16) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 6, generator=generator), torch.arange(n) % 4


@both
@pytest.mark.parametrize(
    "miner",
    [miners.MultiSimilarityMiner(), miners.TripletMarginMiner(margin=0.3), miners.HDCMiner()],
    ids=["pairs", "triplets", "hardest"],
)
def test_only_mined_pairs_take_part(make: type, miner: torch.nn.Module) -> None:
    embeddings, labels = batch()
    indices = miner(embeddings, labels)
    assert len(indices) in (3, 4)
    x = embeddings.clone().requires_grad_()
    loss = make(temperature=0.1)(x, labels, indices)
    loss.backward()
    assert 0 < loss < 1
    mined = torch.zeros(len(labels), dtype=torch.bool)
    for index in indices:
        mined[index] = True
    assert x.grad is not None
    assert (x.grad[~mined] == 0).all()
    assert (x.grad[mined] != 0).any()


def test_the_similarities_are_theirs() -> None:
    embeddings, labels = batch()
    gallery, gallery_labels = batch(1, 20)
    scores = distances.CosineSimilarity()(embeddings, gallery)
    torch.testing.assert_close(
        SmoothAPLoss()(embeddings, labels, None, gallery, gallery_labels),
        smooth_ap_loss(scores, labels[:, None] == gallery_labels),
    )


def test_their_wrappers_take_their_own_losses_alone() -> None:
    """Which is why CrossBatchMemory is here as well; should this change, use theirs."""
    with pytest.raises(Exception, match="not supported for SmoothAPLoss"):
        losses.CrossBatchMemory(SmoothAPLoss(), embedding_size=6, memory_size=40)


def test_nothing_mined_is_zero_with_a_graph() -> None:
    embeddings, labels = batch()
    embeddings.requires_grad_()
    nothing = torch.zeros(0, dtype=torch.int64)
    for indices in ((nothing,) * 3, (nothing,) * 4):
        loss = SmoothAPLoss()(embeddings, labels, indices)
        (gradient,) = torch.autograd.grad(loss, embeddings)
        assert loss == 0
        assert (gradient == 0).all()
