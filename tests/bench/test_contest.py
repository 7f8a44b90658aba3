"""Who is asked in a contest, how often, what is left out, and whether the results agree."""

import sys
from pathlib import Path

import pytest
import torch

import rankgrad.bench as bench
from rankgrad.bench import Bench, Other, contest
from rankgrad.bench.work import Outcome, both_ways


def test_candidates_take_turns() -> None:
    calls: list[str] = []
    taken = bench.times(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, budget=0.0, least=20
    )
    turns = ["".join(calls[at : at + 2]) for at in range(0, len(calls), 2)]
    assert turns[0] == "ab"  # to warm up
    assert set(turns[1:]) == {"ab", "ba"}  # either goes first at times
    assert [len(values) for values in taken.values()] == [20, 20]


def test_results_and_gradients_are_compared() -> None:
    x = torch.arange(1.0, 5.0)
    others = {
        "the same": Other(both_ways(lambda v: v * v, x)),
        "half as large": Other(both_ways(lambda v: v * v / 2, x)),
        "something else": Other(both_ways(torch.sin, x), alike=False),
        "a yardstick": Other(lambda: None),
    }
    rows = list(Bench(quick=True).contest("square", both_ways(torch.square, x), others, size=4))
    found = {row.against: (row.difference, row.gradient_difference) for row in rows}
    assert found == {
        "the same": (0, 0),
        "half as large": (1, 1),
        "something else": (None, None),
        "a yardstick": (None, None),
    }
    assert all(row.ours > 0 and row.theirs and row.ratio for row in rows)


def test_what_fails_or_does_not_fit_is_a_row_that_says_so() -> None:
    def broken() -> None:
        raise TypeError("no float here\nand more")

    others = {"broken": Other(broken), "large": Other(lambda: None, needs=2.0**60)}
    rows = list(Bench(quick=True).contest("work", lambda: None, others, size=1))
    assert [row.note for row in rows] == [
        "fails: TypeError: no float here",
        "left out: it takes some 1073741824 GiB",
    ]
    assert [(row.theirs, row.ratio) for row in rows] == [(None, None)] * 2


def test_what_would_take_too_long_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock here says what a cubic call takes: a second at a size of ten."""
    calls: list[int] = []
    monkeypatch.setattr(contest, "times", lambda turns, **_: {name: [1.0] for name in turns})
    measured = Bench(budget=30.0)
    notes = []
    for size in (10, 20, 40, 80):
        monkeypatch.setattr(contest, "_timed", lambda run, n=size: ((n / 10) ** 3, run()))
        other = Other(lambda n=size: calls.append(n))
        rows = measured.contest("w", lambda: None, {"o": other}, size=size, series="s")
        notes += [row.note for row in rows]
    # Before the second size nothing is known of the power; then it is a cube.
    assert calls == [10, 10, 20]
    assert notes == [
        "",
        "one call",
        "left out: it would take some 64 s a call",
        "left out: it would take some 512 s a call",
    ]


def _waste(small: bool) -> object:
    import numpy as np

    return lambda: np.ones(1_000 if small else 8_000_000).sum()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_memory_is_that_of_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    extra = bench.peak_extra_bytes("test_contest:_waste")
    assert 60e6 < extra < 70e6


def test_the_weights_of_results_depend_on_their_shape_alone() -> None:
    x = torch.randn(3, 4)
    ours, theirs = both_ways(torch.sin, x)(), both_ways(lambda v: v.double().sin(), x)()
    assert isinstance(ours, Outcome)
    torch.testing.assert_close(ours.gradients[0], theirs.gradients[0])
