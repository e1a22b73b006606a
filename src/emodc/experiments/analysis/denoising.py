"""Whether the classifier is still a denoiser: d_p against the first model's and Wiener's."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from emodc.data.face_data import FaceData
from emodc.experiments.analysis.exhibit import Exhibit
from emodc.experiments.analysis.measurement import ERRORS, Measured
from emodc.method.linear_denoiser import wiener_errors
from emodc.model.model import Model
from emodc.reports.figures import line_style, new_figure
from emodc.reports.tables import markdown_table
from emodc.support.results import Result, load_result, save_result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIENER = "Wiener"
"""What the linear denoiser is called in figures."""

_LINEAR = "wiener.safetensors"

_READING = """\
Top: the mean error under the true class by timestep; it falls with the noise, for the less of the
image is left in xt, the better the noise is known. Bottom: the same in units of the first
model's. Training with a margin may buy classification with denoising: a line above 1 is what it
cost at this timestep. *Wiener* is the best linear denoiser, fitted on the training images: a model
above it has not learned more of faces than their covariance. Its error is an expectation over all
noise, those of the models are of the draws of this analysis, which moves their ratio by some
percent from timestep to timestep but not the ratios between models."""


def linear_errors(
    model: Model, training: FaceData, faces: FaceData, t: Tensor, folder: Path
) -> Tensor | None:
    """Return the errors of the linear denoiser, from the folder if they are there already.

    Args:
        model: whose codec and schedule count.
        training: the images that it is fitted on; those that cannot be read are left out.
        faces: the readable images that it is measured on.
        t: (S,) int64 timesteps.
        folder: of the analysis.

    Returns:
        (S,) float64; None if there are too few training images for their covariance.

    Raises:
        ValueError: the folder holds those of other images or settings.
        OSError: the folder cannot be written.
    """
    channels, height, width = model.settings.codec.shape
    if len(training) <= channels * height * width:
        return None
    file = folder / ERRORS / _LINEAR
    identity = {
        "training data": training.fingerprint(),
        "data": faces.fingerprint(),
        "codec": model.settings.codec.identity,
        "schedule": str(model.settings.schedule),
        "steps": str(len(t)),
    }
    result = load_result(file, identity, ("errors",))
    if result is None:
        errors = wiener_errors(_encoded(model, training), _encoded(model, faces), model.schedule, t)
        result = Result({"errors": errors}, {"facts": {}})
        save_result(file, result, identity)
    return result.tensors["errors"]


def denoising(measured: Sequence[Measured], linear: Tensor | None) -> Exhibit:
    """Return d_p by timestep for all models.

    Args:
        measured: the models; the first is what the others are compared with.
        linear: (S,) float64 from `linear_errors`.
    """
    first = measured[0]
    curves = {model.name: model.d_p.mean(dim=0) for model in measured}
    if linear is not None:
        curves[WIENER] = linear
    ratios = {name: curve / curves[first.name] for name, curve in curves.items()}
    statistics = {
        name: {
            "mean_d_p": float(curve.mean()),
            "ratio_to_first": float(curve.mean() / curves[first.name].mean()),
            "largest_ratio_to_first": float(ratios[name].max()),
        }
        for name, curve in curves.items()
    }
    rows: list[list[str | float]] = [
        [name, int(first.t[s]), float(first.sigma[s]), float(curve[s]), float(ratios[name][s])]
        for name, curve in curves.items()
        for s in range(len(curve))
    ]
    table = [
        [name, *(f"{value:.4f}" for value in row.values())] for name, row in statistics.items()
    ]
    return Exhibit(
        name="denoising",
        title=f"d_p against {first.name} and the best linear denoiser",
        reading=_READING,
        header=["model", "t", "sigma", "d_p", "ratio_to_first"],
        rows=rows,
        statistics=statistics,
        summary=markdown_table(
            [
                *("model", "mean d_p", f"ratio of means to {first.name}"),
                "largest ratio at a timestep",
            ],
            table,
        ),
        figure=_draw(first, curves, ratios),
    )


def _encoded(model: Model, data: FaceData) -> Tensor:
    """Return the readable images of a dataset as x0 (N, C, H, W)."""
    return model.settings.codec.encode(list(data.readable()))


def _draw(first: Measured, curves: Mapping[str, Tensor], ratios: Mapping[str, Tensor]) -> "Figure":
    figure = new_figure(6.5, 6.0)
    upper, lower = figure.subplots(2, 1, sharex=True)
    for number, (name, curve) in enumerate(curves.items()):
        style = line_style(number, len(curve))
        if name == WIENER:
            style |= {"color": "black", "marker": "", "linestyle": (0, (1, 1))}
        upper.plot(first.t, curve, label=name, **style)
        lower.plot(first.t, ratios[name], **style)
    upper.set_yscale("log")
    upper.set_ylabel("$d_p$", fontsize=9)
    lower.set_ylabel(f"$d_p$ over that of {first.name}", fontsize=9)
    lower.set_xlabel("timestep t", fontsize=9)
    for axes in (upper, lower):
        axes.tick_params(labelsize=8)
    figure.legend(loc="outside upper center", ncols=2, fontsize=8)
    return figure
