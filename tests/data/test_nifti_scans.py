"""Which scans a folder and a table make, and what is said of the rest."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openpyxl import Workbook

from data.nifti_files import study, write_table
from rankgrad.data.nifti import DataError, Scans, list_images, read_scans


def files(folder: Path, *names: str) -> Path:
    """Reading a table opens no image: empty files do."""
    for name in names:
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder / "images"


def read(folder: Path, rows: list[list[Any]], *names: str, **options: Any) -> Scans:
    table = write_table(folder / "table.csv", rows)
    options.setdefault("need", ())
    return read_scans(files(folder, *names), table, **options)


def kinds(scans: Scans) -> dict[str, str]:
    return {problem.where: problem.kind for problem in scans.problems}


# ------------------------------------------------------------------ tables


def test_csv_and_excel_say_the_same(tmp_path: Path) -> None:
    images, _ = study(tmp_path)
    book = Workbook()
    sheet = book.active
    sheet.append(["ID", "Age (years)", None, "Gender"])
    for i in range(20):
        sheet.append([f"scan{i}", 20.0 + 3 * i, None, float(i % 2)])
    book.save(tmp_path / "table.xlsx")
    first, second = (read_scans(images, tmp_path / f"table.{kind}") for kind in ("csv", "xlsx"))
    assert first == second
    assert len(first.all) == 20
    assert first.has_sex
    assert not first.problems
    assert {(s.name, s.age, s.sex) for s in first.all} >= {("scan3.nii.gz", 29.0, 1)}
    assert first.all[0].path.is_file()


def test_columns_can_be_named(tmp_path: Path) -> None:
    rows = [["scan", "years", "age", "Sex"], ["a", 30, "old", "female"], ["b", 40, "old", "Male"]]
    scans = read(tmp_path, rows, "a.nii", "b.nii", columns={"age": "years"})
    assert {(s.name, s.age, s.sex) for s in scans.all} == {("a.nii", 30, 0), ("b.nii", 40, 1)}
    with pytest.raises(DataError, match="no column 'date'; it has scan, years, age, Sex"):
        read(tmp_path, rows, columns={"age": "date"})
    with pytest.raises(
        ValueError, match="columns takes file, age, sex, subject, split, got weight"
    ):
        read(tmp_path, rows, columns={"weight": "kg"})


@pytest.mark.parametrize(
    ("header", "options", "message"),
    [
        (["file", "years"], {}, "no column for the age: none is called age or .* has file, years"),
        (["brain", "age"], {}, "no column for the file"),
        (["file", "age"], {"need_sex": True}, "no column for the sex: none is called sex or gen"),
    ],
)
def test_a_missing_column_is_said(
    tmp_path: Path, header: list[str], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, [header, ["a", 30]], "a.nii", **options)


def test_what_is_no_table_is_said(tmp_path: Path) -> None:
    images = files(tmp_path, "a.nii")
    (tmp_path / "no.xlsx").write_text("file,age\n")
    (tmp_path / "old.xls").write_text("")
    Workbook().save(tmp_path / "empty.xlsx")
    for name, message in [
        ("no.xlsx", "cannot read"),
        ("none.xlsx", "cannot read"),
        ("none.csv", "cannot read"),
        ("old.xls", "save it as .xlsx"),
        ("empty.xlsx", "has no rows"),
    ]:
        with pytest.raises(DataError, match=message):
            read_scans(images, tmp_path / name)


@pytest.mark.parametrize("age", ["30", "30,5"])
def test_semicolons_are_said(tmp_path: Path, age: str) -> None:
    table = tmp_path / "table.csv"
    table.write_text(f"file;age\na.nii;{age}\n")
    with pytest.raises(DataError, match="separates columns by ';'"):
        read_scans(files(tmp_path, "a.nii"), table)


# ------------------------------------------------------------------ rows and files


def test_every_row_and_file_without_a_partner_is_listed(tmp_path: Path) -> None:
    rows = [
        ["file", "age", "sex"],
        ["good.nii.gz", 50, "F"],
        ["gone.nii.gz", 50, "F"],
        ["young.nii", "nan", "F"],
        ["old.nii", 180, "F"],
        ["empty.nii", "", "F"],
        ["odd.nii", 60, "x"],
        ["", 60, "F"],
        ["twice.nii", 60, "F"],
        ["twice.nii", 61, "F"],
        ["same.nii", 62, "F"],
        ["same.nii", 62, "F"],
    ]
    names = ["good.nii.gz", "young.nii", "old.nii", "empty.nii", "odd.nii", "twice.nii", "same.nii"]
    scans = read(tmp_path, rows, *names, "extra.nii", "._good.nii.gz", "notes.txt")
    assert kinds(scans) == {
        "table.csv, line 3": "no image",
        "table.csv, line 4": "age",
        "table.csv, line 5": "age",
        "table.csv, line 6": "age",
        "table.csv, line 7": "sex",
        "table.csv, line 8": "no name",
        "twice.nii": "duplicate row",
        "extra.nii": "no row",
    }
    assert {(s.name, s.sex) for s in scans.all} == {
        ("good.nii.gz", 0),
        ("odd.nii", None),
        ("same.nii", 0),
    }
    assert not scans.has_sex
    assert "line 5: the age of old.nii is '180', not a number from 0 to 120" in str(
        scans.problems[1]
    )
    assert "problems: age 3, sex 1" in scans.summary()
    with pytest.raises(DataError, match=r"8 problems, and strict was asked for: .* and 3 more"):
        read(tmp_path, rows, strict=True)


def test_scans_without_sex_are_left_out_where_it_is_needed(tmp_path: Path) -> None:
    rows = [["file", "age", "sex"], ["a.nii", 30, "1"], ["b.nii", 40, ""]]
    assert len(read(tmp_path, rows, "a.nii", "b.nii").all) == 2
    scans = read(tmp_path, rows, need_sex=True)
    assert [s.name for s in scans.all] == ["a.nii"]
    assert kinds(scans) == {"table.csv, line 3": "sex"}


def test_a_name_of_two_images_is_used_for_neither(tmp_path: Path) -> None:
    rows = [["file", "age"], ["scan.nii", 30], ["b/other.nii", 40], ["a/other", 41]]
    scans = read(tmp_path, rows, "a/scan.nii", "b/scan.nii", "a/other.nii", "b/other.nii")
    assert kinds(scans) == {"table.csv, line 2": "duplicate name"}
    assert "may be a/scan.nii, b/scan.nii" in scans.problems[0].text
    assert {(s.name, s.age) for s in scans.all} == {("a/other.nii", 41), ("b/other.nii", 40)}


def test_a_row_may_hold_a_path(tmp_path: Path) -> None:
    rows = [["path", "age"], ["images/a.nii", 30], [str(tmp_path / "images/s/b.nii"), 40]]
    rows += [["s\\c.nii", 50], ["elsewhere/d.nii", 60]]
    scans = read(tmp_path, rows, "a.nii", "s/b.nii", "s/c.nii", "s/d.nii")
    assert {(s.name, s.age) for s in scans.all} == {("a.nii", 30), ("s/b.nii", 40), ("s/c.nii", 50)}
    assert kinds(scans) == {"table.csv, line 5": "no image", "s/d.nii": "no row"}


def test_a_row_may_stand_for_a_subject(tmp_path: Path) -> None:
    """As in the participants.tsv of BIDS; sub-1 is no beginning of sub-10."""
    rows = [["participant_id", "age", "sex"], ["sub-1", 30, "F"], ["sub-10", 70, "M"]]
    names = [f"sub-{i}/ses-{s}/anat/sub-{i}_ses-{s}_T1w.nii.gz" for i in (1, 10) for s in "ab"]
    flair = "sub-1/ses-a/anat/sub-1_ses-a_FLAIR.nii.gz"
    scans = read(tmp_path, rows, *names, flair, pattern="*_T1w*")
    assert {(s.name, s.age, s.subject) for s in scans.all} == {
        (name, 30.0 if "sub-1_" in name else 70.0, name.split("/")[0]) for name in names
    }
    rows = [["id", "age"], ["S1", 30], ["S10", 70]]  # as published: the name begins with it
    scans = read(tmp_path / "other", rows, "S1-brain.nii", "S10-brain.nii")
    assert {(s.name, s.age) for s in scans.all} == {("S1-brain.nii", 30), ("S10-brain.nii", 70)}


def test_nothing_usable_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no scan can be used: .* there is no image a.nii; b.nii"):
        read(tmp_path, [["file", "age"], ["a.nii", 30]], "b.nii")
    with pytest.raises(DataError, match="there is no folder"):
        list_images(tmp_path / "nowhere")
    (tmp_path / "bare").mkdir()
    with pytest.raises(DataError, match=r"has no file .nii or .nii.gz"):
        list_images(tmp_path / "bare")
    with pytest.raises(DataError, match=r"that matches '\*T1w\*'"):
        list_images(tmp_path, pattern="*T1w*")


def test_links_to_folders_are_followed(tmp_path: Path) -> None:
    elsewhere = files(tmp_path / "elsewhere", "a.nii")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "train").symlink_to(elsewhere)
    (tmp_path / "images" / "again").symlink_to(tmp_path / "images")
    assert [scan.name for scan in list_images(tmp_path / "images")] == ["train/a.nii"]


def test_images_are_listed_without_a_table(tmp_path: Path) -> None:
    found = list_images(files(tmp_path, "b.nii.gz", "sub-7/a_T1w.nii"))
    assert [(s.name, s.subject) for s in found] == [("b.nii.gz", "b"), ("sub-7/a_T1w.nii", "sub-7")]
    assert all(math.isnan(s.age) and s.sex is None for s in found)


# ------------------------------------------------------------------ splits


def parts(scans: Scans) -> dict[str, str]:
    return {scan.name: scan.split for scan in scans.all}


def test_splits_by_folders(tmp_path: Path) -> None:
    rows = [["file", "age", "split"], *[[f"s{i}", 30 + i, "test"] for i in range(5)]]
    names = ["train/s0.nii", "train/s1.nii", "val/s2.nii", "test/s3.nii", "s4.nii"]
    scans = read(tmp_path, rows, *names)
    expected = ["train", "train", "validation", "test"]
    assert parts(scans) == dict(zip(names[:4], expected, strict=True))
    assert kinds(scans) == {"s4.nii": "split"}


def test_splits_by_a_column(tmp_path: Path) -> None:
    rows = [["file", "age", "Set"], ["a", 30, "Train"], ["b", 40, "val"], ["c", 50, "tset"]]
    scans = read(tmp_path, rows, "a.nii", "b.nii", "c.nii")
    assert parts(scans) == {"a.nii": "train", "b.nii": "validation"}
    assert "is 'tset', none of train, validation, test" in scans.problems[0].text
    with pytest.raises(DataError, match=r"no scan is left for test: table.csv, line 4"):
        read(tmp_path, rows, need=("test",))


def test_a_column_that_names_no_split_is_none(tmp_path: Path) -> None:
    rows = [["file", "age", "set"], *[[f"s{i}", 30 + i, "AB"[i % 2]] for i in range(20)]]
    scans = read(tmp_path, rows, *[f"s{i}.nii" for i in range(20)])
    assert (len(scans.train), scans.problems) == (14, ())
    with pytest.raises(DataError, match="the split of s0 is 'A', none of train, validation, test"):
        read(tmp_path, rows, columns={"split": "set"})


def test_drawn_splits_keep_subjects_together_and_ages_alike(tmp_path: Path) -> None:
    ages = np.random.default_rng(0).uniform(20, 90, 100).round(1).tolist()
    rows = [["file", "subject", "age"]]
    rows += [[f"i{i}v{v}", f"p{i}", a + v] for i, a in enumerate(ages) for v in (0, 1)]
    names = [f"{row[0]}.nii" for row in rows[1:]]
    scans = read(tmp_path, rows, *names)
    split_of = {}
    for scan in scans.all:
        assert split_of.setdefault(scan.subject, scan.split) == scan.split
    assert [len(p) for p in (scans.train, scans.validation, scans.test)] == [140, 30, 30]
    assert "drawn by subject with seed 0: 70, 15, 15 per cent" in scans.notes[0]
    for part in (scans.train, scans.validation, scans.test):
        found = [scan.age for scan in part]
        assert np.mean(found) == pytest.approx(np.mean(ages), abs=3)
        assert np.std(found) == pytest.approx(np.std(ages), abs=3)
    assert read(tmp_path, rows) == scans
    assert parts(read(tmp_path, rows, seed=1)) != parts(scans)
    halves = read(tmp_path, rows, fractions=(0.5, 0.5, 0.0))
    assert (len(halves.train), len(halves.test)) == (100, 0)
    with pytest.raises(ValueError, match="three shares that sum to 1"):
        read(tmp_path, rows, fractions=(0.5, 0.5, 0.5))


def test_a_subject_in_two_splits_is_refused(tmp_path: Path) -> None:
    rows = [["file", "age", "split"]]
    rows += [["sub-3_ses-1_T1w", 30, "train"], ["sub-3_ses-2_T1w", 31, "test"]]
    names = ["sub-3_ses-1_T1w.nii", "sub-3_ses-2_T1w.nii"]
    with pytest.raises(DataError, match=r"one split only.*: sub-3 \(train, test\)"):
        read(tmp_path, rows, *names)
    rows = [["file", "age", "subject"], ["a", 30, "ann"], ["b", 31, "ann"]]
    with pytest.raises(DataError, match=r"ann \(train, validation\)"):
        read(tmp_path / "folders", rows, "train/a.nii", "val/b.nii")
