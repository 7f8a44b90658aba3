"""The stages of a training run: what learns in each of them, and by which losses."""

from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Literal

from rankgrad.recipes.regression.method import RegressionMethod, Term

__all__ = ["Stage", "main_stage", "stages"]


@dataclass(frozen=True)
class Stage:
    """Some epochs with an optimizer and a learning-rate schedule of their own."""

    name: Literal["pretrain", "train", "head"]
    epochs: int
    # What learns; the rest of the network stays as it is
    part: Literal["encoder", "head", "all"]
    # Whether the head starts anew
    new_head: bool = False
    # Whether predictions are fitted; if not, there is no validation error either
    regresses: bool = True
    # Whether rare labels weigh more, where the method says so
    weighted: bool = True
    # Whether features are smoothed (FDS), where the method says so
    smooths: bool = True
    terms: tuple[Term, ...] = ()
    # Random views of each sample in a batch, where the data has any
    views: int = 1
    # Epochs of the stages before it, and of all
    first: int = 0
    total: int = 0


def stages(method: RegressionMethod, epochs: int) -> tuple[Stage, ...]:
    """Return the stages of a method; ``epochs`` are those of the one that fits the predictions.

    - ``pretrain``: the encoder alone, by Rank-N-Contrast. Nothing is predicted yet, so that there
      is no error to choose an epoch or to stop by: the last one counts.
    - ``train``: all, or the head alone on the pre-trained encoder.
    - ``head``: a new head alone, re-weighted (RRT); weights belong to this stage only, then.
    """
    found = [main_stage(method, epochs)]
    first = method.pretrain
    if first is not None:
        options = (("weight", 1.0), ("start", 0), ("temperature", first.temperature))
        terms = (Term("rnc", options),)
        found.insert(
            0,
            Stage(
                "pretrain",
                first.epochs,
                "encoder",
                regresses=False,
                weighted=False,
                smooths=False,
                terms=terms,
                views=2,
            ),
        )
    if method.retrain:
        found.append(Stage("head", method.retrain, "head", new_head=True, smooths=False))
    before = [0, *accumulate(stage.epochs for stage in found)]
    return tuple(
        replace(stage, first=start, total=before[-1])
        for stage, start in zip(found, before, strict=False)
    )


def main_stage(method: RegressionMethod, epochs: int = 1) -> Stage:
    """Return the stage that every method has."""
    frozen = method.pretrain is not None and method.pretrain.freeze
    return Stage(
        "train",
        epochs,
        "head" if frozen else "all",
        weighted=not method.retrain,
        terms=method.terms,
    )
