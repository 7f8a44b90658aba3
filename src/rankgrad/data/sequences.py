"""Synthetic sequences to learn ranking from, drawn in batch on the device."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rankgrad.sorting import argsort

__all__ = [
    "DISTRIBUTIONS",
    "PUBLISHED",
    "Distribution",
    "distribution",
    "register_distribution",
    "score_file",
    "sequences",
]

Distribution = Callable[[int, int, torch.Generator], Tensor]
"""Draws ``[rows, length]`` float32 sequences on the device of the generator."""


def _rand(rows: int, length: int, generator: torch.Generator) -> Tensor:
    return torch.rand(rows, length, generator=generator, device=generator.device)


def _uniform(rows: int, length: int, generator: torch.Generator) -> Tensor:
    return _rand(rows, length, generator) * 2 - 1


def _normal(rows: int, length: int, generator: torch.Generator) -> Tensor:
    return torch.randn(rows, length, generator=generator, device=generator.device)


def _range_of(place: Tensor, count: Tensor | int, generator: torch.Generator) -> Tensor:
    """``a + place (b - a) / count`` for random ends ``a`` and ``b`` between 0 and 1."""
    start, end = _rand(2, len(place), generator).unsqueeze(-1)
    values: Tensor = start + place * ((end - start) / count)
    return values


def _range(rows: int, length: int, generator: torch.Generator) -> Tensor:
    place = torch.arange(length, device=generator.device).expand(rows, length)
    return _range_of(place, length, generator)


def _shuffled_range(rows: int, length: int, generator: torch.Generator) -> Tensor:
    return _range_of(argsort(_rand(rows, length, generator)), length, generator)


def _cut(rows: int, length: int, generator: torch.Generator) -> Tensor:
    """How long the first part is: at least one entry, perhaps all."""
    high = max(length, 1) + 1
    return torch.randint(1, high, (rows, 1), generator=generator, device=generator.device)


def _before(cut: Tensor, length: int) -> Tensor:
    return torch.arange(length, device=cut.device) < cut


def _uniform_normal(rows: int, length: int, generator: torch.Generator) -> Tensor:
    first = _before(_cut(rows, length, generator), length)
    parts = _uniform(rows, length, generator), _normal(rows, length, generator)
    return torch.where(first, *parts)


def _range_uniform(rows: int, length: int, generator: torch.Generator) -> Tensor:
    cut = _cut(rows, length, generator)
    first = _before(cut, length)
    # The places below the cut in random order, then the others.
    place = argsort(_rand(rows, length, generator) + first, descending=True)
    return torch.where(first, _range_of(place, cut, generator), _uniform(rows, length, generator))


def _ramp(rows: int, length: int, generator: torch.Generator) -> Tensor:
    place = torch.arange(length, device=generator.device)
    values: Tensor = 2 * place / max(length, 1) - 1
    return values.expand(rows, length)


def _narrow(rows: int, length: int, generator: torch.Generator) -> Tensor:
    width, start = _rand(2, rows, generator).unsqueeze(-1)
    values: Tensor = _rand(rows, length, generator) * width - start
    return values


DISTRIBUTIONS: dict[str, Distribution] = {
    "uniform": _uniform,
    "uniform_again": _uniform,
    "normal": _normal,
    "range": _range,
    "shuffled_range": _shuffled_range,
    "uniform_normal": _uniform_normal,
    "uniform_normal_again": _uniform_normal,
    "uniform_uniform": _uniform,
    "range_uniform": _range_uniform,
    "ramp": _ramp,
    "narrow": _narrow,
}
"""Name -> distribution. The first eleven are SoDeep's, in its order; see :func:`sequences`."""

PUBLISHED = tuple(DISTRIBUTIONS)[:10]
"""What SoDeep trains on: all but the eleventh."""


def register_distribution(name: str, draw: Distribution) -> None:
    """Make a distribution of yours available by name.

    Args:
        name: what it is called from now on; a new name.
        draw: ``draw(rows, length, generator)`` returns ``[rows, length]`` on
            ``generator.device``, with no other source of chance than the generator.

    >>> def steps(rows, length, generator):
    ...     return torch.rand(rows, length, generator=generator, device=generator.device).cumsum(-1)
    >>> register_distribution("steps", steps)
    >>> sequences(4, 10, "steps").shape
    torch.Size([4, 10])
    >>> del DISTRIBUTIONS["steps"]
    """
    if name in DISTRIBUTIONS:
        raise ValueError(f"name must be new, there is a distribution {name!r} already")
    DISTRIBUTIONS[name] = draw


def distribution(which: str | int) -> Distribution:
    """Return the distribution of this name, or the published one of this number (0 to 10).

    Raises:
        ValueError: there is none.
    """
    if isinstance(which, int) or which.isdecimal():
        published = tuple(DISTRIBUTIONS)[: len(PUBLISHED) + 1]
        if not 0 <= int(which) < len(published):
            raise ValueError(f"dist must be 0 to {len(published) - 1} or a name, got {which}")
        which = published[int(which)]
    if which not in DISTRIBUTIONS:
        listed = ", ".join(DISTRIBUTIONS)
        raise ValueError(f"dist must be one of {listed}, got {which!r}")
    return DISTRIBUTIONS[which]


def sequences(
    rows: int,
    length: int,
    dist: str | int | Distribution | Sequence[str | int | Distribution] = PUBLISHED,
    *,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> Float[Tensor, "rows length"]:
    """Draw sequences of scores.

    ======  ========================  =======================================================
    number  name                      one sequence
    ======  ========================  =======================================================
    0, 1    uniform, uniform_again    uniform between -1 and 1
    2       normal                    standard normal
    3       range                     evenly spaced from a to b, both uniform in (0, 1)
    4       shuffled_range            the same in random order
    5, 6    uniform_normal, ..._again uniform up to a random place, normal from there on
    7       uniform_uniform           uniform, then uniform again: the same as 0
    8       range_uniform             4 up to a random place, uniform from there on
    9       ramp                      evenly spaced from -1 to 1, always the same
    10      narrow                    uniform between -a and b - a, both uniform in (0, 1)
    ======  ========================  =======================================================

    Args:
        rows: how many sequences.
        length: of how many scores each.
        dist: names, numbers or functions; each row is drawn from one of them, all equally likely.
            By default the ten that SoDeep trains on. Rows of one distribution stand together.
        generator: where chance comes from; by default one with seed 0 on ``device``.
        device: where the sequences are made; that of the generator, if one is given.

    Raises:
        ValueError: an unknown distribution, or nothing to draw from.

    Source: Engilberge, Chevallier, Pérez, Cord: SoDeep: a sorting deep net to learn ranking loss
    surrogates. CVPR 2019. Three of its eleven kinds repeat another; they stay, so that the mixture
    is the same.

    >>> sequences(2, 5, ["ramp"])[0]
    tensor([-1.0000, -0.6000, -0.2000,  0.2000,  0.6000])
    """
    if generator is None:
        generator = torch.Generator(device).manual_seed(0)
    several = [dist] if isinstance(dist, str | int) or callable(dist) else list(dist)
    kinds = [one if callable(one) else distribution(one) for one in several]
    if not kinds:
        raise ValueError("dist must name at least one distribution, got none")
    if len(kinds) == 1:
        counts = [rows]
    else:
        drawn = torch.randint(len(kinds), (rows,), generator=generator, device=generator.device)
        counts = torch.bincount(drawn, minlength=len(kinds)).tolist()
    return torch.cat(
        [draw(n, length, generator) for draw, n in zip(kinds, counts, strict=True) if n]
        or [torch.empty(0, length, device=generator.device)]
    )


def score_file(path: str | Path) -> Distribution:
    """Return a distribution that draws from scores of your own.

    Args:
        path: ``.npy`` with one list of scores or one list a row; or text with numbers separated by
            commas or blanks, one list of scores a line.

    Each sequence is one list, drawn at random, of which it takes ``length`` scores at random
    places, in random order. None comes twice, unless one list has more than eight times as many.

    Raises:
        ValueError: no numbers, or lists of different lengths, or, when drawn from, shorter than
            the sequences.
    """
    path = Path(path)
    try:
        if path.suffix == ".npy":
            table = np.load(path, allow_pickle=False)
        else:
            text = path.read_text(encoding="utf-8").replace(",", " ")
            table = np.array([line.split() for line in text.splitlines() if line.strip()])
        table = np.atleast_2d(np.asarray(table, dtype=np.float32))
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} holds no table of numbers: {error}") from None
    if table.shape[0] > 1 and table.shape[1] == 1:
        table = table.T  # one number a line
    if table.ndim != 2 or not table.size or not np.isfinite(table).all():
        raise ValueError(f"{path} must hold finite numbers in one or two dimensions")
    scores = torch.from_numpy(table)

    def draw(rows: int, length: int, generator: torch.Generator) -> Tensor:
        if length > scores.shape[1]:
            raise ValueError(f"{path} has {scores.shape[1]} scores a list, {length} are asked for")
        known = scores.to(generator.device)
        row = torch.randint(len(known), (rows, 1), generator=generator, device=generator.device)
        if len(known) == 1 and scores.shape[1] > 8 * length:
            # Far more than are taken: a place comes twice so rarely that it does not matter.
            place = torch.randint(
                scores.shape[1], (rows, length), generator=generator, device=generator.device
            )
        else:
            place = argsort(_rand(rows, scores.shape[1], generator))[:, :length]
        return known[row, place]

    return draw
