"""Every suite runs on small sizes, and whoever computes the same agrees; no speed is judged."""

import json
from importlib import import_module
from importlib.metadata import PackageNotFoundError

import pytest

from rankgrad.bench import SUITES, Bench, peers

# What is known to differ: the gradient of fast-soft-sort's entropic soft sort is not the true one.
_KNOWN = {("Projection sort, kl, 8 x 50", "fast-soft-sort")}


@pytest.mark.parametrize("suite", SUITES)
def test_every_suite_runs_and_agrees(suite: str) -> None:
    rows = list(import_module(f"rankgrad.bench.suites.{suite}").rows(Bench(quick=True)))
    assert rows
    for row in rows:
        assert row.work
        assert row.against
        assert row.ours > 0
        if not row.note:
            assert row.theirs is not None
            assert row.theirs > 0
            assert row.ratio is not None
        assert row.limit is None
        if (row.work, row.against) not in _KNOWN:
            assert (row.difference or 0) < 1e-3, row
            assert (row.gradient_difference or 0) < 1e-2, row
    assert any(row.difference is not None for row in rows)


def test_a_peer_is_its_version_or_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name in ("broken", "present"):
            return "1.2"
        raise PackageNotFoundError(name)

    modules = {"absent": "torch", "broken": "no_such_module", "present": "json"}
    monkeypatch.setattr(peers, "PEERS", modules)
    monkeypatch.setattr(peers, "version", version)
    assert peers.load("absent") is None
    assert peers.load("broken") is None
    assert peers.load("present") is json
    found = peers.found()
    assert found["absent"] == "not installed"
    assert found["broken"].startswith("1.2, cannot be imported: ModuleNotFoundError")
    assert found["present"] == "1.2"


def test_a_suite_does_without_its_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "load", lambda name: None)
    for suite in ("networks", "smooth_ap", "auc"):
        rows = list(import_module(f"rankgrad.bench.suites.{suite}").rows(Bench(quick=True)))
        assert not {row.against for row in rows} & set(peers.PEERS)
