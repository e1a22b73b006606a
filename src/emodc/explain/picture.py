"""The figure of an explanation.

Orange speaks for one class, purple for the other: ColorBrewer's PuOr, which people with any color
vision tell apart, and which shows on gray.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emodc.explain.map_overlay import AGAINST, FOR
from emodc.explain.map_smoothing import Map
from emodc.faces.arrays import Pixels
from emodc.faces.warp import corners
from emodc.reports.figures import new_figure
from emodc.support.text import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from emodc.explain.explanation import Explanation

_COLORS = "PuOr_r"
_SIDE = 480  # pixels of the face that is drawn
_MARGIN = 0.25  # of the crop's side, shown around it


def draw_explanation(explanation: "Explanation") -> "Figure":
    """Draw the face, the evidence on it, and the noise levels that it comes from.

    Raises:
        ImportError: the extra ``figures`` is not installed.
    """
    evidence = explanation.evidence
    figure = new_figure(10.0, 4.9)
    grid = figure.add_gridspec(3, 3, width_ratios=(3, 3, 1.25))
    photo, whole = figure.add_subplot(grid[:, 0]), figure.add_subplot(grid[:, 1])
    _draw_photo(photo, explanation)
    face = aligned(explanation.image, explanation.to_map, len(evidence.map))
    strongest = float(np.abs(evidence.map).max()) or 1.0
    _draw_map(whole, face, evidence.map, strongest)
    _outline(whole, evidence.significant)
    whole.set_title("evidence; dotted line: where it is significant", fontsize=9)
    for row, band in enumerate(evidence.bands):
        axes = figure.add_subplot(grid[row, 2])
        _draw_map(axes, face, band.map, strongest)
        level = f"noise {band.low:.2g} to {band.high:.2g}: {band.total:+.2f}"
        axes.set_title(level, fontsize=7)
    _label(figure, explanation)
    return figure


def aligned(image: Pixels, to_map: Map, size: int) -> NDArray[np.uint8]:
    """Return the part of an image that a map covers, in gray, upright as the map is.

    Args:
        image: (H, W, 3) uint8 RGB.
        to_map: from image to map.
        size: side of the map in pixels.

    Returns:
        (N, N) uint8 gray, at a size to be looked at.
    """
    square = np.vstack([to_map, [0.0, 0.0, 1.0]])
    back = np.linalg.inv(square) @ np.diag([size / _SIDE, size / _SIDE, 1.0])
    gray = Image.fromarray(image).convert("L")
    how = Image.Transform.AFFINE
    # Pillow samples at the centers of pixels, as we count them.
    turned = gray.transform(
        (_SIDE, _SIDE), how, tuple(back[:2].ravel()), Image.Resampling.BICUBIC, fillcolor=128
    )
    return np.asarray(turned, np.uint8)


def _draw_photo(axes: "Axes", explanation: "Explanation") -> None:
    """Draw the photo around the face, and a frame where it was cropped."""
    frame = corners(explanation.to_map, len(explanation.map))
    height, width = explanation.image.shape[:2]
    low, high = frame.min(axis=0), frame.max(axis=0)
    margin = _MARGIN * (high - low)
    x0, y0 = np.clip(np.floor(low - margin).astype(int), 0, [width - 1, height - 1])
    x1, y1 = np.clip(np.ceil(high + margin).astype(int), [x0 + 1, y0 + 1], [width, height])
    shown = Image.fromarray(explanation.image[y0:y1, x0:x1])
    shown.thumbnail((2 * _SIDE, 2 * _SIDE))
    axes.imshow(shown, extent=(x0, x1, y1, y0))
    closed = np.vstack([frame, frame[:1]])
    axes.plot(closed[:, 0], closed[:, 1], color="white", linewidth=2.2)
    axes.plot(closed[:, 0], closed[:, 1], color="black", linewidth=0.8)
    axes.set_xlim(x0, x1)
    axes.set_ylim(y1, y0)
    axes.set_axis_off()
    axes.set_title("photo; frame: what the model is shown", fontsize=9)


def _draw_map(axes: "Axes", face: NDArray[np.uint8], values: Map, strongest: float) -> None:
    size = len(values)
    extent = (0, size, size, 0)
    axes.imshow(face, cmap="gray", vmin=-60, vmax=300, extent=extent)
    axes.imshow(
        values / strongest,
        cmap=_COLORS,
        vmin=-1,
        vmax=1,
        alpha=np.clip(np.abs(values) / strongest, 0, 1) ** 0.5,
        extent=extent,
        interpolation="nearest",
    )
    axes.set_axis_off()


def _outline(axes: "Axes", significant: NDArray[np.bool_]) -> None:
    if significant.any() and not significant.all():
        center = np.arange(len(significant)) + 0.5
        level = significant.astype(float)
        axes.contour(center, center, level, [0.5], colors="black", linewidths=0.6, linestyles=":")


def _color(rgb: tuple[int, int, int]) -> tuple[float, float, float]:
    red, green, blue = (value / 255 for value in rgb)
    return red, green, blue


def _label(figure: "Figure", explanation: "Explanation") -> None:
    evidence, geometry = explanation.evidence, explanation.geometry
    a, b = evidence.label, evidence.against
    p = evidence.probabilities
    figure.suptitle(
        f"Why {a} rather than {b}?   {p[a]:.0%} {a}, {p[b]:.0%} {b}; difference of the logits "
        f"{evidence.difference:+.2f} ± {evidence.difference_error:.2f}",
        fontsize=11,
    )
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Patch(color=_color(FOR), label=f"speaks for {a}"),
        Patch(color=_color(AGAINST), label=f"speaks for {b}"),
    ]
    parts = ""
    if geometry is not None:
        regions = evidence.by_region(geometry).items()
        parts = "; ".join(f"{name} {value:+.2f}" for name, value in regions) + " - "
    title = f"{parts}{shortened(explanation.model, 40)}, {evidence.steps} draws"
    figure.legend(
        handles=handles,
        title=title,
        title_fontsize=9,
        fontsize=10,
        loc="outside lower center",
        ncols=2,
        frameon=False,
    )
