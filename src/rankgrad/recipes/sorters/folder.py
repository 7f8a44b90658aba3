"""The folder of a run: ours, or nobody's business."""

import json
from pathlib import Path

from rankgrad.recipes.experiments.environment import environment, machine
from rankgrad.recipes.experiments.store import write_json
from rankgrad.recipes.experiments.study import plain
from rankgrad.recipes.sorters.settings import SorterSettings

__all__ = ["RunFolderError", "claim"]


class RunFolderError(Exception):
    """The folder is not one that this run may write to."""


_OURS = ("settings.json", "state.pt", "history.csv", "sorter.safetensors")


def claim(folder: Path, settings: SorterSettings, fresh: bool) -> None:
    """Make the folder ours, or say why not."""
    wanted = plain(settings)
    folder.mkdir(parents=True, exist_ok=True)
    about = folder / "settings.json"
    if about.exists():
        try:
            there = json.loads(about.read_text(encoding="utf-8"))["sorter"]
        except (ValueError, KeyError, TypeError):
            raise RunFolderError(f"{folder} holds a settings.json of something else") from None
        changes = [
            f"{k} {there.get(k)}, now {wanted.get(k)}"
            for k in {**there, **wanted}
            if there.get(k) != wanted.get(k)
        ]
        if changes and not fresh:
            raise RunFolderError(f"{folder} holds a run of other settings: {'; '.join(changes)}")
        if fresh:
            for path in [folder / name for name in _OURS] + list(
                folder.glob("tensorboard/events.*")
            ):
                path.unlink(missing_ok=True)
    elif any(folder.iterdir()):
        raise RunFolderError(f"{folder} is not empty and holds no run of a sorter")
    write_json(about, {"sorter": wanted, "versions": environment(), "machine": machine()})
