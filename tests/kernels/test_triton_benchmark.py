"""The benchmark of the GPU kernels runs, on tiny sizes, and has every row that was promised."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmarks_gpu", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PROMISED = {
    ("Rank & Sort", "sigmoid focal loss"): 1.5,
    ("Rank & Sort", "moving its bytes once"): 6.0,
    ("Rank & Sort", "textbook loop"): 1 / 500,
    ("Projection l2", "one torch.sort"): 3.0,
    ("Projection kl", "one torch.sort"): None,
    ("Pairwise(Logistic", "an exponential a pair"): 1 / 0.6,
    ("Pairwise(Logistic", "n = "): 2.3,
    ("RankSim", "the two batched torch.sort"): 2.0,
    ("odd_even network", "the layers in plain PyTorch"): None,
    ("bitonic network", "one torch.sort"): None,
}


def test_every_promised_row_is_there(script: ModuleType, device: str) -> None:
    failed: list[str] = []
    found = list(script.rows(script.Place(device, "tiny"), failed))
    assert not failed
    assert all(row.ours > 0 and row.theirs > 0 and row.ratio > 0 for row in found)
    for (work, against), limit in PROMISED.items():
        rows = [
            row for row in found if row.work.startswith(work) and row.against.startswith(against)
        ]
        assert rows, (work, against)
        assert {row.limit for row in rows} == {limit}


def test_sizes_are_those_of_the_targets(script: ModuleType) -> None:
    """What the limits are for; tried with fewer only to see whether it runs."""
    place = script.Place()
    assert (place.device, place.sizes) == ("cuda", "full")
    assert place.size(1, 2, 3) == 1


def test_a_dry_run_leaves_no_figures(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["gpu.py", "--dry", "--out", "."])
    with pytest.raises(SystemExit):
        script.main()
    assert "--dry measures nothing" in capsys.readouterr().err


def test_a_suite_that_fails_leaves_the_others_their_turn(
    script: ModuleType, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(place: object) -> Iterator[str]:
        yield "first"
        raise RuntimeError("out of memory")

    monkeypatch.setattr(script, "SUITES", (broken, lambda place: iter(["second"])))
    failed: list[str] = []
    assert list(script.rows(script.Place(device, "tiny"), failed)) == ["first", "second"]
    assert failed == ["broken"]
