"""The face of the package: what ``import rankgrad`` costs and what it offers."""

import inspect
import subprocess
import sys

import pytest

import rankgrad


def run(code: str) -> str:
    """Run code in a fresh interpreter and return what it prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_loads_nothing_beside_torch() -> None:
    """numba, triton and everything of the extras load when they are first used."""
    code = (
        "import sys, torch\n"
        "before = set(sys.modules)\n"
        "import rankgrad\n"
        "added = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(*sorted(added - set(sys.stdlib_module_names)))\n"
    )
    assert run(code).split() == ["rankgrad"]


def test_the_core_loads_compilers_and_extras_only_when_used() -> None:
    code = (
        "import sys, torch\n"
        "before = set(sys.modules)\n"
        "from rankgrad import losses, metrics, pairwise, rankers, ranks\n"
        "added = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "late = 'numba triton torchmetrics torchvision lightning scipy sklearn matplotlib rich'\n"
        "print(*sorted(added & set(late.split())))\n"
    )
    assert run(code).split() == []


@pytest.mark.parametrize("name", sorted(rankgrad.__all__))
def test_every_public_name_resolves(name: str) -> None:
    value = getattr(rankgrad, name)
    if inspect.isclass(value) or inspect.isroutine(value):
        assert value.__module__.startswith("rankgrad."), f"{name} is not ours"


@pytest.mark.parametrize("name", sorted(rankgrad.__all__))
def test_every_public_name_has_a_docstring(name: str) -> None:
    value = getattr(rankgrad, name)
    if not (inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value)):
        pytest.skip("a plain value")
    # Not inspect.getdoc: a class would inherit nn.Module's.
    assert (value.__doc__ or "").strip(), f"rankgrad.{name} has no docstring"


def test_names_are_unique() -> None:
    assert len(set(rankgrad.__all__)) == len(rankgrad.__all__)


def test_dir_lists_the_public_names() -> None:
    assert set(rankgrad.__all__) <= set(dir(rankgrad))


def test_star_import_gives_the_public_names() -> None:
    code = (
        "from rankgrad import *\n"
        "import rankgrad\n"
        "missing = [name for name in rankgrad.__all__ if name not in globals()]\n"
        "assert not missing, missing\n"
    )
    run(code)


def test_unknown_name_is_an_attribute_error_that_names_it() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        rankgrad.no_such_name  # noqa: B018  # the look-up is the test
