"""The rows of some images, as a list that shows itself in terminals, notebooks and pandas."""

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emodc.faces.detector import Face, crop_face, whole_image_crop
from emodc.faces.geometry import FER2013_GEOMETRY, with_margin
from emodc.faces.sources import Source, read_source
from emodc.inference.prediction import Prediction
from emodc.inference.records import image_columns, image_record
from emodc.reports.colors import class_color
from emodc.support.optional import importing
from emodc.support.text import printable

if TYPE_CHECKING:
    from pandas import DataFrame
    from rich.console import RenderableType

SHOWN = 20
"""Rows that a notebook shows."""

_SIDE = 96  # pixels of a face in a notebook
_GEOMETRY = with_margin(FER2013_GEOMETRY, 0.25)


class Predictions(list[Prediction]):
    """Rows, one for each face or for an image without one.

    A list, which a terminal with rich shows as a table and a notebook with the faces.

    Args:
        rows: in the order of the images.
        classes: names of the classes, in label order.
        shown: the images of the first `SHOWN` rows, by number, for notebooks.
    """

    def __init__(
        self,
        rows: Iterable[Prediction],
        classes: Sequence[str],
        shown: Mapping[int, Source] | None = None,
    ) -> None:
        super().__init__(rows)
        self.classes = tuple(classes)
        self._images = dict(shown or {})

    def to_pandas(self) -> "DataFrame":
        """Return a table with a line for each row, and the columns of ``emodc predict --csv``.

        Raises:
            ImportError: the extra ``tables`` is not installed.
        """
        with importing("tables", "to_pandas"):
            from pandas import DataFrame
        columns = image_columns(self.classes)
        records = [image_record(row, self.classes) for row in self]
        table = DataFrame(records, columns=list(columns))
        # Numbers that may be missing keep their kind.
        kinds = {int: "Int64", float: "float64"}
        return table.astype({n: kinds[kind] for n, kind in columns.items() if kind in kinds})

    def __rich__(self) -> "RenderableType":
        return prediction_table(self)

    def _repr_html_(self) -> str:
        """Return a table for notebooks: faces, answers and bars of the probabilities."""
        body = "".join(self._html_row(row) for row in self[:SHOWN])
        more = len(self) - SHOWN
        note = f"<p>and {more:,} more rows</p>" if more > 0 else ""
        head = "".join(f"<th>{name}</th>" for name in ("face", "file", "expression", ""))
        return f"<table><tr>{head}</tr>{body}</table>{note}"

    def _html_row(self, row: Prediction) -> str:
        file = html.escape(printable(row.file or f"image {row.image}"))
        if row.label is None or row.probabilities is None:
            reason = html.escape(printable(row.error or row.status))
            return f"<tr><td></td><td>{file}</td><td colspan=2>{reason}</td></tr>"
        others = [name for name in row.prediction_set or () if name != row.label]
        likely = f"<br>or {html.escape(', '.join(others))}" if others else ""
        bars = "".join(
            f'<div style="display:flex;align-items:center;height:11px;font-size:9px">'
            f'<span style="width:6em;text-align:right;padding-right:4px">{html.escape(name)}</span>'
            f'<span style="background:rgb{class_color(place)};width:{80 * p:.0f}px;height:8px">'
            f"</span></div>"
            for place, (name, p) in enumerate(row.probabilities.items())
        )
        label = f"<b>{html.escape(row.label)}</b> {row.probabilities[row.label]:.2f}{likely}"
        return f"<tr><td>{self._face(row)}</td><td>{file}</td><td>{label}</td><td>{bars}</td></tr>"

    def _face(self, row: Prediction) -> str:
        """Return an image element that shows the face, or nothing if it cannot be read again."""
        if row.image not in self._images or row.box is None:
            return ""
        try:
            image = read_source(self._images[row.image])
            crop = _crop(image, row)
        except (ValueError, MemoryError):
            return ""
        file = io.BytesIO()
        Image.fromarray(crop).save(file, "JPEG", quality=85)
        data = base64.b64encode(file.getvalue()).decode()
        return f'<img width={_SIDE} height={_SIDE} src="data:image/jpeg;base64,{data}">'


def prediction_table(rows: Sequence[Prediction]) -> "RenderableType":
    """Return a table for terminals, with a line for each row."""
    from rich.table import Table
    from rich.text import Text

    table = Table("file", "face", "expression", "probability", "box: left, top, right, bottom")
    for row in rows:
        file = Text(printable(row.file or ""), overflow="fold")
        if row.label is None or row.probabilities is None or row.box is None:
            reason = "no face found" if row.status == "no_face" else "cannot be read"
            table.add_row(file, "", Text(reason, style="dim"))
        else:
            probability = f"{row.probabilities[row.label]:.3f}"
            box = ", ".join(f"{value:.0f}" for value in row.box)
            others = [name for name in row.prediction_set or () if name != row.label]
            label = Text(row.label, style="bold")
            if others:
                label.append(f" or {', '.join(others)}", style="dim not bold")
            table.add_row(file, str(row.face), label, probability, box)
    return table


def _crop(image: NDArray[np.uint8], row: Prediction) -> NDArray[np.uint8]:
    if row.landmarks is None or row.box is None:
        return whole_image_crop(image, _SIDE)
    face = Face(row.box, np.array(row.landmarks, np.float64), row.detection_score or 0.0)
    return crop_face(image, face, _GEOMETRY, _SIDE)
