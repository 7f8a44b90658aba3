import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from rankgrad.recipes.experiments import ChangedStudyError, Outcome, RunStore, Study
from rankgrad.recipes.experiments import store as store_module
from rankgrad.recipes.experiments.study import Task, slug
from recipes.toy_study import ToyMethod, toy_study, toy_train


def first_task(**settings: object) -> Task:
    return toy_study(1, **settings).tasks()[0]


def saved(folder: Path) -> tuple[RunStore, Task]:
    store, task = RunStore(folder), first_task()
    outcome = toy_train(task.study.settings, task.method, task.seed, lambda *_: None)
    outcome.metrics["infinite"] = math.inf
    store.save(task, outcome, seconds=1.25)
    return store, task


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    store, task = saved(tmp_path)
    run = store.load(task)
    assert run is not None
    assert (run.method, run.seed, run.seconds, run.notes) == ("Plain", 0, 1.25, ["a note"])
    assert run.metrics["mae_all"] == 2.0
    assert math.isnan(run.metrics["empty"])
    assert run.history[1] == {"epoch": 2, "loss": 0.5}
    np.testing.assert_array_equal(run.arrays()["predictions"], np.zeros(4))


def test_files_are_plain_json_and_csv(tmp_path: Path) -> None:
    saved(tmp_path)
    folder = tmp_path / "runs" / "plain" / "seed-0"

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    result = json.loads((folder / "result.json").read_text(), parse_constant=refuse)
    assert result["metrics"] == {"mae_all": 2.0, "empty": None, "infinite": None}
    assert result["identity"]["seed"] == 0
    assert result["identity"]["settings"]["epochs"] == 3
    assert "torch" in result["identity"]["versions"]
    assert "processor" in result["machine"]
    assert (folder / "history.csv").read_text().splitlines()[:2] == ["epoch,loss", "1,1.0"]


def test_what_was_never_saved_is_none(tmp_path: Path) -> None:
    assert RunStore(tmp_path / "nowhere").load(first_task()) is None


@pytest.mark.parametrize("name", ["result.json", "history.csv", "arrays.npz"])
@pytest.mark.parametrize("damage", ["cut", "gone", "changed", "empty"])
def test_a_damaged_run_counts_as_missing_and_can_be_written_again(
    tmp_path: Path, name: str, damage: str
) -> None:
    store, task = saved(tmp_path)
    path = tmp_path / "runs" / "plain" / "seed-0" / name
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        path.write_bytes(b"\x00\xff[]" + content[4:])
    assert store.load(task) is None
    store.save(task, Outcome({"mae_all": 5.0}), seconds=0.0)
    again = store.load(task)
    assert again is not None
    assert again.metrics == {"mae_all": 5.0}


@pytest.mark.parametrize("content", ["[]", "3", '{"format": 1}', '{"format": 1, "identity": 3}'])
def test_json_of_another_shape_counts_as_missing(tmp_path: Path, content: str) -> None:
    store, task = saved(tmp_path)
    (tmp_path / "runs" / "plain" / "seed-0" / "result.json").write_text(content)
    assert store.load(task) is None


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    store, _ = saved(tmp_path)
    with pytest.raises(ChangedStudyError, match=r"settings\.epochs 3, now 9$"):
        store.load(first_task(epochs=9))
    changed = Study("toy", first_task().study.settings, (ToyMethod("Plain", 7.0),), (0,), toy_train)
    with pytest.raises(ChangedStudyError, match=r"method\.value 2\.0, now 7\.0$"):
        store.load(changed.tasks()[0])


def test_other_versions_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, task = saved(tmp_path)
    now = store_module.environment()
    monkeypatch.setattr(store_module, "environment", lambda: {**now, "torch": "99.0"})
    with pytest.raises(ChangedStudyError, match=r"versions\.torch .*, now 99\.0$"):
        store.load(task)


def test_more_seeds_or_methods_are_no_change(tmp_path: Path) -> None:
    store, _ = saved(tmp_path)
    found = [store.load(task) is not None for task in toy_study(3).tasks()]
    assert found == [True, False, False, False, False, False]


def test_leftovers_of_interrupted_writes_are_neither_read_nor_kept(tmp_path: Path) -> None:
    store, task = saved(tmp_path)
    folder = tmp_path / "runs" / "plain"
    young, old = folder / ".partial-seed-1-11", folder / ".partial-seed-1-12"
    for partial in (young, old):
        partial.mkdir()
        (partial / "result.json").write_text("{}")
    os.utime(old, (1, 1))
    store.remove_leftovers()
    assert young.exists()
    assert not old.exists()
    assert store.load(task) is not None
    assert store.load(toy_study(2).tasks()[2]) is None


def test_clear_forgets_all(tmp_path: Path) -> None:
    store, task = saved(tmp_path)
    store.clear()
    assert store.load(task) is None
    store.clear()


def test_names_become_folders() -> None:
    assert slug("LDS + Rank-N-Contrast (λ=1)") == "lds-rank-n-contrast-1"
    with pytest.raises(ValueError, match="different names"):
        Study("toy", None, (ToyMethod("A b"), ToyMethod("a-B")), (0,), toy_train)
    with pytest.raises(ValueError, match="different names"):
        Study("toy", None, (ToyMethod("+"),), (0,), toy_train)
    with pytest.raises(ValueError, match="seeds must be different"):
        Study("toy", None, (), (1, 1), toy_train)


def test_the_state_of_a_run_under_way_belongs_to_its_settings_and_goes_with_it(
    tmp_path: Path,
) -> None:
    store, task = RunStore(tmp_path), first_task()
    mine, others = store.underway(task), store.underway(first_task(epochs=4))
    assert mine != others
    for path in (mine, others):
        path.write_bytes(b"state")
    store.save(task, toy_train(task.study.settings, task.method, 0, lambda *_: None), 1.0)
    assert not mine.exists()
    assert not others.exists()
    assert store.load(task) is not None
