import os
import subprocess
import sys
from importlib.util import find_spec as real_find_spec
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

import rankgrad
from rankgrad import cli
from rankgrad.commands import doctor, errors

SOURCE = Path(__file__).parents[2] / "src"


def imports_of(*arguments: str) -> set[str]:
    """The top modules that a call of the command loads, in a process of its own."""
    script = (
        "import sys\n"
        "from rankgrad.cli import main\n"
        "try:\n"
        f"    main({list(arguments)!r})\n"
        "except SystemExit:\n"
        "    pass\n"
        "print('LOADED', *{name.split('.')[0] for name in sys.modules})\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(process.stdout.split("LOADED ")[1].split())


@pytest.mark.parametrize("arguments", [("--help",), *((c, "--help") for c in cli.COMMANDS)])
def test_help_loads_nothing_heavy(arguments: tuple[str, ...]) -> None:
    assert not {"torch", "numpy", "numba", "rich", "matplotlib"} & imports_of(*arguments)


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in cli.COMMANDS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"rankgrad {rankgrad.__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["frobnicate"],
        ["demo", "--seeds", "0"],
        ["demo", "--epochs", "many"],
        ["demo", "--workers", "-1"],
        ["demo", "--resume", "--fresh"],
        ["demo", "left over"],
        ["doctor", "--frob"],
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_two(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert message.startswith("rankgrad")
    assert "--help" in message


def test_a_missing_extra_is_named_with_the_command_that_adds_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = {"sklearn", "jinja2"}
    monkeypatch.setattr(errors, "find_spec", lambda n: None if n in gone else real_find_spec(n))
    assert cli.main(["demo", "--quick"]) == 1
    message = capsys.readouterr().err
    assert message == (
        "rankgrad: the demo needs sklearn, jinja2, which are not installed: "
        "pip install 'rankgrad[recipes]'\n"
    )


def test_ctrl_c_is_exit_code_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(options: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "run", interrupted)
    assert cli.main(["doctor"]) == 130
    assert capsys.readouterr().err == "rankgrad: interrupted\n"


def test_doctor_is_content(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    facts = {line[:20].strip(): line[20:].strip() for line in lines}
    assert facts["rankgrad"] == rankgrad.__version__
    assert facts["kernels: reference"] == "available"
    assert {"python", "torch", "numpy", "numba", "threads", "gpu"} <= set(facts)
    assert facts["check: kernels"].startswith("ok")
    assert facts["check: kernel cache"].startswith("ok")


def test_doctor_reports_kernels_that_are_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rankgrad.ranks import rank

    calls: list[int] = []

    def right_in_the_reference_only(scores: Tensor, **options: Any) -> Tensor:
        calls.append(1)
        return rank(scores, **options) + (len(calls) > 1)

    monkeypatch.setattr("rankgrad.ranks.rank", right_in_the_reference_only)
    assert cli.main(["doctor"]) == 1
    shown = capsys.readouterr().out
    assert "FAILED: off by" in shown
    assert "from the reference on cpu" in shown


def test_bench_lists_its_suites(capsys: pytest.CaptureFixture[str]) -> None:
    from rankgrad.bench import SUITES

    assert cli.main(["bench", "--list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in SUITES)


def test_bench_refuses_what_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "nothing"]) == 2
    assert "unknown suite 'nothing'" in capsys.readouterr().err
    for option in ("--threads", "--budget"):
        with pytest.raises(SystemExit, match="2"):
            cli.main(["bench", option, "0"])
        assert f"{option}: must be at least 1" in capsys.readouterr().err
