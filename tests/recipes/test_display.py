import io
from dataclasses import dataclass

from rich.console import Console

from rankgrad.recipes.display import epoch_display


@dataclass(frozen=True)
class Progress:
    epoch: int
    epochs: int
    fraction: float
    seconds: float
    loss: float


def show(terminal: bool, *told: Progress, lines: int | None = None) -> str:
    out = io.StringIO()
    console = Console(
        file=out, force_terminal=terminal, width=100, color_system=None, highlight=False
    )
    with epoch_display(console, lambda p: f"loss {p.loss:.3f}", lines=lines) as tell:
        for progress in told:
            tell(progress)
    return out.getvalue()


EARLY = Progress(0, 200, 0.001, 7320.0, 0.5)
LATE = Progress(40, 200, 0.2, 65.0, 0.1)


def test_a_line_an_epoch_where_there_is_no_terminal() -> None:
    assert show(False, EARLY, LATE, LATE) == "[ 40/200] loss 0.100, 1 min 05 s left\n"


def test_as_many_lines_as_asked_for_and_the_last() -> None:
    told = [Progress(epoch, 21, epoch / 21, 0.0, 1.0) for epoch in range(1, 22)]
    shown = [line.partition("/")[0] for line in show(False, *told, lines=2).splitlines()]
    assert shown == ["[10", "[20", "[21"]


def test_a_bar_in_a_terminal() -> None:
    shown = show(True, EARLY, LATE)
    assert "epoch 40/200" in shown
    assert "loss 0.100, 1 min 05 s left" in shown
    assert "2 h 02 min left" in show(True, EARLY)
