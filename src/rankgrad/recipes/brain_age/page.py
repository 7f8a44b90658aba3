"""The page of a brain-age run."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rankgrad.data.nifti import Scan, ScanDataset
from rankgrad.recipes.brain_age import figures
from rankgrad.recipes.brain_age.bias import AgeBias
from rankgrad.recipes.brain_age.evaluation import METRICS, SEXES, all_pairs, by_sex, discordant
from rankgrad.recipes.brain_age.model import BrainAgeModel
from rankgrad.recipes.brain_age.running import BrainAge, Parts
from rankgrad.recipes.brain_age.saliency import saliency
from rankgrad.recipes.experiments.study import plain
from rankgrad.recipes.tables import settings_table, text
from rankgrad.report import Figure, Page, Section, Table

__all__ = ["Tested", "stage_rows", "tested", "write_run_page"]

SHOWN = 4
LISTED = 20
STAGES = ("stage 1", "stage 2")


@dataclass(frozen=True)
class Tested:
    """Predictions for scans whose ages are known."""

    scans: tuple[Scan, ...]
    ages: np.ndarray
    predictions: np.ndarray
    """``[n, stages]``."""

    @property
    def stages(self) -> dict[str, np.ndarray]:
        """The ages of each stage, by name."""
        return dict(zip(STAGES, self.predictions.T, strict=False))

    @property
    def sexes(self) -> list[int | None]:
        """Of each scan."""
        return [scan.sex for scan in self.scans]

    def groups(self) -> dict[str, np.ndarray]:
        """Which scans are of which sex; all of them where it is not known of all."""
        if any(sex is None for sex in self.sexes):
            return {"all": np.ones(len(self.ages), dtype=bool)}
        found = {name: np.array([s == k for s in self.sexes]) for k, name in enumerate(SEXES)}
        return {name: chosen for name, chosen in found.items() if chosen.any()}


def tested(data: ScanDataset, predictions: np.ndarray) -> Tested:
    """Return the scans of a data set that have a prediction, with it."""
    known = ~np.isnan(predictions).any(axis=1)
    scans = tuple(scan for scan, k in zip(data.scans, known, strict=True) if k)
    return Tested(scans, data.ages.numpy()[known].astype(np.float64), predictions[known])


def stage_rows(found: Tested) -> list[list[str]]:
    """Return a row for each stage and sex: scans, MAE, RMSE, Pearson, Spearman."""
    return [
        [stage, name, str(n), *(text(m[k], 2 if k in METRICS[:2] else 3) for k in METRICS)]
        for stage, ages in found.stages.items()
        for name, (n, m) in by_sex(ages, found.ages, found.sexes).items()
    ]


HEADER = ("", "sex", "scans", *METRICS)


def write_run_page(
    folder: Path,
    trained: BrainAge,
    parts: Parts,
    found: Tested,
    histories: Mapping[str, Sequence[Mapping[str, float]]],
    *,
    split: str = "test",
    notes: Sequence[str] = (),
) -> Path:
    """Write ``folder/report.html`` and return its path.

    Args:
        folder: of the run.
        trained: the model.
        parts: the data.
        found: predictions for the scans that are reported on.
        histories: of each stage.
        split: which scans these are.
        notes: on the data.
    """
    data = trained.about["data"]
    last = found.predictions[:, -1].astype(np.float64)
    best = by_sex(last, found.ages, found.sexes)["all"][1]
    skipped = [str(problem) for problem in parts.skipped]
    sections = [
        Section(
            f"{split.capitalize()} scans",
            tables=[
                Table(
                    HEADER,
                    stage_rows(found),
                    "MAE and RMSE in years. The second stage corrects the first.",
                )
            ],
        ),
        Section(
            "Predicted against true",
            figures=[
                figures.age_scatter(found.ages, ages, found.groups(), title=stage)
                for stage, ages in found.stages.items()
            ],
        ),
        _residuals(found, last, trained.bias),
        _order(found),
        Section(
            "Where the age comes from",
            text=[
                "The absolute gradient of the predicted age by each voxel, smoothed: where the "
                "network looks, not what it has understood."
            ],
            figures=[_saliency(trained.model, parts, found)],
        ),
        Section("Training", figures=[f for s, h in histories.items() for f in _training(s, h)]),
        Section(
            "Settings and data",
            text=[
                f"Data: {data}. {len(parts.train)} training, {len(parts.validation)} validation "
                f"and {len(parts.test)} test scans; {len(skipped)} problems."
            ],
            tables=[settings_table({**plain(trained.settings), **_stages(trained)})],
            points=[*notes, *skipped[:LISTED]],
            small_print=(
                [f"And {len(skipped) - LISTED} more, in skipped.txt."]
                if len(skipped) > LISTED
                else []
            ),
        ),
    ]
    page = Page(
        title="Brain age" if data != "phantoms" else "Brain age of phantoms",
        lead=f"Mean absolute error {text(best['MAE'], 2)} years, Spearman "
        f"{text(best['Spearman'], 3)} on {len(found.ages)} {split} scans.",
        sections=sections,
        warning=(
            "" if data != "phantoms" else "These are phantoms, generated heads with known ages. "
            "Nothing here says how well brains are read."
        ),
        footer="Written by rankgrad train brain-age.",
    )  # fmt: skip
    path = folder / "report.html"
    page.write(path)
    return path


def _residuals(found: Tested, last: np.ndarray, bias: AgeBias) -> Section:
    groups = found.groups()
    charts = [figures.gap_scatter(found.ages, last - found.ages, groups, title="as predicted")]
    said = [
        f"On the {bias.scans} validation scans, predicted = {bias.slope:.3f} x age "
        f"{bias.intercept:+.2f}."
    ]
    if bias.usable:
        corrected = bias.gap(last, found.ages)
        charts.append(figures.gap_scatter(found.ages, corrected, groups, title="corrected"))
        without = np.abs(bias.age(last) - found.ages).mean()
        said.append(
            "The corrected gap is the distance from that line; it uses the true age, so that its "
            f"size ({np.abs(corrected).mean():.2f} years) is no error of the model. Corrected "
            f"without the true age, the mean absolute error is {without:.2f} years."
        )
    return Section("Residual against age", text=said, figures=charts)


def _order(found: Tested) -> Section:
    shares = {stage: discordant(ages, found.ages) for stage, ages in found.stages.items()}
    first = next(iter(shares.values()))
    rows = [
        [f"{name} years", str(n), *(text(100 * entries[i][2]) for entries in shares.values())]
        for i, (name, n, _) in enumerate(first)
    ]
    return Section(
        "Ranking errors",
        text=["How often the older of two looks younger, by how far apart they are."],
        tables=[Table(["apart", "pairs", *(f"{s}, %" for s in shares)], rows)],
        points=[
            f"{stage}: {100 * share:.1f} % of all {pairs} pairs are in the wrong order."
            for stage, entries in shares.items()
            for pairs, share in [all_pairs(entries)]
            if pairs
        ],
        figures=[figures.discordant_chart(shares)],
    )


def _saliency(model: BrainAgeModel, parts: Parts, found: Tested) -> Figure:
    """Young, old and between, at even steps through the ages."""
    order = np.argsort(found.ages)
    chosen = order[np.linspace(0, len(order) - 1, min(SHOWN, len(order))).round().astype(int)]
    wanted = [found.scans[i] for i in chosen]
    data = ScanDataset(wanted, parts.test.size, spacing=parts.test.spacing)
    items = [data[k] for k in range(len(wanted))]
    device = next(model.parameters()).device
    maps = []
    for item in items:
        image, sex = (item[k].unsqueeze(0).to(device) for k in ("image", "sex"))
        maps.append(saliency(model, image, sex)[0].cpu().numpy())
    labels = [f"true {found.ages[i]:.0f}, predicted {found.predictions[i, -1]:.0f}" for i in chosen]
    return figures.saliency_slices([item["image"][0].numpy() for item in items], maps, labels)


def _training(stage: str, history: Sequence[Mapping[str, float]]) -> list[Figure]:
    if not history:
        return []
    terms = {"base": "error", "ranks": "ranks", "differences": "differences"}
    columns = {k: v for k, v in terms.items() if all(row.get(k, math.nan) > 0 for row in history)}
    charts = [figures.epochs_chart(history, {"val_MAE": "MAE"}, title=f"{stage}: validation MAE")]
    if columns:
        charts.append(figures.epochs_chart(history, columns, title=f"{stage}: training loss"))
    return charts


def _stages(trained: BrainAge) -> dict[str, str]:
    return {
        f"stage {k}": ", ".join(f"{name} {value}" for name, value in entry.items())
        for k, entry in trained.about["stages"].items()
    }
