import base64
import math
import xml.etree.ElementTree as ET
from collections.abc import Callable

import numpy as np
import pytest

from rankgrad.report import Figure, charts, pictures

RNG = np.random.default_rng(0)
WORDS = {"title": "The title", "alt": "what it shows", "caption": "more"}
BANDS = [(-0.5, 9.5, "few"), (9.5, 14.5, "medium"), (14.5, 19.5, "many")]


def line_chart() -> Figure:
    lines = {"one": RNG.random((3, 20)), "two & <three>": RNG.random((3, 20))}
    return charts.curves(lines, x_label="the x axis", y_label="the y axis", **WORDS)


def banded_lines() -> Figure:
    return charts.curves(
        {"one": RNG.random((1, 20))},
        x=np.arange(20),
        x_label="the x axis",
        y_label="the y axis",
        log=True,
        bands=BANDS,
        **WORDS,
    )


CHARTS: dict[str, Callable[[], Figure]] = {
    "curves": line_chart,
    "banded": banded_lines,
    "histogram": lambda: charts.histogram(
        np.arange(20), x_label="the x axis", y_label="the y axis", bands=BANDS, **WORDS
    ),
    "bars": lambda: charts.bars(
        ["all", "few"],
        {"one": [1.0, math.nan], "two": [2.0, 3.0]},
        {"one": [0.1, math.nan], "two": [math.nan, 0.2]},
        y_label="the y axis",
        **WORDS,
    ),
    "differences": lambda: charts.differences(
        {"A − B": [-0.5, 0.1], "nothing": []}, x_label="the x axis", **WORDS
    ),
    "scatter": lambda: charts.predicted_against_true(
        RNG.random(50) * 9, np.repeat(np.arange(10.0), 5), **WORDS
    ),
    "heat map": lambda: pictures.heat_map(
        RNG.random((5, 5)), label="similarity", axis_label="the x axis", **WORDS
    ),
    "images": lambda: pictures.image_grid([RNG.random((8, 16))] * 4, ["1", "2", "3", "4"], **WORDS),
}


def svg(figure: Figure) -> ET.Element:
    kind, _, content = figure.uri.partition(",")
    assert kind == "data:image/svg+xml;base64"
    return ET.fromstring(base64.b64decode(content))


@pytest.mark.parametrize("name", list(CHARTS))
def test_charts_are_well_formed_and_carry_their_words(name: str) -> None:
    figure = CHARTS[name]()
    assert figure.alt == "what it shows"
    assert figure.caption == "more"
    root = svg(figure)
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "The title" in texts
    if name == "curves":
        assert {"one", "two & <three>", "the x axis", "the y axis"} <= set(texts)


def test_the_same_numbers_give_the_same_picture() -> None:
    def draw() -> Figure:
        return charts.histogram(np.arange(5), x_label="x", y_label="y", **WORDS)

    assert draw().uri == draw().uri


def test_drawing_leaves_the_style_of_others_alone() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    line_chart()
    assert dict(matplotlib.rcParams) == before
