import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from rankgrad import cli
from rankgrad.commands import demo as command
from support import heed_interrupts

SOURCE = Path(__file__).parents[2] / "src"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def demo(folder: Path, *more: str) -> int:
    # One worker: no time goes into starting others.
    return cli.main(
        ["demo", "--quick", "--epochs", "1", "--workers", "1", "--out", str(folder), *more]
    )


def test_demo_prints_the_table_and_writes_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert demo(tmp_path, "--seeds", "1") == 0
    shown = capsys.readouterr().out
    assert "4 methods, 1 seeds, 1 epochs" in shown
    assert "[4/4] LDS + RnC, seed 0: test MAE" in shown
    for heading in ("MAE many", "MAE few", "GM error", "Pearson", "Spearman"):
        assert heading in shown
    assert "LDS + RnC against LDS: test MAE" in shown
    assert shown.endswith(f"Report: {tmp_path / 'report.html'}\n")
    assert {p.name for p in tmp_path.iterdir()} == {
        "report.html",
        "runs",
        "runs.csv",
        "summary.csv",
        "summary.json",
    }

    # One page is enough for this test.
    monkeypatch.setattr(command, "_report", lambda *_, **__: tmp_path / "report.html")
    # A second seed is added to the first.
    assert demo(tmp_path, "--seeds", "2", "--resume") == 0
    shown = capsys.readouterr().out
    assert "4 of 8 runs are there already" in shown
    assert "seed 0: test" not in shown

    # Other settings are not mixed with these, unless the old ones may go.
    assert demo(tmp_path, "--seeds", "1", "--epochs", "2") == 2
    message = capsys.readouterr().err
    assert "settings.epochs 1, now 2" in message
    assert "--out" in message
    assert "--fresh" in message
    assert demo(tmp_path, "--seeds", "1", "--epochs", "2", "--fresh") == 0
    assert "already" not in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert demo(tmp_path / "file" / "out") == 1
    assert "cannot write the results" in capsys.readouterr().err


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_done_and_the_next_call_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    call = [sys.executable, "-m", "rankgrad", "demo", "--quick", "--epochs", "1"]
    process = subprocess.Popen(
        [*call, "--seeds", "40", "--workers", "2", "--out", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=heed_interrupts,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("4 methods, 40 seeds")
    assert process.stdout.readline().startswith("[  1/160]")
    # As a terminal does: to the command and to its workers.
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert errors == (
        "rankgrad: interrupted; finished runs are kept, the same command goes on from there\n"
    )

    finished = [path.parent.name for path in tmp_path.glob("runs/*/seed-*/result.json")]
    assert 1 <= len(finished) < 160
    monkeypatch.setattr(command, "_report", lambda *_, **__: tmp_path / "report.html")
    assert demo(tmp_path, "--seeds", "1") == 0
    there = finished.count("seed-0")
    assert f"{there} of 4 runs are there already" in capsys.readouterr().out
