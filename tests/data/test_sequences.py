"""The synthetic sequences, against statistics of 2000 draws of the original code."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import rankgrad as rg
from rankgrad.data.sequences import (
    DISTRIBUTIONS,
    PUBLISHED,
    register_distribution,
    score_file,
    sequences,
)
from support import golden

TYPES = list(range(11))
GOLDEN = golden("sodeep_synth")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def draws() -> dict[int, np.ndarray]:
    return {t: sequences(8_000, 100, t, generator=seeded()).double().numpy() for t in TYPES}


@pytest.mark.parametrize("t", TYPES)
def test_moments_and_quantiles_agree(t: int, draws: dict[int, np.ndarray]) -> None:
    """Within the sampling error of the 2000 reference draws, which come in dependent sequences."""
    x = draws[t]
    want = GOLDEN[f"type{t}"]
    means, stds = x.mean(1), x.std(1)
    per_sequence = means.std() / np.sqrt(2000)
    assert abs(x.mean() - want["mean"]) < 4 * per_sequence + 1e-6
    np.testing.assert_allclose(x.std(), want["std"], rtol=0.02)
    np.testing.assert_allclose(means.std(), want["seqmean_std"], rtol=0.06, atol=1e-6)
    np.testing.assert_allclose(stds.mean(), want["seqstd_mean"], rtol=0.04)
    levels = GOLDEN[""]["quantile_levels"]
    np.testing.assert_allclose(np.quantile(x, levels), want["quantiles"], atol=0.025)
    np.testing.assert_allclose(np.quantile(stds, levels), want["seqstd_quantiles"], atol=0.025)
    np.testing.assert_allclose((np.diff(x) > 0).all(1).mean(), want["frac_increasing"], atol=0.04)
    np.testing.assert_allclose((np.diff(x) < 0).all(1).mean(), want["frac_decreasing"], atol=0.04)
    if t in (2, 5, 6):
        assert abs(x).max() < 6
    else:
        assert x.min() >= -1
        assert x.max() <= 1


def test_the_ramp_is_the_published_one() -> None:
    np.testing.assert_allclose(sequences(2, 12, 9)[1], GOLDEN["item9"]["seq"], atol=1e-6)


def test_a_range_is_evenly_spaced() -> None:
    gaps = sequences(50, 30, "range", generator=seeded()).diff(dim=-1)
    torch.testing.assert_close(gaps, gaps[:, :1].expand_as(gaps), atol=1e-6, rtol=1e-3)
    shuffled = sequences(50, 30, "shuffled_range", generator=seeded()).sort(-1).values.diff(dim=-1)
    torch.testing.assert_close(shuffled, shuffled[:, :1].expand_as(shuffled), atol=1e-6, rtol=1e-3)


def test_the_mixture_with_a_range_begins_with_it() -> None:
    """So does the reference: its item ends in one uniform number, the rest is a shuffled range."""

    def range_length(x: np.ndarray) -> int:
        """The longest beginning that is evenly spaced when sorted."""
        best = 0
        for k in range(2, len(x) + 1):
            gaps = np.diff(np.sort(x[:k]))
            best = k if np.allclose(gaps, gaps[0], rtol=1e-2, atol=1e-5) else best
        return best

    assert range_length(GOLDEN["item8"]["seq"]) == 11
    found = [range_length(x) for x in sequences(200, 12, 8, generator=seeded()).numpy()]
    assert min(found) >= 1
    assert 5 < np.mean(found) < 8


@pytest.mark.parametrize("t", TYPES)
def test_ranks_of_the_reference_items(t: int) -> None:
    x = torch.tensor(GOLDEN[f"item{t}"]["seq"])
    np.testing.assert_allclose(rg.rank(x, normalize=True), GOLDEN[f"item{t}"]["rank"], rtol=1e-6)


def test_the_same_seed_gives_the_same_sequences() -> None:
    a, b = (sequences(40, 20, generator=seeded(5)) for _ in range(2))
    assert torch.equal(a, b)
    assert not torch.equal(a, sequences(40, 20, generator=seeded(6)))
    torch.manual_seed(0)
    c = sequences(40, 20, generator=seeded(5))
    assert torch.equal(a, c)


def test_a_mixture_draws_from_each_alike() -> None:
    x = sequences(6000, 8, ["ramp", "normal", 10], generator=seeded())
    ramps = (x == sequences(1, 8, "ramp")).all(-1).sum().item()
    assert abs(ramps - 2000) < 200


def test_names_numbers_and_functions() -> None:
    assert len(PUBLISHED) == 10
    assert list(DISTRIBUTIONS)[10] == "narrow"
    for t, name in enumerate(list(DISTRIBUTIONS)[:11]):
        a, b = (sequences(3, 5, kind, generator=seeded()) for kind in (t, name))
        assert torch.equal(a, b)
    assert torch.equal(sequences(3, 5, "2", generator=seeded()), sequences(3, 5, 2))

    def zeros(rows: int, length: int, generator: torch.Generator) -> Tensor:
        return torch.zeros(rows, length)

    assert sequences(3, 5, zeros).eq(0).all()
    for wrong in ("nonsense", 11, -1):
        with pytest.raises(ValueError, match="dist must be"):
            sequences(3, 5, wrong)
    with pytest.raises(ValueError, match="at least one"):
        sequences(3, 5, [])


@pytest.mark.parametrize("t", TYPES)
@pytest.mark.parametrize(("rows", "length"), [(0, 5), (1, 1), (3, 2), (2, 1)])
def test_small(t: int, rows: int, length: int) -> None:
    x = sequences(rows, length, t)
    assert x.shape == (rows, length)
    assert x.dtype == torch.float32
    assert x.isfinite().all()
    assert sequences(0, length).shape == (0, length)


def test_own_distributions() -> None:
    def twos(rows: int, length: int, generator: torch.Generator) -> Tensor:
        return torch.full((rows, length), 2.0)

    register_distribution("twos", twos)
    try:
        assert sequences(2, 3, "twos").eq(2).all()
        with pytest.raises(ValueError, match="already"):
            register_distribution("twos", twos)
    finally:
        del DISTRIBUTIONS["twos"]


def test_scores_from_a_file(tmp_path: Path) -> None:
    one = tmp_path / "one.txt"
    one.write_text("\n".join(str(v) for v in range(12)))
    x = sequences(50, 12, score_file(one))
    assert (x.sort(-1).values == torch.arange(12.0)).all()
    assert not torch.equal(x[0], x[1])

    rows = tmp_path / "rows.npy"
    np.save(rows, np.arange(40.0).reshape(4, 10))
    x = sequences(200, 5, score_file(rows))
    assert (x.div(10).floor() == x[:, :1].div(10).floor()).all()
    assert x.div(10).floor().unique().numel() == 4
    assert x.sort(-1).values.diff(dim=-1).gt(0).all()

    table = tmp_path / "table.csv"
    table.write_text("1, 2, 3\n4, 5, 6\n")
    assert sequences(5, 3, score_file(table)).max() <= 6
    many = tmp_path / "many.npy"
    np.save(many, np.arange(100.0))
    assert sequences(5, 3, score_file(many)).shape == (5, 3)


@pytest.mark.parametrize("text", ["", "a b c", "1 2\n3\n", "1 nan 2"])
def test_a_file_without_a_table_of_numbers_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "scores.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"scores\.txt"):
        score_file(path)


def test_a_file_with_too_few_scores_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "few.txt"
    path.write_text("1 2 3")
    draw = score_file(path)
    with pytest.raises(ValueError, match=r"3 scores a list, 4 are asked for"):
        sequences(2, 4, draw)


def test_pickles_in_a_file_of_scores_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "objects.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"objects\.npy"):
        score_file(path)
