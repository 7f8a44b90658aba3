"""Training detectors: it learns, goes on exactly where it was, is measured as COCO measures."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("torchvision")
pytest.importorskip("faster_coco_eval")

from rankgrad.data.boxes import BoxData, BoxDataset, BoxRecord
from rankgrad.data.scenes import digit_scenes
from rankgrad.integrations.torchvision import Calibration
from rankgrad.recipes.detection import training
from rankgrad.recipes.detection.comparison import (
    DetectionMethod,
    chosen_rates,
    comparison_study,
    pack_outcomes,
    tuning_study,
    unpack_outcomes,
)
from rankgrad.recipes.detection.evaluation import (
    coco_json,
    coco_metrics,
    detection_metrics,
    predict,
)
from rankgrad.recipes.detection.masks import mask_metrics, mask_notes, masked
from rankgrad.recipes.detection.models import build_detector
from rankgrad.recipes.detection.outcomes import (
    Prediction,
    average_precision,
    interval,
    order_agreement,
    outcomes,
)
from rankgrad.recipes.detection.running import load_detector, train_detector
from rankgrad.recipes.detection.settings import DetectionSettings
from rankgrad.recipes.detection.splits import DataError, Splits, open_splits
from rankgrad.recipes.detection.training import DivergedError, Progress, Trainer
from rankgrad.recipes.experiments import RunStore, run_study
from rankgrad.recipes.experiments.store import StoredRun
from rankgrad.recipes.runs import RunFolderError

TINY = DetectionSettings(
    backbone="tiny", epochs=2, batch_size=4, size=48, lr=3e-3, warmup=2, proposals=20
)


def scenes(train: int = 8, val: int = 4) -> Splits:
    parts = (
        digit_scenes(n, s, size=48, classes=2, most=3)
        for s, n in (("train", train), ("val", val), ("test", val))
    )
    return Splits(*parts)


def record(i: int, boxes: list[list[float]], labels: list[int], crowd: list[bool]) -> BoxRecord:
    return BoxRecord(
        id=i,
        image=np.zeros((100, 100, 3), dtype=np.uint8),
        width=100,
        height=100,
        boxes=np.array(boxes, dtype=np.float32).reshape(-1, 4),
        labels=np.array(labels, dtype=np.int64),
        crowd=np.array(crowd, dtype=bool),
    )


def random_case(seed: int, crowd: bool = False) -> tuple[BoxData, list[Prediction]]:
    """Six images with boxes of two categories, and detections that are near them or anywhere."""
    rng = np.random.default_rng(seed)
    records, predictions = [], []
    for i in range(6):
        n = int(rng.integers(0, 5))
        corner = rng.uniform(0, 60, (n, 2))
        truth = np.concatenate([corner, corner + rng.uniform(8, 40, (n, 2))], 1)
        labels = rng.integers(1, 3, n)
        crowds = (rng.random(n) < 0.3) & crowd
        records.append(record(i + 10, truth.tolist(), labels.tolist(), crowds.tolist()))
        near = truth + rng.normal(0, 2, truth.shape)
        far = rng.uniform(0, 50, (4, 2))
        found = np.concatenate([near, np.concatenate([far, far + 20], 1)])
        predictions.append(
            {
                "boxes": found.astype(np.float32),
                "scores": rng.random(n + 4).astype(np.float32),
                "labels": np.concatenate([labels, rng.integers(1, 3, 4)]),
            }
        )
    return BoxData(tuple(records), ("a", "b"), (3, 8)), predictions


# ---------------------------------------------------------------- evaluation


@pytest.mark.parametrize("crowd", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_our_ap_is_cocos(seed: int, crowd: bool) -> None:
    """The bootstrap needs an AP of its own: it must be the evaluator's."""
    data, predictions = random_case(seed, crowd)
    found = outcomes(data, predictions)
    metrics = coco_metrics(data, predictions)
    assert average_precision(found) == pytest.approx(metrics["AP"], abs=1e-6)
    for k, name in enumerate(data.categories):
        assert average_precision(found[k : k + 1]) == pytest.approx(metrics[f"AP {name}"], abs=1e-6)


def test_perfect_detections_have_everything() -> None:
    data, predictions = random_case(0)
    for one, r in zip(predictions, data.records, strict=True):
        one.update(boxes=r.boxes, labels=r.labels, scores=np.full(len(r.boxes), 0.5, np.float32))
    metrics, found = detection_metrics(data, predictions)
    assert metrics["AP"] == pytest.approx(100)
    assert metrics["oLRP"] == pytest.approx(0, abs=1e-4)
    assert math.isnan(metrics["APl"])  # no box is that large
    assert interval(found, draws=20) == pytest.approx((100, 100))


def test_no_detections_have_nothing() -> None:
    data, predictions = random_case(0)
    none = [{k: v[:0] for k, v in one.items()} for one in predictions]
    metrics, found = detection_metrics(data, none)
    assert metrics["AP"] == 0
    assert metrics["oLRP"] == 100
    assert average_precision(found) == 0
    assert math.isnan(order_agreement(found))


def test_resampled_images_count_as_often_as_they_are_drawn() -> None:
    data, predictions = random_case(1)
    twice = np.array([2.0, 0, 1, 1, 1, 1])
    records = [data.records[i] for i in (0, 0, 2, 3, 4, 5)]
    drawn = replace(data, records=tuple(replace(r, id=i) for i, r in enumerate(records)))
    same = outcomes(drawn, [predictions[i] for i in (0, 0, 2, 3, 4, 5)])
    expected = average_precision(same)
    assert average_precision(outcomes(data, predictions), twice) == pytest.approx(expected, abs=1.0)
    low, high = interval(outcomes(data, predictions), draws=50)
    assert low < average_precision(outcomes(data, predictions)) < high


def test_order_agreement_is_that_of_right_detections() -> None:
    truth = [[0.0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]]
    data = BoxData((record(1, truth, [1, 1, 1], [False] * 3),), ("a",), (1,))
    found = np.array([[0, 0, 10, 10], [20, 0, 30, 9], [40, 0, 50, 8], [80, 80, 90, 90]], np.float32)
    for scores, expected in (([0.9, 0.8, 0.7, 0.99], 1.0), ([0.1, 0.2, 0.3, 0.99], -1.0)):
        one = {"boxes": found, "scores": np.array(scores, np.float32), "labels": np.ones(4, int)}
        assert order_agreement(outcomes(data, [one])) == pytest.approx(expected)


class Oracle(torch.nn.Module):
    """Finds every object of the data set, its mask moved to the side."""

    def __init__(self, dataset: BoxDataset, shift: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.items = iter(dataset[i][1] for i in range(len(dataset)))
        self.shift = shift

    def forward(self, images: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        targets = [next(self.items) for _ in images]
        return [
            {
                "masks": t["masks"][:, None].float().roll(self.shift, -1),
                "labels": t["labels"],
                "scores": torch.full((len(t["labels"]),), 0.5),
            }
            for t in targets
        ]


def test_masks_are_measured() -> None:
    dataset = masked(digit_scenes(6, size=64), replace(TINY, size=64))
    assert mask_metrics(Oracle(dataset, 0), dataset)["mask AP"] == pytest.approx(100)
    moved = mask_metrics(Oracle(dataset, 2), dataset)
    assert 0 < moved["mask AP"] < moved["mask AP50"] < 100
    ellipse = masked(digit_scenes(6, size=64), replace(TINY, size=64, masks="ellipse"))
    assert mask_metrics(Oracle(ellipse, 0), dataset)["mask AP75"] < 100


def test_boxes_without_a_mask_are_left_out_and_none_at_all_is_an_error() -> None:
    splits, settings = scenes(4, 2), replace(TINY, model="mask-rcnn")
    assert mask_notes(splits, settings) == ()
    first, *rest = splits.train.records
    some = replace(first, shapes=(None, *first.shapes[1:]))
    fewer = replace(splits, train=replace(splits.train, records=(some, *rest)))
    assert mask_notes(fewer, settings) == ("1 training objects without a mask are left out",)
    item = masked(fewer.train, settings)[0][1]
    assert len(item["masks"]) == len(item["boxes"]) == len(first.boxes) - 1
    bare = tuple(replace(r, shapes=()) for r in splits.train.records)
    none = replace(splits, train=replace(splits.train, records=bare))
    with pytest.raises(ValueError, match="no object of the training data has one"):
        mask_notes(none, settings)
    assert mask_notes(none, replace(settings, masks="ellipse"))
    assert mask_notes(none, TINY) == ()


def test_results_carry_the_ids_of_the_annotation_file() -> None:
    data, predictions = random_case(2)
    rows = coco_json(data, predictions)
    assert {row["category_id"] for row in rows} <= {3, 8}
    assert {row["image_id"] for row in rows} <= set(range(10, 16))
    x1, y1, x2, y2 = predictions[0]["boxes"][0]
    assert rows[0]["bbox"] == pytest.approx([x1, y1, x2 - x1, y2 - y1], abs=1e-2)
    json.dumps(rows)


def test_outcomes_survive_their_storage() -> None:
    data, predictions = random_case(3)
    found = outcomes(data, predictions)
    again = unpack_outcomes(pack_outcomes(found))
    assert average_precision(again) == pytest.approx(average_precision(found), abs=1e-6)
    assert [one.name for one in again] == ["a", "b"]


# ---------------------------------------------------------------- models and settings


@pytest.mark.parametrize("anchors", [1, 3, 9, 18])
def test_anchors_a_cell(anchors: int) -> None:
    model: Any = build_detector(replace(TINY, anchors=anchors), 3, 1)
    assert model.anchor_generator.num_anchors_per_location() == [anchors] * 3


@pytest.mark.parametrize("name", ["fcos", "ssd", "faster-rcnn", "mask-rcnn"])
def test_every_model_trains_and_predicts(name: str) -> None:
    splits = scenes(4, 2)
    trainer = Trainer(replace(TINY, model=name, epochs=1, warmup=0), splits)
    row = trainer.one_epoch()
    assert math.isfinite(row["loss"])
    found = predict(trainer.finish(), trainer.val_set)
    assert len(found) == 2
    assert all(one["boxes"].shape == (len(one["scores"]), 4) for one in found)


def test_a_resnet_gets_three_levels() -> None:
    model: Any = build_detector(replace(TINY, backbone="resnet18"), 3, 1)
    assert list(model.backbone(torch.rand(1, 3, 64, 64))) == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "yolo"}, "model must be one of"),
        ({"anchors": 4}, "anchors must be one of"),
        ({"lr": 0.0}, "lr must be > 0"),
        ({"model": "faster-rcnn", "loss": "focal"}, "for one-stage models"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TINY, **changes)


# ---------------------------------------------------------------- training


def test_it_learns(tmp_path: Path) -> None:
    settings = replace(TINY, epochs=12, flip=False)
    result = train_detector(settings, scenes(12, 4), tmp_path)
    with (tmp_path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    assert float(rows[-1]["loss"]) < 0.6 * float(rows[0]["loss"])
    assert {"classification", "bbox_regression", "val_AP", "val_order", "lr"} <= set(rows[0])
    assert result.ap == pytest.approx(max(float(row["val_AP"]) for row in rows))


class PowerCutError(Exception):
    """Stands for Ctrl-C or a power cut."""


@pytest.mark.parametrize(
    ("model", "loss"),
    [("retinanet", "alrp"), ("faster-rcnn", "torchvision")],
)
def test_an_interrupted_run_ends_with_the_same_weights(
    tmp_path: Path, model: str, loss: str
) -> None:
    """torchvision's sampler draws from the global generator, aLRP keeps a balance by epoch."""
    settings, splits = replace(TINY, model=model, loss=loss), scenes(6, 2)
    whole = train_detector(settings, splits, tmp_path / "whole")

    def cut(p: Progress) -> None:
        if p.epoch == 1:
            raise PowerCutError

    with pytest.raises(PowerCutError):
        train_detector(settings, splits, tmp_path / "cut", on_progress=cut)
    torch.rand(3)  # the world goes on
    again = train_detector(settings, splits, tmp_path / "cut")
    assert again.resumed_at == 1
    torch.testing.assert_close(again.model.state_dict(), whole.model.state_dict(), rtol=0, atol=0)


def test_the_detector_is_loaded_as_it_was(tmp_path: Path) -> None:
    splits = scenes(6, 2)
    result = train_detector(replace(TINY, epochs=1), splits, tmp_path)
    model, settings, categories = load_detector(result.path)
    assert settings == replace(TINY, epochs=1)
    assert categories == ("0", "1")
    torch.testing.assert_close(model.state_dict(), result.model.state_dict(), rtol=0, atol=0)
    (tmp_path / "other.pt").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match=r"other\.pt is not a detector"):
        load_detector(tmp_path / "other.pt")


def test_other_peoples_folders_are_left_alone(tmp_path: Path) -> None:
    splits = scenes(4, 2)
    (tmp_path / "letter.txt").write_text("dear all")
    with pytest.raises(RunFolderError, match="not empty"):
        train_detector(TINY, splits, tmp_path)
    folder = tmp_path / "run"
    train_detector(replace(TINY, epochs=1), splits, folder)
    with pytest.raises(RunFolderError, match=r"other settings: lr 0\.003, now 0\.1"):
        train_detector(replace(TINY, epochs=1, lr=0.1), splits, folder)
    (folder / "state.pt").write_bytes(b"torn")
    with pytest.raises(RunFolderError, match="damaged"):
        train_detector(replace(TINY, epochs=1), splits, folder)
    train_detector(replace(TINY, epochs=1, lr=0.1), splits, folder, fresh=True)


def test_a_model_that_diverges_is_stopped() -> None:
    trainer = Trainer(TINY, scenes(4, 2))
    with torch.no_grad():
        next(trainer.model.parameters()).fill_(torch.nan)
    with pytest.raises(DivergedError, match="epoch 1"):
        trainer.one_epoch()


def test_mirroring_takes_the_boxes_and_masks_along() -> None:
    image = torch.arange(6.0).view(1, 1, 6)
    target = {"boxes": torch.tensor([[1.0, 0, 3, 1]]), "masks": torch.eye(6)[:1, None]}
    flipped, moved = training._flipped(image, target)
    assert flipped.flatten().tolist() == [5, 4, 3, 2, 1, 0]
    assert moved["boxes"].tolist() == [[3, 0, 5, 1]]
    assert moved["masks"].flatten().tolist() == [0, 0, 0, 0, 0, 1]


def test_scores_are_calibrated_after_training() -> None:
    trainer = Trainer(replace(TINY, epochs=4, flip=False), scenes(12, 6))
    while not trainer.finished:
        trainer.one_epoch()
    (calibration,) = [m for m in trainer.finish().modules() if isinstance(m, Calibration)]
    assert calibration.scale != 1


# ---------------------------------------------------------------- data


def test_without_a_folder_there_are_scenes() -> None:
    splits = open_splits(None, scenes=8)
    assert [len(s) for s in (splits.train, splits.val, splits.test)] == [8, 2, 4]


def coco_folder(folder: Path, annotations: list[dict[str, Any]], count: int = 10) -> Path:
    from PIL import Image

    (folder / "annotations").mkdir(parents=True)
    (folder / "train").mkdir()
    for i in range(count):
        Image.new("RGB", (20, 20)).save(folder / "train" / f"{i}.png")
    content = {
        "images": [
            {"id": i, "file_name": f"{i}.png", "width": 20, "height": 20} for i in range(count)
        ],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "thing"}],
    }
    (folder / "annotations" / "train.json").write_text(json.dumps(content))
    return folder


def box(i: int, image: int, width: float = 5) -> dict[str, Any]:
    return {"id": i, "image_id": image, "category_id": 1, "bbox": [1, 1, width, 5]}


def test_without_validation_some_training_images_are_held_out(tmp_path: Path) -> None:
    coco_folder(tmp_path, [box(i, i) for i in range(10)])
    splits = open_splits(tmp_path)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (8, 2, 2)
    assert not {r.id for r in splits.train.records} & {r.id for r in splits.val.records}
    assert len(splits.notes) == 2


def test_broken_files_are_refused_only_when_strict_or_nothing_is_left(tmp_path: Path) -> None:
    folder = coco_folder(tmp_path / "a", [*(box(i, i) for i in range(10)), box(99, 3, width=0)])
    assert len(open_splits(folder).problems) == 1
    with pytest.raises(DataError, match=r"train\.json: annotation 99: .*no area"):
        open_splits(folder, strict=True)
    with pytest.raises(DataError, match="no usable object is left in the train split"):
        open_splits(coco_folder(tmp_path / "b", [box(1, 2, width=0)]))
    (tmp_path / "c").mkdir()
    with pytest.raises(DataError, match="neither in COCO's layout"):
        open_splits(tmp_path / "c")
    with pytest.raises(DataError, match="is no folder"):
        open_splits(tmp_path / "d")


# ---------------------------------------------------------------- comparison


class Silent:
    """A display that says nothing."""

    def __enter__(self) -> "Silent":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def start(self, total: int, done: int) -> None: ...

    def update(self, task: Any, fraction: float, text: str) -> None: ...

    def finish(self, task: Any, metrics: Any, seconds: float) -> None: ...


def test_the_rate_with_the_best_validation_ap_is_chosen() -> None:
    study = tuning_study(TINY, None, losses=("rank-sort", "focal"), rates=(1e-3, 2e-3))
    values = [10.0, 12.0, math.nan, 3.0]
    runs = [
        StoredRun(m.name, 1000, {"val AP": v}, [], [], 1.0, Path())
        for m, v in zip(study.methods, values, strict=True)
    ]
    assert chosen_rates(study, runs) == {"rank-sort": 2e-3, "focal": 2e-3}


def test_a_comparison_runs_and_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rankgrad.recipes.detection import comparison
    from rankgrad.recipes.detection.comparison_page import comparison_rows, write_comparison

    splits = scenes(6, 3)
    monkeypatch.setattr(comparison, "_splits", lambda _: splits)
    run = replace(TINY, epochs=1)
    losses = ("rank-sort", "focal")
    tuning = tuning_study(run, None, losses, (1e-3,))
    tuned = run_study(tuning, RunStore(tmp_path / "rates"), Silent(), workers=1)
    study = comparison_study(
        run, None, chosen_rates(tuning, tuned) or dict.fromkeys(losses, 1e-3), 1
    )
    runs = run_study(study, RunStore(tmp_path), Silent(), workers=1)
    assert [r.method for r in runs] == ["Rank & Sort", "focal + GIoU"]
    rows = comparison_rows(study, runs)
    page = write_comparison(
        study, runs, splits, rows, tmp_path, tuning=tuning, tuned=tuned
    ).read_text()
    assert "Do better boxes score higher?" in page
    assert "Rank &amp; Sort minus focal + GIoU" in page
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [row["loss"] for row in summary["table"]] == ["Rank & Sort", "focal + GIoU"]


def test_several_anchor_counts_keep_the_rate_and_are_compared_each_for_itself() -> None:
    from rankgrad.recipes.detection.comparison_page import _differences

    rates = {"rank-sort": 1e-3, "focal": 2e-3}
    study = comparison_study(TINY, None, rates, 1, (3, 9))
    assert [(m.loss, m.lr, m.anchors) for m in study.methods] == [
        ("rank-sort", 1e-3, 3), ("focal", 2e-3, 3), ("rank-sort", 1e-3, 9), ("focal", 2e-3, 9)
    ]  # fmt: skip
    assert study.methods[3].name == "focal + GIoU, 9 anchors"
    runs = [
        StoredRun(m.name, 0, {"AP": ap}, [], [], 1.0, Path())
        for m, ap in zip(study.methods, (50.0, 49.0, 47.0, 50.0), strict=True)
    ]
    assert _differences(study, runs) == [
        "Rank & Sort, 3 anchors minus focal + GIoU, 3 anchors: +1.0 AP, ahead on 1 of 1 seeds.",
        "Rank & Sort, 9 anchors minus focal + GIoU, 9 anchors: -3.0 AP, ahead on 0 of 1 seeds.",
    ]


def test_a_run_that_diverges_counts_as_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from rankgrad.recipes.detection import comparison

    def fall(_: Trainer) -> None:
        raise DivergedError("no number")

    monkeypatch.setattr(comparison, "_splits", lambda _: scenes(4, 2))
    monkeypatch.setattr(Trainer, "one_epoch", fall)
    study = comparison_study(TINY, None, {"ap": 1e-3}, 1)
    method = DetectionMethod("AP loss", "ap", 1e-3, 3)
    outcome = comparison.train(study.settings, method, 0, lambda *_: None)
    assert (outcome.metrics["val AP"], outcome.metrics["AP"], outcome.metrics["oLRP"]) == (
        0,
        0,
        100,
    )
    assert outcome.notes == ["no number"]


def test_a_comparison_in_which_a_run_diverged_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rankgrad.recipes.detection import comparison
    from rankgrad.recipes.detection.comparison_page import comparison_rows, write_comparison

    step = Trainer.one_epoch

    def fall(self: Trainer, *arguments: Any) -> Any:
        if self.settings.seed == 0:
            raise DivergedError("no number")
        return step(self, *arguments)

    splits = scenes(4, 2)
    monkeypatch.setattr(comparison, "_splits", lambda _: splits)
    monkeypatch.setattr(Trainer, "one_epoch", fall)
    study = comparison_study(replace(TINY, epochs=1), None, {"ap": 1e-3}, 2)
    runs = run_study(study, RunStore(tmp_path), Silent(), workers=1)
    rows = comparison_rows(study, runs)
    assert rows[0][0] == "AP loss"
    page = write_comparison(study, runs, splits, rows, tmp_path).read_text()
    assert "Note: no number." in page


def test_tables_have_a_line_for_masks_and_take_any_name_of_a_category() -> None:
    from rankgrad.recipes.detection.comparison_page import comparison_columns
    from rankgrad.recipes.detection.page import coco_rows

    metrics = dict.fromkeys(("AP", "AP50", "AP75", "APs", "APm", "APl", "oLRP"), 1.0)
    metrics |= {"mask AP": 2.0, "mask AP50": 3.0, "mask AP75": math.nan}
    metrics |= {"AP all": 4.0, "oLRP all": 5.0}
    assert coco_rows(metrics, ("all",)) == [
        ["all", *["1.0"] * 7],
        ["masks", "2.0", "3.0", "–", "", "", "", ""],
        ["all", "4.0", "", "", "", "", "", "5.0"],
    ]
    study = comparison_study(replace(TINY, model="mask-rcnn"), None, {"ap": 1e-3})
    assert "mask AP" in comparison_columns(study)


def test_an_interrupted_comparison_goes_on_inside_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rankgrad.recipes.detection import comparison

    step = Trainer.one_epoch
    taken: list[int] = []
    splits = scenes(4, 2)
    monkeypatch.setattr(comparison, "_splits", lambda _: splits)
    study = comparison_study(replace(TINY, epochs=3), None, {"ap": 1e-3}, 1)
    (expected,) = run_study(study, RunStore(tmp_path / "whole"), Silent(), workers=1)

    def stop_at(epochs: int) -> None:
        def counted(self: Trainer, *arguments: Any) -> Any:
            if len(taken) == epochs:
                raise KeyboardInterrupt
            taken.append(self.epoch)
            return step(self, *arguments)

        monkeypatch.setattr(Trainer, "one_epoch", counted)

    store = RunStore(tmp_path / "pieces")
    stop_at(2)
    with pytest.raises(KeyboardInterrupt):
        run_study(study, store, Silent(), workers=1)
    (state,) = store.runs.glob("*/*.pt")
    stop_at(4)
    (run,) = run_study(study, store, Silent(), workers=1)
    assert taken == [0, 1, 2]
    assert run.metrics == pytest.approx(expected.metrics, rel=0, abs=0, nan_ok=True)
    assert [row["loss"] for row in run.history] == [row["loss"] for row in expected.history]
    assert not state.exists()

    store.clear()  # a damaged state counts as none
    state.parent.mkdir(parents=True)
    state.write_bytes(b"damaged")
    taken.clear()
    run_study(study, store, Silent(), workers=1)
    assert taken == [0, 1, 2]
