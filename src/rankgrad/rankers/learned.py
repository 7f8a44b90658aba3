"""Networks that were trained to rank."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rankgrad.rankers.base import Ranker
from rankgrad.sorters import Sorter, load_sorter

__all__ = ["LearnedRanker", "ShippedRanker"]

_SPREAD = 3**-0.5  # the deviation of what most sorters are trained on: uniform in (-1, 1)


@dataclass(frozen=True)
class LearnedRanker(Ranker):
    """A learned sorter as a ranker: ``n`` times what it says.

    The gradient is that of the network. Its weights are frozen and it is put into evaluation mode
    when the ranker is made; ``freeze=False`` leaves it as it is.

    Args:
        sorter: a :class:`rankgrad.sorters.Sorter`.
        standardize: shift and scale every row to mean 0 and the deviation of the uniform
            distribution on (-1, 1) first, which is what sorters are trained on. Without it the
            scale of the scores matters to all but "set" and "exa".
        freeze: no gradients for the weights. In a loss, frozen weights move and are saved with it
            but are not among its ``parameters()``.

    Scores of another length than a fixed-length sorter takes, and masks where the sorter takes
    none, raise ``ValueError``.

    Cost: that of the network.

    Source: Engilberge, Chevallier, Pérez, Cord: SoDeep: a sorting deep net to learn ranking loss
    surrogates. CVPR 2019.

    >>> ranks = LearnedRanker(load_sorter("set"))(torch.tensor([0.1, 0.7, 0.4]))
    >>> ranks.round()
    tensor([3., 1., 2.])
    """

    sorter: Sorter
    standardize: bool = field(default=True, kw_only=True)
    freeze: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.sorter, Sorter):
            raise TypeError(f"sorter must be a Sorter, got {type(self.sorter).__name__}")
        if self.freeze:
            self.sorter.freeze()

    def _ranks(
        self, scores: Float[Tensor, "*batch n"], mask: Bool[Tensor, "*batch n"] | None
    ) -> Float[Tensor, "*batch n"]:
        device = next(self.sorter.parameters(), scores).device
        if device != scores.device:
            raise ValueError(
                f"scores must be on the device of the sorter, {device}, got {scores.device}; move "
                "the sorter, or the loss that holds it"
            )
        n: Tensor | int = scores.shape[-1]
        if mask is not None:
            self.sorter.check_takes_mask()
            n = mask.sum(-1, keepdim=True)
        if self.standardize:
            scores = _standardised(scores, mask)
        ranks: Tensor = self.sorter(scores, mask) * n
        return ranks.to(scores.dtype)


def _standardised(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Rows of mean 0 and one deviation. Rows of equal scores become zeros."""
    valid = torch.ones_like(scores, dtype=torch.bool) if mask is None else mask
    counts = valid & scores.isfinite()
    count = counts.sum(-1, keepdim=True).clamp(min=1)
    away = torch.where(counts, scores, 0.0)
    away = torch.where(counts, scores - away.sum(-1, keepdim=True) / count, 0.0)
    # Magnitude one before squaring, so that nothing leaves the range.
    size = away.detach().abs().amax(-1, keepdim=True)
    flat = size <= 4 * torch.finfo(scores.dtype).eps * scores.detach().abs().amax(-1, keepdim=True)
    away = away / torch.where(flat, 1.0, size)
    square = away.square().sum(-1, keepdim=True) / count
    away = away * _SPREAD / torch.where(flat, 1.0, square).sqrt()
    return torch.where(counts, torch.where(flat, 0.0, away), scores)


@dataclass(frozen=True)
class ShippedRanker(Ranker):
    """A shipped sorter by name, for functions: it follows the scores from device to device.

    A loss module that is given a name holds a sorter of its own instead, see :meth:`loaded`.

    Args:
        name: one of :data:`rankgrad.sorters.SHIPPED`.
    """

    name: str

    def loaded(self) -> LearnedRanker:
        """Return the ranker over a fresh copy of the sorter, on the CPU."""
        return _load(self.name, torch.device("cpu"))

    def _ranks(
        self, scores: Float[Tensor, "*batch n"], mask: Bool[Tensor, "*batch n"] | None
    ) -> Float[Tensor, "*batch n"]:
        _load_once(self.name, scores.device)
        return _LOADED[self.name, scores.device]._ranks(scores, mask)


_LOADED: dict[tuple[str, torch.device], LearnedRanker] = {}


def _load_once(name: str, device: torch.device) -> None:
    """Put a ranker where all calls find it, whatever mode the first of them is made in.

    A thread of its own loads it: inference mode, ``vmap``, ``grad``, fake tensors and default
    devices are the calling thread's, and weights made under them would be of no use later.
    """
    if (name, device) not in _LOADED:
        with ThreadPoolExecutor(1) as other:
            _LOADED[name, device] = other.submit(_load, name, device).result()


# While a caller is being compiled, this is called and not traced: what
# torch.compiler.assume_constant_result says, but that loads the compiler here and now.
_load_once._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _load(name: str, device: torch.device) -> LearnedRanker:
    ranker = LearnedRanker(load_sorter(name))
    ranker.sorter.to(device)
    return ranker
