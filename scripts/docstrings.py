"""Turns our docstrings into Markdown: a griffe extension, loaded by mkdocs.yml.

They are written to be read in a terminal: Google sections, examples as they are typed, and
from reStructuredText roles (``:func:``), formulas (``.. math::``), simple tables and ``::``.
"""

import ast
import re
from pathlib import Path
from typing import Any

import griffe
from latex2mathml.converter import convert

SOURCE = Path(__file__).parents[1] / "src"

EXAMPLE = re.compile(r"^( *)>>> .*\n?(?:^(?! *$).*\n?)*", re.MULTILINE)
CODE_FOLLOWS = re.compile(r"(?<!math)::$", re.MULTILINE)
ROLE = re.compile(r":(?:func|class|mod|meth|attr|data|obj|exc):`~?\.?([\w.]+)`")
INLINE_MATH = re.compile(r":math:`([^`]+)`")
# The rest of the line, and the lines below it that are indented further.
MATH = re.compile(r"^( *)\.\. math:: ?(.*\n?(?:^\1 +\S.*\n?)*)", re.MULTILINE)
RULE = r" *=+(?: +=+)+ *\n"
TABLE = re.compile(rf"^( *)(?=={{3}})({RULE}(?:.*\S.*\n)+?{RULE}(?:(?:.*\S.*\n)+?{RULE})?)", re.M)


def homes() -> dict[str, str]:
    """The full name of every public class and function, by its short name."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        module = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        if ".kernels." in module or "._" in module:
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                found[node.name] = f"{module}.{node.name}"
    return found


class Docstrings(griffe.Extension):
    """Rewrites every docstring into the Markdown that it means."""

    def __init__(self) -> None:
        self.homes = homes()

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite the docstring of one module, class, function or attribute."""
        if obj.docstring is None:
            return
        text = obj.docstring.value
        text = EXAMPLE.sub(fenced, CODE_FOLLOWS.sub(":", text))
        text = INLINE_MATH.sub(inline_math, MATH.sub(display_math, text))
        text = TABLE.sub(table, text + "\n")
        obj.docstring.value = ROLE.sub(lambda role: self.link(role[1], obj), text)

    def on_class(self, *, cls: griffe.Class, **kwargs: Any) -> None:
        """Leave out what every module has for ``print``."""
        cls.members.pop("extra_repr", None)

    def link(self, name: str, obj: griffe.Object) -> str:
        """Link a name where the site has it, and show it as code anywhere."""
        short = name.rpartition(".")[2]
        beside = f"{obj.module.path}.{name}"
        target = beside if name in obj.module.members else self.homes.get(short, name)
        return f'<autoref identifier="{target}" optional><code>{short}</code></autoref>'


def fenced(example: re.Match[str]) -> str:
    """Put an example into a fence; it ends at the next blank line."""
    indent = example[1]
    return f"{indent}```pycon\n{example[0].rstrip()}\n{indent}```\n"


def display_math(formula: re.Match[str]) -> str:
    """MathML, which browsers draw by themselves: the site needs no script for it."""
    indent, latex = formula.groups()
    return f"\n{indent}<div>{convert(' '.join(latex.split()), display='block')}</div>\n\n"


def inline_math(formula: re.Match[str]) -> str:
    """The same inside a line."""
    return f"<span>{convert(' '.join(formula[1].split()))}</span>"


def table(simple: re.Match[str]) -> str:
    """A Markdown table; columns are where the rules are."""
    indent, lines = simple[1], simple[2].splitlines()
    starts = [mark.start() for mark in re.finditer("=+", lines[0].removeprefix(indent))]
    blocks: list[list[list[str]]] = [[]]
    for line in lines[1:-1]:
        text = line.removeprefix(indent)
        if set(text) <= set("= "):
            blocks.append([])
            continue
        ends = [*starts[1:], None]
        cells = [text[start:end].strip() for start, end in zip(starts, ends, strict=True)]
        if not cells[0] and blocks[-1]:  # goes on from the line above
            cells = [f"{a} {b}".strip() for a, b in zip(blocks[-1].pop(), cells, strict=True)]
        blocks[-1].append(cells)
    head = blocks.pop(0)[0] if len(blocks) > 1 else [""] * len(starts)
    rows = [head, ["---"] * len(starts), *blocks[0]]
    return "\n" + "".join(f"{indent}| {' | '.join(row)} |\n" for row in rows) + "\n"
