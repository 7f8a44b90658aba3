"""Draw the plots of docs/rankers.md anew: python scripts/ranker_plots.py."""

import base64
import re
from pathlib import Path

import numpy as np

from rankgrad.recipes.rankers import EXAMPLE, SWEEPS, sweep
from rankgrad.recipes.rankers.figures import ranks_and_gradients

FOLDER = Path(__file__).parents[1] / "docs" / "assets" / "rankers"


def main() -> None:
    """Write one SVG for each ranker."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in SWEEPS:
        figure = ranks_and_gradients(sweep(EXAMPLE, name), np.array(EXAMPLE))
        svg = base64.b64decode(figure.uri.partition(",")[2]).decode()
        (FOLDER / f"{name}.svg").write_text(_small(svg), encoding="utf-8")


def _small(svg: str) -> str:
    """Leave out metadata and indents, and write coordinates in hundredths of a point."""

    def rounded(tag: re.Match[str]) -> str:
        return re.sub(r"\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", tag[0])

    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    return re.sub(r"\s*\n\s*", "\n", re.sub(r"<[^>]+>", rounded, svg))


if __name__ == "__main__":
    main()
