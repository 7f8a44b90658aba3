"""The state of a run in a file: all of it or nothing, read without running code."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch

from rankgrad.files import replacing
from rankgrad.recipes.runs.folder import RunFolderError

__all__ = ["BROKEN", "Kept", "restore", "resumed", "save"]

# What reading a damaged file raises, as the damage may be.
BROKEN = (RuntimeError, LookupError, TypeError, ValueError, EOFError, pickle.UnpicklingError)


@dataclass(frozen=True)
class Kept:
    """The attributes of a trainer that it goes on from."""

    parts: tuple[str, ...]
    """Those with a ``state_dict``: models, optimizers, schedules."""
    generators: tuple[str, ...]
    """Those of torch's random numbers."""
    values: tuple[str, ...]
    """Those that are stored as they are."""

    def state(self, trainer: object) -> dict[str, Any]:
        """Return them, by name."""
        return {
            **{name: getattr(trainer, name).state_dict() for name in self.parts},
            **{name: getattr(trainer, name).get_state() for name in self.generators},
            **{name: getattr(trainer, name) for name in self.values},
        }

    def put_back(self, trainer: object, state: dict[str, Any]) -> None:
        """Bring the trainer back to where :meth:`state` was called."""
        for name in self.parts:
            getattr(trainer, name).load_state_dict(state[name])
        for name in self.generators:
            getattr(trainer, name).set_state(state[name].cpu())
        for name in self.values:
            setattr(trainer, name, state[name])


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


class _Resumable(Protocol):
    """A trainer whose state can be stored."""

    @property
    def device(self) -> torch.device: ...

    def restore(self, state: dict[str, Any]) -> None: ...


_T = TypeVar("_T", bound=_Resumable)


def resumed(make: Callable[[], _T], path: Path | None) -> _T:
    """Return a new trainer, brought to where ``path`` says; a damaged file counts as none."""
    trainer = make()
    if path is None or not path.exists():
        return trainer
    try:
        restore(path, trainer.device, trainer.restore)
    except RunFolderError:
        return make()
    return trainer
