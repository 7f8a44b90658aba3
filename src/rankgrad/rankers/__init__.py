"""Operators from scores to ranks, all called alike; rank 1 is the largest score."""

from rankgrad.rankers.base import Ranker, SortingRanker
from rankgrad.rankers.blackbox import Blackbox
from rankgrad.rankers.functions import soft_quantile, soft_rank, soft_sort
from rankgrad.rankers.hard import Hard
from rankgrad.rankers.learned import LearnedRanker, ShippedRanker
from rankgrad.rankers.network import SortingNetwork
from rankgrad.rankers.neuralsort import NeuralSort
from rankgrad.rankers.pairwise import Pairwise
from rankgrad.rankers.permutation import PermutationRanker
from rankgrad.rankers.projection import Projection
from rankgrad.rankers.resolve import Custom, RankerLike, as_ranker
from rankgrad.rankers.shorthands import RANKERS
from rankgrad.rankers.sinkhorn import Sinkhorn
from rankgrad.rankers.softsort import SoftSort
from rankgrad.rankers.straight_through import StraightThrough
from rankgrad.rankers.topk import soft_topk

__all__ = [
    "Blackbox",
    "Custom",
    "Hard",
    "LearnedRanker",
    "NeuralSort",
    "Pairwise",
    "PermutationRanker",
    "Projection",
    "RANKERS",
    "Ranker",
    "RankerLike",
    "ShippedRanker",
    "Sinkhorn",
    "SoftSort",
    "SortingNetwork",
    "SortingRanker",
    "StraightThrough",
    "as_ranker",
    "soft_quantile",
    "soft_rank",
    "soft_sort",
    "soft_topk",
]
