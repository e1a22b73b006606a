"""How large the gap d_n - d_p is where noise is easy or hard to predict.

A fixed margin asks for the same gap everywhere, an adaptive one for a share of the difficulty
(AMDiT, arXiv 2603.29578, figure 3 b and c).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from emodc.experiments.analysis.exhibit import Exhibit, hatch
from emodc.experiments.analysis.measurement import Measured
from emodc.reports.figures import new_figure
from emodc.reports.tables import markdown_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

QUARTILES = 4
_QUANTILES = {"q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95}
_MEASURES = {"gap": "gap $d_n - d_p$", "relative_gap": "relative gap $(d_n - d_p) / d_p$"}

_READING = """\
A sample is a face with one draw, as in training; samples are parted into quartiles by the first
model's d_p, from easy (much noise) to hard (little noise), the same samples for every model. The
boxes hold the gaps to every wrong class: median, quartiles, and whiskers from 5 % to 95 %. Below 0
a wrong class predicts the noise better than the true one. Where the gap grows with difficulty from
left to right, no fixed margin fits: what hard samples reach easily is out of reach for easy ones.
The relative gap, right, is what an adaptive margin bounds: the more even it is over the quartiles,
the better one share alpha fits all samples. The gap is drawn on an axis that is linear near 0 and
logarithmic beyond."""


def quartile_of(difficulty: Tensor) -> Tensor:
    """Return the quartile of each sample: 0 for the easiest fourth, 3 for the hardest.

    Args:
        difficulty: of any shape, at least four values.

    Returns:
        int64 of the same shape.
    """
    place = difficulty.flatten().argsort(stable=True).argsort(stable=True)
    return (place * QUARTILES // difficulty.numel()).view(difficulty.shape)


def gap_statistics(model: Measured, quartile: Tensor) -> list[dict[str, Any]]:
    """Return what the gaps of one model are like in each quartile.

    Args:
        model: its errors.
        quartile: (N, S) from `quartile_of`.

    Returns:
        Four dictionaries: ``median_d_p``, ``share_below_zero``, and quantiles of ``gap`` and
        ``relative_gap`` over samples and wrong classes.
    """
    gap = model.d_n - model.d_p.unsqueeze(1)  # (N, K'-1, S)
    relative = gap / model.d_p.unsqueeze(1)
    rows = []
    for q in range(QUARTILES):
        here = quartile == q  # (N, S)
        among = here.unsqueeze(1).expand_as(gap)
        rows.append(
            {
                "median_d_p": float(model.d_p[here].median()),
                "share_below_zero": float((gap[among] < 0).double().mean()),
                "gap": _quantiles(gap[among].numpy()),
                "relative_gap": _quantiles(relative[among].numpy()),
            }
        )
    return rows


def gaps(measured: Sequence[Measured]) -> Exhibit:
    """Return the gaps of all models by difficulty."""
    quartile = quartile_of(measured[0].d_p)
    statistics = {model.name: gap_statistics(model, quartile) for model in measured}
    rows = [
        [name, measure, q + 1, entry["median_d_p"], entry["share_below_zero"]]
        + [entry[measure][key] for key in _QUANTILES]
        for name, entries in statistics.items()
        for measure in _MEASURES
        for q, entry in enumerate(entries)
    ]
    table = [
        [
            *(name, str(q + 1), f"{entry['median_d_p']:.4g}", f"{entry['gap']['median']:.3g}"),
            *(f"{entry['relative_gap']['median']:.3g}", f"{entry['share_below_zero']:.3f}"),
        ]
        for name, entries in statistics.items()
        for q, entry in enumerate(entries)
    ]
    return Exhibit(
        name="gaps",
        title="Gap d_n - d_p by difficulty",
        reading=_READING,
        header=[
            *("model", "measure", "quartile", "median_d_p", "share_below_zero"),
            *_QUANTILES,
        ],
        rows=rows,
        statistics=statistics,
        summary=markdown_table(
            [
                *("model", "quartile of d_p", "median d_p", "median gap"),
                *("median relative gap", "gaps below 0"),
            ],
            table,
        ),
        figure=_draw(statistics),
    )


def _quantiles(values: NDArray[np.float64]) -> dict[str, float]:
    found = np.quantile(values, list(_QUANTILES.values()))
    return dict(zip(_QUANTILES, found.tolist(), strict=True))


def _draw(statistics: dict[str, list[dict[str, Any]]]) -> "Figure":
    figure = new_figure(9.0, 4.0)
    panels = figure.subplots(1, len(_MEASURES))
    # Logarithmic down to the smallest quartile of a box.
    sizes = [abs(e["gap"][q]) for es in statistics.values() for e in es for q in ("q25", "q75")]
    panels[0].set_yscale("symlog", linthresh=max(min(sizes), 1e-9))
    width = 0.8 / len(statistics)
    for axes, (measure, label) in zip(panels, _MEASURES.items(), strict=True):
        for number, (name, entries) in enumerate(statistics.items()):
            boxes = [
                {
                    "med": entry[measure]["median"],
                    "q1": entry[measure]["q25"],
                    "q3": entry[measure]["q75"],
                    "whislo": entry[measure]["q05"],
                    "whishi": entry[measure]["q95"],
                }
                for entry in entries
            ]
            places = [q + (number - (len(statistics) - 1) / 2) * width for q in range(QUARTILES)]
            drawn = axes.bxp(
                boxes,
                positions=places,
                widths=0.85 * width,
                showfliers=False,
                patch_artist=True,
                boxprops={"facecolor": f"C{number % 10}", "alpha": 0.5, "hatch": hatch(number)},
                medianprops={"color": "black", "lw": 1.5},
                manage_ticks=False,
            )
            drawn["boxes"][0].set_label(name)
        axes.axhline(0, color="black", lw=0.8, ls=":")
        axes.set_xticks(range(QUARTILES), ["1, easy", "2", "3", "4, hard"])
        axes.set_xlabel("quartile of $d_p$", fontsize=9)
        axes.set_ylabel(label, fontsize=9)
        axes.tick_params(labelsize=8)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, fontsize=8)
    return figure
