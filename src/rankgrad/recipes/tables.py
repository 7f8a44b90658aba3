"""What the tables of several recipes' pages have in common."""

import math
from collections.abc import Mapping

from rankgrad.recipes.experiments.environment import environment, machine
from rankgrad.report import Table

__all__ = ["settings_table", "text"]


def text(value: float, digits: int = 1) -> str:
    """A number as in a table, a dash where there is none.

    >>> text(1.25), text(float("nan"))
    ('1.2', '–')
    """
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def settings_table(values: Mapping[str, object]) -> Table:
    """Return the settings with the software and the machine."""
    around = {**environment(), **machine()}
    rows = [[k, str(v)] for k, v in {**values, **around}.items()]
    return Table(["setting", "value"], rows)
