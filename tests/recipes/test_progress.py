import io

import pytest
from rich.console import Console

from rankgrad.recipes.experiments import progress_display
from recipes.toy_study import toy_study


def shown(terminal: bool) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=100, color_system=None)
    display = progress_display(console, lambda m: f"test MAE {m['mae_all']:.2f}")
    tasks = toy_study(1).tasks()
    with display:
        display.start(12, 10)
        for task in tasks:
            display.update(task, 0.5, "epoch 30/60, val MAE 9.10")
        if terminal:
            display.live.refresh()
        for task in tasks:
            display.finish(task, {"mae_all": 8.765}, 4.04)
    return out.getvalue()


def test_lines_where_there_is_no_terminal() -> None:
    assert shown(terminal=False) == (
        "10 of 12 runs are there already\n"
        "[11/12] Plain, seed 0: test MAE 8.77, 4.0 s\n"
        "[12/12] With rank term, seed 0: test MAE 8.77, 4.0 s\n"
    )


def test_bars_in_a_terminal() -> None:
    text = shown(terminal=True)
    assert "epoch 30/60, val MAE 9.10" in text
    assert "All runs" in text
    assert "[12/12] With rank term, seed 0: test MAE 8.77, 4.0 s" in text


def test_bars_disappear_when_it_ends_badly() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100, color_system=None)
    display = progress_display(console, lambda m: "")

    def interrupted() -> None:
        with display:
            display.start(2, 0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    # The cursor is shown again.
    assert "\x1b[?25h" in out.getvalue()
