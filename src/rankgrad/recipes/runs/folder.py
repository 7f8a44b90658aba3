"""The folder of a run: ours, or nobody's business."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rankgrad.recipes.experiments.environment import environment, machine
from rankgrad.recipes.experiments.store import differences, write_json

__all__ = ["RunFolderError", "claim"]


class RunFolderError(Exception):
    """The folder is not one that this run may write to."""


def claim(
    folder: Path, kind: str, wanted: dict[str, Any], files: Sequence[str], *, fresh: bool
) -> None:
    """Make the folder that of the run, or say why not; ``settings.json`` tells what is wanted.

    Args:
        folder: new, empty, or that of the same run.
        kind: what the run makes, e.g. ``"sorter"``.
        wanted: its settings, plain enough for JSON.
        files: patterns of what a run leaves in its folder.
        fresh: delete these of an earlier run of the kind, whatever its settings.

    Raises:
        RunFolderError: the folder holds something else, or a run of other settings.
    """
    wanted = json.loads(json.dumps(wanted))
    folder.mkdir(parents=True, exist_ok=True)
    about = folder / "settings.json"
    if about.exists():
        try:
            there = dict(json.loads(about.read_text(encoding="utf-8"))[kind])
        except (ValueError, KeyError, TypeError):
            raise RunFolderError(f"{folder} holds a settings.json of something else") from None
        changes = differences(there, wanted)
        if changes and not fresh:
            raise RunFolderError(f"{folder} holds a run of other settings: {changes}")
        if fresh:
            for path in [path for pattern in files for path in folder.glob(pattern)]:
                if path.is_file():
                    path.unlink()
    elif any(folder.iterdir()):
        raise RunFolderError(f"{folder} is not empty and holds no run of a {kind}")
    write_json(about, {kind: wanted, "versions": environment(), "machine": machine()})
