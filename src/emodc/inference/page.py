"""Predictions as a page for people."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw

from emodc.faces.arrays import Pixels
from emodc.faces.sources import Source, read_source
from emodc.inference.prediction import Prediction
from emodc.reports.html import Block, Card, Cards, Page, Section, Table, Text, data_uri

_SIDE = 360  # pixels of an image on the page
_LEAST_BOX = 40  # pixels of a face that is shown alone, beside the others of a photo

METHOD = (
    "Faces are found, turned upright and cropped; the model compares how well it predicts added "
    "noise under the prompt of every class. The classes it was trained on are all it can answer: "
    "a face that shows none of them gets one all the same.",
    "Bars are probabilities. A prediction set holds every class that cannot be ruled out at the "
    "coverage that the model was calibrated for; several names mean that it is not sure.",
    "The page says what a face shows, not what a person feels. Do not decide about people by it. "
    "In the European Union, emotion inference at work and in education is prohibited, except for "
    "medical or safety reasons (AI Act, Article 5(1)(f)), and people must be told where it is "
    "used on them (Article 50(3)).",
)


@dataclass
class PredictionPage:
    """Collects rows, and the images that they belong to, a small copy of each.

    Attributes:
        model: name of the model.
        command: that predicts again.
    """

    model: str
    command: str
    _cards: list[Card] = field(default_factory=list)
    _rows: list[Prediction] = field(default_factory=list)

    def add(self, row: Prediction, source: Source) -> None:
        """Add a row.

        Args:
            row: of a face, or of an image without.
            source: the image.
        """
        self._rows.append(row)
        if row.box is not None and row.probabilities is not None:
            self._cards.append(_card(row, source))

    def page(self) -> Page:
        """Return the page of what was added."""
        found = Counter(row.label for row in self._rows if row.label is not None)
        faces, images = sum(found.values()), len({row.image for row in self._rows})
        said = ", ".join(f"{count} {name}" for name, count in found.most_common())
        counted = f"{faces:,} {'face' if faces == 1 else 'faces'} in {images:,} "
        counted += "image" if images == 1 else "images"
        blocks: list[Block] = [Cards(self._cards)] if self._cards else [Text("No face was found.")]
        sections = [Section("Faces", blocks), Section("All rows", [_table(self._rows)])]
        return Page(
            title=f"Expressions, read by {self.model}",
            answer=f"{counted}: {said}." if found else f"{counted}.",
            sections=sections,
            method=METHOD,
            command=self.command,
        )


def _card(row: Prediction, source: Source) -> Card:
    p = row.probabilities or {}
    others = [name for name in row.prediction_set or () if name != row.label]
    lines = [f"Not ruled out: {', '.join(others)}."] if others else []
    try:
        images = [(data_uri(_shown(read_source(source), row)), row.file or f"image {row.image}")]
    except ValueError:  # gone since it was read
        images = []
    return Card(
        title=f"{row.label} ({p[row.label or '']:.0%})",
        images=images,
        lines=lines,
        bars=sorted(p.items(), key=lambda pair: -pair[1]),
    )


def _shown(image: Pixels, row: Prediction) -> Pixels:
    """Return the image around a face, small, and a frame around the face."""
    x0, y0, x1, y1 = row.box or (0.0, 0.0, float(image.shape[1]), float(image.shape[0]))
    margin = max(x1 - x0, y1 - y0, _LEAST_BOX) * 0.6
    left, top = max(0, round(x0 - margin)), max(0, round(y0 - margin))
    right, bottom = round(x1 + margin) + 1, round(y1 + margin) + 1
    part = Image.fromarray(image[top:bottom, left:right])
    scale = min(1.0, _SIDE / max(part.size))
    small = part.resize([max(1, round(side * scale)) for side in part.size])
    if row.landmarks is not None:
        frame = [(x0 - left) * scale, (y0 - top) * scale, (x1 - left) * scale, (y1 - top) * scale]
        draw = ImageDraw.Draw(small)
        draw.rectangle(frame, outline="black", width=3)
        draw.rectangle(frame, outline="white", width=1)
    return np.asarray(small.convert("RGB"), np.uint8)


def _table(rows: Sequence[Prediction]) -> Table:
    header = ["image", "face", "expression", "probability", "draws", "remark"]
    return Table(header, [list(_cells(row)) for row in rows])


def _cells(row: Prediction) -> Iterable[str]:
    name = row.file or f"image {row.image}"
    if row.label is None or row.probabilities is None:
        return name, "-", "-", "-", "-", row.error or ""
    share = f"{row.probabilities[row.label]:.3f}"
    return name, str(row.face), row.label, share, str(row.trunk_passes), ""
