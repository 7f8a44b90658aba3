import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rankgrad.losses.memory import CrossBatchMemory
from rankgrad.losses.recall_at_k import RecallAtKLoss
from rankgrad.losses.smooth_ap import SmoothAPLoss


def batch(n: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 3, generator=generator), torch.randint(4, (n,), generator=generator)


@given(size=st.integers(1, 7), sizes=st.lists(st.integers(0, 10), max_size=6))
def test_holds_the_newest_entries(size: int, sizes: list[int]) -> None:
    memory = CrossBatchMemory(size, 3)
    batches = [batch(n, seed) for seed, n in enumerate(sizes)]
    for embeddings, labels in batches:
        memory.enqueue(embeddings, labels)
    everything = [
        (*row.tolist(), int(label))
        for embeddings, labels in batches
        for row, label in zip(embeddings, labels, strict=True)
    ]
    embeddings, labels, filled = memory.contents()
    held = [
        (*row.tolist(), int(label))
        for row, label in zip(embeddings[filled], labels[filled], strict=True)
    ]
    assert sorted(held) == sorted(everything[-size:])
    assert len(memory) == len(held)


@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("kind", [SmoothAPLoss, RecallAtKLoss])
def test_the_gallery_is_the_batch_and_what_is_held(kind: type, include_self: bool) -> None:
    memory = CrossBatchMemory(10, 3)
    loss = kind(include_self=include_self, memory=memory, reduction="none")
    old, old_labels = batch(4, 0)
    torch.testing.assert_close(
        loss(old, old_labels), kind(include_self=include_self, reduction="none")(old, old_labels)
    )
    new, labels = batch(5, 1)
    new.requires_grad_()
    everything, all_labels = torch.cat([new, old]), torch.cat([labels, old_labels])
    got = loss(new, labels)
    expected = kind(include_self=include_self, reduction="none")(everything, all_labels)[:5]
    torch.testing.assert_close(got, expected)
    got.sum().backward()
    assert new.grad is not None
    assert len(memory) == 9
    assert not memory.embeddings.requires_grad


def test_evaluation_neither_reads_nor_writes() -> None:
    memory = CrossBatchMemory(10, 3)
    loss = SmoothAPLoss(memory=memory)
    loss(*batch(4, 0))
    loss.eval()
    new = batch(5, 1)
    torch.testing.assert_close(loss(*new), SmoothAPLoss()(*new))
    assert len(memory) == 4


def test_state_dict_round_trip() -> None:
    first = SmoothAPLoss(memory=CrossBatchMemory(6, 3))
    first(*batch(4, 0))
    second = SmoothAPLoss(memory=CrossBatchMemory(6, 3))
    second.load_state_dict(first.state_dict())
    for seed in (1, 2):
        torch.testing.assert_close(second(*batch(4, seed)), first(*batch(4, seed)))


def test_reset_forgets() -> None:
    memory = CrossBatchMemory(6, 3)
    memory.enqueue(*batch(4, 0))
    memory.reset()
    assert len(memory) == 0
    new = batch(5, 1)
    torch.testing.assert_close(SmoothAPLoss(memory=memory)(*new), SmoothAPLoss()(*new))


def test_bad_arguments_are_named() -> None:
    memory = CrossBatchMemory(4, 3)
    with pytest.raises(ValueError, match="size must be >= 1"):
        CrossBatchMemory(0, 3)
    with pytest.raises(TypeError, match="dim"):
        CrossBatchMemory(4, 3.5)
    with pytest.raises(ValueError, match=r"embeddings must have the shape \[n, 3\]"):
        memory.enqueue(torch.rand(2, 5), torch.arange(2))
    with pytest.raises(TypeError, match="labels must be integer"):
        memory.enqueue(torch.rand(2, 3), torch.rand(2))
    x, labels = batch(3, 0)
    with pytest.raises(ValueError, match="ref_emb must be None"):
        SmoothAPLoss(memory=memory)(x, labels, None, x, labels)


@pytest.mark.compile
def test_compiles_without_a_graph_break() -> None:
    eager = SmoothAPLoss(memory=CrossBatchMemory(6, 3))
    other = SmoothAPLoss(memory=CrossBatchMemory(6, 3))
    compiled = torch.compile(other, fullgraph=True, backend="aot_eager")
    for seed in range(3):
        torch.testing.assert_close(compiled(*batch(4, seed)), eager(*batch(4, seed)))
    torch.testing.assert_close(other.state_dict(), eager.state_dict())
