"""Sorters as files: round trips, SoDeep's checkpoints, and files that must not be read."""

import argparse
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from rankgrad.sorters import (
    SHIPPED,
    CheckpointError,
    Sorter,
    load_sorter,
    make_sorter,
    read_checkpoint,
    save_sorter,
)
from support import GOLDEN, PACKAGE, golden

UPSTREAM = ["gruc", "lstme", "grus"]
WEIGHTS = PACKAGE / "sorters" / "weights"


@pytest.mark.parametrize(
    ("name", "length"), [("set", None), ("grus", 100), ("mlp", 4), ("cnn", 40)]
)
def test_round_trip(tmp_path: Path, name: str, length: int | None) -> None:
    sorter = make_sorter(name, length).eval()
    path = tmp_path / "sorter.safetensors"
    save_sorter(sorter, path, seed=3, errors={"ramp": 0.5})
    found = read_checkpoint(path)
    assert (found.architecture, found.length, found.source) == (name, length, "rankgrad")
    assert found.info["seed"] == 3
    assert found.info["errors"] == {"ramp": 0.5}
    assert "rankgrad" in found.info
    again = load_sorter(path)
    assert type(again) is type(sorter)
    assert not again.training
    for key, value in sorter.state_dict().items():
        assert torch.equal(again.state_dict()[key], value)
    x = torch.randn(3, length or 6)
    # PyTorch's products and sums may round otherwise where memory is aligned otherwise.
    torch.testing.assert_close(again(x), sorter(x), rtol=1e-6, atol=1e-6)
    assert [p.name for p in tmp_path.iterdir()] == ["sorter.safetensors"]


@pytest.mark.parametrize("name", UPSTREAM)
def test_checkpoints_of_the_original(name: str) -> None:
    path = GOLDEN / f"upstream_{name}.pth.tar"
    found = read_checkpoint(path)
    arrays = golden(f"upstream_{name}")[""]
    assert (found.architecture, found.length, found.source) == (name, arrays["seq_len"], "sodeep")
    assert found.info["batch_size"] == 256
    out = load_sorter(path)(torch.tensor(arrays["x"]))
    np.testing.assert_allclose(out.detach(), arrays["out"], rtol=1e-5, atol=1e-6)


def sodeep_checkpoint(**changes: object) -> dict[str, object]:
    settings = argparse.Namespace(model_type="grus", seq_len=7, lr=0.001, path=Path("x").name)
    return {
        "state_dict": make_sorter("grus", 7).state_dict(),
        "args_dict": settings,
        "epoch": 3,
        "best_rec": 0.1,
        **changes,
    }


@pytest.mark.parametrize("zipped", [True, False])
def test_checkpoints_of_old_and_new_torch(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "old.pth.tar"
    torch.save(sodeep_checkpoint(), path, _use_new_zipfile_serialization=zipped)
    assert read_checkpoint(path).info["epoch"] == 3
    assert load_sorter(path)(torch.randn(2, 9)).shape == (2, 9)


def test_weights_of_data_parallel(tmp_path: Path) -> None:
    path = tmp_path / "parallel.pth.tar"
    state = {f"module.{k}": v for k, v in make_sorter("grus", 7).state_dict().items()}
    torch.save(sodeep_checkpoint(state_dict=state), path)
    load_sorter(path)


class Harmful:
    """Unpickling it runs code."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("where", ["epoch", "state_dict", "args_dict"])
def test_code_in_a_checkpoint_is_refused_and_not_run(
    tmp_path: Path, where: str, zipped: bool
) -> None:
    path, trace = tmp_path / "bad.pth.tar", tmp_path / "trace"
    bad: object = Harmful(trace)
    if where == "args_dict":
        bad = argparse.Namespace(model_type="grus", seq_len=7, more=bad)
    torch.save(sodeep_checkpoint(**{where: bad}), path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"bad\.pth\.tar is refused: it is a pickle that"):
        load_sorter(path)
    assert not trace.exists()


def test_a_bare_harmful_pickle_is_refused(tmp_path: Path) -> None:
    path, trace = tmp_path / "bad.pkl", tmp_path / "trace"
    path.write_bytes(pickle.dumps(Harmful(trace)))
    with pytest.raises(CheckpointError, match=r"bad\.pkl"):
        load_sorter(path)
    assert not trace.exists()


@pytest.mark.parametrize("part", [0.0, 0.02, 0.3, 0.7, 0.99])
@pytest.mark.parametrize("kind", ["pth.tar", "safetensors"])
def test_a_truncated_file_is_refused(tmp_path: Path, kind: str, part: float) -> None:
    whole = GOLDEN / "upstream_grus.pth.tar"
    if kind == "safetensors":
        whole = tmp_path / "whole.safetensors"
        save_sorter(make_sorter("grus"), whole)
    content = whole.read_bytes()
    path = tmp_path / f"cut.{kind}"
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(CheckpointError, match=r"cut\..* (damaged|is damaged|no checkpoint)"):
        load_sorter(path)


@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 64, b"hello, world, this is no sorter", b"PK\x03\x04" + b"\x00" * 60]
)
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="file"):
        load_sorter(path)


def test_other_checkpoints_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pth.tar"
    others: list[object] = [
        {"weights": torch.ones(3)},
        torch.ones(3),
        [1, 2],
        sodeep_checkpoint(args_dict=3),
        sodeep_checkpoint(state_dict={"a": 1}),
        sodeep_checkpoint(args_dict={"model_type": "grus", "seq_len": "long"}),
    ]
    for content in others:
        torch.save(content, path)
        with pytest.raises(CheckpointError, match="no checkpoint of a sorter"):
            load_sorter(path)
    from safetensors.torch import save_file

    save_file({"a": torch.ones(3)}, path)
    with pytest.raises(CheckpointError, match="not of a sorter"):
        load_sorter(path)


def test_weights_of_another_architecture_or_length_are_named(tmp_path: Path) -> None:
    path = tmp_path / "wrong.pth.tar"
    settings = {"model_type": "mlp", "seq_len": 5}
    torch.save(
        sodeep_checkpoint(args_dict=settings, state_dict=make_sorter("mlp", 4).state_dict()), path
    )
    with pytest.raises(CheckpointError, match=r"'mlp' for length 5: lin1.weight \(2048, 4\)"):
        load_sorter(path)
    torch.save(sodeep_checkpoint(args_dict={"model_type": "gruc", "seq_len": 5}), path)
    with pytest.raises(CheckpointError, match="missing instead of"):
        load_sorter(path)
    # Nothing of this size is ever allocated.
    torch.save(sodeep_checkpoint(args_dict={"model_type": "lstme", "seq_len": 10**7}), path)
    with pytest.raises(CheckpointError, match="for length 10000000"):
        load_sorter(path)
    torch.save(sodeep_checkpoint(args_dict={"model_type": "x", "seq_len": 5}), path)
    with pytest.raises(CheckpointError, match="architecture must be one of"):
        load_sorter(path)


def test_no_file() -> None:
    with pytest.raises(FileNotFoundError, match=r"no shipped sorter of this name; there are set"):
        load_sorter("nothing")


def test_only_known_architectures_are_saved(tmp_path: Path) -> None:
    class Mine(Sorter):
        architecture = "mine"
        any_length = True

    with pytest.raises(TypeError, match="Mine"):
        save_sorter(Mine(), tmp_path / "mine.safetensors")


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped(name: str) -> None:
    found = read_checkpoint(WEIGHTS / f"{name}.safetensors")
    assert found.architecture == name
    assert found.info["command"].startswith("rankgrad train sorter")
    assert found.info["settings"]["seed"] == 0
    x = torch.randn(2, 100)
    a, b = load_sorter(name), load_sorter(name)
    assert torch.equal(a(x), b(x))
    assert a is not b


def test_shipped_sorters_are_small() -> None:

    assert {path.stem for path in WEIGHTS.iterdir()} == set(SHIPPED)
    assert sum(path.stat().st_size for path in WEIGHTS.iterdir()) < 4e6
