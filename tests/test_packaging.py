"""What is shipped, and that the rooms of the house only know the rooms below them."""

import ast
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from email import message_from_string
from graphlib import CycleError, TopologicalSorter
from importlib.util import find_spec
from pathlib import Path

import pytest

import rankgrad
from support import PACKAGE, ROOT

# docs/design.md, "The rooms", from the roof down. A room may import itself and what stands below.
ROOMS = [
    "__main__",
    "cli",
    "commands",
    "bench",
    "recipes",
    "report",
    "data",
    "integrations",
    "compat",
    "functional",
    "precompile",
    "imbalance",
    "losses",
    "metrics",
    "rankers",
    "sorters",
    "distributed",
    "pairwise",
    "ranks",
    "sorting",
    "kernels",
    "operators",
    "dispatching",
    "comparisons",
    "checks",
    "files",
]
# Users of the library, who may write `import rankgrad` as anyone else would.
OUTSIDE = ROOMS[: ROOMS.index("functional")]
CORE = ROOMS[ROOMS.index("functional") :]
CORE_NEEDS = {"torch", "numpy", "numba", "jaxtyping", "safetensors"}
# What the core may use where it is there, and the one place that imports it, on first use.
OPTIONAL = {"triton": "rankgrad.kernels.cuda", "torchmetrics": "rankgrad.metrics.modules"}

# ---------------------------------------------------------------- the rooms


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def room(module: str) -> str:
    """The room of a module; the face of the house has none."""
    return module.split(".")[1] if "." in module else ""


def imports(module: str) -> Iterator[str]:
    """Every module that a module imports, at its top or inside a function."""
    package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join(
                [*(above if node.level else []), *([node.module] if node.module else [])]
            )
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield inner if inner in MODULES else base


def inner_imports(module: str) -> set[str]:
    return {name for name in imports(module) if name.split(".")[0] == "rankgrad"}


def test_every_room_is_on_the_list() -> None:
    unknown = {room(module) for module in MODULES} - {""} - set(ROOMS)
    assert not unknown, f"say in docs/design.md and in ROOMS where these stand: {sorted(unknown)}"


def test_imports_run_downward() -> None:
    upward = [
        f"{module} imports {name}"
        for module in MODULES
        if room(module)
        for name in sorted(inner_imports(module))
        if (room(name) == "" and room(module) not in OUTSIDE)
        or (room(name) != "" and ROOMS.index(room(name)) < ROOMS.index(room(module)))
    ]
    assert not upward


def test_no_circular_imports() -> None:
    graph = {module: inner_imports(module) - {"rankgrad"} for module in MODULES if room(module)}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"circular import: {' -> '.join(error.args[1])}")


def test_the_core_needs_only_the_core_dependencies() -> None:
    foreign = [
        f"{module} imports {name}"
        for module in MODULES
        if room(module) in CORE
        for name in sorted({name.split(".")[0] for name in imports(module)})
        if name not in CORE_NEEDS | {"rankgrad"} | sys.stdlib_module_names
        and not (name in OPTIONAL and module.startswith(OPTIONAL[name]))
    ]
    assert not foreign


# ---------------------------------------------------------------- the wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    if find_spec("hatchling") is None:
        pytest.skip("hatchling, the build backend, is not installed")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = folder.iterdir()
    return zipfile.ZipFile(path)


def test_wheel_is_pure_python(wheel: zipfile.ZipFile) -> None:
    assert Path(str(wheel.filename)).name == f"rankgrad-{rankgrad.__version__}-py3-none-any.whl"


def test_wheel_holds_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    info = f"rankgrad-{rankgrad.__version__}.dist-info/"
    shipped = {name for name in wheel.namelist() if not name.startswith(info)}
    source = {
        path.relative_to(PACKAGE.parent).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert shipped == source
    assert "rankgrad/py.typed" in shipped
    assert f"{info}licenses/LICENSE" in wheel.namelist()


def test_wheel_requires_only_the_core_dependencies(wheel: zipfile.ZipFile) -> None:
    text = wheel.read(f"rankgrad-{rankgrad.__version__}.dist-info/METADATA").decode()
    required = message_from_string(text).get_all("Requires-Dist") or []
    core = {name.split(">")[0].strip() for name in required if "extra ==" not in name}
    assert core == CORE_NEEDS


def test_wheel_imports_alone(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path)
    code = "import rankgrad; print(rankgrad.__file__); print(*rankgrad.backends())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    where, backends = done.stdout.splitlines()
    assert Path(where).resolve().is_relative_to(tmp_path.resolve())
    assert "reference" in backends.split()


# ---------------------------------------------------------------- one version everywhere


@pytest.mark.parametrize(
    ("file", "line"),
    [("CITATION.cff", "version: {}"), ("CHANGELOG.md", "## [{}]")],
)
def test_version_is_the_same_everywhere(file: str, line: str) -> None:
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    assert any(text.startswith(line.format(rankgrad.__version__)) for text in lines)
