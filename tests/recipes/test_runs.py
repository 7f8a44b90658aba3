import json
from pathlib import Path

import pytest
import torch

from rankgrad.recipes.runs import Kept, RunFolderError, claim, restore, save

FILES = ("settings.json", "state.pt", "logs/**/*")
WANTED = {"epochs": 3, "model": {"name": "mlp", "sizes": (4, 2)}}


def test_a_new_folder_is_claimed_and_claimed_again(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "run"
    for _ in range(2):
        claim(folder, "net", WANTED, FILES, fresh=False)
    about = json.loads((folder / "settings.json").read_text())
    assert about["net"] == {"epochs": 3, "model": {"name": "mlp", "sizes": [4, 2]}}
    assert set(about) == {"net", "versions", "machine"}


def test_other_settings_are_refused_by_name_unless_the_run_is_to_start_over(tmp_path: Path) -> None:
    claim(tmp_path, "net", WANTED, FILES, fresh=False)
    (tmp_path / "state.pt").write_text("old")
    (tmp_path / "notes.txt").write_text("of the user")
    (tmp_path / "logs" / "a").mkdir(parents=True)
    (tmp_path / "logs" / "a" / "events").write_text("old")
    other = {**WANTED, "model": {"name": "cnn", "sizes": (4, 2)}}
    with pytest.raises(RunFolderError, match=r"other settings: model.name mlp, now cnn$"):
        claim(tmp_path, "net", other, FILES, fresh=False)
    assert (tmp_path / "state.pt").exists()
    claim(tmp_path, "net", other, FILES, fresh=True)
    left = sorted(p.name for p in tmp_path.rglob("*") if p.is_file())
    assert left == ["notes.txt", "settings.json"]
    assert json.loads((tmp_path / "settings.json").read_text())["net"]["model"]["name"] == "cnn"


def test_what_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(RunFolderError, match="is not empty and holds no run of a net"):
        claim(tmp_path, "net", WANTED, FILES, fresh=True)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
    for content in ("{}", "[1]", '{"net": 3}', "{"):
        (tmp_path / "settings.json").write_text(content)
        with pytest.raises(RunFolderError, match=r"holds a settings\.json of something else"):
            claim(tmp_path, "net", WANTED, FILES, fresh=True)


def test_a_state_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    save({"epoch": 3, "weights": torch.arange(4.0)}, path)
    taken = {}
    restore(path, "cpu", taken.update)
    assert taken["epoch"] == 3
    assert torch.equal(taken["weights"], torch.arange(4.0))
    assert [p.name for p in tmp_path.iterdir()] == ["state.pt"]


@pytest.mark.parametrize("keep", [0, 10, 300])
def test_a_damaged_state_is_named(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "state.pt"
    save({"weights": torch.arange(400.0)}, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(RunFolderError, match=r"state\.pt is damaged .*--fresh"):
        restore(path, "cpu", dict)


def test_a_state_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    save({"epoch": 3}, tmp_path / "state.pt")
    with pytest.raises(RunFolderError, match="weights"):
        restore(tmp_path / "state.pt", "cpu", lambda state: state["weights"])


class Trainer:
    def __init__(self, seed: int) -> None:
        self.model = torch.nn.Linear(2, 1)
        torch.nn.init.constant_(self.model.weight, seed)
        self.chance = torch.Generator().manual_seed(seed)
        self.epoch = seed


def test_what_a_trainer_keeps_is_put_back(tmp_path: Path) -> None:
    kept = Kept(parts=("model",), generators=("chance",), values=("epoch",))
    one, other = Trainer(3), Trainer(5)
    torch.rand(4, generator=one.chance)
    save(kept.state(one), tmp_path / "state.pt")
    restore(tmp_path / "state.pt", "cpu", lambda state: kept.put_back(other, state))
    assert other.epoch == 3
    assert torch.equal(other.model.weight, one.model.weight)
    assert torch.equal(torch.rand(4, generator=other.chance), torch.rand(4, generator=one.chance))
