"""The README's examples run and print what it says they print."""

import contextlib
import io
import re
from importlib import import_module

import pytest

import rankgrad
from support import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
ROOMS = ("losses", "rankers", "metrics", "imbalance")
# A python block, and the text block that may follow it: its output.
BLOCKS = re.findall(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```)?", README, re.DOTALL)


def test_there_is_an_example() -> None:
    assert BLOCKS


@pytest.mark.parametrize(("code", "expected"), BLOCKS)
def test_example_runs_and_prints_what_it_says(code: str, expected: str) -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "<example in the README>", "exec"), {})
    assert printed.getvalue() == expected


def test_every_name_in_the_table_is_there() -> None:
    table = README.split("[start:inside]")[1].split("[end:inside]")[0]
    rooms = [rankgrad, *(import_module(f"rankgrad.{room}") for room in ROOMS)]
    names = re.findall(r"`(\w+)`", table)
    assert names
    assert [name for name in names if not any(hasattr(room, name) for room in rooms)] == []
