"""Sentence pairs with a score, each sentence as one vector of an encoder that is not trained."""

from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rankgrad.data.regression.encoders import sentence_vectors
from rankgrad.data.regression.samples import RegressionData, Samples
from rankgrad.data.regression.sentences import STSB_BINS, STSB_REGIONS, pair_tables
from rankgrad.data.regression.table import PARTS

__all__ = ["VectorPairSamples", "embedded_pairs"]


class VectorPairSamples(Samples):
    """Pairs of vectors.

    Args:
        vectors: of every sentence.
        rows: which of them make each pair.
        targets: ``[n]``.
    """

    def __init__(
        self,
        vectors: Float[Tensor, "sentences dims"],
        rows: Int64[Tensor, "2 n"],
        targets: Float[Tensor, " n"],
    ) -> None:
        self.vectors = vectors
        self.rows = rows
        self.targets = targets

    def inputs(self, index: Int64[Tensor, " n"]) -> tuple[Tensor, Tensor]:
        """Return both sides, each ``[n, dims]``."""
        left, right = self.rows[:, index]
        return self.vectors[left], self.vectors[right]


def embedded_pairs(
    folder: str | Path,
    embeddings: str | Path,
    progress: Callable[[int, int], None] | None = None,
) -> RegressionData:
    """Read STS-B-DIR as pairs of vectors.

    All vectors are multiplied by one number, so that their entries have a mean square of one over
    the training sentences: learning rates then mean the same for every encoder.

    Args:
        folder: where the files are, see :func:`rankgrad.data.regression.sentences.sentence_pairs`.
        embeddings: what makes the vectors; see
            :func:`~rankgrad.data.regression.encoders.sentence_vectors`.
        progress: is told how many sentences are encoded, of how many.

    Raises:
        DataError: a file is missing or has bad rows, or the vectors cannot be had.
    """
    tables = pair_tables(folder)
    number: dict[str, int] = {}
    rows = {
        part: torch.tensor(
            [
                [number.setdefault(sentence, len(number)) for sentence in table.column(side)]
                for side in ("sentence1", "sentence2")
            ]
        )
        for part, table in tables.items()
    }
    vectors = sentence_vectors(embeddings, list(number), progress)
    vectors = vectors / vectors[rows["train"]].square().mean().sqrt().clamp(min=1e-30)
    train, val, test = (
        VectorPairSamples(vectors, rows[part], tables[part].numbers("score")) for part in PARTS
    )
    note = f"{len(number):,} different sentences, {vectors.shape[1]} numbers each"
    return RegressionData(
        "embedded-pairs", train, val, test, STSB_BINS, STSB_REGIONS, notes=(note,)
    )
