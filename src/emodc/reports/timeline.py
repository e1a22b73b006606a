"""A figure of who showed what, and when: stacked probabilities over time, a panel a person."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emodc.reports.colors import class_color
from emodc.reports.figures import new_figure
from emodc.reports.rows import check_suffix
from emodc.support.files import whole_file

MOST = 8
"""Persons with a panel of their own: those who are seen longest."""

_POINTS = 1500  # of a panel: more cannot be told apart
_GAP = 5.0  # typical steps between two frames after which a person was away


@dataclass(frozen=True)
class Line:
    """What a person showed.

    Attributes:
        times: (F,) seconds, rising.
        probabilities: (F, K).
    """

    times: NDArray[np.float64]
    probabilities: NDArray[np.float64]


def save_timeline(
    path: Path, persons: Mapping[int, Line], classes: Sequence[str], title: str
) -> None:
    """Draw the figure.

    Args:
        path: .png, .svg or .pdf.
        persons: by their numbers.
        classes: names of the K classes.
        title: stands above it.

    Raises:
        ValueError: another suffix.
        OSError: the file cannot be written.
        ImportError: the extra ``figures`` is not installed.
    """
    import matplotlib

    kind = check_suffix(path, (".png", ".svg", ".pdf"))
    longest = sorted(persons, key=lambda person: -len(persons[person].times))[:MOST]
    figure = new_figure(9, 1.2 + 1.5 * max(1, len(longest)))
    panels = figure.subplots(max(1, len(longest)), 1, sharex=True, squeeze=False)[:, 0]
    for panel, person in zip(panels, sorted(longest), strict=False):
        _draw(panel, persons[person], classes)
        panel.set_ylabel(f"person {person}")
    for panel in panels:
        panel.set_ylim(0, 1)
        panel.margins(x=0)
    panels[-1].set_xlabel("time in seconds")
    more = len(persons) - len(longest)
    left_out = f" ({more} more were seen for a shorter time)" if more else ""
    figure.suptitle(f"{title}{left_out}", fontsize=10)
    from matplotlib.patches import Patch

    patches = [Patch(color=_color(place), label=name) for place, name in enumerate(classes)]
    figure.legend(handles=patches, loc="outside lower center", ncols=min(len(classes), 8))
    metadata: dict[str, Any] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    with whole_file(path) as file, matplotlib.rc_context({"svg.hashsalt": "timeline"}):
        figure.savefig(file, format=kind[1:], dpi=130, metadata=metadata.get(kind))


def _draw(panel: Any, line: Line, classes: Sequence[str]) -> None:
    step = np.median(np.diff(line.times)) if len(line.times) > 1 else 0.04
    away = np.flatnonzero(np.diff(line.times) > _GAP * step) + 1
    parts = zip(np.split(line.times, away), np.split(line.probabilities, away), strict=True)
    colors = [_color(place) for place in range(len(classes))]
    for times, p in parts:
        times, p = _thinned(times, p, len(line.times))
        if len(times) == 1:  # a single frame lasts until the next one
            times, p = np.array([times[0], times[0] + step]), np.repeat(p, 2, axis=0)
        panel.stackplot(times, p.T, colors=colors, linewidth=0)


def _thinned(
    times: NDArray[np.float64], p: NDArray[np.float64], frames: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return means of neighboring frames, so that a panel has no more points than can be seen."""
    together = -(-frames // _POINTS)
    starts = np.arange(0, len(times), together)
    counts = np.diff([*starts, len(times)])
    return (
        np.add.reduceat(times, starts) / counts,
        np.add.reduceat(p, starts, axis=0) / counts[:, None],
    )


def _color(place: int) -> tuple[float, float, float]:
    red, green, blue = class_color(place)
    return red / 255, green / 255, blue / 255
