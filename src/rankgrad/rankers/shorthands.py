"""What the names of rankers stand for."""

from rankgrad.comparisons import Cauchy, Laplace, Logistic, Normal, Ramp
from rankgrad.rankers.blackbox import Blackbox
from rankgrad.rankers.hard import Hard
from rankgrad.rankers.learned import ShippedRanker
from rankgrad.rankers.network import SortingNetwork
from rankgrad.rankers.neuralsort import NeuralSort
from rankgrad.rankers.pairwise import Pairwise
from rankgrad.rankers.projection import Projection
from rankgrad.rankers.resolve import RANKERS
from rankgrad.rankers.sinkhorn import Sinkhorn
from rankgrad.rankers.softsort import SoftSort
from rankgrad.rankers.straight_through import StraightThrough

__all__ = ["RANKERS"]

RANKERS.update(
    hard=Hard(),
    ramp=Pairwise(Ramp()),
    logistic=Pairwise(Logistic()),
    laplace=Pairwise(Laplace()),
    normal=Pairwise(Normal()),
    cauchy=Pairwise(Cauchy()),
    sodeep=Pairwise(Logistic(), steepness="auto"),
    projection=Projection(),
    projection_kl=Projection(regularization="kl"),
    blackbox=Blackbox(),
    neuralsort=NeuralSort(),
    softsort=SoftSort(),
    sinkhorn=Sinkhorn(),
    odd_even=SortingNetwork(kind="odd_even"),
    bitonic=SortingNetwork(kind="bitonic"),
    set=ShippedRanker("set"),
)
# Its own default is a name, which must be there first.
RANKERS["straight_through"] = StraightThrough()
