"""CPU kernels, compiled by numba on first use and cached on disk."""

from rankgrad.kernels.cpu.ahead import negatives_ahead
from rankgrad.kernels.cpu.contrast import contrast_rows
from rankgrad.kernels.cpu.coupling import coupling_apply, coupling_logsumexp
from rankgrad.kernels.cpu.directions import ranksim_directions, ranksim_turn
from rankgrad.kernels.cpu.distances import contrast_vjp, distances
from rankgrad.kernels.cpu.isotonic import (
    project_rank,
    project_rank_vjp,
    project_sort,
    project_sort_vjp,
)
from rankgrad.kernels.cpu.matrices import coupling_matrix, coupling_matrix_vjp
from rankgrad.kernels.cpu.network import network_apply, network_gradient
from rankgrad.kernels.cpu.pairwise import pairwise, pairwise_order
from rankgrad.kernels.cpu.pairwise_ranks import pairwise_ranks, pairwise_ranks_vjp
from rankgrad.kernels.cpu.positives import find_at_most, find_positives
from rankgrad.kernels.cpu.rank_sort import rank_sort_errors, rank_sort_pulls
from rankgrad.kernels.cpu.ranking import hard_rank
from rankgrad.kernels.cpu.ranksim import ranksim_order, ranksim_pull, ranksim_rows
from rankgrad.kernels.cpu.retrieval import soft_retrieval, soft_retrieval_backward
from rankgrad.kernels.cpu.scaling import scaled_product, scaled_product_vjp
from rankgrad.kernels.cpu.sorting import argsort
from rankgrad.kernels.cpu.spread import spread_to_negatives
from rankgrad.kernels.cpu.steepness import pair_deviation
from rankgrad.kernels.cpu.topk import soft_topk, soft_topk_vjp
from rankgrad.kernels.cpu.unimodal_averages import unimodal_average, unimodal_average_vjp
from rankgrad.kernels.cpu.unimodal_matrices import unimodal_matrix, unimodal_matrix_vjp
from rankgrad.kernels.cpu.unimodal_ranks import unimodal_ranks, unimodal_ranks_vjp

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
