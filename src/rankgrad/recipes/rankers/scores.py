"""The scores to rank, from text."""

import math
import re

__all__ = ["EXAMPLE", "MOST", "ScoresError", "parse_scores"]

# Two that are close together, two pairs that are not, one far from all others.
EXAMPLE = (0.64, 0.91, 0.32, 0.58, 0.05, 0.55, 0.27)
MOST = 50  # lines that one plot can bear


class ScoresError(ValueError):
    """The text is no list of scores that can be ranked and drawn."""


def parse_scores(text: str) -> tuple[float, ...]:
    r"""Return the numbers of a text, separated by white space, commas or semicolons.

    >>> parse_scores("0.3, 0.9\n-1e-2")
    (0.3, 0.9, -0.01)
    """
    scores = []
    for word in filter(None, re.split(r"[\s,;]+", text)):
        try:
            scores.append(float(word))
        except ValueError:
            raise ScoresError(f"a score must be a number, got {word!r}") from None
        if not math.isfinite(scores[-1]):
            raise ScoresError(f"a score must be finite, got {word!r}")
    if not 2 <= len(scores) <= MOST:
        raise ScoresError(f"there must be 2 to {MOST} scores, got {len(scores)}")
    return tuple(scores)
