import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from rankgrad.data.regression import (
    DataError,
    LabelBins,
    PairSamples,
    RegressionData,
    TensorSamples,
    bins_for,
    digits_data,
    feature_table,
    image_table,
    read_table,
    sentence_pairs,
    word_vectors,
)
from rankgrad.data.regression.sentences import STSB_REGIONS
from support import shared_data


def write(path: Path, rows: list[list[Any]], delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


# ------------------------------------------------------------------ samples and bins


def test_bins() -> None:
    bins = LabelBins(50, 0.0, 0.1)
    scores = torch.tensor([0.0, 0.1, 0.7, 4.7, 5.0])
    assert bins.index(scores).tolist() == [0, 1, 7, 47, 49]
    assert bins.count(scores).sum() == 5
    assert bins.positions()[0] == pytest.approx(0.05)
    assert LabelBins(3, 7.0).positions().tolist() == [7, 8, 9]


def test_bins_cover_all_labels() -> None:
    for labels in ([0.0, 0.03], [-5.0, 999.0], [18.0, 18.5, 90.25], [3.0, 3.0]):
        targets = torch.tensor(labels)
        bins = bins_for(targets)
        assert bins.low <= targets.min()
        assert bins.low + bins.num * bins.width >= targets.max()
        assert bins.num <= 60


def test_parts_must_hold_something_to_learn() -> None:
    some = TensorSamples(torch.zeros(3, 2), torch.arange(3.0))
    none = TensorSamples(torch.zeros(0, 2), torch.zeros(0))
    with pytest.raises(DataError, match="val part has no samples"):
        RegressionData("features", some, none, some, LabelBins(3))
    same = TensorSamples(torch.zeros(3, 2), torch.ones(3))
    with pytest.raises(DataError, match="all training labels are equal"):
        RegressionData("features", same, some, some, LabelBins(3))


@pytest.mark.parametrize("digits", [2, 3])
def test_digits(digits: int) -> None:
    data = digits_data(0, digits)
    batch = data.train.batch([0, 5])
    assert batch.inputs.shape == (2, 1, 8, 8 * digits)
    assert batch.rows.tolist() == [0, 5]
    assert torch.equal(batch.targets, data.train.targets[[0, 5]])
    assert data.bins.num == 10**digits
    assert len(data.test) % data.bins.num == 0


# ------------------------------------------------------------------ tables


def table(tmp_path: Path, n: int = 40) -> Path:
    header = ["size", "cut", "price", "part"]
    parts = ["train", "train", "valid", "test"]
    rows = [[i, ["good", "fair"][i % 2], 10.5 + i, parts[i % 4]] for i in range(n)]
    return write(tmp_path / "stones.csv", [header, *rows])


def test_feature_table(tmp_path: Path) -> None:
    data = feature_table(table(tmp_path), "price", split="part")
    assert (len(data.train), len(data.val), len(data.test)) == (20, 10, 10)
    x = data.train.batch(torch.arange(20)).inputs
    assert x.shape == (20, 3)  # size, cut is fair, cut is good
    assert x[:, 0].mean().item() == pytest.approx(0, abs=1e-6)
    assert x[:, 0].std(correction=0).item() == pytest.approx(1)
    assert torch.equal(x[:, 1], 1 - x[:, 2])
    assert data.test.targets.tolist() == [10.5 + i for i in range(3, 40, 4)]


def test_parts_are_drawn_by_the_seed(tmp_path: Path) -> None:
    path = table(tmp_path)
    first, again, other = (feature_table(path, "price", seed=s) for s in (0, 0, 1))
    assert (len(first.train), len(first.val), len(first.test)) == (28, 4, 8)
    assert torch.equal(first.test.targets, again.test.targets)
    assert not torch.equal(first.test.targets, other.test.targets)
    everything = torch.cat([p.targets for p in (first.train, first.val, first.test)])
    assert sorted(everything.tolist()) == [10.5 + i for i in range(40)]
    limited = [feature_table(path, "price", limit=20, seed=seed) for seed in range(3)]
    assert {len(data.train) for data in limited} == {14}
    assert {data.bins for data in limited} == {first.bins}
    assert "drawn at random" in first.notes[0]


def test_features_may_be_named_and_row_numbers_are_none(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.csv", [["", "a", "b", "y"], *[[i, i % 3, i % 5, i / 2] for i in range(20)]]
    )
    assert feature_table(path, "y").train.batch([0]).inputs.shape == (1, 2)
    assert feature_table(path, "y", features=["b"]).train.batch([0]).inputs.shape == (1, 1)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([["a", "y"], [1, 2], [1, "nan"], [1, "x"]], r"2 of 3 rows .* line 3: y is 'nan'"),
        ([["a", "y"], [1, 2], [1]], "1 fields for 2 columns"),
        ([["a", "y"]], "has no rows"),
        ([["a", "a"], [1, 2]], "must name the columns"),
        ([["a", "b"], [1, 2]], "no column 'y'; it has a, b"),
        ([["a", "y"], ["", 2], *[["u", i] for i in range(20)]], "line 2: a is empty"),
        ([["a", "y"], ["NaN", 2], *[["1", i] for i in range(20)]], "line 2: a is 'NaN'"),
    ],
)
def test_bad_tables_are_refused_row_by_row(
    tmp_path: Path, rows: list[list[Any]], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        feature_table(write(tmp_path / "bad.csv", rows), "y")


def test_bad_splits_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", [["a", "y", "s"], [1, 2, "train"], [1, 3, "tset"]])
    with pytest.raises(DataError, match="line 3: s is 'tset'"):
        feature_table(path, "y", split="s")
    path = write(tmp_path / "t.csv", [["a", "y", "s"], [1, 2, "train"], [1, 3, "test"]])
    with pytest.raises(DataError, match="no rows for val"):
        feature_table(path, "y", split="s")


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read"):
        read_table(tmp_path / "nothing.csv")


# ------------------------------------------------------------------ images


def faces(tmp_path: Path, n: int = 12) -> Path:
    """A table as AgeDB-DIR's: age, path and split."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(n):
        name = f"AgeDB/{i}_Someone_{20 + i}_m.jpg"
        (tmp_path / "AgeDB").mkdir(exist_ok=True)
        pixels = rng.integers(0, 255, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
        rows.append([20 + i, name, ["train", "train", "val", "test"][i % 4]])
    return write(tmp_path / "agedb.csv", [["age", "path", "split"], *rows])


def test_image_table_in_the_published_layout(tmp_path: Path) -> None:
    data = image_table(faces(tmp_path), "age", tmp_path, split="split", size=16)
    assert (len(data.train), len(data.val), len(data.test)) == (6, 3, 3)
    images = data.test.batch([0, 1]).inputs
    assert images.shape == (2, 3, 16, 16)
    assert images.min() >= -1
    assert images.max() <= 1
    assert images.max() > 0
    assert data.test.targets.tolist() == [23, 27, 31]
    assert torch.equal(images, data.test.batch([0, 1]).inputs)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first, *others = (data.train.batch([0]).inputs for _ in range(9))
    assert any(not torch.equal(first, x) for x in others)  # cropped and mirrored at random


def test_a_limit_draws_rows_of_images(tmp_path: Path) -> None:
    path = faces(tmp_path)
    drawn = [image_table(path, "age", tmp_path, size=16, limit=10, seed=seed) for seed in (0, 0, 1)]
    ages = [torch.cat([p.targets for p in (d.train, d.val, d.test)]).tolist() for d in drawn]
    assert [len(each) for each in ages] == [10, 10, 10]
    assert ages[0] == ages[1] != ages[2]
    assert {d.bins for d in drawn} == {image_table(path, "age", tmp_path, size=16).bins}


def test_images_that_cannot_be_opened(tmp_path: Path) -> None:
    path = faces(tmp_path)
    (tmp_path / "AgeDB" / "1_Someone_21_m.jpg").write_text("no image")
    (tmp_path / "AgeDB" / "4_Someone_24_m.jpg").unlink()
    with pytest.raises(DataError, match=r"2 of 12 rows .*line 3: .* is no image; line 6: there is"):
        image_table(path, "age", tmp_path, split="split", size=16)
    data = image_table(path, "age", tmp_path, split="split", size=16, skip_unreadable=True)
    assert len(data.train) == 4
    assert "2 images left out" in data.notes[0]


def test_an_image_broken_behind_its_header_is_named(tmp_path: Path) -> None:
    path = faces(tmp_path)
    broken = tmp_path / "AgeDB" / "0_Someone_20_m.jpg"
    broken.write_bytes(broken.read_bytes()[:-200])
    data = image_table(path, "age", tmp_path, split="split", size=16)
    with pytest.raises(DataError, match=r"cannot read the image .*0_Someone_20_m"):
        data.train.batch([0])


def test_real_photographs(tmp_path: Path) -> None:
    folder = shared_data("bccd", "JPEGImages")
    files = sorted(folder.glob("*.jpg"))[:8]
    assert len(files) == 8
    rows = [[i, f.name, ["train", "train", "val", "test"][i % 4]] for i, f in enumerate(files)]
    path = write(tmp_path / "cells.csv", [["cells", "file", "split"], *rows])
    data = image_table(path, "cells", folder, column="file", split="split", size=32)
    assert data.train.batch([0, 1]).inputs.std() > 0.05


# ------------------------------------------------------------------ sentences


def vectors(path: Path, words: list[str], dims: int = 4) -> Path:
    rng = np.random.default_rng(0)
    lines = [f"{w} " + " ".join(f"{x:.3f}" for x in rng.normal(size=dims)) for w in words]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def sentences(tmp_path: Path) -> Path:
    for name, n in (("train", 6), ("dev", 3), ("test", 3)):
        rows = [["index", "sentence1", "sentence2", "score"]]
        rows += [[str(i), 'A "cat" sat.', "A dog sat" + " down" * i, str(i)] for i in range(n)]
        text = "\n".join("\t".join(row) for row in rows)
        (tmp_path / f"{name}_new.tsv").write_text(text + "\n", encoding="utf-8")
    return tmp_path


def test_sentence_pairs(tmp_path: Path) -> None:
    source = vectors(tmp_path / "glove.txt", ["a", "cat", "sat", "down"])
    data = sentence_pairs(sentences(tmp_path), source)
    assert data.vectors is not None
    assert data.vectors.shape == (6, 4)  # padding, unknown, four words
    assert not data.vectors[0].any()
    torch.testing.assert_close(data.vectors[1], data.vectors[2:].mean(0))
    assert isinstance(data.train, PairSamples)
    left, right = data.train.batch([0, 2]).inputs
    assert left.shape == (2, 6)  # a " cat " sat .
    assert right.shape == (2, 5)
    assert right[0, 3:].tolist() == [0, 0]
    assert left[0, 1] == left[0, 3] == 1  # the quotation marks have no vector
    assert "4 of 7 words" in data.notes[0]


def test_bad_sentences_and_vectors(tmp_path: Path) -> None:
    source = vectors(tmp_path / "glove.txt", ["a"])
    with pytest.raises(DataError, match=r"neither train_new.tsv nor train\.tsv"):
        sentence_pairs(tmp_path, source)
    folder = sentences(tmp_path)
    with pytest.raises(DataError, match="cannot read the word vectors"):
        sentence_pairs(folder, tmp_path / "none.txt")
    (tmp_path / "bad.txt").write_text("a 1 2\ncat 1 x\n")
    with pytest.raises(DataError, match="line 2"):
        word_vectors(tmp_path / "bad.txt", ["a", "cat"])
    (tmp_path / "bad.txt").write_text("a 1 2\ncat 1\n")
    with pytest.raises(DataError, match="different lengths"):
        word_vectors(tmp_path / "bad.txt", ["a", "cat"])
    with (folder / "test_new.tsv").open("a") as file:
        file.write("9\ta\tcat\t7\n")
    with pytest.raises(DataError, match="line 5: score is 7"):
        sentence_pairs(folder, source)


def test_word2vec_header_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "w.txt").write_text("2 3\na 1 2 3\nb 4 5 6\n")
    known, matrix = word_vectors(tmp_path / "w.txt", ["2", "b", "a"])
    assert known == ["a", "b"]
    assert matrix.tolist() == [[1, 2, 3], [4, 5, 6]]


def test_stsb_dir_has_its_published_regions(tmp_path: Path) -> None:
    folder = shared_data("stsb_dir", "ranksim_split")
    data = sentence_pairs(folder, vectors(tmp_path / "v.txt", ["the", "a"]))
    assert (len(data.train), len(data.val), len(data.test)) == (5249, 1000, 1000)
    assert data.regions == STSB_REGIONS
    names = np.array(data.regions)[data.bins.index(data.test.targets)]
    assert [int((names == r).sum()) for r in ("many", "medium", "few")] == [775, 175, 50]
