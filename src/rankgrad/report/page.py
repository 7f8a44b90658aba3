"""A page of sections with text, figures and tables, in one file that needs no other."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rankgrad.files import replacing

__all__ = ["Figure", "Page", "Section", "Table"]


@dataclass(frozen=True)
class Figure:
    """A picture as a data URI, with the words for those who do not see it."""

    uri: str
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class Table:
    """Texts in rows; the first column names the row. ``strong`` are the cells in bold."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    strong: frozenset[tuple[int, int]] = frozenset()


@dataclass
class Section:
    """A heading and what is below it, in this order: text, tables, points, figures, small print.

    Points and a single figure stand side by side where there is room.
    """

    title: str
    text: Sequence[str] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    points: Sequence[str] = ()
    small_print: Sequence[str] = ()
    # Small tables stand side by side.
    compact: bool = False

    @property
    def anchor(self) -> str:
        """The name to link to."""
        return "".join(c if c.isalnum() else "-" for c in self.title.lower()).strip("-")


@dataclass
class Page:
    """The whole page."""

    title: str
    lead: str
    sections: list[Section] = field(default_factory=list)
    warning: str = ""
    footer: str = ""

    def render(self) -> str:
        """Return the HTML; every text is escaped."""
        from jinja2 import Environment, PackageLoader, StrictUndefined

        environment = Environment(
            loader=PackageLoader("rankgrad.report", "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        return environment.get_template("page.html.j2").render(page=self)

    def write(self, path: str | Path) -> None:
        """Write the HTML, all of it or nothing."""
        with replacing(path) as partial:
            partial.write_text(self.render(), encoding="utf-8")
