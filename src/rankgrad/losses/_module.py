"""What the loss modules share: a ranker as a part, and their settings in print."""

from collections.abc import Callable

from torch import Tensor, nn

from rankgrad.rankers import Ranker, as_ranker

__all__ = ["hold_ranker", "settings"]


def hold_ranker(module: nn.Module, ranker: Ranker | str | Callable[..., Tensor]) -> None:
    """Set ``module.ranker``; a ranker that is an ``nn.Module`` becomes a submodule as well.

    So a learned sorter moves with ``loss.to(device)`` and shows in ``loss.parameters()``.
    """
    module.ranker = as_ranker(ranker)  # type: ignore[assignment]  # a plain attribute
    if isinstance(ranker, nn.Module):
        module.sorter = ranker


def settings(module: nn.Module, *names: str) -> str:
    """Return the named attributes as ``extra_repr`` shows them."""
    return ", ".join(f"{name}={getattr(module, name)!r}" for name in names)
