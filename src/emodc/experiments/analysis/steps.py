"""How informative single draws are, and how many it takes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from emodc.experiments.analysis.exhibit import Exhibit
from emodc.experiments.analysis.measurement import Measured
from emodc.method.sequential import draw_order
from emodc.reports.figures import line_style, new_figure
from emodc.reports.tables import markdown_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN = (1, 5, 10, 20, 50, 100, 200, 500, 1000)  # draws in the summary

_READING = """\
Left: accuracy from one draw alone, by its timestep: where the model tells the classes apart at all.
Middle: accuracy from the first n draws in an order that spans the timesteps evenly from the start,
that is, what n steps are worth. Right: accuracy from the n draws of least noise, up to all of
them: where it stops rising, more noise adds nothing; where it falls, it hurts. Dotted: the
majority-class baseline."""


def single_accuracies(errors: Tensor, labels: Tensor) -> Tensor:
    """Return the accuracy of each draw by itself.

    Args:
        errors: (N, K', S).
        labels: (N,) int64.

    Returns:
        (S,) float64.
    """
    return (errors.argmin(dim=1) == labels.unsqueeze(1)).double().mean(dim=0)


def cumulative_accuracies(errors: Tensor, labels: Tensor, weights: Tensor, order: Tensor) -> Tensor:
    """Return the accuracy of the first n draws, n = 1..S.

    Args:
        errors: (N, K', S).
        labels: (N,) int64.
        weights: (S,) float64, of the draws.
        order: (S,) int64, a permutation: the order in which they are taken.

    Returns:
        (S,) float64.
    """
    return single_accuracies((errors.double() * weights)[:, :, order].cumsum(dim=2), labels)


def steps(measured: Sequence[Measured]) -> Exhibit:
    """Return accuracies by timestep and by number of draws, for all models."""
    draws = len(measured[0].t)
    orders = {"even": draw_order(draws), "least_noise": torch.arange(draws)}
    found = {
        model.name: {
            "single": single_accuracies(model.errors, model.labels).tolist(),
            **{
                name: cumulative_accuracies(
                    model.errors, model.labels, model.weights, order
                ).tolist()
                for name, order in orders.items()
            },
        }
        for model in measured
    }
    t = measured[0].t.tolist()
    majority = float(measured[0].labels.bincount().max() / len(measured[0].labels))
    rows = [
        [name, s + 1, t[s], *(values[key][s] for key in ("single", "even", "least_noise"))]
        for name, values in found.items()
        for s in range(draws)
    ]
    shown = [n for n in _SHOWN if n < draws] + [draws]
    table = [
        [name, *(f"{values['even'][n - 1]:.3f}" for n in shown), _best(values["single"], t)]
        for name, values in found.items()
    ]
    return Exhibit(
        name="steps",
        title="Accuracy by timestep and by number of steps",
        reading=_READING,
        header=["model", "n", "t", "accuracy_at_t", "accuracy_of_n_even", "accuracy_up_to_t"],
        rows=rows,
        statistics={"t": t, "commonest_class": majority, "models": found},
        summary=markdown_table(
            ["model", *(f"{n} steps" for n in shown), "best single timestep"], table
        ),
        figure=_draw(found, t, majority),
    )


def _best(accuracies: list[float], t: list[int]) -> str:
    best = max(accuracies)
    return f"{best:.3f} at t = {t[accuracies.index(best)]}"


def _draw(found: dict[str, dict[str, list[float]]], t: list[int], majority: float) -> "Figure":
    figure = new_figure(10.0, 3.4)
    panels = figure.subplots(1, 3, sharey=True)
    n = list(range(1, len(t) + 1))
    for axes, (key, x, label) in zip(
        panels,
        (
            ("single", t, "timestep t of the only draw"),
            ("even", n, "number of draws, evenly spread"),
            ("least_noise", t, "draws from t = 0 up to this timestep"),
        ),
        strict=True,
    ):
        for number, (name, values) in enumerate(found.items()):
            axes.plot(x, values[key], label=name, **line_style(number, len(x)))
        axes.axhline(majority, color="black", lw=0.8, ls=":")
        axes.set_xlabel(label, fontsize=9)
        axes.tick_params(labelsize=8)
    panels[1].set_xscale("log")
    shown = [number for number in _SHOWN if number <= len(t)]
    panels[1].set_xticks(shown, [str(number) for number in shown])
    panels[1].minorticks_off()
    panels[0].set_ylabel("accuracy", fontsize=9)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, fontsize=8)
    return figure
