"""Finding the positives of the detection losses: count by block, then write by block."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from rankgrad.kernels.cuda.launch import ceil_div, launch

__all__ = ["find_positives"]

_BLOCK = 1024


@triton.jit
def _is_positive(t, EXACT_ONE: tl.constexpr):
    if EXACT_ONE:
        found = t == 1.0
    else:
        found = t > 0.0
    return found.to(tl.int32)


@triton.jit
def _tally(targets, facts, n, EXACT_ONE: tl.constexpr, BLOCK: tl.constexpr):
    """Write how many positives a block has, and how many targets are NaN."""
    block = tl.program_id(0).to(tl.int64)
    i = block * BLOCK + tl.arange(0, BLOCK)
    t = tl.load(targets + i, mask=i < n, other=0.0)
    tl.store(facts + block, tl.sum(_is_positive(t, EXACT_ONE), axis=0).to(tl.int64))
    broken = tl.sum((t != t).to(tl.int32), axis=0).to(tl.int64)
    tl.store(facts + tl.num_programs(0) + block, broken)


@triton.jit
def _collect(targets, facts, through, index, n, EXACT_ONE: tl.constexpr, BLOCK: tl.constexpr):
    """Write the places of a block's positives; ``through`` says how many come up to its end."""
    block = tl.program_id(0).to(tl.int64)
    many = tl.load(facts + block)
    if many > 0:
        i = block * BLOCK + tl.arange(0, BLOCK)
        t = tl.load(targets + i, mask=i < n, other=0.0)
        found = _is_positive(t, EXACT_ONE)
        to = tl.load(through + block) - many + tl.cumsum(found, axis=0) - 1
        tl.store(index + to, i, mask=found > 0)


def find_positives(targets: Tensor, exact_one: bool) -> tuple[Tensor, bool]:
    """Return the places of the positives in ``targets`` [n], and whether a target is NaN.

    Positive means 1 if ``exact_one``, else above 0. The host waits once: their number is the size
    of the result.
    """
    targets = targets.detach().contiguous()
    n = targets.numel()
    blocks = ceil_div(n, _BLOCK)
    facts = torch.empty((2, blocks), dtype=torch.int64, device=targets.device)
    constants = {"EXACT_ONE": exact_one, "BLOCK": _BLOCK}
    launch(_tally, blocks, targets, facts, n, **constants)
    through = facts.cumsum(-1)
    found, broken = (through[:, -1] if blocks else facts.sum(-1)).tolist()
    index = torch.empty(found, dtype=torch.int64, device=targets.device)
    if found:
        launch(_collect, blocks, targets, facts, through, index, n, **constants)
    return index, broken > 0
