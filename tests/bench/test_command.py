"""``rankgrad bench``: tables, JSON and a page; an interruption keeps what was measured."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from rankgrad.bench import Bench, Row
from rankgrad.bench.suites import auc
from rankgrad.cli import main


def test_writes_a_table_json_and_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["bench", "auc", "exact_ranker", "--quick", "--out", str(tmp_path)]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "all pairs" in shown
    assert "torchsort" in shown  # its version, or that it is not installed
    record = json.loads((tmp_path / "exact_ranker.json").read_text())
    assert {"torch", "numba"} <= record["machine"].keys()
    assert record["machine"]["threads"]
    assert "libauc" in record["peers"]
    assert record["quick"] is True
    assert {"work", "against", "ratio", "limit", "difference"} <= set(record["rows"][0])
    page = (tmp_path / "bench.html").read_text()
    assert "exact ranker" in page
    assert page.count("data:image/svg") == 2  # the growth of each suite
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", page)
    assert "Small sizes" in page


def test_an_interruption_keeps_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def rows(bench: Bench) -> Iterator[Row]:
        yield Row("work", "something", 1.0, 2.0, "ms", 0.5, size=10, series="s")
        raise KeyboardInterrupt

    monkeypatch.setattr(auc, "rows", rows)
    assert main(["bench", "auc", "pairwise", "--out", str(tmp_path)]) == 130
    assert "interrupted in auc" in capsys.readouterr().err
    record = json.loads((tmp_path / "auc.json").read_text())
    assert record["stopped"] == "interrupted in auc"
    assert len(record["rows"]) == 1
    assert "interrupted in auc" in (tmp_path / "bench.html").read_text()
    assert not (tmp_path / "pairwise.json").exists()


def test_what_it_does_not_take_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "nonsense"]) == 2
    assert "'nonsense'" in capsys.readouterr().err


@pytest.mark.parametrize("inside", ["file", "file/folder"])
def test_a_folder_that_cannot_be_written_to_is_said_before_the_measuring(
    inside: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(auc, "rows", lambda bench: pytest.fail("measured"))
    assert main(["bench", "auc", "--out", str(tmp_path / inside)]) == 1
    assert "cannot write the results" in capsys.readouterr().err
