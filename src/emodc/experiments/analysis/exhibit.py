"""One finding of an analysis: a figure, the numbers in it, and how to read them."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\", "++++")


@dataclass(frozen=True)
class Exhibit:
    """A figure with what belongs to it.

    Attributes:
        name: stem of its files.
        title: its heading.
        reading: what it shows and how to read it, one paragraph.
        header: names of the columns of its data.
        rows: its data: numbers that were drawn, one row a point, bar, box or cell.
        statistics: JSON values.
        summary: the statistics in short, lines of Markdown.
        figure: the drawing.
    """

    name: str
    title: str
    reading: str
    header: Sequence[str]
    rows: Sequence[Sequence[str | int | float]]
    statistics: Mapping[str, Any]
    summary: Sequence[str]
    figure: "Figure"

    def csv(self) -> str:
        """Return the data as CSV; numbers have six significant digits."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.header)
        for row in self.rows:
            writer.writerow([f"{v:.6g}" if isinstance(v, float) else v for v in row])
        return text.getvalue()


def hatch(number: int) -> str:
    """Return the hatch of area ``number`` of a figure."""
    return _HATCHES[number % len(_HATCHES)]
