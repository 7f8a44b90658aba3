"""One line of a benchmark table."""

from dataclasses import dataclass

__all__ = ["Row"]


@dataclass(frozen=True)
class Row:
    """What is done, by us and by another, and how the two compare.

    Attributes:
        work: what is done, on what sizes.
        against: what it is measured against.
        ours: our figure, in ``unit``.
        theirs: the other's figure; None where it was not measured, ``note`` says why.
        unit: "ms", or "bytes".
        ratio: ours over theirs; for times the median of the ratios taken turn by turn.
        limit: the most that the ratio may be, if somebody set one.
        size: the number of elements, for rows that show growth.
        series: the same work at other sizes has the same series; a series is a plot.
        difference: the largest difference of the results, over their largest magnitude; None where
            the other computes something else.
        gradient_difference: the same of the gradients.
        note: how the figure was taken where it was not by turns, or why there is none.
    """

    work: str
    against: str
    ours: float
    theirs: float | None
    unit: str
    ratio: float | None
    limit: float | None = None
    size: int | None = None
    series: str | None = None
    difference: float | None = None
    gradient_difference: float | None = None
    note: str = ""
