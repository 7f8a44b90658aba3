"""What ``rankgrad bench`` measures: suites of rows, each a ratio taken in one run."""

from rankgrad.bench.contest import Bench, Other
from rankgrad.bench.machine import machine
from rankgrad.bench.measure import ratio, times
from rankgrad.bench.memory import peak_extra_bytes
from rankgrad.bench.rows import Row

__all__ = ["SUITES", "Bench", "Other", "Row", "machine", "peak_extra_bytes", "ratio", "times"]

# name -> one line; the module of that name in rankgrad.bench.suites has a function rows(bench)
SUITES = {
    "detection": "Rank & Sort against focal loss, a sort and a textbook loop; growth with N",
    "pairwise": "weighted sums of comparisons against one torch.sort and the dense formula",
    "projection": "soft ranks and sorting by projection: torchsort, fast-soft-sort, softtorch",
    "exact_ranker": "SoDeep's handcrafted ranker against its n x n formula; memory",
    "networks": "differentiable sorting networks against diffsort and difftopk",
    "permutation": "NeuralSort, SoftSort, Sinkhorn: n x n formulas, softtorch, difftopk",
    "ranksim": "the RankSim term against loops over its rows",
    "rank_n_contrast": "Rank-N-Contrast against a loop over the partners, and distances alone",
    "smooth_ap": "Smooth-AP: textbook form, pytorch-metric-learning; memory",
    "neural_ndcg": "NeuralNDCG against its formula in vectors and in matrices; memory",
    "auc": "the pairwise squared hinge loss of AUC against libauc",
}
