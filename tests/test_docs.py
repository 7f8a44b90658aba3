"""The site's API pages cover the public names."""

import contextlib
import inspect
import io
import re
from importlib import import_module

import pytest

import rankgrad
from support import ROOT

PAGES = "\n".join(page.read_text(encoding="utf-8") for page in ROOT.glob("docs/api/*.md"))
GUIDES = "\n".join(page.read_text(encoding="utf-8") for page in ROOT.glob("docs/*.md"))
# A python block, and the text block behind it: its output.
BLOCKS = re.findall(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```)?", GUIDES, re.DOTALL)
SHOWN = set(re.findall(r"^::: ([\w.]+)", PAGES, re.MULTILINE))


@pytest.mark.parametrize("room", ["", ".losses", ".rankers", ".sorters", ".metrics", ".imbalance"])
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


@pytest.mark.parametrize(("code", "expected"), BLOCKS)
def test_example_of_a_guide_prints_what_it_says(code: str, expected: str) -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "<example in docs>", "exec"), {})
    assert printed.getvalue() == expected


def test_the_guide_to_rankers_shows_each_of_them() -> None:
    from rankgrad.recipes.rankers import SWEEPS

    guide = (ROOT / "docs" / "rankers.md").read_text(encoding="utf-8")
    plots = re.findall(r"\(assets/rankers/(\w+)\.svg\)", guide)
    assert sorted(plots) == sorted(SWEEPS)
    there = {path.stem for path in (ROOT / "docs" / "assets" / "rankers").glob("*.svg")}
    assert there == set(SWEEPS)
