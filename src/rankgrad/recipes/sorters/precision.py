"""What a forward pass is computed in."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

__all__ = ["forward_precision"]


@contextmanager
def forward_precision(
    name: str, device: torch.device
) -> Iterator[Callable[[], AbstractContextManager[Any]]]:
    """Within it, the function that it gives returns what a forward pass is to run in.

    Args:
        name: "float32", "tf32" or "bfloat16".
        device: where.
    """
    before = torch.get_float32_matmul_precision()
    if name == "tf32":
        torch.set_float32_matmul_precision("high")
    try:
        if name == "bfloat16":
            yield lambda: torch.autocast(device.type, torch.bfloat16)
        else:
            yield nullcontext
    finally:
        torch.set_float32_matmul_precision(before)
