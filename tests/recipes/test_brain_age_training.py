"""Training for brain age: the loss, the steps, what goes wrong, and going on where it was."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("nibabel")

from rankgrad.data.nifti import ScanDataset, Scans, read_scans, write_phantoms
from rankgrad.losses import rank_difference_loss
from rankgrad.recipes.brain_age.batches import even_parts
from rankgrad.recipes.brain_age.building import ranker_of
from rankgrad.recipes.brain_age.objective import BrainAgeLoss
from rankgrad.recipes.brain_age.progress import DeadStartError, DivergedError
from rankgrad.recipes.brain_age.running import Parts, load_brain_age, open_parts, train_brain_age
from rankgrad.recipes.brain_age.settings import BrainAgeSettings
from rankgrad.recipes.brain_age.training import StageTrainer
from rankgrad.recipes.runs import RunFolderError

SIZE = (18, 20, 18)
TINY = BrainAgeSettings(
    filters=2, blocks=2, size=SIZE, epochs=2, batch_size=6, augment=False, second_lr=1e-4
)


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Scans:
    folder = tmp_path_factory.mktemp("phantoms")
    table = write_phantoms(folder, 24, size=SIZE)
    return read_scans(folder / "images", table)


@pytest.fixture(scope="module")
def parts(scans: Scans, tmp_path_factory: pytest.TempPathFactory) -> Parts:
    return open_parts(scans, TINY, cache=tmp_path_factory.mktemp("cache"))


def weights(model: torch.nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.state_dict().values()])


# ---------------------------------------------------------------- the loss


def test_loss_is_the_published_sum() -> None:
    torch.manual_seed(0)
    ages = torch.tensor([20.0, 40.0, 40.0, 61.0, 80.0])
    predictions = (ages + 5 * torch.randn(5)).requires_grad_()
    loss = BrainAgeLoss(weight=10.0, beta=0.5)
    expected = (predictions - ages).square().mean()
    expected = expected + 10 * rank_difference_loss(predictions, ages, beta=0.5)
    torch.testing.assert_close(loss(predictions, ages), expected)
    parts = loss.parts
    total = parts["base"] + 10 * (parts["ranks"] + 0.5 * parts["differences"])
    torch.testing.assert_close(total, expected.detach())


def test_without_weight_it_is_the_plain_error() -> None:
    predictions, ages = torch.tensor([21.0, 43.0]), torch.tensor([20.0, 40.0])
    assert BrainAgeLoss(weight=0.0)(predictions, ages) == 5
    loss = BrainAgeLoss("l1", weight=0.0)
    assert loss(predictions, ages) == 2
    assert set(loss.parts) == {"base"}


def test_one_scan_has_no_rank_and_no_difference() -> None:
    prediction = torch.tensor([50.0], requires_grad=True)
    loss = BrainAgeLoss()
    loss(prediction, torch.tensor([53.0])).backward()
    assert (loss.parts["ranks"], loss.parts["differences"]) == (0, 0)
    assert prediction.grad == -6


def test_equal_ages_draw_predictions_together() -> None:
    predictions = torch.tensor([48.0, 50.0, 52.0], requires_grad=True)
    loss = BrainAgeLoss(ranker="logistic")
    loss(predictions, torch.full((3,), 50.0)).backward()
    assert predictions.grad is not None
    assert predictions.grad[0] < 0 < predictions.grad[2]
    assert predictions.grad.isfinite().all()


# ---------------------------------------------------------------- settings


def test_settings_are_the_published_ones() -> None:
    s = BrainAgeSettings()
    assert (s.filters, s.blocks, s.size, s.batch_size, s.epochs) == (8, 5, (91, 109, 91), 32, 150)
    assert (s.loss, s.weight, s.beta, s.age_step) == ("mse", 10, 1, 5)
    assert (s.optimizer, s.lr, s.second_optimizer, s.second_lr) == ("adam", 1e-3, "sgd", 1e-5)
    assert (s.weight_decay, s.lr_patience, s.patience, s.seed) == (5e-4, 5, 20, 0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch_size": 1}, "rank of a single scan says nothing"),
        ({"size": (41, 60, 60)}, "at least 42 voxels for 5 blocks"),
        ({"accumulate": 33}, "at most batch_size"),
        ({"loss": "huber"}, "loss must be one of 'mse', 'l1'"),
        ({"patience": 0}, "patience must be > 0"),
        ({"weight": -1.0}, "weight must be >= 0"),
    ],
)
def test_settings_that_make_no_sense(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BrainAgeSettings(**wrong)


def test_a_batch_of_one_is_allowed_without_ranks() -> None:
    assert BrainAgeSettings(batch_size=1, weight=0.0).batch_size == 1


def test_batches_are_even() -> None:
    order = torch.randperm(33)
    found = even_parts(order, 32)
    assert [len(part) for part in found] == [17, 16]
    assert [i for part in found for i in part] == order.tolist()
    assert even_parts(torch.arange(3), 4) == [[0, 1, 2]]


# ---------------------------------------------------------------- steps


def test_the_first_stage_starts_at_the_mean_age(parts: Parts) -> None:
    trainer = StageTrainer(TINY, 1, parts.train, parts.validation)
    assert trainer.model.first.last_bias.item() == pytest.approx(parts.train.ages.mean().item())
    zero = StageTrainer(replace(TINY, start="zero"), 1, parts.train, parts.validation)
    assert zero.model.first.last_bias == 0


def test_published_optimizers(parts: Parts) -> None:
    first = StageTrainer(TINY, 1, parts.train, parts.validation)
    assert isinstance(first.optimizer, torch.optim.Adam)
    assert first.optimizer.defaults["amsgrad"]
    weights = first.model.first.state_dict()
    second = StageTrainer(TINY, 2, parts.train, parts.validation, first=weights)
    assert isinstance(second.optimizer, torch.optim.SGD)
    assert second.optimizer.defaults["momentum"] == 0
    assert second.optimizer.defaults["weight_decay"] == 5e-4


def test_a_dead_start_is_noticed_and_said(parts: Parts) -> None:
    trainer = StageTrainer(TINY, 1, parts.train, parts.validation)
    with torch.no_grad():
        trainer.model.first.last_bias.fill_(-1e4)
    with pytest.raises(DeadStartError, match=r"every answer of the last 3 batches is 0 .*epoch 1"):
        trainer.one_epoch()


def test_a_loss_that_is_no_number_ends_the_run(parts: Parts) -> None:
    trainer = StageTrainer(TINY, 1, parts.train, parts.validation)
    with torch.no_grad():
        trainer.model.first.last_bias.fill_(torch.nan)
    with pytest.raises(DivergedError, match="stage 1, epoch 1"):
        trainer.one_epoch()


def still(trainer: StageTrainer) -> None:
    """Batch norm as in evaluation: what is left depends on each scan alone."""
    for module in trainer.trained.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.eval()


@pytest.mark.parametrize("stage", [1, 2])
@pytest.mark.parametrize("accumulate", [2, 3, 6])
def test_parts_of_a_batch_have_the_gradient_of_the_whole(
    parts: Parts, stage: int, accumulate: int
) -> None:
    first = StageTrainer(TINY, 1, parts.train, parts.validation).model.first.state_dict()
    gradients = []
    for count in (1, accumulate):
        settings = replace(TINY, accumulate=count)
        trainer = StageTrainer(settings, stage, parts.train, parts.validation, first=first)
        trainer.trained.train()
        still(trainer)
        (batch,) = trainer.batches.read([list(range(6))])
        losses = trainer._step(batch)
        assert losses["ranks"] > 0
        used = [p.grad for p in trainer.trained.parameters() if p.requires_grad]
        gradients.append(torch.cat([g.flatten() for g in used if g is not None]))
        assert all(p.grad is None for p in trainer.model.parameters() if not p.requires_grad)
    scale = gradients[0].abs().max()
    torch.testing.assert_close(gradients[1] / scale, gradients[0] / scale, atol=1e-4, rtol=1e-4)


def test_parts_count_once_in_the_running_statistics(parts: Parts) -> None:
    trainer = StageTrainer(replace(TINY, accumulate=3), 1, parts.train, parts.validation)
    trainer.trained.train()
    (batch,) = trainer.batches.read([list(range(6))])
    trainer._step(batch)
    norms = [m for m in trainer.trained.modules() if isinstance(m, torch.nn.BatchNorm3d)]
    assert {norm.num_batches_tracked.item() for norm in norms} == {3}
    assert all(norm.track_running_stats for norm in norms)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_trains(parts: Parts, precision: str) -> None:
    trainer = StageTrainer(replace(TINY, precision=precision), 1, parts.train, parts.validation)
    row = trainer.one_epoch()
    assert math.isfinite(row["loss"])
    assert row["val_MAE"] < 60


def test_training_stops_when_validation_does_not_improve(parts: Parts) -> None:
    settings = replace(TINY, epochs=50, patience=1, lr_patience=0, lr=1e-7)
    trainer = StageTrainer(settings, 1, parts.train, parts.validation)
    while not trainer.finished:
        trainer.one_epoch()
        trainer.schedule.threshold = 1.0  # no improvement is large enough
        trainer.best_mae = 0.0
    assert trainer.epoch == 2
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(0.5e-7)


def test_it_learns(parts: Parts) -> None:
    """The scans it was trained on, to see that every part does its work."""
    settings = replace(TINY, filters=4, epochs=12, lr=3e-3, weight=1.0)
    trainer = StageTrainer(settings, 1, parts.train, parts.train)
    errors = [trainer.one_epoch()["val_MAE"] for _ in range(12)]
    spread = (parts.train.ages - parts.train.ages.mean()).abs().mean()
    assert min(errors) < 0.6 * spread


# ---------------------------------------------------------------- runs


def run(parts: Parts, folder: Path, **options: Any) -> Any:
    return train_brain_age(TINY, parts, folder, **options)


def test_an_interrupted_run_ends_with_the_same_weights(
    parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(parts, tmp_path / "whole")
    one_epoch, calls = StageTrainer.one_epoch, 0

    def dies(self: StageTrainer, *args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls in (2, 4):
            raise KeyboardInterrupt
        return one_epoch(self, *args)

    monkeypatch.setattr(StageTrainer, "one_epoch", dies)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(parts, tmp_path / "torn")
    torn = run(parts, tmp_path / "torn")
    assert torch.equal(weights(whole.model), weights(torn.model))
    assert whole.bias == torn.bias
    for stage in ("stage1", "stage2"):
        history = (tmp_path / "torn" / stage / "history.csv").read_text()
        assert history == (tmp_path / "whole" / stage / "history.csv").read_text()


def test_loader_processes_and_augmentation_go_on_too(scans: Scans, parts: Parts) -> None:
    pytest.importorskip("torchio")
    moved = ScanDataset(scans.train, SIZE, augment=True)

    def trainer() -> StageTrainer:
        return StageTrainer(TINY, 1, moved, parts.validation, workers=1)

    whole, torn = trainer(), trainer()
    for _ in range(2):
        whole.one_epoch()
    torn.one_epoch()
    state, torn = torn.state(), trainer()
    torn.restore(state)
    torn.one_epoch()
    assert torch.equal(weights(whole.model), weights(torn.model))
    assert whole.history == torn.history


def test_stages_one_call_after_the_other(parts: Parts, tmp_path: Path) -> None:
    both = run(parts, tmp_path / "both")
    alone = run(parts, tmp_path / "apart", stages=(1,))
    assert alone.model.second is None
    then = run(parts, tmp_path / "apart", stages=(2,))
    assert torch.equal(weights(both.model), weights(then.model))
    other = run(parts, tmp_path / "other", stages=(2,), first=tmp_path / "apart" / "brain_age.pt")
    assert torch.equal(weights(both.model), weights(other.model))


def test_what_the_second_stage_needs(parts: Parts, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="first is for the second stage"):
        run(parts, tmp_path / "a", stages=(1,), first="brain_age.pt")
    with pytest.raises(ValueError, match="the second stage needs the first"):
        run(parts, tmp_path / "a", stages=(2,))
    run(parts, tmp_path / "b", stages=(1,))
    wide = replace(TINY, filters=3)
    with pytest.raises(ValueError, match="of another shape: filters 2"):
        train_brain_age(
            wide, parts, tmp_path / "c", stages=(2,), first=tmp_path / "b" / "brain_age.pt"
        )


def test_a_model_comes_back_from_its_file(parts: Parts, tmp_path: Path) -> None:
    trained = run(parts, tmp_path)
    loaded = load_brain_age(tmp_path / "brain_age.pt")
    assert torch.equal(weights(loaded.model), weights(trained.model))
    assert (loaded.settings, loaded.bias) == (TINY, trained.bias)
    (tmp_path / "brain_age.pt").write_bytes(b"no model")
    with pytest.raises(ValueError, match="not a brain-age model"):
        load_brain_age(tmp_path / "brain_age.pt")


def test_a_folder_of_other_settings_is_refused(parts: Parts, tmp_path: Path) -> None:
    run(parts, tmp_path, stages=(1,))
    with pytest.raises(RunFolderError, match=r"other settings: lr 0\.001, now 0\.01"):
        train_brain_age(replace(TINY, lr=0.01), parts, tmp_path)
    train_brain_age(replace(TINY, lr=0.01), parts, tmp_path, stages=(1,), fresh=True)


def test_the_second_stage_alone_may_start_over(parts: Parts, tmp_path: Path) -> None:
    before = run(parts, tmp_path)
    slow = replace(TINY, second_lr=1e-6)
    after = train_brain_age(slow, parts, tmp_path, stages=(2,), fresh=True)
    assert torch.equal(weights(before.model.first), weights(after.model.first))
    assert not torch.equal(weights(before.model), weights(after.model))
    anew = run(parts, tmp_path, stages=(1,), fresh=True)
    assert anew.resumed_at == 0
    assert not (tmp_path / "stage2" / "state.pt").exists()


def test_bad_volumes_are_left_out_and_listed(scans: Scans, tmp_path: Path) -> None:
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(scans.train[0].path.read_bytes()[:500])
    bad = replace(scans.train[0], path=broken, name="broken.nii.gz")
    torn = replace(scans, train=(bad, *scans.train[1:]))
    parts = open_parts(torn, TINY)
    assert len(parts.train) == len(scans.train) - 1
    run(parts, tmp_path / "run", stages=(1,))
    assert "broken.nii.gz" in (tmp_path / "run" / "skipped.txt").read_text()


def test_a_volume_that_breaks_in_the_night_does_not_end_the_run(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rankgrad.data.nifti import DataError

    volume = ScanDataset.volume

    def breaks(self: ScanDataset, scan: Any) -> Any:
        if scan in (parts.train.scans[3], parts.validation.scans[0]):
            raise DataError("it was there")
        return volume(self, scan)

    monkeypatch.setattr(ScanDataset, "volume", breaks)
    row = StageTrainer(TINY, 1, parts.train, parts.validation).one_epoch()
    assert math.isfinite(row["val_MAE"])


def test_one_training_scan_cannot_be_ranked(parts: Parts) -> None:
    one = ScanDataset(parts.train.scans[:1], SIZE)
    with pytest.raises(ValueError, match="at least 2"):
        StageTrainer(TINY, 1, one, parts.validation)


def test_a_sorter_from_a_file_ranks(parts: Parts, tmp_path: Path) -> None:
    from rankgrad.sorters import load_sorter, save_sorter

    save_sorter(load_sorter("set"), tmp_path / "my.safetensors")
    settings = replace(TINY, ranker=str(tmp_path / "my.safetensors"))
    trainer = StageTrainer(settings, 1, parts.train, parts.validation)
    assert trainer.one_epoch()["ranks"] > 0
    with pytest.raises(ValueError, match="ranker must be one of"):
        ranker_of("none")
