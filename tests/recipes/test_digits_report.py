import base64
import csv
import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from rankgrad.recipes.digits import METHODS, digits_study
from rankgrad.recipes.digits_report import comparisons, write_results
from rankgrad.recipes.experiments import RunStore, StoredRun, Study, run_study
from recipes.toy_study import Recorder


class Reader(HTMLParser):
    """What a browser would fetch, show and link to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def written(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Study, list[StoredRun], Path]:
    folder = tmp_path_factory.mktemp("report")
    study = digits_study(2, epochs=1)
    # No label has so many training pairs: the region "many" is empty.
    data = replace(study.settings.data, many_above=100)
    study = replace(study, settings=replace(study.settings, data=data))
    runs = run_study(study, RunStore(folder), Recorder(), workers=1)
    return study, runs, write_results(study, runs, folder, quick=True)


@pytest.fixture(scope="module")
def page(written: tuple[Study, list[StoredRun], Path]) -> Reader:
    return Reader(written[2].read_text(encoding="utf-8"))


def test_the_page_needs_no_other_file(page: Reader) -> None:
    assert not page.all("script")
    assert not page.all("link")
    sources = [image["src"] for image in page.all("img")]
    assert all(source.startswith("data:image/svg+xml;base64,") for source in sources)
    for source in sources:
        svg = base64.b64decode(source.partition(",")[2]).decode()
        links = [part.split('"')[0] for part in svg.split('href="')[1:]]
        assert all(unquote(link).startswith(("#", "data:")) for link in links)
    assert all(link["href"].startswith("#") for link in page.all("a"))


def test_every_plot_is_there_and_described(page: Reader) -> None:
    descriptions = [image["alt"] for image in page.all("img")]
    expected = [
        "Differences in test MAE for each seed: ",
        "Pairs of handwritten digits that show ",
        "Training pairs by label",
        "Training loss over the epochs",
        "Validation MAE over the epochs",
        *(f"Predicted against true label of the test pairs for {m.name}." for m in METHODS),
        "Test MAE by region.",
        "Test MAE along the labels",
        "Similarity of the features of every two labels for LDS, seed 0.",
        "Similarity of the features of every two labels for LDS + RnC, seed 0.",
    ]
    assert len(descriptions) == len(expected)
    for description, beginning in zip(descriptions, expected, strict=True):
        assert description.startswith(beginning)


def test_the_page_is_built_for_everybody(page: Reader) -> None:
    assert page.all("html")[0]["lang"] == "en"
    assert any("width=device-width" in meta.get("content", "") for meta in page.all("meta"))
    assert len(page.all("h1")) == 1
    anchors = {section["id"] for section in page.all("section")}
    assert {link["href"][1:] for link in page.all("a")} == anchors
    assert all(cell.get("scope") in ("row", "col") for cell in page.all("th"))


def test_the_page_says_what_the_files_say(
    page: Reader, written: tuple[Study, list[StoredRun], Path]
) -> None:
    _, runs, report = written
    text = "".join(page.words)
    with (report.parent / "summary.csv").open(newline="") as file:
        summary = {row["method"]: row for row in csv.DictReader(file)}
    assert list(summary) == [m.name for m in METHODS]
    for row in summary.values():
        assert f"{float(row['mae_all_mean']):.2f} ± {float(row['mae_all_std']):.2f}" in text
    for comparison in comparisons(runs):
        assert f"better on {comparison.better()} of 2 seeds" in text
    assert "A quick run that only shows that everything works" in text


def test_an_empty_region_is_a_dash_and_a_note(
    page: Reader, written: tuple[Study, list[StoredRun], Path]
) -> None:
    text = "".join(page.words)
    assert "Note: no sample in the region 'many': its metrics are NaN." in text
    assert "nan" not in text.replace("NaN.", "").lower().split()
    summary = json.loads((written[2].parent / "summary.json").read_text())
    assert summary["metrics"]["MSE"]["mae_many"]["mean"] is None


def test_json_and_csv_hold_every_run(written: tuple[Study, list[StoredRun], Path]) -> None:
    _, runs, report = written
    with (report.parent / "runs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], int(row["seed"])) for row in rows] == [(r.method, r.seed) for r in runs]
    assert float(rows[0]["mae_all"]) == runs[0].metrics["mae_all"]
    assert rows[0]["mae_many"] == ""
    summary = json.loads((report.parent / "summary.json").read_text())
    assert summary["settings"]["epochs"] == 1
    assert summary["seeds"] == [0, 1]
    assert {"rankgrad", "torch", "python"} <= set(summary["versions"])
    assert [c["method"] for c in summary["paired_mae"]] == ["MSE", "LDS", "LDS + RnC", "LDS + RnC"]


def test_one_seed_and_few_methods_make_a_page_too(
    written: tuple[Study, list[StoredRun], Path], tmp_path: Path
) -> None:
    study, runs, _ = written
    alone = replace(study, methods=METHODS[1:2], seeds=(0,))
    mine = [run for run in runs if run.method == "MSE" and run.seed == 0]
    report = write_results(alone, mine, tmp_path, quick=False)
    text = "".join(Reader(report.read_text(encoding="utf-8")).words)
    assert "one seed" in text
    assert "quick run" not in text
