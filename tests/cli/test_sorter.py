"""``rankgrad train sorter`` and ``rankgrad sorter``."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from rankgrad import cli
from rankgrad.sorters import load_sorter, read_checkpoint
from support import GOLDEN, heed_interrupts

SOURCE = Path(__file__).parents[2] / "src"
QUICK = ["train", "sorter", "--quick", "--model", "grus", "--length", "6", "--device", "cpu"]


def test_train_then_show_then_eval(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert cli.main([*QUICK, "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "sorter grus, lengths 6, 2 epochs of 5 steps on cpu" in shown
    assert "[2/2] loss" in shown
    assert "Best validation error" in shown
    path = out / "sorter.safetensors"
    assert read_checkpoint(path).info["settings"]["batch_size"] == 16

    assert cli.main([*QUICK, "--out", str(out)]) == 0
    assert "Went on after epoch 2." in capsys.readouterr().out
    assert cli.main([*QUICK, "--out", str(out), "--lr", "0.5"]) == 2
    message = capsys.readouterr().err
    assert "lr 0.001, now 0.5" in message
    assert "--fresh" in message
    assert cli.main([*QUICK, "--out", str(out), "--lr", "0.5", "--fresh"]) == 0
    capsys.readouterr()

    assert cli.main(["sorter", "show", str(path)]) == 0
    facts = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()}
    assert facts["architecture"] == ["grus", "(GRUSumSorter)"]
    assert facts["settings.lr"] == ["0.5"]

    picture = tmp_path / "picture.svg"
    call = ["sorter", "eval", str(path), "--rows", "2", "--rankers", "exa,projection"]
    assert cli.main([*call, "--picture", str(picture), "--length", "5,7"]) == 0
    shown = capsys.readouterr().out
    for word in ("Length 5", "Length 7", "range_uniform", "mean", "Spearman", "ms", "projection"):
        assert word in shown
    assert picture.read_text().startswith("<?xml")


def test_show_reads_the_checkpoints_of_the_original(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sorter", "show", str(GOLDEN / "upstream_lstme.pth.tar")]) == 0
    shown = capsys.readouterr().out
    assert "lstme (GRUEndSorter)" in shown
    assert "sodeep" in shown
    assert cli.main(["sorter", "show", "set"]) == 0
    assert "rankgrad train sorter" in capsys.readouterr().out
    assert cli.main(["sorter", "show", "exa"]) == 0


def test_train_on_a_file(tmp_path: Path) -> None:
    path = tmp_path / "scores.npy"
    np.save(path, np.arange(50.0))
    assert cli.main([*QUICK, "--out", str(tmp_path / "run"), "--scores", str(path)]) == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["sorter", "show", "nothing"], 1, "no shipped sorter of this name"),
        (["sorter", "show", "{}/junk"], 1, "holds no checkpoint"),
        (["sorter", "eval", "grus", "--length", "1"], 2, "at least 2"),
        (["sorter", "eval", "{}/mlp.safetensors", "--length", "7"], 1, "5 entries"),
        (["sorter", "eval", "grus", "--dist", "nothing"], 1, "dist must be one of"),
        (["sorter", "eval", "grus", "--rankers", "nothing"], 1, "ranker must be one of"),
        (["train", "sorter", "--model", "nothing"], 2, "architecture must be one of"),
        (["train", "sorter", "--model", "exa"], 2, "no weights to train"),
        (["train", "sorter", "--length", "5,6", "--model", "mlp"], 2, "takes one length"),
        (["train", "sorter", "--dist", "nothing"], 2, "dist must be one of"),
        (["train", "sorter", "--device", "nothing"], 2, "--device nothing"),
        ([*QUICK, "--out", "{}"], 2, "holds no run of a sorter"),
        ([*QUICK, "--out", "{}/junk"], 1, "junk"),
        ([*QUICK, "--out", "{}/new", "--scores", "{}/none.npy"], 1, "none.npy"),
    ],
)
def test_errors_are_one_clear_message(
    tmp_path: Path,
    arguments: list[str],
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from rankgrad.sorters import make_sorter, save_sorter

    (tmp_path / "junk").write_text("junk")
    save_sorter(make_sorter("mlp", 5), tmp_path / "mlp.safetensors")
    assert cli.main([a.replace("{}", str(tmp_path)) for a in arguments]) == code
    shown = capsys.readouterr().err
    assert shown.startswith("rankgrad: ")
    assert message in shown
    assert "Traceback" not in shown
    assert {p.name for p in tmp_path.iterdir()} <= {"junk", "mlp.safetensors", "new"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["train"],
        ["train", "nothing"],
        ["train", "sorter", "--epochs", "0"],
        ["train", "sorter", "--resume", "--fresh"],
        ["train", "sorter", "--precision", "float8"],
        ["sorter"],
        ["sorter", "eval"],
        ["sorter", "eval", "set", "--length", "long"],
    ],
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.slow
def test_ctrl_c_and_then_the_same_weights(tmp_path: Path) -> None:
    options = [*QUICK, "--epochs", "14", "--threads", "1"]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONUNBUFFERED": "1"}
    call = [sys.executable, "-m", "rankgrad", *options, "--out", str(tmp_path / "parts")]
    process = subprocess.Popen(
        call,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("[ 2/14]"):
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert errors == (
        "rankgrad: interrupted; the same command goes on after the last finished epoch\n"
    )
    assert not (tmp_path / "parts" / "sorter.partial").exists()
    before = torch.get_num_threads()
    try:
        assert cli.main([*options, "--out", str(tmp_path / "parts")]) == 0
        assert cli.main([*options, "--out", str(tmp_path / "whole")]) == 0
    finally:
        torch.set_num_threads(before)
    a, b = (
        load_sorter(tmp_path / d / "sorter.safetensors").state_dict() for d in ("parts", "whole")
    )
    assert all(torch.equal(a[k], b[k]) for k in a)
