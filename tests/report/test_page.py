from pathlib import Path

from rankgrad.report import Figure, Page, Section, Table

HOSTILE = "<script>alert('x')</script> & \"quotes\""


def page() -> Page:
    section = Section(
        "A section & more",
        text=[HOSTILE],
        tables=[
            Table(["name", HOSTILE], [["row", "1"], ["other", HOSTILE]], strong=frozenset({(1, 1)}))
        ],
        figures=[Figure("data:image/svg+xml;base64,AA==", HOSTILE, HOSTILE)],
        points=[HOSTILE],
        small_print=[HOSTILE],
    )
    return Page(HOSTILE, HOSTILE, [section, Section("Empty")], warning=HOSTILE, footer=HOSTILE)


def test_all_text_is_escaped() -> None:
    html = page().render()
    assert "<script" not in html
    assert html.count("&lt;script&gt;") == 12


def test_structure() -> None:
    html = page().render()
    assert html.startswith("<!DOCTYPE html>")
    assert '<section id="a-section---more"' in html
    assert '<a href="#a-section---more">' in html
    assert html.count('class="strong"') == 1
    assert html.count("<img") == 1
    assert html.count("<table>") == 1


def test_what_is_not_there_leaves_no_trace() -> None:
    html = Page("Title", "Lead", [Section("Empty")]).render()
    for absent in ("<table", "<figure", "<footer", 'class="warning"', 'class="points"'):
        assert absent not in html


def test_writing_replaces_the_file_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    page().write(path)
    assert path.read_text(encoding="utf-8") == page().render()
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
