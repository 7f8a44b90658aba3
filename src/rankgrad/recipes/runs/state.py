"""The state of a run in a file: all of it or nothing, read without running code."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from rankgrad.files import replacing
from rankgrad.recipes.runs.folder import RunFolderError

__all__ = ["BROKEN", "restore", "save"]

# What reading a damaged file raises, as the damage may be.
BROKEN = (RuntimeError, LookupError, TypeError, ValueError, EOFError, pickle.UnpicklingError)


def save(content: dict[str, Any], path: Path) -> None:
    """Write all of it or nothing."""
    with replacing(path) as partial:
        torch.save(content, partial)


def restore(path: Path, device: torch.device | str, take: Callable[[dict[str, Any]], None]) -> None:
    """Read what :func:`save` wrote and hand it to ``take``.

    Raises:
        RunFolderError: the file is damaged, or ``take`` cannot use what is in it.
    """
    try:
        take(torch.load(path, map_location=device, weights_only=True))
    except BROKEN as error:
        first = (str(error).splitlines() or ["?"])[0]
        raise RunFolderError(
            f"{path} is damaged or of another device ({first}); start over with --fresh"
        ) from None
