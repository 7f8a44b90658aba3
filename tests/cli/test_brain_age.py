"""rankgrad train, predict and compare brain-age, as a user types them."""

import csv
import json
import re
from pathlib import Path

import pytest

pytest.importorskip("nibabel")
pytest.importorskip("torchio")
pytest.importorskip("openpyxl")

from rankgrad.cli import main
from rankgrad.data.nifti import write_phantoms

QUICK = ["--quick", "--epochs", "1"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def _at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Phantoms and prepared volumes are kept under the working directory."""
    monkeypatch.chdir(home)


@pytest.fixture(scope="module")
def images(home: Path) -> Path:
    write_phantoms(home / "study", 16, size=(18, 20, 18), splits=False)
    return home / "study" / "images"


@pytest.fixture(scope="module")
def trained(home: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        assert main(["train", "brain-age", *QUICK]) == 0
    return home / "runs" / "brain-age" / "phantoms"


def test_training_leaves_a_model_a_table_and_a_page(trained: Path) -> None:
    names = {path.name for path in trained.iterdir()}
    assert {"brain_age.pt", "predictions.csv", "test.json", "report.html", "stage1"} <= names
    rows = json.loads((trained / "test.json").read_text())["table"]
    assert {row["stage"] for row in rows} == {"stage 1", "stage 2"}
    page = (trained / "report.html").read_text()
    assert "Brain age of phantoms" in page
    assert "These are phantoms" in page
    for title in ("Residual against age", "Ranking errors", "Where the age comes from"):
        assert title in page
    assert len(re.findall(r"<img", page)) >= 10
    assert str(trained) not in page


def test_the_same_command_goes_on(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (trained / "stage2" / "history.csv").read_text()
    assert main(["train", "brain-age", *QUICK]) == 0
    assert "Went on after epoch 1 of stage 2." in capsys.readouterr().out
    assert (trained / "stage2" / "history.csv").read_text() == before
    assert main(["train", "brain-age", *QUICK, "--lr", "1"]) == 2
    assert "start over with --fresh" in capsys.readouterr().err


def test_own_scans_bad_ones_are_listed_at_the_end(
    home: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = list(csv.reader((home / "study" / "table.csv").open()))
    place = rows[0].index("age")
    rows[3][place] = "nan"
    rows.append(["missing.nii.gz", "s", *rows[1][2:]])
    table = home / "study" / "ages.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    command = ["train", "brain-age", *QUICK, "--images", str(images), "--table", str(table)]
    assert main([*command, "--stage", "1", "--no-augment", "--spacing", "0"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"2 problems; left out:\n.*'nan'.*\n.*there is no image missing", out)
    folder = home / "runs" / "brain-age" / "images"
    used = json.loads((folder / "settings.json").read_text())["brain-age model"]
    assert (used["spacing"], used["augment"]) == (None, False)
    assert len((folder / "skipped.txt").read_text().splitlines()) == 2
    assert "These are phantoms" not in (folder / "report.html").read_text()
    assert main([*command, "--strict", "--fresh"]) == 1
    assert "strict" in capsys.readouterr().err


def test_predicting_with_a_table_gives_gaps(
    trained: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "ages.csv"
    command = ["predict", "brain-age", str(trained / "brain_age.pt"), "--images", str(images)]
    assert main([*command, "--table", str(images.parent / "table.csv"), "--out", str(out)]) == 0
    assert "Ages of 16 scans" in capsys.readouterr().out
    rows = list(csv.DictReader(out.open()))
    assert len(rows) == 16
    for row in rows:
        gap = float(row["predicted_age"]) - float(row["age"])
        assert float(row["gap"]) == pytest.approx(gap, abs=2e-3)


def test_predicting_without_a_table_needs_the_sex(
    trained: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["predict", "brain-age", str(trained / "brain_age.pt"), "--images", str(images)]
    assert main(command) == 2
    assert "takes sex as an input" in capsys.readouterr().err
    assert main([*command, "--sex", "female", "--out", str(tmp_path / "a.csv")]) == 0
    rows = list(csv.DictReader((tmp_path / "a.csv").open()))
    assert {row["age"] for row in rows} == {""}


def test_comparing_trains_what_is_missing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["compare", "brain-age", *QUICK, "--seeds", "1", "--workers", "1"]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "second stage SGD" in out
    folder = home / "runs" / "compare-brain-age"
    assert len(json.loads((folder / "summary.json").read_text())["table"]) == 10
    assert "Second stage, or more epochs, against first" in (folder / "report.html").read_text()
    assert main(command) == 0
    assert "[1/4]" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "brain-age", "--images", "."], "need both"),
        (["train", "brain-age", "--quick", "--batch-size", "1"], "single scan says nothing"),
        (["train", "brain-age", "--quick", "--stage", "2", "--out", "new"], "needs the first"),
        (["train", "brain-age", "--images", "none", "--table", "none"], "no folder none"),
        (
            ["train", "brain-age", "--images", ".", "--table", "x", "--column", "ages"],
            "--column must be KEY=NAME",
        ),
        (["train", "brain-age", "--quick", "--size", "9", "20", "20"], "at least 14 voxels"),
        (["train", "brain-age", "--quick", "--stage", "1", "--first", "a.pt"], "--first is for"),
        (["predict", "brain-age", "none.pt", "--images", "."], "none.pt"),
        (["compare", "brain-age", "--quick", "--images", "."], "need both"),
    ],
)
def test_mistakes_end_in_one_clear_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) in (1, 2)
    assert message in capsys.readouterr().err


def test_a_missing_column_says_how_to_name_it(
    home: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = home / "nosex.csv"
    table.write_text("file,age\nsub-phantom0001_T1w.nii.gz,50\n")
    command = ["train", "brain-age", "--quick", "--images", str(images), "--table", str(table)]
    assert main(command) == 1
    assert "--no-sex does without" in capsys.readouterr().err
