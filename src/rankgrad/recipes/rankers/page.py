"""The page of :mod:`rankgrad.recipes.rankers`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rankgrad.recipes.rankers.figures import ranks_and_gradients
from rankgrad.recipes.rankers.sweep import Curve, Ranked, largest_error
from rankgrad.recipes.rankers.table import faithful_setting
from rankgrad.report import Page, Section, Table

__all__ = ["write_page"]

# heading, what its rankers have in common, their shorthands
_FAMILIES = (
    (
        "Sums over pairs",
        "Each score counts how many others are ahead of it, the near ones by a fraction. The "
        "comparison decides how a lead becomes a fraction: a ramp forgets what is farther than its "
        "half width, a Cauchy distribution never forgets. sodeep first brings the scores to a "
        "scale of its own, so that its temperature means the same for every list.",
        ("ramp", "logistic", "laplace", "normal", "cauchy", "sodeep"),
    ),
    (
        "Projections",
        "The nearest point to the scores among all averages of permutations. Ranks are exactly "
        "hard, without a gradient, where scores are further apart than the strength; softer, they "
        "merge in blocks, hence the corners.",
        ("projection", "projection_kl"),
    ),
    (
        "Hard ranks with a gradient",
        "The ranks stay hard at every setting; only the gradient is made up. blackbox takes one "
        "step against the loss and ranks again; straight_through takes the gradient of another "
        "ranker, here of projection.",
        ("blackbox", "straight_through"),
    ),
    (
        "Relaxed permutation matrices",
        "A matrix says how much of each score belongs to each place; ranks are mean places.",
        ("neuralsort", "softsort", "sinkhorn"),
    ),
    (
        "Sorting networks",
        "Comparators swap pairs softly, layer by layer. Unlike all others, their ranks depend a "
        "little on the order in which the scores come.",
        ("odd_even", "bitonic"),
    ),
)


def write_page(
    path: Path, scores: Sequence[float], curves: Sequence[Curve], learned: Mapping[str, Ranked]
) -> None:
    """Write the page of these curves, and of the rankers that have no softness."""
    by_name = {curve.sweep.shorthand: curve for curve in curves}
    x = np.asarray(scores)
    sections = [_defaults(scores, curves, learned)]
    for title, text, names in _FAMILIES:
        shown = [by_name[name] for name in names if name in by_name]
        if shown:
            figures = [ranks_and_gradients(curve, x) for curve in shown]
            sections.append(Section(title, text=[text], figures=figures))
    listed = ", ".join(f"{score:.4g}" for score in scores)
    Page(
        title="Which ranker?",
        lead=f"Every differentiable ranker on one list of {len(scores)} scores, from hard (left) "
        "to soft (right). Above: the rank of every score, a line each, 1 = largest. Below: how "
        "many places a score gains by one unit more, its gradient with the sign turned. The "
        "dashed line is the default.",
        sections=sections,
        footer=f"Written by rankgrad rankers. The scores: {listed}. The numbers behind the plots "
        "are in ranks.csv beside this page.",
    ).write(path)


def _defaults(
    scores: Sequence[float], curves: Sequence[Curve], learned: Mapping[str, Ranked]
) -> Section:
    def row(name: str, setting: str, found: Ranked, best: str) -> list[str]:
        error = f"{float(largest_error(scores, found.ranks)):.2f}"
        flat = int((np.abs(found.pull) < 1e-6).sum())
        return [name, setting, error, f"{flat} of {len(scores)}", best]

    rows = []
    for curve in curves:
        name, setting = curve.sweep.shorthand, f"{curve.sweep.setting} {curve.sweep.default:g}"
        rows.append(row(name, setting, curve.default, faithful_setting(curve)))
    rows += [row(name, "learned", found, "no setting") for name, found in learned.items()]
    return Section(
        "The defaults on these scores",
        text=[
            "A soft rank is a compromise: close to the hard one it has little gradient, or none; "
            "far from it the gradient reaches every score, but the ranks are no longer those of "
            "the metric. The right setting follows the scale of the scores. A place to start: the "
            "softest setting that keeps every rank within half a place."
        ],
        tables=[
            Table(
                [
                    "ranker",
                    "default",
                    "largest error of a rank",
                    "scores without a gradient",
                    "within half a place up to",
                ],
                rows,
            )
        ],
        small_print=["For a steepness, which is one over a temperature: down to."],
    )
