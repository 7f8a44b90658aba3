"""Sorters as files: safetensors with what they are, and the checkpoints of SoDeep."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rankgrad.files import replacing
from rankgrad.sorters.base import Sorter
from rankgrad.sorters.registry import ARCHITECTURES, architecture

__all__ = [
    "SHIPPED",
    "Checkpoint",
    "CheckpointError",
    "find_sorter",
    "load_sorter",
    "read_checkpoint",
    "save_sorter",
]

_FORMAT = "rankgrad-sorter-1"
_WEIGHTS = Path(__file__).with_name("weights")

SHIPPED: tuple[str, ...] = ("set", "grus", "gruc")
"""Trained sorters that come with the package."""


class CheckpointError(ValueError):
    """A file that holds no sorter, or one that will not be read."""


@dataclass(frozen=True)
class Checkpoint:
    """What a file says about a sorter.

    Args:
        architecture: its short name.
        length: of the sequences it was trained on; None if it takes any and nobody said.
        state: its weights.
        info: how it was trained and what was measured; plain values.
        source: "rankgrad" or "sodeep", for the two formats.
    """

    architecture: str
    length: int | None
    state: Mapping[str, Tensor]
    info: Mapping[str, Any] = field(default_factory=dict)
    source: str = "rankgrad"

    def sorter(self) -> Sorter:
        """Return the sorter, in evaluation mode.

        Raises:
            CheckpointError: the weights are not those of its architecture.
        """
        kind = _known(self.architecture)
        try:
            with torch.device("meta"):  # checks the shapes before anything is allocated
                sorter = kind(self.length)
        except (ValueError, TypeError, RuntimeError) as error:
            raise CheckpointError(f"no such sorter: {error}") from None
        wanted = {name: tuple(x.shape) for name, x in sorter.state_dict().items()}
        there = {name: tuple(x.shape) for name, x in self.state.items()}
        if wanted != there:
            names = [k for k in {**wanted, **there} if wanted.get(k) != there.get(k)]
            first = ", ".join(
                f"{k} {there.get(k, 'missing')} instead of {wanted.get(k, 'nothing')}"
                for k in names[:3]
            )
            raise CheckpointError(
                f"the weights are not those of {self.architecture!r} for length {self.length}: "
                f"{first}{' and others' if len(names) > 3 else ''}"
            )
        sorter.load_state_dict(self.state, assign=True)
        return sorter.eval()


def save_sorter(sorter: Sorter, path: str | Path, **info: Any) -> None:
    """Write a sorter with what is known about it, all of it or nothing.

    Args:
        sorter: an architecture of this library.
        path: the file; ``.safetensors`` by custom.
        info: values that JSON can hold.
    """
    from safetensors.torch import save_file

    if type(sorter) is not ARCHITECTURES.get(sorter.architecture):
        raise TypeError(f"sorter must be of a known architecture, got {type(sorter).__name__}")
    metadata = {
        "format": _FORMAT,
        "architecture": sorter.architecture,
        "length": json.dumps(sorter.length),
        "info": json.dumps({"rankgrad": _version(), **info}),
    }
    state = {name: x.detach().cpu().contiguous() for name, x in sorter.state_dict().items()}
    with replacing(path) as partial:
        save_file(state, partial, metadata)


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Return what a file holds: one of ours, or a ``.pth.tar`` of SoDeep's training script.

    No code of the file is run: a pickle may hold tensors, plain values and an
    ``argparse.Namespace``, and is refused if it names anything else.

    Raises:
        CheckpointError: not such a file, or a damaged one.
        OSError: it cannot be read.
    """
    path = Path(path)
    with path.open("rb") as file:
        start = file.read(9)
    # A safetensors file begins with the length of its header, and then the header, which is JSON.
    return _read_ours(path) if start[8:] == b"{" else _read_sodeep(path)


def load_sorter(path: str | Path) -> Sorter:
    """Return a trained sorter.

    Args:
        path: the name of a shipped one ("set", "grus", "gruc"), or a file; see
            :func:`read_checkpoint`. "exa" needs no file either.

    Returns:
        The sorter in evaluation mode, on the CPU.

    Raises:
        CheckpointError: the file holds no sorter that can be read.
        FileNotFoundError: neither a name nor a file.

    >>> load_sorter("set")(torch.tensor([0.1, 0.7, 0.4])).detach().mul(3).round()
    tensor([3., 1., 2.])
    """
    if path == "exa":
        return ARCHITECTURES["exa"]()
    return read_checkpoint(find_sorter(path)).sorter()


def find_sorter(path: str | Path) -> Path:
    """Return the file of a shipped sorter, or the path itself.

    Raises:
        FileNotFoundError: neither a name nor a file.
    """
    if isinstance(path, str) and path in SHIPPED:
        return _WEIGHTS / f"{path}.safetensors"
    if not Path(path).exists():
        raise FileNotFoundError(
            f"no file {str(path)!r}, and no shipped sorter of this name; there are "
            f"{', '.join(SHIPPED)} and exa"
        )
    return Path(path)


def _version() -> str:
    # The face of the package is above this room, but it is always there.
    version: str = sys.modules[__name__.partition(".")[0]].__version__
    return version


def _known(name: str) -> type[Sorter]:
    try:
        return architecture(name)
    except ValueError as error:
        raise CheckpointError(str(error)) from None


def _read_ours(path: Path) -> Checkpoint:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            if about.get("format") != _FORMAT:
                raise CheckpointError(f"{path} is a safetensors file, but not of a sorter")
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no dict
        length, info = json.loads(about["length"]), json.loads(about["info"])
        if not isinstance(info, dict):
            raise CheckpointError(f"{path} is damaged: its info is no table")
        return Checkpoint(about["architecture"], length, state, info)
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from None


def _read_sodeep(path: Path) -> Checkpoint:
    import argparse
    import pickle
    import warnings

    try:
        with (
            path.open("rb") as file,
            torch.serialization.safe_globals([argparse.Namespace]),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "weights_only" in str(error).lower() and "GLOBAL" in str(error):
            raise CheckpointError(
                f"{path} is refused: it is a pickle that wants to call something, which could "
                f"be anything. {_first_sentence(error)}"
            ) from None
        raise CheckpointError(f"{path} holds no checkpoint, or a damaged one") from None
    except Exception:  # a damaged file raises whatever its bytes happen to mean
        raise CheckpointError(f"{path} holds no checkpoint, or a damaged one") from None
    try:
        if not isinstance(content, Mapping):
            raise TypeError
        settings = content["args_dict"]
        settings = settings if isinstance(settings, Mapping) else vars(settings)
        name, length = settings["model_type"], int(settings["seq_len"])
        state = {k.removeprefix("module."): v for k, v in content["state_dict"].items()}
        if not isinstance(name, str) or not all(isinstance(v, Tensor) for v in state.values()):
            raise TypeError
    except (KeyError, TypeError, ValueError, AttributeError):
        raise CheckpointError(
            f"{path} is no checkpoint of a sorter: it should have a state_dict, and an args_dict "
            "with model_type and seq_len"
        ) from None
    info: dict[str, Any] = {k: v for k, v in settings.items() if _plain(v)}
    info |= {k: content[k] for k in ("epoch", "best_rec") if _plain(content.get(k))}
    return Checkpoint(name, length, state, info, "sodeep")


def _plain(x: Any) -> bool:
    return x is not None and isinstance(x, str | int | float | bool)


def _first_sentence(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if "GLOBAL" in line]
    return lines[0][:200] if lines else ""
