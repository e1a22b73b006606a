"""An explanation: the evidence, and the image that it belongs to."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emodc.explain.evidence import FALSE_DISCOVERIES, Evidence
from emodc.explain.map_smoothing import Map
from emodc.explain.picture import draw_explanation
from emodc.faces.arrays import Pixels
from emodc.faces.geometry import CropGeometry
from emodc.faces.warp import on_image
from emodc.reports.figures import figure_bytes
from emodc.support.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURES = (".png", ".svg", ".pdf")
"""What `Explanation.save` draws; a .json file gets the numbers."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """Where in a face a model sees one expression rather than another.

    Attributes:
        evidence: the map and what is known of it.
        image: (H, W, 3) uint8 RGB, upright.
        to_map: (2, 3), from points of the image to points of the map; see `emodc.faces.warp`.
        geometry: where the map shows the landmarks; None if that is not known.
        model: name of the model.
        file: the image's path; None for one in memory.
        face: number of the face in the image, from 0, largest first.
        box: x0, y0, x1, y1 in pixels; the whole image if no face was looked for.
    """

    evidence: Evidence
    image: Pixels
    to_map: Map
    geometry: CropGeometry | None
    model: str
    file: str | None
    face: int
    box: tuple[float, float, float, float]

    @property
    def label(self) -> str:
        """The class that positive values speak for."""
        return self.evidence.label

    @property
    def against(self) -> str:
        """The class that negative values speak for."""
        return self.evidence.against

    @property
    def map(self) -> Map:
        """The evidence on the pixels of x0, (H, W); see `Evidence`."""
        return self.evidence.map

    def on_image(self) -> Map:
        """Return the evidence on the pixels of the image, (H, W); see `emodc.faces.warp`."""
        return on_image(self.map, self.to_map, *self.image.shape[:2])

    def plot(self) -> "Figure":
        """Draw the face, the evidence on it and the noise levels that it comes from.

        Raises:
            ImportError: the extra ``figures`` is not installed.
        """
        return draw_explanation(self)

    def save(self, path: str | Path) -> None:
        """Write the figure (.png, .svg, .pdf) or the numbers (.json).

        Raises:
            ValueError: another ending.
            ImportError: a figure is asked for and the extra ``figures`` is not installed.
            OSError: the file cannot be written.
        """
        path = Path(path)
        check_ending(path)
        if path.suffix.lower() == ".json":
            content = (json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n").encode()
        else:
            content = figure_bytes(self.plot(), path.suffix.lower()[1:])
        write_atomically(path, content)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it but the image, ready for JSON."""
        evidence = self.evidence
        return {
            "file": self.file,
            "model": self.model,
            "face": self.face,
            "box": list(self.box),
            "class": self.label,
            "against": self.against,
            "probabilities": evidence.probabilities,
            "difference": evidence.difference,
            "prior": evidence.prior,
            "standard_error": evidence.difference_error,
            "regions": None if self.geometry is None else evidence.by_region(self.geometry),
            "bands": [
                {"least_noise": band.low, "most_noise": band.high, "difference": band.total}
                for band in evidence.bands
            ],
            "steps": evidence.steps,
            "seed": evidence.seed,
            "smoothing": evidence.smoothing,
            "false_discovery_rate": FALSE_DISCOVERIES,
            "image_to_map": self.to_map.tolist(),
            "map": evidence.map.tolist(),
            "map_standard_error": evidence.standard_error.tolist(),
            "significant": evidence.significant.astype(np.int64).tolist(),
        }


def check_ending(path: Path) -> None:
    """Refuse a file name whose ending says of no known format.

    Raises:
        ValueError: so it is.
    """
    if path.suffix.lower() not in (*PICTURES, ".json"):
        raise ValueError(f"{path}: give a file name that ends with {', '.join(PICTURES)} or .json")
