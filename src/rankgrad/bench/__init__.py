"""What ``rankgrad bench`` measures: suites of rows, each a ratio taken in one run."""

from rankgrad.bench.measure import Row, machine, peak_extra_bytes, ratio, times

__all__ = ["SUITES", "Row", "machine", "peak_extra_bytes", "ratio", "times"]

# name -> one line; the module has the name of the suite and a function rows(quick) -> rows
SUITES = {
    "detection": "Rank & Sort against focal loss, a sort and a textbook loop; growth with N",
    "pairwise": "weighted sums of comparisons against one torch.sort and the dense formula",
}
