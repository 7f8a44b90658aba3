"""The benchmarks run on small sizes and report what they measured; no figure is judged here."""

import json
import sys
from importlib import import_module

import pytest

import rankgrad.bench as bench
from rankgrad.cli import main


@pytest.mark.parametrize("suite", list(bench.SUITES))
def test_every_suite_runs_on_small_sizes(suite: str) -> None:
    rows = list(import_module(f"rankgrad.bench.{suite}").rows(quick=True))
    assert rows
    for row in rows:
        assert row.work
        assert row.against
        assert row.ours > 0
        assert row.theirs > 0
        assert row.ratio > 0


def test_candidates_take_turns() -> None:
    calls = []
    taken = bench.times(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, budget=0.0, least=3
    )
    assert "".join(calls) == "ab" * 4  # one call each to warm up
    assert [len(values) for values in taken.values()] == [3, 3]


def _waste(small: bool) -> object:
    import numpy as np

    return lambda: np.ones(1_000 if small else 8_000_000).sum()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_memory_is_that_of_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    from pathlib import Path

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    extra = bench.peak_extra_bytes("test_bench:_waste")
    assert 60e6 < extra < 70e6


def test_the_command_writes_a_table_a_file_and_a_plot(tmp_path, capsys) -> None:
    assert main(["bench", "detection", "--quick", "--out", str(tmp_path)]) == 0
    assert "sigmoid focal loss" in capsys.readouterr().out
    record = json.loads((tmp_path / "detection.json").read_text())
    assert record["machine"]["torch"]
    assert {"work", "against", "ratio", "limit"} <= set(record["rows"][0])
    assert (tmp_path / "detection.svg").read_text().startswith("<?xml")


def test_an_unknown_suite_is_named(capsys) -> None:
    assert main(["bench", "nonsense"]) == 2
    assert "'nonsense'" in capsys.readouterr().err
