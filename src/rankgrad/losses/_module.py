"""What the loss modules share: a ranker as a part, and their settings in print."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from rankgrad.rankers import LearnedRanker, Ranker, ShippedRanker, as_ranker
from rankgrad.sorters import Sorter

__all__ = ["hold_ranker", "settings"]


def hold_ranker(module: nn.Module, ranker: Ranker | str | Callable[..., Tensor]) -> None:
    """Set ``module.ranker``; a ranker that is an ``nn.Module`` becomes a submodule as well.

    So it moves with ``loss.to(device)`` and shows in ``loss.parameters()``. A learned sorter whose
    weights are frozen moves and is saved with the loss too, but no optimizer gets to see it.
    """
    held = as_ranker(ranker)
    if isinstance(held, ShippedRanker):
        held = held.loaded()
    module.ranker = held  # type: ignore[assignment]  # a plain attribute
    if isinstance(held, LearnedRanker):
        module.sorter = _Frozen(held.sorter) if held.freeze else held.sorter
    elif isinstance(ranker, nn.Module):
        module.sorter = ranker


class _Frozen(nn.Module):
    """Stands for a module that moves and is saved with others but has no parameters to train."""

    inner: Sorter

    def __init__(self, inner: Sorter) -> None:
        super().__init__()
        self.__dict__["inner"] = inner  # not a submodule, or its parameters would be ours

    def train(self, mode: bool = True) -> "_Frozen":
        """Frozen weights stay in evaluation mode; a sorter that collects must know."""
        super().train(mode)
        if self.inner.collects:
            self.inner.train(mode)
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "_Frozen":
        self.inner._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch's own
        return self

    def state_dict(self, *args: Any, **options: Any) -> Any:
        return self.inner.state_dict(*args, **options)

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        own = {k.removeprefix(prefix): v for k, v in state_dict.items() if k.startswith(prefix)}
        try:
            result = self.inner.load_state_dict(own, strict=False)
        except RuntimeError as error:
            error_msgs.append(str(error))
            return
        if strict:
            missing_keys += [prefix + key for key in result.missing_keys]
            unexpected_keys += [prefix + key for key in result.unexpected_keys]

    def extra_repr(self) -> str:
        return f"frozen {type(self.inner).__name__}"


def settings(module: nn.Module, *names: str, given: Sequence[str] = ()) -> str:
    """Return the named attributes as ``extra_repr`` shows them, of ``given`` those not None."""
    names += tuple(name for name in given if getattr(module, name) is not None)
    return ", ".join(f"{name}={getattr(module, name)!r}" for name in names)
