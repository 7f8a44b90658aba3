"""``rankgrad compare regression`` and ``rankgrad train regression`` from the outside."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from rankgrad import cli
from rankgrad.commands import compare_regression


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        yield
    torch.set_num_threads(before)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 2))
    y = np.exp(1 + 0.5 * x[:, 0])
    rows = [f"{a:.4f},{b:.4f},{t:.4f}" for (a, b), t in zip(x, y, strict=True)]
    path = tmp_path / "skewed.csv"
    path.write_text("a,b,y\n" + "\n".join(rows) + "\n")
    return path


def compare(table: Path, *more: str) -> int:
    options = ["--target", "y", "--epochs", "1", "--seeds", "1", "--workers", "1"]
    return cli.main(
        ["compare", "regression", "--data", str(table), *options, "--out", str(table.parent), *more]
    )


def test_compare_prints_tables_and_goes_on(
    table: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert compare(table, "--methods", "MSE,LDS", "--method", "Mine=l1 rnc", "--tune", "1") == 0
    shown = capsys.readouterr().out
    assert "3 methods, 1 seeds" in shown
    assert "84 training, 12 validation and 24 test samples" in shown
    assert "1 trials for every method" in shown
    for text in ("balanced MAE", "LDS - MSE", "Mine - LDS", "better on", "Better than MSE"):
        assert text in shown
    assert shown.endswith(f"Report: {table.parent / 'report.html'}\n")
    assert (table.parent / "paired.csv").exists()

    monkeypatch.setattr(compare_regression, "_report", lambda *_: table)
    assert compare(table, "--methods", "MSE,LDS", "--method", "Mine=l1 rnc", "--tune", "1") == 0
    assert "3 of 3 runs are there already" in capsys.readouterr().out
    assert compare(table, "--methods", "MSE", "--batch-size", "64") == 2
    assert "settings.batch_size 128, now 64" in capsys.readouterr().err


def test_compare_lists_methods(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", "regression", "--list"]) == 0
    assert "LDS + RnC          mse lds rnc" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--methods", "LSD"], "unknown method 'LSD'"),
        (["--method", "x=mse l1"], "one loss"),
        (["--method", "x=huber:beta=-1"], "beta must be > 0"),
        (["--model", "resnet18"], "mlp do"),
        (["--method", "x=mse pretrain:temperature=-1"], "temperature must be > 0"),
        (["--target", "z"], "no column 'z'; it has a, b, y"),
        (["--preset", "agedb"], "unknown preset"),
        (["--preset", "agedb-ranksim"], "needs --image-root"),
        (["--tune", "13"], "trials must be from 1 to 12"),
        (["--schedule", "linear", "--methods", "MSE"], "schedule must be"),
    ],
)
def test_wrong_options_are_one_clear_message(
    table: Path, more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(table, *more) != 0
    assert message in capsys.readouterr().err


def test_bad_rows_are_listed(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with table.open("a") as file:
        file.write("1,2,nan\n")
    assert compare(table) == 2
    assert "1 of 121 rows" in capsys.readouterr().err


def train(table: Path, *more: str) -> int:
    options = ["--target", "y", "--device", "cpu", "--epochs", "1"]
    folder = str(table.parent / "run")
    return cli.main(["train", "regression", "--data", str(table), *options, "--out", folder, *more])


def test_train_prints_regions_and_metrics_and_goes_on(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    terms = ["--lds", "--term", "ranksim:weight=0.2,strength=10", "--term", "spearman"]
    assert train(table, *terms) == 0
    shown = capsys.readouterr().out
    assert "mse lds:window=gaussian" in shown
    assert "ranksim:weight=0.2,start=0,strength=10" in shown
    for text in ("few", "[1/1] balanced validation MAE", "GM error", "Balanced MAE: "):
        assert text in shown
    assert train(table, *terms) == 0
    assert "Went on after epoch 1." in capsys.readouterr().out
    assert train(table, "--loss", "l1") == 2
    message = capsys.readouterr().err
    assert "other settings" in message
    assert "--fresh" in message


def test_train_puts_methods_together(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more, text in (
        ([], "mse lds:window=gaussian,size=5,sigma=2 rnc:weight=1,start=0,temperature=1"),
        (["--lds"], "mse lds:window=gaussian,size=5,sigma=2; 1 epochs"),
        (["--method", "LDS + RnC", "--loss", "huber"], "huber:beta=1 lds"),
        (["--method", "l1 rnc"], "l1 rnc:weight=1"),
        (["--preset", "stsb-inverse-ranksim", "--fds", "size=3"], "inverse fds:window"),
        (["--reweight", "inverse", "--lds", "size=9"], "mse inverse lds:window=gaussian,size=9"),
        (["--pretrain", "epochs=9"], "mse pretrain:epochs=9,temperature=2,freeze=yes; 10 epochs"),
    ):
        # A model that does not exist ends the command before it trains.
        assert train(table, *more, "--model", "none") == 2
        assert text in capsys.readouterr().out
    assert train(table, "--term", "mse") == 2
    assert "one loss" in capsys.readouterr().err


def test_sentence_pairs_by_embeddings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    texts = [f"sentence {i}" for i in range(40)]
    np.savez(tmp_path / "mine.npz", sentences=np.array(texts), vectors=rng.normal(size=(40, 4)))
    for part, n in (("train", 30), ("dev", 10), ("test", 10)):
        rows = [f"{texts[i]}\t{texts[-i]}\t{i % 6}" for i in range(n)]
        (tmp_path / f"{part}.tsv").write_text("\n".join(["sentence1\tsentence2\tscore", *rows]))
    options = ["compare", "regression", "--data", str(tmp_path), "--methods", "MSE,RnC"]
    options += ["--epochs", "1", "--seeds", "1", "--workers", "1", "--out", str(tmp_path / "out")]
    assert cli.main(options) == 2
    assert "need either vectors of words" in capsys.readouterr().err
    assert cli.main([*options, "--embeddings", str(tmp_path / "mine.npz")]) == 0
    assert "40 different sentences, 4 numbers each" in capsys.readouterr().out
    assert cli.main([*options, "--embeddings", "no_such_module:encode"]) == 2
    assert "cannot find the encoder" in capsys.readouterr().err
