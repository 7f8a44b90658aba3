"""What several subcommands share."""

import argparse
import shlex
import sys

import pytest

from rankgrad.commands.options import command_line, names, natural, numbers, positive


def test_texts_become_values() -> None:
    assert names("a, b,,c") == ("a", "b", "c")
    assert numbers("5,10") == (5, 10)
    assert (natural("0"), positive("1")) == (0, 1)
    for read, text in ((natural, "-1"), (positive, "0"), (numbers, "5,0")):
        with pytest.raises(argparse.ArgumentTypeError, match="must be at least"):
            read(text)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("train sorter --out /a/folder --lr 0.1", "rankgrad train sorter --lr 0.1"),
        ("train sorter --out=/a/folder --fresh", "rankgrad train sorter"),
        ("train sorter --name --lr --resume", "rankgrad train sorter"),
        ("train sorter --scores 'my scores.npy'", "rankgrad train sorter --scores 'my scores.npy'"),
        ("-x tests", "rankgrad train sorter"),  # called from Python
    ],
)
def test_the_command_is_told_without_folders(
    words: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["rankgrad", *shlex.split(words)])
    assert command_line("train", "sorter") == expected
