"""Loading checkpoints that know nothing of what was added to a model."""

from typing import Any

from torch import nn

__all__ = ["keep_where_missing"]


def keep_where_missing(module: nn.Module) -> None:
    """Let ``module`` keep its own state where a ``state_dict`` has none for it.

    A checkpoint of plain torchvision has none for our additions, and is to load all the same.
    """
    module.register_load_state_dict_pre_hook(_add_missing)


def _add_missing(module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: object) -> None:
    for name, value in module.state_dict().items():
        state_dict.setdefault(f"{prefix}{name}", value)
