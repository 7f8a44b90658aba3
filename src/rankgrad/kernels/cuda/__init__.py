"""GPU kernels, compiled by triton on first use; on the CPU they run under its interpreter.

What is missing here the reference serves on the GPU: sorting and ranking are ``torch.sort``.
"""

from rankgrad.kernels.cuda.ahead import negatives_ahead
from rankgrad.kernels.cuda.network import network_apply, network_gradient
from rankgrad.kernels.cuda.pairwise import pairwise
from rankgrad.kernels.cuda.positives import find_at_most, find_positives
from rankgrad.kernels.cuda.prefixes import prefix_sums
from rankgrad.kernels.cuda.projection import (
    project_rank,
    project_rank_vjp,
    project_sort,
    project_sort_vjp,
)
from rankgrad.kernels.cuda.rank_sort import rank_sort_errors, rank_sort_pulls
from rankgrad.kernels.cuda.ranksim import ranksim_rows
from rankgrad.kernels.cuda.retrieval import soft_retrieval, soft_retrieval_backward
from rankgrad.kernels.cuda.spread import spread_to_negatives

__all__ = [
    "find_at_most",
    "find_positives",
    "negatives_ahead",
    "network_apply",
    "network_gradient",
    "pairwise",
    "prefix_sums",
    "project_rank",
    "project_rank_vjp",
    "project_sort",
    "project_sort_vjp",
    "rank_sort_errors",
    "rank_sort_pulls",
    "ranksim_rows",
    "soft_retrieval",
    "soft_retrieval_backward",
    "spread_to_negatives",
]
