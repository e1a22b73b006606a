"""Drawing figures.

matplotlib (extra ``figures``) is imported on first use, without its global state.
"""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emodc.support.optional import importing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DASHES = ("-", "--", ":", "-.")
_MARKERS = "osD^vP*X<>p"


def require_matplotlib() -> None:
    """Refuse now what would fail later: figures cannot be drawn without matplotlib.

    Raises:
        ImportError: the extra ``figures`` is not installed.
    """
    with importing("figures", "drawing figures"):
        import matplotlib  # noqa: F401


def new_figure(width: float, height: float) -> "Figure":
    """Return an empty figure of this size in inches.

    Raises:
        ImportError: the extra ``figures`` is not installed.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def line_style(number: int, points: int) -> dict[str, Any]:
    """Return how line ``number`` of a figure is drawn: told from others without its color.

    Args:
        number: 0, 1, ...
        points: of the line; only some get a marker.
    """
    return {
        "color": f"C{number % 10}",
        "linestyle": _DASHES[number % len(_DASHES)],
        "marker": _MARKERS[number % len(_MARKERS)],
        "markersize": 4,
        "markevery": max(1, points // 10),
        "linewidth": 1.3,
    }


def save_figure(figure: "Figure", folder: Path, name: str) -> list[str]:
    """Write a figure as PNG and as SVG, and return the file names, PNG first.

    The same figure gives the same SVG: it holds no date and no random names.
    """
    for form in ("png", "svg"):
        (folder / f"{name}.{form}").write_bytes(figure_bytes(figure, form, name))
    return [f"{name}.png", f"{name}.svg"]


def figure_bytes(figure: "Figure", form: str, name: str = "emodc") -> bytes:
    """Return a figure as a file: the same figure, the same bytes.

    Args:
        figure: what is drawn.
        form: ``png``, ``svg`` or ``pdf``.
        name: of the figure, from which an SVG makes the names of its parts.
    """
    import matplotlib

    file = io.BytesIO()
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(form)
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(file, format=form, dpi=150, metadata=metadata)
    return file.getvalue()
