"""Training runs of regression: the plain loop, the study over it, and the page."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rankgrad.data.regression import DataError, LabelBins, feature_table
from rankgrad.recipes.experiments import Outcome, RunStore, StoredRun, Study, run_study
from rankgrad.recipes.regression import figures, training
from rankgrad.recipes.regression.bootstrap import balanced_difference
from rankgrad.recipes.regression.comparison import write_comparison
from rankgrad.recipes.regression.contrasts import against, verdicts
from rankgrad.recipes.regression.loading import DataSettings, load_data, regions_of
from rankgrad.recipes.regression.method import parse_method
from rankgrad.recipes.regression.metrics import balanced_mae
from rankgrad.recipes.regression.objective import Objective
from rankgrad.recipes.regression.optimization import learning_rate_schedule
from rankgrad.recipes.regression.overview import histogram_lines, overview
from rankgrad.recipes.regression.settings import RegressionSettings
from rankgrad.recipes.regression.training import train
from rankgrad.recipes.regression.tuning import candidates, chosen_settings, tuning_study
from recipes.toy_study import Recorder

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A skewed target that two features tell."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 3))
    y = np.exp(1 + 0.5 * x[:, 0] + 0.3 * x[:, 1]) + 0.05 * rng.normal(size=300)
    path = tmp_path_factory.mktemp("data") / "skewed.csv"
    lines = [",".join(f"{v:.4f}" for v in (*row, t)) for row, t in zip(x, y, strict=True)]
    path.write_text("a,b,c,y\n" + "\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def settings(table: Path) -> RegressionSettings:
    data = DataSettings(str(table), target="y", bin_width=0.5, many_above=20, few_below=5)
    return RegressionSettings(data, epochs=3, batch_size=32)


def run(settings: RegressionSettings, text: str, seed: int = 0) -> Outcome:
    return train(settings, parse_method("m", text), seed, lambda *_: None)


def test_an_outcome_holds_what_the_page_needs(settings: RegressionSettings) -> None:
    told: list[tuple[float, str]] = []
    outcome = train(settings, parse_method("m", "mse"), 0, lambda *x: told.append(x))
    data = load_data(settings.data, 0)
    assert [round(f, 3) for f, _ in told] == [0.333, 0.667, 1.0]
    assert len(outcome.history) == 3
    a = outcome.arrays
    assert len(a["predictions"]) == len(a["targets"]) == len(a["bins"]) == len(data.test)
    np.testing.assert_array_equal(a["bins"], data.bins.index(data.test.targets))
    np.testing.assert_allclose(a["labels"], a["positions"][a["bins"]])
    expected = balanced_mae(a["predictions"], a["targets"], a["bins"])
    assert outcome.metrics["mae_balanced"] == pytest.approx(expected)
    best = min(row["val_mae"] for row in outcome.history)
    assert outcome.metrics["val_mae_balanced"] == best


def scripted(monkeypatch: pytest.MonkeyPatch, errors: list[float]) -> None:
    """Let validation errors be these; the last one stays."""
    left = list(errors)
    monkeypatch.setattr(
        training, "balanced_mae", lambda *_: left.pop(0) if len(left) > 1 else left[0]
    )


def test_the_best_epoch_is_tested(
    settings: RegressionSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which epoch is best does not depend on how training goes on: a longer run tests the same."""
    constant = replace(settings, schedule="constant")
    weights = []
    for epochs, select in ((2, "last"), (4, "best"), (4, "last")):
        scripted(monkeypatch, [3.0, 1.0, 2.0, 2.0])
        state = run(replace(constant, epochs=epochs, select=select), "mse").state
        assert state is not None
        weights.append(state["network.head.weight"])
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])


def test_patience_stops(settings: RegressionSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, [3.0, 2.0, 1.0, 4.0])
    history = run(replace(settings, epochs=40, patience=2), "mse").history
    assert [row["val_mae"] for row in history] == [3.0, 2.0, 1.0, 4.0, 4.0]


def test_runs_repeat_and_methods_share_weights_and_batches(settings: RegressionSettings) -> None:
    first, again = run(settings, "mse lds fds"), run(settings, "mse lds fds")
    np.testing.assert_array_equal(first.arrays["predictions"], again.arrays["predictions"])
    other = run(settings, "mse lds fds", seed=1)
    assert len(other.arrays["targets"]) == len(first.arrays["targets"])
    assert not np.array_equal(other.arrays["targets"], first.arrays["targets"])
    # A term of no weight changes nothing.
    a, b = run(settings, "mse"), run(settings, "mse difference:weight=0")
    np.testing.assert_array_equal(a.arrays["predictions"], b.arrays["predictions"])


def test_training_helps_and_two_stages_train_only_the_head(settings: RegressionSettings) -> None:
    longer = replace(settings, epochs=15)
    plain = run(longer, "mse")
    assert plain.history[-1]["val_mae"] < 0.6 * plain.history[0]["val_mae"]
    two = run(longer, "mse rrt:epochs=4")
    assert len(two.history) == 19
    assert plain.state is not None
    assert two.state is not None
    for name, value in plain.state.items():
        same = torch.equal(value, two.state[name])
        assert same == (not name.startswith("network.head")), name


def test_pre_training_trains_the_encoder_and_then_the_head(settings: RegressionSettings) -> None:
    told: list[str] = []
    text = "mse lds fds pretrain:epochs=4"
    outcome = train(settings, parse_method("m", text), 0, lambda _, words: told.append(words))
    assert [row["epoch"] for row in outcome.history] == list(range(1, 8))
    losses = [row["train_loss"] for row in outcome.history]
    assert losses[3] < losses[0]
    errors = [row["val_mae"] for row in outcome.history]
    assert np.isnan(errors).tolist() == [True] * 4 + [False] * 3
    assert outcome.metrics["val_mae_balanced"] == min(errors[4:])
    assert told[0].startswith("epoch 1/7, pretrain, loss")
    assert told[-1].startswith("epoch 7/7, val MAE")
    # The head, and what it learns from, leave the encoder as Rank-N-Contrast has made it.
    other = run(replace(settings, epochs=1), "l1 pretrain:epochs=4")
    on = run(settings, "mse pretrain:epochs=4,freeze=no")
    for state, frozen in ((other.state, True), (on.state, False)):
        assert state is not None
        assert outcome.state is not None
        for name, value in state.items():
            if name.startswith("network.body"):
                assert torch.equal(value, outcome.state[name]) == frozen, name


def test_pre_training_orders_features(settings: RegressionSettings, tmp_path: Path) -> None:
    """What the paper is about: distances of features follow those of labels."""
    order = []
    for index, epochs in enumerate((1, 15)):
        study = Study(
            f"s{index}", replace(settings, epochs=1),
            (parse_method("m", f"mse pretrain:epochs={epochs}"),), (0,), train,
        )  # fmt: skip
        (stored,) = run_study(study, RunStore(tmp_path / str(index)), Recorder(), workers=1)
        order.append(figures.feature_order(stored))
    assert order[1] > max(0.8, order[0])


def test_pre_training_sees_two_views_of_what_is_drawn_at_random(
    settings: RegressionSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    term = Objective.forward

    def watched(self: Objective, output: Any, batch: Any, *more: Any) -> Any:
        assert len(output.features) == len(batch.targets) == len(batch.rows)
        sizes.append(len(batch.rows))
        return term(self, output, batch, *more)

    monkeypatch.setattr(Objective, "forward", watched)
    train_part = load_data(settings.data, 0).train
    for augment, views in ((False, 1), (True, 2)):
        monkeypatch.setattr(train_part, "augment", augment)
        sizes.clear()
        run(replace(settings, epochs=1), "mse pretrain:epochs=1")
        assert sum(sizes) == (views + 1) * len(train_part)


@pytest.mark.parametrize("schedule", ["one-cycle", "cosine", "constant", "steps:1,2"])
def test_schedules(settings: RegressionSettings, schedule: str) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    made = learning_rate_schedule(optimizer, replace(settings, schedule=schedule), 3, 4)
    rates = []
    for _ in range(12):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        made.step() if len(rates) < 12 else None
    if schedule == "steps:1,2":
        np.testing.assert_allclose(rates, [1.0] * 4 + [0.1] * 4 + [0.01] * 4)
    elif schedule == "constant":
        assert set(rates) == {1.0}
    else:
        assert rates[-1] < 0.1
    with pytest.raises(ValueError, match="schedule must be"):
        learning_rate_schedule(optimizer, replace(settings, schedule="linear"), 3, 4)


def test_overview_names_regions_and_notes(settings: RegressionSettings) -> None:
    data = load_data(settings.data, 0)
    regions, names = regions_of(data, settings.data)
    counts = data.train_counts.numpy()
    for b, name in enumerate(names):
        expected = "many" if counts[b] > 20 else "few" if counts[b] < 5 else "medium"
        assert name == expected
    lines = "\n".join(overview(data, regions, names))
    assert "210 training, 30 validation and 60 test samples" in lines
    assert "more than 20 training samples a bin" in lines
    assert "note: parts drawn at random" in lines
    assert len(histogram_lines(np.ones(1000), LabelBins(1000))[0]) < 80


def test_bin_settings(table: Path) -> None:
    given = DataSettings(str(table), target="y", bin_width=2.0, bin_low=1.0, num_bins=3)
    assert load_data(given, 0).bins == LabelBins(3, 1.0, 2.0)
    found = load_data(DataSettings(str(table), target="y"), 0).bins
    assert found == feature_table(table, "y").bins


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"bin_width": 0.0}, "bin_width must be above zero, got 0"),
        ({"bin_width": -1.0}, "bin_width must be above zero, got -1"),
        ({"bin_width": float("nan")}, "bin_width must be above zero, got nan"),
        ({"num_bins": 4}, "need bin_width"),
        ({"source": "digits", "bin_width": 2.0}, "digits cannot be read with .*bin_width"),
        ({"source": "digits", "limit": 5, "target": None}, "digits cannot be read with limit"),
        ({"source": "digits", "target": None, "embeddings": "minilm"}, "digits .* embeddings"),
        ({"vectors": "glove-50d"}, "a table cannot be read with vectors"),
        ({"source": ".", "target": None}, "need either vectors of words"),
        (
            {"source": ".", "target": None, "vectors": "a.txt", "embeddings": "minilm"},
            "need either vectors of words",
        ),
    ],
)
def test_settings_without_effect_or_sense_are_refused(
    table: Path, given: dict[str, Any], message: str
) -> None:
    settings = DataSettings(**{"source": str(table), "target": "y", **given})
    with pytest.raises(DataError, match=message):
        load_data(settings, 0)


def test_the_validation_error_is_that_of_the_model_that_is_tested(
    settings: RegressionSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the lowest of all epochs, where another model is tested."""
    scripted(monkeypatch, [1.0, 2.0, 3.0])
    assert run(replace(settings, select="last"), "mse").metrics["val_mae_balanced"] == 3.0
    scripted(monkeypatch, [1.0, 2.0, 3.0, 5.0, 4.0, 6.0])
    assert run(settings, "mse rrt:epochs=3").metrics["val_mae_balanced"] == 4.0


def test_runs_that_stopped_at_different_epochs_make_one_figure() -> None:
    def stopped(seed: int, epochs: int) -> StoredRun:
        rows = [{"epoch": i + 1.0, "train_loss": 1.0, "val_mae": 2.0} for i in range(epochs)]
        return StoredRun("MSE", seed, {}, rows, [], 1.0, Path())

    curves = figures.learning_curves([stopped(0, 3), stopped(1, 5)], ["MSE"])
    assert len(curves) == 2


# ------------------------------------------------------------------ tuning, comparison, page


def test_every_method_gets_as_many_different_trials(settings: RegressionSettings) -> None:
    for text in ("mse", "mse lds rnc:weight=0.5"):
        tried = candidates(parse_method("m", text), settings, 12)
        assert len(tried) == 12
        keys = {(t.learning_rate, t.weight_decay, t.terms) for t in tried}
        assert len(keys) == 12
        assert tried[0].learning_rate == settings.learning_rate
        assert tried[0].terms == parse_method("m", text).terms
    with pytest.raises(ValueError, match="trials must be from 1 to 12"):
        candidates(parse_method("m", "mse"), settings, 13)


def test_tuning_takes_the_lowest_validation_error(
    settings: RegressionSettings, tmp_path: Path
) -> None:
    methods = (parse_method("A", "mse"), parse_method("B", "mse rnc"))
    study = tuning_study(methods, settings, 3, seed=0)
    runs = run_study(study, RunStore(tmp_path), Recorder(), workers=1)
    best = chosen_settings(methods, study, runs)
    assert [m.name for m in best] == ["A", "B"]
    assert len(runs) == 6
    for method in best:
        mine = [r for r in runs if r.method.startswith(method.name)]
        lowest = min(mine, key=lambda r: r.metrics["val_mae_balanced"])
        trial = next(
            c
            for c in candidates(next(m for m in methods if m.name == method.name), settings, 3)
            if c.name == lowest.method
        )
        assert replace(trial, name=method.name) == method


@pytest.fixture(scope="module")
def compared(
    settings: RegressionSettings, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Study, list[StoredRun], Path]:
    folder = tmp_path_factory.mktemp("compare")
    methods = (
        parse_method("MSE", "mse"),
        parse_method("LDS", "mse lds"),
        parse_method("Nothing", "mse difference:weight=0"),
        parse_method("RnC pre-training", "mse pretrain:epochs=2"),
    )
    study = Study("regression", settings, methods, (0, 1), train)
    runs = run_study(study, RunStore(folder), Recorder(), workers=1)
    data = load_data(settings.data, 0)
    regions = regions_of(data, settings.data)[1]
    report = write_comparison(
        study, runs, folder, regions=regions, overview=["  300 rows"], command="rankgrad compare"
    )
    return study, runs, report


def test_the_same_method_twice_differs_by_nothing(
    compared: tuple[Study, list[StoredRun], Path],
) -> None:
    _, runs, _ = compared
    assert balanced_difference(runs, "Nothing", "MSE") == (0.0, 0.0, 0.0)


def test_intervals_hold_the_difference(compared: tuple[Study, list[StoredRun], Path]) -> None:
    _, runs, _ = compared
    mean, low, high = balanced_difference(runs, "LDS", "MSE")
    by = {(r.method, r.seed): r.metrics["mae_balanced"] for r in runs}
    expected = np.mean([by["LDS", s] - by["MSE", s] for s in (0, 1)])
    assert mean == pytest.approx(expected)
    assert low <= mean <= high
    assert low < high
    assert all(np.isnan(balanced_difference(runs, "LDS", "none")))


def test_comparisons_and_verdicts(compared: tuple[Study, list[StoredRun], Path]) -> None:
    _, runs, _ = compared
    rows = against(runs, ["MSE", "LDS", "Nothing"])
    pairs = [(r.pair.method, r.pair.baseline) for r in rows]
    assert pairs == [("LDS", "MSE"), ("Nothing", "MSE"), ("MSE", "LDS"), ("Nothing", "LDS")]
    assert rows[1].cells[-1] == "0 of 2"
    sentences = verdicts(rows)
    assert len(sentences) == 2
    assert "Nothing" not in sentences[0]


def test_the_page_and_the_files(compared: tuple[Study, list[StoredRun], Path]) -> None:
    study, _, report = compared
    page = report.read_text(encoding="utf-8")
    for text in ("Which method for rare labels?", "balanced MAE", "Cost", "LDS − MSE"):
        assert text in page
    assert "<script" not in page
    assert 'src="http' not in page
    folder = report.parent
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["command"] == "rankgrad compare"
    assert len(summary["paired"]) == 6
    lines = (folder / "summary.csv").read_text().splitlines()
    assert len(lines) == 1 + len(study.methods)
    assert len((folder / "runs.csv").read_text().splitlines()) == 9
    assert "pretrain:epochs=2,temperature=2,freeze=yes" in page
