"""Every ranker on one list of scores, from hard to soft: numbers, a table, a page of plots."""

from rankgrad.recipes.rankers.page import write_page
from rankgrad.recipes.rankers.scores import EXAMPLE, MOST, ScoresError, parse_scores
from rankgrad.recipes.rankers.sweep import (
    LEARNED,
    SWEEPS,
    Curve,
    Ranked,
    largest_error,
    ranked,
    sweep,
)
from rankgrad.recipes.rankers.table import plain_table

__all__ = [
    "EXAMPLE",
    "LEARNED",
    "MOST",
    "SWEEPS",
    "Curve",
    "Ranked",
    "ScoresError",
    "largest_error",
    "parse_scores",
    "plain_table",
    "ranked",
    "sweep",
    "write_page",
]
