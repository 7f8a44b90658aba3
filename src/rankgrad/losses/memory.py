"""A memory of embeddings of earlier batches: a large gallery at the price of a small batch."""

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor, nn

from rankgrad.checks import check_count, check_floating

__all__ = ["CrossBatchMemory"]


class CrossBatchMemory(nn.Module):
    """A queue of embeddings and labels: the newest ``size`` of them, first in, first out.

    Give it to a retrieval loss (``SmoothAPLoss(memory=...)``). In training every batch is ranked
    against itself and what the memory holds, and then put into it. What is held is constant: the
    gradient reaches the current batch only. The contents are buffers: they move with the module
    and are saved in its ``state_dict``.

    Under ``DistributedDataParallel`` every worker has a memory of its own. Keep the loss outside
    the wrapped module, or wrap with ``broadcast_buffers=False``: else the memory of the first
    worker overwrites the others.

    Args:
        size: how many embeddings are held.
        dim: how many features an embedding has.

    Source: Wang, Zhang, Huang, Scott: Cross-Batch Memory for Embedding Learning. CVPR 2020.

    >>> memory = CrossBatchMemory(size=3, dim=2)
    >>> memory.enqueue(torch.ones(2, 2), torch.tensor([7, 8]))
    >>> memory.enqueue(torch.zeros(2, 2), torch.tensor([9, 10]))
    >>> memory.labels.tolist(), len(memory)
    ([10, 8, 9], 3)
    """

    embeddings: Tensor
    labels: Tensor
    filled: Tensor
    position: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.size, self.dim = check_count("size", size), check_count("dim", dim)
        self.register_buffer("embeddings", torch.zeros(size, dim))
        self.register_buffer("labels", torch.zeros(size, dtype=torch.int64))
        self.register_buffer("filled", torch.zeros(size, dtype=torch.bool))
        self.register_buffer("position", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def enqueue(self, embeddings: Float[Tensor, "n d"], labels: Shaped[Tensor, " n"]) -> None:
        """Put a batch in; the oldest entries make room for it.

        Args:
            embeddings: ``[n, dim]``; of more than ``size``, the last ones are kept.
            labels: ``[n]``, integer.

        Raises:
            TypeError: embeddings that are not floating point, labels that are not integer.
            ValueError: shapes that do not fit.
        """
        check_floating("embeddings", embeddings)
        if labels.is_floating_point() or labels.is_complex():
            raise TypeError(f"labels must be integer in a memory, got dtype {labels.dtype}")
        if embeddings.shape != (*labels.shape, self.dim):
            raise ValueError(
                f"embeddings must have the shape [n, {self.dim}] and labels [n], got "
                f"{tuple(embeddings.shape)} and {tuple(labels.shape)}"
            )
        embeddings, labels = embeddings[-self.size :], labels[-self.size :]
        count = torch.arange(embeddings.shape[0], device=self.position.device)
        at = (self.position + count) % self.size
        self.embeddings.index_copy_(0, at, embeddings.to(self.embeddings.dtype))
        self.labels.index_copy_(0, at, labels.to(self.labels.dtype))
        self.filled.index_fill_(0, at, True)
        self.position.copy_((self.position + embeddings.shape[0]) % self.size)

    def contents(
        self,
    ) -> tuple[Float[Tensor, "size d"], Int64[Tensor, " size"], Bool[Tensor, " size"]]:
        """Return the embeddings, their labels, and which places are filled."""
        return self.embeddings, self.labels, self.filled

    def reset(self) -> None:
        """Forget everything."""
        for buffer in self.buffers():
            buffer.zero_()

    def __len__(self) -> int:
        return int(self.filled.sum())

    def extra_repr(self) -> str:
        """Return the settings for ``print``."""
        return f"size={self.size}, dim={self.dim}"
