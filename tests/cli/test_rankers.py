import csv
from pathlib import Path

import pytest

from rankgrad import cli


def rankers(folder: Path, *more: str) -> int:
    return cli.main(["rankers", "--out", str(folder), *more])


def test_prints_the_ranks_and_writes_page_and_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "new" / "folder"
    only = ("--only", "projection", "--only", "bitonic", "--only", "set")
    assert rankers(folder, *only, "0.1,0.7", "-0.4") == 0
    shown = capsys.readouterr().out
    heading, hard, projection, bitonic = (line.split() for line in shown.splitlines()[:4])
    assert heading[:3] == ["0.1", "0.7", "-0.4"]
    assert hard == ["hard", "2", "1", "3"]
    assert projection[:3] == ["projection,", "strength", "1"]
    assert projection[3:6] == ["2.03", "1.43", "2.53"]  # all in one block: 2 + mean - score
    assert bitonic[:3] == ["bitonic,", "steepness", "10"]
    learned = shown.splitlines()[4].split()
    assert learned[0] == "set"
    assert learned[-2:] == ["no", "setting"]
    assert shown.endswith(f"Report: {folder / 'report.html'}\n")

    html = (folder / "report.html").read_text(encoding="utf-8")
    assert html.count("<img") == 2
    assert "0.1, 0.7, -0.4" in html
    assert 'src="http' not in html
    with (folder / "ranks.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["ranker"] for row in rows} == {"projection", "bitonic"}
    first, last = rows[1], [row for row in rows if row["ranker"] == "projection"][-2]
    assert float(first["score"]) == float(last["score"]) == 0.7
    assert float(first["rank"]) == 1
    assert float(first["gradient"]) == 0
    assert 1.9 < float(last["rank"]) < 2
    assert float(last["gradient"]) < 0


def test_reads_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "scores.txt").write_text("3\n1 2\n\n4;5,6\n" + " 7" * 9)
    call = ("--file", str(tmp_path / "scores.txt"), "--only", "ramp")
    assert rankers(tmp_path, *call) == 0
    # Too many scores for a line each.
    heading, hard, ramp = capsys.readouterr().out.splitlines()[:3]
    assert heading.split() == ["largest", "error", "within", "half", "a", "place", "up", "to"]
    assert hard.split() == ["hard", "0"]
    assert ramp.split()[-2:] == ["half_width", ramp.split()[-1]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["1"], "2 to 50 scores, got 1"),
        (["1"] * 51, "2 to 50 scores, got 51"),
        (["1", "two"], "a score must be a number, got 'two'"),
        (["1", "nan"], "a score must be finite, got 'nan'"),
        (["1", "2", "--only", "best"], "unknown ranker 'best'; there are ramp, "),
        (["1", "2", "--file", "x"], "not both"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_two(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rankers(tmp_path, *arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_read_or_written_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rankers(tmp_path, "--file", str(tmp_path / "none")) == 1
    assert "cannot read the scores" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert rankers(tmp_path / "file", "--only", "ramp") == 1
    assert "cannot write the results" in capsys.readouterr().err
