"""Methods by name, and how people choose some of them."""

from collections.abc import Sequence

from rankgrad.recipes.regression.method import MethodError, RegressionMethod, parse_method

__all__ = ["DEFAULT_METHODS", "METHODS", "RECOMMENDED", "chosen"]

METHODS: dict[str, str] = {
    "L1": "l1",
    "MSE": "mse",
    "Huber": "huber",
    "Focal-L1": "focal-l1",
    "Balanced MSE": "balanced-mse",
    "INV": "mse inverse",
    "SQINV": "mse sqrt-inverse",
    "LDS": "mse lds",
    "FDS": "mse fds",
    "LDS + FDS": "mse lds fds",
    "RRT": "mse rrt",
    "RankSim": "mse ranksim",
    "RnC": "mse rnc",
    "RnC pre-training": "mse pretrain",
    "Spearman": "mse spearman",
    "Kendall": "mse kendall",
    "Difference": "mse difference",
    "LDS + RankSim": "mse lds ranksim",
    "LDS + RnC": "mse lds rnc",
    "LDS + Spearman": "mse lds spearman",
    "LDS + Kendall": "mse lds kendall",
    "LDS + Difference": "mse lds difference",
    "LDS + RnC + Difference": "mse lds rnc difference",
}
"""Methods by name, each at its default setting."""

DEFAULT_METHODS = ("L1", "MSE", "LDS", "LDS + RankSim", "LDS + RnC")

RECOMMENDED = "LDS + RnC"
"""What to begin with; docs/regression.md says on what it was the best."""


def chosen(names: Sequence[str], own: Sequence[str] = ()) -> tuple[RegressionMethod, ...]:
    """Return methods by name, small letters or large, and methods of one's own, ``NAME=TEXT``.

    Raises:
        MethodError: an unknown name, or a text that is no method.
    """
    by_name = {name.lower(): name for name in METHODS}
    found = []
    for name in names:
        if name.strip().lower() not in by_name:
            raise MethodError(f"unknown method {name!r}; there are {', '.join(METHODS)}")
        known = by_name[name.strip().lower()]
        found.append(parse_method(known, METHODS[known]))
    for entry in own:
        name, equals, text = entry.partition("=")
        if not equals or not name.strip():
            raise MethodError(f"a method of your own is NAME=TEXT, got {entry!r}")
        found.append(parse_method(name.strip(), text))
    return tuple(found)
