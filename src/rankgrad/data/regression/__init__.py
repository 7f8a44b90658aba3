"""Data for regression: tables, image files, sentence pairs and the embedded digits."""

from rankgrad.data.regression.digits import digits_data
from rankgrad.data.regression.embedded import VectorPairSamples, embedded_pairs
from rankgrad.data.regression.encoders import (
    read_embeddings,
    sentence_vectors,
    write_embeddings,
)
from rankgrad.data.regression.images import ImageSamples, image_table
from rankgrad.data.regression.samples import (
    Batch,
    DataError,
    LabelBins,
    RegressionData,
    Samples,
    TensorSamples,
    bins_for,
)
from rankgrad.data.regression.sentences import PairSamples, sentence_pairs, word_vectors
from rankgrad.data.regression.table import feature_table, read_table

__all__ = [
    "Batch",
    "DataError",
    "ImageSamples",
    "LabelBins",
    "PairSamples",
    "RegressionData",
    "Samples",
    "TensorSamples",
    "VectorPairSamples",
    "bins_for",
    "digits_data",
    "embedded_pairs",
    "feature_table",
    "image_table",
    "read_embeddings",
    "read_table",
    "sentence_pairs",
    "sentence_vectors",
    "word_vectors",
    "write_embeddings",
]
