"""The primitives in plain PyTorch: any device, clean in float64, the oracle of every test."""

from rankgrad.kernels.reference.contrast import contrast_rows, contrast_vjp, distances
from rankgrad.kernels.reference.coupling import coupling_apply, coupling_logsumexp
from rankgrad.kernels.reference.detection import (
    find_at_most,
    find_positives,
    negatives_ahead,
    spread_to_negatives,
)
from rankgrad.kernels.reference.isotonic import (
    project_rank,
    project_rank_vjp,
    project_sort,
    project_sort_vjp,
)
from rankgrad.kernels.reference.matrices import coupling_matrix, coupling_matrix_vjp
from rankgrad.kernels.reference.network import network_apply, network_gradient
from rankgrad.kernels.reference.pairwise import pairwise, pairwise_order
from rankgrad.kernels.reference.pairwise_ranks import pairwise_ranks, pairwise_ranks_vjp
from rankgrad.kernels.reference.rank_sort import (
    prefix_sums,
    rank_sort_errors,
    rank_sort_pulls,
)
from rankgrad.kernels.reference.ranking import hard_rank
from rankgrad.kernels.reference.ranksim import (
    ranksim_directions,
    ranksim_order,
    ranksim_pull,
    ranksim_rows,
    ranksim_turn,
)
from rankgrad.kernels.reference.retrieval import soft_retrieval, soft_retrieval_backward
from rankgrad.kernels.reference.scaling import scaled_product, scaled_product_vjp
from rankgrad.kernels.reference.sorting import argsort
from rankgrad.kernels.reference.steepness import pair_deviation
from rankgrad.kernels.reference.topk import soft_topk, soft_topk_vjp
from rankgrad.kernels.reference.unimodal import (
    unimodal_average,
    unimodal_average_vjp,
    unimodal_matrix,
    unimodal_matrix_vjp,
    unimodal_ranks,
    unimodal_ranks_vjp,
)

__all__ = [
    "argsort",
    "contrast_rows",
    "contrast_vjp",
    "coupling_apply",
    "coupling_logsumexp",
    "coupling_matrix",
    "coupling_matrix_vjp",
    "distances",
    "find_at_most",
    "find_positives",
    "hard_rank",
    "negatives_ahead",
    "network_apply",
    "network_gradient",
    "pair_deviation",
    "pairwise",
    "pairwise_order",
    "pairwise_ranks",
    "pairwise_ranks_vjp",
    "prefix_sums",
    "project_rank",
    "project_rank_vjp",
    "project_sort",
    "project_sort_vjp",
    "rank_sort_errors",
    "rank_sort_pulls",
    "ranksim_directions",
    "ranksim_order",
    "ranksim_pull",
    "ranksim_rows",
    "ranksim_turn",
    "scaled_product",
    "scaled_product_vjp",
    "soft_retrieval",
    "soft_retrieval_backward",
    "soft_topk",
    "soft_topk_vjp",
    "spread_to_negatives",
    "unimodal_average",
    "unimodal_average_vjp",
    "unimodal_matrix",
    "unimodal_matrix_vjp",
    "unimodal_ranks",
    "unimodal_ranks_vjp",
]
