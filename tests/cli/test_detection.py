"""rankgrad train, predict and compare detection, as a user types them."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torchvision")
pytest.importorskip("faster_coco_eval")

from PIL import Image

from rankgrad.cli import main

QUICK = ["--quick", "--epochs", "1", "--size", "48", "--batch-size", "8"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "out"
    assert main(["train", "detection", *QUICK, "--out", str(folder)]) == 0
    return folder


def test_training_leaves_a_detector_a_table_and_a_page(trained: Path) -> None:
    names = {path.name for path in trained.iterdir()}
    assert {"detector.pt", "history.csv", "test.json", "detections.json", "report.html"} <= names
    metrics = json.loads((trained / "test.json").read_text())
    assert {"AP", "AP50", "AP75", "oLRP", "AP 0"} <= set(metrics)
    page = (trained / "report.html").read_text()
    assert "Precision and recall" in page
    assert str(trained) not in page


def test_the_same_command_goes_on(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "detection", *QUICK, "--out", str(trained)]) == 0
    assert "Went on after epoch 1." in capsys.readouterr().out
    assert main(["train", "detection", *QUICK, "--lr", "1", "--out", str(trained)]) == 2
    assert "start over with --fresh" in capsys.readouterr().err


def test_predicting_draws_and_writes_coco(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        pixels = rng.integers(0, 255, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / folder / "same.png")
    out = tmp_path / "out"
    command = ["predict", "detection", str(trained / "detector.pt"), str(tmp_path / "a")]
    command += [str(tmp_path / "b"), "--threshold", "0", "--out", str(out)]
    assert main(command) == 0
    assert "detections on 2 images" in capsys.readouterr().out
    content = json.loads((out / "detections.json").read_text())
    assert len(content["images"]) == 2
    assert content["annotations"]
    assert {one["image_id"] for one in content["annotations"]} == {1, 2}
    assert sorted(p.name for p in out.glob("*.png")) == ["same-1.png", "same-2.png"]


def test_an_image_that_is_torn_is_named(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torn = tmp_path / "torn.jpg"
    Image.new("RGB", (80, 60)).save(torn)
    torn.write_bytes(torn.read_bytes()[:-60])
    assert main(["predict", "detection", str(trained / "detector.pt"), str(torn)]) == 1
    assert "torn.jpg cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "detection", "none.pt", "."], "none.pt"),
        (["train", "detection", "--data", "nowhere"], "nowhere is no folder"),
        (
            ["train", "detection", "--quick", "--model", "faster-rcnn", "--loss", "focal"],
            "one-stage",
        ),
        (["compare", "detection", "--quick", "--losses", "hinge"], "hinge is not one of"),
        (["compare", "detection", "--quick", "--rates", "hinge=1"], "hinge is not one of"),
        (["compare", "detection", "--quick", "--anchors", "3,4"], "anchors must be one of"),
        (
            ["compare", "detection", "--quick", "--losses", "ap,alrp", "--rates", "ap=1e-3"],
            "no learning rate for alrp",
        ),
    ],
)
def test_what_does_not_work_is_said_in_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(arguments) in (1, 2)
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("command", "option", "value", "message"),
    [
        ("compare", "--rates", "ap=1e-3,2", "takes numbers above 0"),
        ("compare", "--rates", "0", "takes numbers above 0"),
        ("compare", "--anchors", "many", "takes whole numbers"),
        ("predict", "--threshold", "7", "takes a score from 0 to 1"),
    ],
)
def test_values_that_make_no_sense_are_wrong_usage(
    command: str, option: str, value: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([command, "detection", option, value])
    assert f"argument {option}: {message}" in capsys.readouterr().err


def test_comparing_quickly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["compare", "detection", *QUICK, "--losses", "rank-sort", "--rates", "1e-3"]
    command += ["--seeds", "1", "--workers", "1", "--out", str(tmp_path)]
    assert main(command) == 0
    assert "Rank & Sort" in capsys.readouterr().out
    assert "Chosen by validation AP" in (tmp_path / "report.html").read_text()


def test_comparing_anchor_counts_at_given_rates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["compare", "detection", *QUICK, "--rates", "rank-sort=1e-3", "--anchors", "1,3"]
    command += ["--seeds", "1", "--workers", "1", "--out", str(tmp_path)]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "Comparison, by test: 2 runs" in said
    assert "by validation" not in said
    assert "Rank & Sort, 3 anchors" in said
    assert "Given, not chosen here." in (tmp_path / "report.html").read_text()
