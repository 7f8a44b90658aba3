"""One HTML page from a run's results: building blocks that know nothing of a recipe."""

from rankgrad.report.page import Figure, Page, Section, Table

__all__ = ["Figure", "Page", "Section", "Table"]
