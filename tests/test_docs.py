"""The site's API pages cover the public names."""

import inspect
import re
from importlib import import_module

import pytest

import rankgrad
from support import ROOT

PAGES = "\n".join(page.read_text(encoding="utf-8") for page in ROOT.glob("docs/api/*.md"))
SHOWN = set(re.findall(r"^::: ([\w.]+)", PAGES, re.MULTILINE))


@pytest.mark.parametrize("room", ["", ".losses", ".rankers", ".metrics", ".imbalance"])
def test_every_public_name_is_on_an_api_page(room: str) -> None:
    """`make docs` fails on pages of modules that are gone; this fails on names without a page."""
    package = import_module(f"rankgrad{room}")
    values = {name: getattr(package, name) for name in package.__all__}
    missing = {
        name: value.__module__
        for name, value in values.items()
        if (inspect.isclass(value) or inspect.isroutine(value)) and value.__module__ not in SHOWN
    }
    assert not missing


def test_every_shown_module_exists() -> None:
    for name in sorted(SHOWN):
        assert import_module(name).__name__.startswith(rankgrad.__name__)
