import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rankgrad.recipes.experiments import ChangedStudyError, RunStore, TaskError, run_study
from recipes.toy_study import Recorder, toy_study

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("workers", [1, 2])
def test_all_runs_in_order(tmp_path: Path, workers: int) -> None:
    display = Recorder()
    runs = run_study(toy_study(2), RunStore(tmp_path), display, workers=workers, threads=None)
    expected = [("Plain", 0), ("With rank term", 0), ("Plain", 1), ("With rank term", 1)]
    assert [(run.method, run.seed) for run in runs] == expected
    assert [run.metrics["mae_all"] for run in runs] == [2.0, 1.5, 3.0, 2.5]
    assert display.started == [(4, 0)]
    assert sorted(display.finished) == sorted(f"{m}, seed {s}" for m, s in expected)
    assert ("Plain, seed 1", 1.0, "epoch 3") in display.updates


def test_only_what_is_missing_runs(tmp_path: Path) -> None:
    log = tmp_path / "log"
    study = toy_study(2, log=str(log))
    store = RunStore(tmp_path / "out")
    run_study(study, store, Recorder(), workers=1)
    (store.runs / "plain" / "seed-1" / "arrays.npz").write_bytes(b"damaged")
    log.unlink()
    display = Recorder()
    runs = run_study(study, store, display, workers=1)
    assert log.read_text() == "Plain 1\n"
    assert display.started == [(4, 3)]
    assert len(runs) == 4


def test_a_study_that_broke_goes_on_where_it_stopped(tmp_path: Path) -> None:
    log = tmp_path / "log"
    study = toy_study(2, log=str(log), fails_at=2)
    store = RunStore(tmp_path / "out")
    with pytest.raises(TaskError, match="the toy broke"):
        run_study(study, store, Recorder(), workers=1)
    assert len(run_study(study, store, Recorder(), workers=1)) == 4
    assert log.read_text().split("\n")[:5] == [
        "Plain 0",
        "With rank term 0",
        "Plain 1",
        "Plain 1",
        "With rank term 1",
    ]


def test_other_settings_run_nothing(tmp_path: Path) -> None:
    log = tmp_path / "log"
    store = RunStore(tmp_path / "out")
    run_study(toy_study(1, log=str(log)), store, Recorder(), workers=1)
    before = log.read_text()
    with pytest.raises(ChangedStudyError, match="epochs"):
        run_study(toy_study(2, log=str(log), epochs=4), store, Recorder(), workers=1)
    assert log.read_text() == before


def test_a_killed_study_goes_on_where_it_stopped(tmp_path: Path) -> None:
    log = tmp_path / "log"
    settings = f"log={str(log)!r}, pause=0.2"
    script = (
        "from recipes.toy_study import *\n"
        "from rankgrad.recipes.experiments import RunStore, run_study\n"
        "if __name__ == '__main__':\n"
        f"    store = RunStore({str(tmp_path / 'out')!r})\n"
        f"    run_study(toy_study(3, {settings}), store, Recorder(), workers=2, threads=None)\n"
    )
    (tmp_path / "killed.py").write_text(script)
    paths = os.pathsep.join([str(TESTS), str(TESTS.parent / "src")])
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "killed.py")], env={**os.environ, "PYTHONPATH": paths}
    )
    store = RunStore(tmp_path / "out")
    until = time.monotonic() + 60
    while not list(store.runs.glob("*/seed-*/result.json")) and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()

    study = toy_study(3, log=str(log), pause=0.2)
    there = [task for task in study.tasks() if store.load(task) is not None]
    assert 0 < len(there) < 6
    log.unlink()
    display = Recorder()
    runs = run_study(study, store, display, workers=1)
    assert len(runs) == 6
    assert display.started[0][0] == 6
    assert len(log.read_text().splitlines()) <= 6 - len(there)
