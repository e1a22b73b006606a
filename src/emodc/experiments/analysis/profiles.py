"""How errors under the true class, and the gaps to others, run over t for each class."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from emodc.experiments.analysis.exhibit import Exhibit
from emodc.experiments.analysis.measurement import Measured
from emodc.reports.figures import line_style, new_figure
from emodc.reports.tables import markdown_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BINS = 20  # of neighboring draws: single ones are noisy

_READING = """\
Top: the mean error under the true class of each class's faces, in units of that of all faces at the
same timesteps: above 1, faces of this class are harder to denoise. Bottom: the mean relative gap
(d_n - d_p) / d_p of each class's faces: how clearly, and at which noise, this class is told from
the others; at 0 it is not. A class that is low at the bottom is one that the confusion matrix shows
to be confused. Neighboring draws are averaged."""


def class_profiles(model: Measured) -> dict[str, dict[str, Any]]:
    """Return the profile of every class that has faces.

    Args:
        model: its errors.

    Returns:
        By class: ``images``, and lists over at most 20 bins of draws: ``t`` (mean), ``d_p``,
        ``d_p_to_all`` (over that of all faces) and ``relative_gap``, ratios of means.
    """
    t, everyone = _binned(model.t.double()), _binned(model.d_p.mean(dim=0))
    profiles = {}
    for k, name in enumerate(model.classes):
        here = model.labels == k
        if not bool(here.any()):
            continue
        d_p = _binned(model.d_p[here].mean(dim=0))
        d_n = _binned(model.d_n[here].mean(dim=(0, 1)))
        profiles[name] = {
            "images": int(here.sum()),
            "t": t.tolist(),
            "d_p": d_p.tolist(),
            "d_p_to_all": (d_p / everyone).tolist(),
            "relative_gap": (d_n / d_p - 1).tolist(),
        }
    return profiles


def profiles(measured: Sequence[Measured]) -> Exhibit:
    """Return the profiles of all classes and models."""
    found = {model.name: class_profiles(model) for model in measured}
    keys = ("t", "d_p", "d_p_to_all", "relative_gap")
    rows = [
        [model, name, profile["images"], *values]
        for model, by_class in found.items()
        for name, profile in by_class.items()
        for values in zip(*(profile[key] for key in keys), strict=True)
    ]
    table = [
        [model, name, str(profile["images"]), f"{_mean(profile['d_p']):.4f}", _peak(profile)]
        for model, by_class in found.items()
        for name, profile in by_class.items()
    ]
    return Exhibit(
        name="profiles",
        title="Errors of each class by timestep",
        reading=_READING,
        header=["model", "class", "images", *keys],
        rows=rows,
        statistics=found,
        summary=markdown_table(
            ["model", "class", "images", "mean d_p", "largest relative gap"], table
        ),
        figure=_draw(found),
    )


def _binned(values: Tensor) -> Tensor:
    """Average neighboring draws: (S,) -> (at most 20,)."""
    return torch.stack([part.mean() for part in values.tensor_split(min(_BINS, len(values)))])


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _peak(profile: dict[str, Any]) -> str:
    best = max(profile["relative_gap"])
    at = profile["t"][profile["relative_gap"].index(best)]
    return f"{best:.3g} at t = {at:.0f}"


def _draw(found: dict[str, dict[str, dict[str, Any]]]) -> "Figure":
    figure = new_figure(1.0 + 4.2 * len(found), 5.6)
    grid = figure.subplots(2, len(found), sharex=True, sharey="row", squeeze=False)
    for column, (model, by_class) in zip(grid.T, found.items(), strict=True):
        for axes, key, level in zip(column, ("d_p_to_all", "relative_gap"), (1, 0), strict=True):
            for number, (name, profile) in enumerate(by_class.items()):
                points = len(profile["t"])
                axes.plot(profile["t"], profile[key], label=name, **line_style(number, points))
            axes.axhline(level, color="black", lw=0.8)
            axes.tick_params(labelsize=8)
        column[0].set_title(model, fontsize=9)
        column[1].set_xlabel("timestep t", fontsize=9)
    grid[0, 0].set_ylabel("$d_p$ over that of all faces", fontsize=9)
    grid[1, 0].set_ylabel("relative gap $(d_n - d_p) / d_p$", fontsize=9)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, fontsize=8)
    return figure
