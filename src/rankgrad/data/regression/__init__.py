"""Data for regression: tables, image files, sentence pairs and the embedded digits."""

from rankgrad.data.regression.digits import digits_data
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
    "bins_for",
    "digits_data",
    "feature_table",
    "image_table",
    "read_table",
    "sentence_pairs",
    "word_vectors",
]
