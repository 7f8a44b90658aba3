"""Results as files: one folder a run, written whole or not at all."""

import csv
import hashlib
import io
import json
import math
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from rankgrad.files import replacing
from rankgrad.recipes.experiments.environment import environment, machine
from rankgrad.recipes.experiments.study import Outcome, Task

__all__ = ["ChangedStudyError", "RunStore", "StoredRun", "differences", "write_csv", "write_json"]

_FORMAT = 1


class ChangedStudyError(Exception):
    """The folder holds results of other settings, which must not be mixed with these."""


@dataclass(frozen=True)
class StoredRun:
    """One finished run as read from its folder."""

    method: str
    seed: int
    metrics: dict[str, float]
    history: list[dict[str, float]]
    notes: list[str]
    seconds: float
    folder: Path

    def arrays(self) -> dict[str, np.ndarray]:
        """Predictions and whatever else the recipe kept."""
        with np.load(self.folder / "arrays.npz", allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}


class RunStore:
    """The results folder of a study.

    A run lives in ``runs/<method>/seed-<n>/``: ``result.json`` (settings, versions, metrics and the
    SHA-256 of the other files), ``history.csv``, ``arrays.npz`` and, where the recipe keeps the
    model, ``model.pt`` for ``torch.load(..., weights_only=True)``. The folder is written under
    another name and renamed when it is complete: an interruption leaves no half result. A run
    under way may keep its state beside it; that file goes when the run is stored.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.runs = self.folder / "runs"

    def clear(self) -> None:
        """Forget all runs."""
        shutil.rmtree(self.runs, ignore_errors=True)

    def remove_leftovers(self) -> None:
        """Delete what interrupted writes left behind; a write takes far less than a minute."""
        for folder in self.runs.glob("*/.partial-*"):
            if time.time() - folder.stat().st_mtime > 60:
                shutil.rmtree(folder, ignore_errors=True)

    def underway(self, task: Task) -> Path:
        """Return the file for the state of a run under way; its folder is made.

        Other settings or versions have another file.
        """
        target = self.runs / task.folder
        target.parent.mkdir(parents=True, exist_ok=True)
        what = json.dumps([task.identity(), environment()], sort_keys=True)
        return target.with_name(
            f"{target.name}-{hashlib.sha256(what.encode()).hexdigest()[:12]}.pt"
        )

    def save(self, task: Task, outcome: Outcome, seconds: float) -> None:
        """Write one run, all of it or nothing."""
        target = self.runs / task.folder
        partial = target.with_name(f".partial-{target.name}-{os.getpid()}")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        write_csv(partial / "history.csv", outcome.history)
        with (partial / "arrays.npz").open("wb") as file:
            np.savez_compressed(file, **outcome.arrays)  # type: ignore[arg-type]  # numpy's stub
        if outcome.state is not None:
            import torch

            torch.save(dict(outcome.state), partial / "model.pt")
        result = {
            "format": _FORMAT,
            "identity": {**task.identity(), "versions": environment()},
            "metrics": outcome.metrics,
            "notes": outcome.notes,
            "seconds": round(seconds, 3),
            "machine": machine(),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "sha256": {path.name: _sha256(path) for path in sorted(partial.iterdir())},
        }
        write_json(partial / "result.json", result)
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
        for state in target.parent.glob(f"{target.name}-*.pt"):
            state.unlink(missing_ok=True)

    def load(self, task: Task) -> StoredRun | None:
        """Return the stored run, or None where there is none or its files are damaged.

        Raises:
            ChangedStudyError: it was made with other settings or other versions.
        """
        folder = self.runs / task.folder
        try:
            result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
            if result["format"] != _FORMAT:
                raise ChangedStudyError(f"{folder} was written by another version of rankgrad")
            changes = differences(
                result["identity"], {**task.identity(), "versions": environment()}
            )
            if changes:
                raise ChangedStudyError(f"{folder} holds results of other settings: " + changes)
            if any(_sha256(folder / name) != sha for name, sha in result["sha256"].items()):
                return None
            return StoredRun(
                method=task.method.name,
                seed=task.seed,
                metrics={k: math.nan if v is None else v for k, v in result["metrics"].items()},
                history=_read_csv(folder / "history.csv"),
                notes=result["notes"],
                seconds=result["seconds"],
                folder=folder,
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None


def differences(old: dict[str, Any], new: dict[str, Any]) -> str:
    """Say which values differ, as ``settings.epochs 60, now 10; ...``."""

    def flat(value: Any, name: str = "") -> dict[str, Any]:
        if not isinstance(value, dict):
            return {name: value}
        return {
            key: entry
            for part, inner in value.items()
            for key, entry in flat(inner, f"{name}.{part}" if name else part).items()
        }

    before, after = flat(old), flat(new)
    keys = [k for k in {**before, **after} if before.get(k) != after.get(k)]
    return "; ".join(f"{k} {before.get(k)}, now {after.get(k)}" for k in keys)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON that every reader takes: NaN and infinities become null."""

    def strict(x: Any) -> Any:
        if isinstance(x, dict):
            return {k: strict(v) for k, v in x.items()}
        if isinstance(x, list | tuple):
            return [strict(v) for v in x]
        if isinstance(x, np.generic):
            x = x.item()
        return None if isinstance(x, float) and not math.isfinite(x) else x

    _replace(path, json.dumps(strict(content), indent=2, allow_nan=False) + "\n")


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows that share their columns; NaN becomes an empty field."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: "" if isinstance(v, float) and v != v else v for k, v in row.items()})
    _replace(path, text.getvalue())


def _read_csv(path: Path) -> list[dict[str, float]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [
            {k: float(v) if v else math.nan for k, v in row.items()} for row in csv.DictReader(file)
        ]


def _replace(path: Path, text: str) -> None:
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
