"""A sorter that is tuned on the scores it sees."""

from typing import Any

import torch
from torch import Tensor, nn

from rankgrad.checks import check_positive
from rankgrad.ranks import rank
from rankgrad.sorters.base import Sorter

__all__ = ["UpdatingWrapper"]


class UpdatingWrapper(Sorter):
    """Collects the scores that come by in training; ``update()`` tunes the sorter on them.

    It goes wherever the sorter goes. In training mode every call keeps its scores, the newest
    ``capacity`` sequences; in evaluation mode it only ranks. Calls with a mask are not kept.

    The published wrapper throws its data away after the first batch of an update; this one uses
    all of them.

    Args:
        sorter: the sorter to be tuned; it is changed in place.
        lr: learning rate of its Adam.
        capacity: how many sequences are kept.
        batch_size: how many of them go into one step.

    Its ``state_dict`` holds the sorter's weights, the optimizer and the sequences.

    >>> from rankgrad.sorters import load_sorter
    >>> sorter = UpdatingWrapper(load_sorter("set"), lr=1e-4)
    >>> _ = sorter(torch.randn(8, 20))
    >>> len(sorter.update(steps=3))
    3
    """

    architecture = "updating"
    collects = True
    any_length = True  # of itself it has no say; check_length asks the sorter

    def __init__(
        self, sorter: Sorter, lr: float = 1e-5, capacity: int = 4096, batch_size: int = 64
    ) -> None:
        if not isinstance(sorter, Sorter):
            raise TypeError(f"sorter must be a Sorter, got {type(sorter).__name__}")
        if not any(True for _ in sorter.parameters()):
            raise ValueError(f"sorter {sorter.architecture!r} has no weights that could be updated")
        for name, value in (("capacity", capacity), ("batch_size", batch_size)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        super().__init__(sorter.length)
        self.sorter = sorter
        self.capacity = capacity
        self.batch_size = batch_size
        self.lr = check_positive("lr", lr)
        self._kept: list[Tensor] = []
        self._past: dict[str, Any] | None = None  # the optimizer's state, by place of the weights
        # As its losses hold it, the sorter is in evaluation mode, and this is not.
        self.train()

    @property
    def takes_mask(self) -> bool:  # type: ignore[override]  # here it depends on the sorter
        """Whether the sorter takes one."""
        return self.sorter.takes_mask

    def check_length(self, n: int) -> None:
        self.sorter.check_length(n)

    def check_takes_mask(self) -> None:
        self.sorter.check_takes_mask()

    def train(self, mode: bool = True) -> "UpdatingWrapper":
        """Collect, or only rank. The sorter itself always ranks as in evaluation."""
        super().train(mode)
        self.sorter.eval()
        return self

    def __len__(self) -> int:
        return sum(len(rows) for rows in self._kept)

    def _ranks(self, rows: Tensor, mask: Tensor | None) -> Tensor:
        if self.training and mask is None and not torch.compiler.is_compiling():
            self._keep(rows.detach())
        ranks: Tensor = self.sorter(rows, mask)
        return ranks

    def _keep(self, rows: Tensor) -> None:
        rows = rows[rows.isfinite().all(-1)][-self.capacity :].clone()
        if not len(rows):
            return
        self._kept.append(rows)
        over = len(self) - self.capacity
        while over > 0:
            first = self._kept.pop(0)
            if len(first) > over:
                self._kept.insert(0, first[over:])
            over -= len(first)

    def forget(self) -> None:
        """Drop the sequences that were kept."""
        self._kept.clear()

    @torch.enable_grad()
    def update(self, steps: int | None = None, *, seed: int = 0) -> list[float]:
        """Tune the sorter on what was collected, and forget it.

        L1 loss between its output and the true ranks over n; ties share their mean rank.

        Args:
            steps: how many, each on sequences of one length; by default one pass over all.
            seed: of the order in which they come.

        Returns:
            The loss of each step; empty if nothing was collected.
        """
        batches = self._batches(seed)
        if not batches:
            return []
        weights = list(self.sorter.parameters())
        frozen = [not weight.requires_grad for weight in weights]
        before = [weight.grad for weight in weights]
        for weight in weights:
            weight.requires_grad_(True)
        optimizer = torch.optim.Adam(weights, self.lr)
        if self._past is not None:
            optimizer.load_state_dict(self._past)
            for group in optimizer.param_groups:
                group["lr"] = self.lr
        losses = []
        try:
            for i in range(len(batches) if steps is None else steps):
                scores = batches[i % len(batches)]
                wanted = rank(scores, ties="average", normalize=True)
                loss = nn.functional.l1_loss(self.sorter(scores), wanted)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
        finally:
            self._past = optimizer.state_dict()
            for weight, was_frozen, gradient in zip(weights, frozen, before, strict=True):
                weight.grad = gradient
                weight.requires_grad_(not was_frozen)
        self.forget()
        return losses

    def _batches(self, seed: int) -> list[Tensor]:
        by_length: dict[int, list[Tensor]] = {}
        device = next(self.sorter.parameters()).device
        for rows in self._kept:
            by_length.setdefault(rows.shape[-1], []).append(rows.to(device))
        chance = torch.Generator().manual_seed(seed)
        batches: list[Tensor] = []
        for parts in by_length.values():
            scores = torch.cat(parts)
            order = torch.randperm(len(scores), generator=chance).to(device)
            batches += scores[order].split(self.batch_size)
        mixed = torch.randperm(len(batches), generator=chance).tolist()
        return [batches[i] for i in mixed]

    def get_extra_state(self) -> dict[str, Any]:
        """Return what is not a weight: the optimizer's state and the sequences."""
        return {"optimizer": self._past, "kept": list(self._kept)}

    def set_extra_state(self, state: Any) -> None:
        """Take over what :meth:`get_extra_state` returned."""
        self._past, self._kept = state["optimizer"], list(state["kept"])
