"""Ages of scans from a trained model, and the table of them."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rankgrad.data.nifti import Scan, ScanDataset
from rankgrad.files import replacing
from rankgrad.recipes.brain_age.batches import Batches, even_parts, predicted
from rankgrad.recipes.brain_age.bias import AgeBias
from rankgrad.recipes.brain_age.evaluation import SEXES
from rankgrad.recipes.brain_age.many_workers import workers_of
from rankgrad.recipes.brain_age.model import BrainAgeModel, autocast

__all__ = ["predict_ages", "write_predictions"]


def predict_ages(
    model: BrainAgeModel,
    scans: ScanDataset,
    device: torch.device | str = "cpu",
    *,
    precision: str = "float32",
    batch_size: int = 8,
    workers: int = 0,
    group: Any = None,
) -> np.ndarray:
    """Return the ages of every stage, ``[n, stages]``; the model is in evaluation mode after it.

    Args:
        model: with one stage or two.
        scans: to predict for.
        device: where the model is.
        precision: of the convolutions.
        batch_size: scans at a time.
        workers: processes that read scans.
        group: the workers that share the scans; each gets all ages.
    """
    device = torch.device(device)
    model.eval()
    order = torch.arange(len(scans))
    # Each process reads its part of larger batches.
    parts = even_parts(order, batch_size * workers_of(group), workers_of(group))
    found = []
    with torch.inference_mode(), autocast(precision, device):
        for batch in Batches(scans, workers, device).read([part for part in parts if part]):
            ages = model(batch["image"].to(device), batch["sex"].to(device))
            found.append((batch["index"].to(device), ages))
    if not found:
        stages = 1 if model.second is None else 2
        none = torch.zeros(0, dtype=torch.long, device=device)
        found = [(none, torch.zeros(0, stages, device=device))]
    return predicted(found, len(scans), group)


def write_predictions(
    path: Path, scans: Sequence[Scan], ages: np.ndarray, bias: AgeBias | None = None
) -> None:
    """Write a CSV with a row a scan: ages, and gaps where the true age is known.

    Args:
        path: the file; written whole or not at all.
        scans: in the order of ``ages``.
        ages: of each stage, ``[n, stages]``.
        bias: adds the corrected age and the corrected gap.
    """
    truth = np.array([scan.age for scan in scans], dtype=np.float64)
    last = ages[:, -1].astype(np.float64)
    columns: dict[str, Sequence[object]] = {
        "file": [scan.name for scan in scans],
        "subject": [scan.subject for scan in scans],
        "sex": ["" if scan.sex is None else SEXES[scan.sex] for scan in scans],
        "age": _cells(truth),
        "predicted_age": _cells(last),
        "gap": _cells(last - truth),
    }
    if ages.shape[1] > 1:
        columns["first_stage_age"] = _cells(ages[:, 0])
    if bias is not None:
        columns["corrected_age"] = _cells(bias.age(last))
        columns["corrected_gap"] = _cells(bias.gap(last, truth))
    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def _cells(values: np.ndarray) -> list[str]:
    return ["" if math.isnan(v) else f"{v:.3f}" for v in values.astype(float).tolist()]
