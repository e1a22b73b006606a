import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from emodc.reports.html import (
    Block,
    Card,
    Cards,
    Code,
    Confusion,
    Page,
    Points,
    Reliability,
    Section,
    Svg,
    Table,
    Text,
    check_page,
    data_uri,
    read_sections,
    render,
    write_page,
)
from tests.browser import open_page

NASTY = '<script>alert("x")</script><img src=x onerror=alert(1)> & "quoted" \'name\''
DOT = data_uri(np.zeros((2, 2), np.uint8))
DRAWN = '<?xml version="1.0"?>\n<svg viewBox="0 0 1 1"><rect width="1" height="1"/></svg>'


def parsed(text: str) -> list[tuple[str, list[str]]]:
    """The elements of a page, and the names of their attributes."""
    found = []

    class Elements(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.append((tag, [name for name, _ in attrs]))

    Elements().feed(text)
    return found


def page(name: str = "happiness") -> Page:
    """A page with every kind of block, in which `name` stands wherever a text may."""
    blocks: list[Block] = [
        Text(f"{name} and `{name}`"),
        Points([name, "two"]),
        Code(name),
        Table([name, "images"], [[name, "9"], ["b", "10"], ["c", "-"], ["d", "1,000"]]),
        Svg(DRAWN, name),
        Reliability([(10, 0.5, 0.4), (10, 0.9, 0.95)], name),
        Confusion([name, "b"], [[3, 1], [0, 2]], {(0, 1): DOT}),
        Cards([Card(name, [(DOT, name)], [name], [(name, 0.25)])]),
    ]
    return Page(
        title=name,
        answer=name,
        sections=[Section(name, blocks)],
        method=[name],
        command=name,
        figures=[(name, name)],
    )


def test_what_holds_markup_stays_text() -> None:
    plain, nasty = render(page("x")), render(page(NASTY))
    assert "<script>alert" not in nasty
    assert "&lt;script&gt;alert" in nasty
    # A name makes no element and no attribute: the page has those it always has.
    assert parsed(nasty) == parsed(plain)


def test_a_page_names_no_address(tmp_path: Path) -> None:
    text = render(page())
    assert re.findall(r"(?:src|href)=\"(?!data:)[^\"]*\"", text) == []
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text


def test_the_answer_comes_before_everything_else() -> None:
    text = render(page())
    order = [text.index(f"<{part}") for part in ('p class="answer"', "h2", "table", "figure")]
    assert order[0] == min(order)


def test_a_report_in_markdown_becomes_sections(tmp_path: Path) -> None:
    (tmp_path / "curves.svg").write_text(DRAWN)
    text = "# Title\n\nSome `code`\nand more.\n\n## Part\n\n- one\n  goes on\n- two\n\n"
    text += "| a | b |\n| --- | --- |\n| x y | 1 |\n\n```text\nemodc study\n```\n\n"
    text += "### Deeper\n\n![curves.png](curves.png)\n![A title](curves.png)\n"
    (tmp_path / "r.md").write_text(text)
    overview, part, deeper = read_sections(tmp_path / "r.md")
    assert (overview.title, part.title, deeper.title) == ("Overview", "Part", "Deeper")
    assert overview.blocks == [Text("Some `code` and more.")]
    points, table, code = part.blocks
    assert points == Points(["one goes on", "two"])
    assert table == Table(["a", "b"], [["x y", "1"]])
    assert code == Code("emodc study")
    assert deeper.blocks == [Svg(DRAWN, ""), Svg(DRAWN, "A title")]


def test_a_file_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    check_page(None)
    check_page(tmp_path / "a.html")
    with pytest.raises(ValueError, match=r"a\.png: give a file name that ends with \.html"):
        check_page(tmp_path / "a.png")
    with pytest.raises(ValueError, match="there is no folder"):
        check_page(tmp_path / "gone" / "a.html")


def test_a_browser_opens_it_without_errors_and_without_a_network(tmp_path: Path) -> None:
    write_page(tmp_path / "a.html", page(NASTY))
    opened = open_page(tmp_path / "a.html", tmp_path)
    assert opened.console == []
    assert opened.requests == []
    assert "<h1>&lt;script&gt;alert" in opened.dom


def test_the_witness_sees_what_a_page_asks_for_and_complains_of(tmp_path: Path) -> None:
    """A page that does what ours must not: otherwise the test above could not fail."""
    bad = tmp_path / "bad.html"
    bad.write_text("<img src='http://127.0.0.1:9/x.png'><script>console.error('no')</script>")
    opened = open_page(bad, tmp_path)
    assert "http://127.0.0.1:9/x.png" in opened.requests
    assert any("no" in line for line in opened.console)


@pytest.mark.parametrize(
    ("clicks", "column", "expected"),
    [
        (1, 1, ["d", "b", "happiness", "c"]),  # figures: the greatest first, unknown ones last
        (2, 1, ["happiness", "b", "d", "c"]),
        (1, 0, ["b", "c", "d", "happiness"]),
        (2, 0, ["happiness", "d", "c", "b"]),
    ],
)
def test_a_click_sorts_a_table(
    clicks: int, column: int, expected: list[str], tmp_path: Path
) -> None:
    click = f"document.querySelectorAll('.sortable button')[{column}].click();" * clicks
    text = render(page()).replace("</body>", f"<script>{click}</script></body>")
    (tmp_path / "a.html").write_text(text)
    dom = open_page(tmp_path / "a.html", tmp_path).dom
    table = dom[dom.index('<table class="sortable">') : dom.index("</table>")]
    assert re.findall(r'<th scope="row">(.*?)</th>', table) == expected
    assert 'aria-sort="' in table
