"""SoftSort and NeuralSort in plain PyTorch, tile by tile of their matrices.

The valid scores of a row are sorted. Infinite ones among them are blocks of their own at either
end, whose members share its places evenly; the formulas see the finite scores in between.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from rankgrad.kernels.reference.tiles import tiles

__all__ = [
    "unimodal_average",
    "unimodal_average_vjp",
    "unimodal_matrix",
    "unimodal_matrix_vjp",
    "unimodal_ranks",
    "unimodal_ranks_vjp",
]


@dataclass(frozen=True)
class _Sorted:
    """The rows of the matrix by tiles, over sorted scores; every tensor is [rows, n] or wider."""

    y: Tensor  # float64, largest first, what is not finite is 0
    order: Tensor  # where they came from
    valid: Tensor
    finite: Tensor
    block: Tensor  # 0: inf, 1: finite, 2: -inf, 3: masked
    broken: Tensor  # [rows, 1]: a NaN among them
    neural: bool
    temperature: float

    @property
    def place(self) -> Tensor:
        return torch.arange(1, self.y.shape[1] + 1, dtype=torch.float64, device=self.y.device)

    @property
    def ahead(self) -> Tensor:
        """How many infinite scores are ahead of the finite ones, [rows, 1]."""
        return (self.block == 0).sum(-1, keepdim=True)

    def slope(self) -> Tensor:
        """The factor of the scores in each row of NeuralSort's logits, [rows, n]."""
        n = self.finite.sum(-1, keepdim=True)
        return torch.where(self.finite, n + 1 - 2 * (self.place - self.ahead), 0.0)

    def side(self, part: slice) -> Tensor:
        """The sign of ``y_i - y_j`` for finite ones, [rows, part, n]."""
        gap = (self.y[:, part, None] - self.y[:, None, :]).sign()
        return torch.where(self.finite[:, part, None] & self.finite[:, None, :], gap, 0.0)

    def parts(self) -> list[slice]:
        return tiles(self.y.shape[1], self.y.numel())

    def rows(self) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Yield rows of the matrix, and of the kernel that their softmax is over (SoftSort)."""
        gaps = torch.zeros_like(self.y)
        for part in self.parts() if self.neural else []:
            gaps[:, part] = (self.side(part) * (self.y[:, part, None] - self.y[:, None, :])).sum(-1)
        slope = self.slope()
        for part in self.parts():
            if self.neural:
                logits = slope[:, part, None] * self.y[:, None, :] - gaps[:, None, :]
            else:
                logits = -(self.y[:, part, None] - self.y[:, None, :]).abs()
            same = self.block[:, part, None] == self.block[:, None, :]
            inside = same & self.valid[:, part, None]
            logits = torch.where(inside, logits / self.temperature, -torch.inf)
            matrix = torch.where(self.valid[:, part, None], logits.softmax(-1), 0.0)
            yield part, matrix, logits.exp()

    def pulled(self, to_logits: Iterator[tuple[slice, Tensor]]) -> Tensor:
        """Return the gradient of the scores, where they came from, for that of the logits."""
        out, to_gaps = torch.zeros_like(self.y), torch.zeros_like(self.y)
        slope = self.slope()
        for part, pull in to_logits:
            if self.neural:
                out += (slope[:, part, None] * pull).sum(1)
                to_gaps -= pull.sum(1)
            else:
                pull = pull * self.side(part)
                out[:, part] -= pull.sum(-1)
                out += pull.sum(1)
        for part in self.parts() if self.neural else []:
            side = self.side(part)
            out[:, part] += to_gaps[:, part] * side.sum(-1)
            out[:, part] += (side * to_gaps[:, None, :]).sum(-1)
        out = torch.where(self.finite & ~self.broken, out / self.temperature, 0.0)
        return self.back(out)

    def taken(self, values: Tensor) -> Tensor:
        """Return what belongs to the sorted scores, in float64."""
        return torch.where(self.valid, values.gather(-1, self.order).double(), 0.0)

    def back(self, values: Tensor) -> Tensor:
        return torch.zeros_like(values).scatter(-1, self.order, values)


def _sorted(x: Tensor, mask: Tensor | None, kind: str, temperature: float) -> _Sorted:
    order = x.argsort(dim=-1, descending=True, stable=True)
    if mask is None:
        return _known(x, order, kind, temperature)
    masked = ~mask.gather(-1, order)
    last = masked.to(torch.uint8).argsort(dim=-1, stable=True)
    order, masked = order.gather(-1, last), masked.gather(-1, last)
    return _known(x, torch.where(masked, ~order, order), kind, temperature)


def _known(x: Tensor, order: Tensor, kind: str, temperature: float) -> _Sorted:
    """Return the scores in a known order, with ``~i`` for each ``i`` that is masked."""
    valid = order >= 0
    order = torch.where(valid, order, ~order)
    y = x.gather(-1, order).double()
    broken = (y.isnan() & valid).any(-1, keepdim=True)
    finite = y.isfinite() & valid
    block = torch.where(finite, 1, torch.where(y > 0, 0, 2))
    block = torch.where(valid, block, 3)
    y = torch.where(finite, y, 0.0)
    centre = y.sum(-1, keepdim=True) / finite.sum(-1, keepdim=True).clamp(min=1)
    y = torch.where(finite, y - centre, 0.0)
    return _Sorted(y, order, valid, finite, block, broken, kind == "neuralsort", temperature)


def _signed(s: _Sorted) -> Tensor:
    return torch.where(s.valid, s.order, ~s.order)


def unimodal_ranks(
    x: Tensor, mask: Tensor | None, kind: str, temperature: float, renormalize: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the ranks of the valid scores of each row of ``x`` [rows, n], 0 where masked.

    And for backward the falling order of the scores, with ``~i`` at its end for each ``i`` that is
    masked, and in this order [rows, 2, n] the sums of the columns (of the kernel, for SoftSort) and
    the ranks, in float64. A row with a NaN among its valid scores is NaN.
    """
    s = _sorted(x, mask, kind, temperature)
    mass, rank = torch.zeros_like(s.y), torch.zeros_like(s.y)
    for part, matrix, kernel in s.rows():
        share = kernel if renormalize and not s.neural else matrix
        rank += (share * s.place[part, None]).sum(1)
        mass += (matrix if s.neural else kernel).sum(1)
    mass = torch.where(s.valid, mass, 1.0)
    if renormalize:
        rank = rank / mass
    rank = torch.where(s.broken & s.valid, torch.nan, rank)
    return s.back(rank).to(x.dtype), _signed(s), torch.stack((mass, rank), 1)


def unimodal_ranks_vjp(
    grad: Tensor, x: Tensor, order: Tensor, state: Tensor, kind: str, temperature: float,
    renormalize: bool,
) -> Tensor:  # fmt: skip
    """Return the gradient of the scores for that of their ranks; 0 in a row with a NaN."""
    s = _known(x, order, kind, temperature)
    mass, rank = state.unbind(1)
    g = s.taken(grad)

    def to_logits() -> Iterator[tuple[slice, Tensor]]:
        for part, matrix, kernel in s.rows():
            if renormalize:
                pull = (g / mass).unsqueeze(1) * (s.place[part, None] - rank.unsqueeze(1))
            else:
                pull = g.unsqueeze(1) * s.place[part, None]
            if renormalize and not s.neural:
                yield part, kernel * pull
            else:
                yield part, matrix * (pull - (matrix * pull).sum(-1, keepdim=True))

    return s.pulled(to_logits()).to(x.dtype)


def unimodal_average(
    x: Tensor, values: Tensor | None, mask: Tensor | None, kind: str, temperature: float
) -> tuple[Tensor, Tensor]:
    """Return the matrix of each row times its values, 0 behind the places of valid scores.

    The values are the scores themselves if there are no others. And the order, for backward, as
    :func:`unimodal_ranks` returns it.
    """
    s = _sorted(x, mask, kind, temperature)
    v = s.taken(x if values is None else values)
    held = torch.where(v.isfinite(), v, 0.0) if values is None else v
    out = torch.empty_like(s.y)
    for part, matrix, _ in s.rows():
        out[:, part] = (matrix * held.unsqueeze(1)).sum(-1)
    if values is None:
        out = torch.where(v.isinf(), v, out)
    return torch.where(s.broken & s.valid, torch.nan, out).to(x.dtype), _signed(s)


def unimodal_average_vjp(
    grad: Tensor, x: Tensor, values: Tensor | None, order: Tensor, kind: str, temperature: float
) -> tuple[Tensor, Tensor]:
    """Return the gradients of the scores and of the values; of the values none if they are none."""
    s = _known(x, order, kind, temperature)
    v = s.taken(x if values is None else values)
    v = torch.where(v.isfinite(), v, 0.0) if values is None else v
    g = grad.double()
    to_v = torch.zeros_like(v)

    def to_logits() -> Iterator[tuple[slice, Tensor]]:
        for part, matrix, _ in s.rows():
            shares = matrix * g[:, part, None]
            to_v.add_(shares.sum(1))
            yield part, shares * (v.unsqueeze(1) - (matrix * v.unsqueeze(1)).sum(-1, keepdim=True))

    out = s.pulled(to_logits())
    to_v = torch.where(s.valid & ~s.broken, to_v, 0.0)
    if values is not None:
        return out.to(x.dtype), s.back(to_v).to(x.dtype)
    direct = s.back(torch.where(s.finite, to_v, 0.0))
    return (out + direct).to(x.dtype), x.new_empty((x.shape[0], 0))


def unimodal_matrix(
    x: Tensor, mask: Tensor | None, kind: str, temperature: float
) -> tuple[Tensor, Tensor]:
    """Return the matrix of each row, [rows, n, n], with its columns as the scores came.

    Zero are the columns of masked scores, and so many rows at its end. And the order, for
    backward, as :func:`unimodal_ranks` returns it.
    """
    s = _sorted(x, mask, kind, temperature)
    matrix = torch.cat([matrix for _, matrix, _ in s.rows()], 1)
    matrix = torch.zeros_like(matrix).scatter(-1, s.order.unsqueeze(1).expand_as(matrix), matrix)
    return torch.where(s.broken.unsqueeze(-1), torch.nan, matrix).to(x.dtype), _signed(s)


def unimodal_matrix_vjp(
    grad: Tensor, matrix: Tensor, x: Tensor, order: Tensor, kind: str, temperature: float
) -> Tensor:
    """Return the gradient of the scores for that of the matrix."""
    s = _known(x, order, kind, temperature)
    g, p = (t.double().gather(-1, s.order.unsqueeze(1).expand_as(t)) for t in (grad, matrix))
    pull = p * (g - (p * g).sum(-1, keepdim=True))
    return s.pulled(iter([(slice(None), pull)])).to(x.dtype)
