"""Reports as one HTML file that needs nothing beside it.

No request leaves the page: its style, script, figures and images are inside, and its content
security policy forbids the rest. Texts are escaped by the template, whatever they hold; only
figures that EmoDC drew come in as markup (`Svg`).
"""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from emodc.support.files import write_atomically


@dataclass(frozen=True)
class Text:
    """A paragraph; words between backticks are code."""

    kind: ClassVar[str] = "text"
    text: str

    @property
    def spans(self) -> list[tuple[bool, str]]:
        """The parts of the text, and whether they are code."""
        return [(bool(n % 2), part) for n, part in enumerate(self.text.split("`")) if part]


@dataclass(frozen=True)
class Points:
    """A list of short remarks."""

    kind: ClassVar[str] = "points"
    points: Sequence[str]


@dataclass(frozen=True)
class Code:
    """Lines to be copied, such as a command."""

    kind: ClassVar[str] = "code"
    text: str


@dataclass(frozen=True)
class Table:
    """A table that sorts by any column; the first is text, the others are figures."""

    kind: ClassVar[str] = "table"
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Svg:
    """A figure that EmoDC drew, and what it shows.

    Attributes:
        svg: the element, as markup; nothing that others wrote.
        caption: what it shows.
    """

    kind: ClassVar[str] = "svg"
    svg: str
    caption: str = ""

    @property
    def markup(self) -> Markup:
        """The element without what comes before it in a file."""
        return Markup(self.svg[self.svg.index("<svg") :])


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram.

    Attributes:
        bins: images, mean confidence and accuracy of each bin.
        caption: what it shows.
    """

    kind: ClassVar[str] = "reliability"
    bins: Sequence[tuple[int, float, float]]
    caption: str = ""


@dataclass(frozen=True)
class Confusion:
    """Counts of true (rows) and predicted classes (columns), with an example face where known.

    Attributes:
        names: K classes.
        counts: (K, K).
        examples: data URIs by (row, column).
    """

    kind: ClassVar[str] = "confusion"
    names: Sequence[str]
    counts: Sequence[Sequence[int]]
    examples: Mapping[tuple[int, int], str] = field(default_factory=dict)


@dataclass(frozen=True)
class Card:
    """Images side by side, and what is said of them.

    Attributes:
        title: of the card.
        images: data URI and what it shows.
        lines: below them.
        bars: names and shares in [0, 1].
    """

    title: str
    images: Sequence[tuple[str, str]]
    lines: Sequence[str] = ()
    bars: Sequence[tuple[str, float]] = ()


@dataclass(frozen=True)
class Cards:
    """A gallery."""

    kind: ClassVar[str] = "cards"
    cards: Sequence[Card]


Block = Text | Points | Code | Table | Svg | Reliability | Confusion | Cards


@dataclass(frozen=True)
class Section:
    """A heading and what is below it."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """A report.

    Attributes:
        title: what was done.
        answer: what came of it, in a sentence or two: the first thing that is read.
        sections: the rest, what matters most first.
        method: how it was done and what it does not say, in plain words.
        command: that makes the report again.
        figures: names and values that the answer rests on.
    """

    title: str
    answer: str
    sections: Sequence[Section]
    method: Sequence[str]
    command: str
    figures: Sequence[tuple[str, str]] = ()


def render(page: Page) -> str:
    """Return a report as the text of one HTML file."""
    return _environment().get_template("page.html").render(page=page).lstrip()


def write_page(path: Path, page: Page) -> None:
    """Write a report.

    Raises:
        OSError: the file cannot be written.
    """
    write_atomically(path, render(page).encode())


def check_page(path: Path | None) -> None:
    """Refuse a file that could not be written, before the work begins.

    Raises:
        ValueError: its name does not end with .html, or there is no such folder.
    """
    if path is None:
        return
    if path.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"--html {path}: give a file name that ends with .html")
    if not path.parent.is_dir():
        raise ValueError(f"--html {path}: there is no folder {path.parent}")


def data_uri(pixels: NDArray[np.uint8]) -> str:
    """Return an image, (H, W) gray or (H, W, 3) RGB, as what an ``img`` element takes for a file.

    Raises:
        ValueError: it has another shape.
    """
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def read_sections(file: Path) -> list[Section]:
    """Return the sections of a report that EmoDC wrote as Markdown.

    Args:
        file: headings, paragraphs, lists, tables, code and figures, as the experiments write them.
            Figures lie beside it, each as SVG beside the PNG that the text names.

    Raises:
        OSError: it or a figure cannot be read.
    """
    markdown, folder = file.read_text(encoding="utf-8"), file.parent
    markdown = re.sub(r"\n(?=!\[)", "\n\n", markdown)  # figures may follow each other
    sections: list[Section] = []
    title, blocks = "Overview", list[Block]()
    for part in re.split(r"\n{2,}", markdown.strip()):
        lines = part.split("\n")
        while lines:
            if lines[0].startswith("# "):  # the title of the page
                lines = lines[1:]
                continue
            if heading := re.fullmatch(r"##+ (.+)", lines[0]):
                if blocks:
                    sections.append(Section(title, blocks))
                title, blocks = heading[1], []
                lines = lines[1:]
                continue
            blocks.append(_block(lines, folder))
            break
    return [*sections, Section(title, blocks)] if blocks else sections


def _block(lines: Sequence[str], folder: Path) -> Block:
    if lines[0].startswith("|"):
        rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]
        return Table(rows[0], rows[2:])
    if lines[0].startswith("```"):
        return Code("\n".join(lines[1:-1]))
    if figure := re.match(r"!\[(.*)\]\(([\w-]+)\.png\)", lines[0]):
        name = figure[2]
        caption = "" if figure[1] == f"{name}.png" else figure[1]
        return Svg((folder / f"{name}.svg").read_text(encoding="utf-8"), caption)
    if lines[0].startswith("- "):
        text = " ".join(line.strip() for line in lines)
        return Points(re.split(r"(?:^| )- ", text)[1:])
    return Text(" ".join(lines))


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("emodc.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
