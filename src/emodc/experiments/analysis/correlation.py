"""Do the non-negative prompts measure how hard a sample is? (AMDiT, arXiv 2603.29578, figure 4)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from scipy.stats import pearsonr, spearmanr
from torch import Tensor

from emodc.experiments.analysis.exhibit import Exhibit
from emodc.experiments.analysis.measurement import Measured
from emodc.reports.figures import new_figure
from emodc.reports.tables import markdown_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_READING = """\
Each point is a face; its errors are means over all draws. On the dashed line an error equals d_p.
A non-negative prompt whose error follows d_p closely (correlation near 1, points along the line)
tells how hard the noise in this very sample is to predict: it can set the margin. The mean error
of the wrong classes, d_n, should follow as well, but above the line: the further above, the better
the classes are told apart. *Single draws* are the same correlations over all (face, draw) pairs,
where the timestep decides most of the difficulty."""

_SYMBOLS = {"null": "$d_{null}$", "non_class": "$d_{nc}$", "negative": "mean $d_n$"}
_NAMES = {"null": "null", "non_class": "non-class", "negative": "mean of the wrong classes"}


def correlations(x: Tensor, y: Tensor) -> dict[str, Any]:
    """Return how closely errors follow others.

    Args:
        x: (M,) float64, M >= 4, not all equal.
        y: (M,) float64, likewise.

    Returns:
        ``pearson`` with ``pearson_ci95`` (Fisher's z transform), ``spearman``, and ``ratio``, the
        mean of y over that of x.
    """
    linear = pearsonr(x.numpy(), y.numpy())
    interval = linear.confidence_interval(0.95)
    return {
        "pearson": float(linear.statistic),
        "pearson_ci95": [float(interval.low), float(interval.high)],
        "spearman": float(spearmanr(x.numpy(), y.numpy()).statistic),
        "ratio": float(y.mean() / x.mean()),
    }


def correlation(measured: Sequence[Measured]) -> Exhibit:
    """Return d_p against d_null, d_nc and mean d_n, for every model."""
    statistics: dict[str, dict[str, dict[str, Any]]] = {}
    rows, table = [], []
    for model in measured:
        others = _others(model)
        statistics[model.name] = {
            key: {
                "images": correlations(model.d_p.mean(dim=1), errors.mean(dim=1)),
                "single_draws": correlations(model.d_p.flatten(), errors.flatten()),
            }
            for key, errors in others.items()
        }
        means = [errors.mean(dim=1).tolist() for errors in others.values()]
        for i, (label, d_p) in enumerate(
            zip(model.labels.tolist(), model.d_p.mean(dim=1).tolist(), strict=True)
        ):
            rows.append([model.name, i, model.classes[label], d_p, *(mean[i] for mean in means)])
        for key, found in statistics[model.name].items():
            of = found["images"]
            low, high = of["pearson_ci95"]
            shown = [f"{of['pearson']:.3f} ({low:.3f} to {high:.3f})", f"{of['spearman']:.3f}"]
            single = found["single_draws"]
            shown += [f"{of['ratio']:.3f}", f"{single['pearson']:.3f}", f"{single['spearman']:.3f}"]
            table.append([model.name, _NAMES[key], *shown])
    return Exhibit(
        name="correlation",
        title="Non-negative prompts against d_p",
        reading=_READING,
        header=["model", "image", "class", "d_p", "d_null", "d_nc", "mean_d_n"],
        rows=rows,
        statistics=statistics,
        summary=markdown_table(
            [
                *("model", "prompt", "Pearson (95 % CI)", "Spearman", "mean / mean d_p"),
                *("Pearson, single draws", "Spearman, single draws"),
            ],
            table,
        ),
        figure=_draw(measured, statistics),
    )


def _others(model: Measured) -> dict[str, Tensor]:
    """Return the errors (N, S) that stand against d_p."""
    return {
        "null": model.d_null.double(),
        "non_class": model.d_nc.double(),
        "negative": model.d_n.mean(dim=1),
    }


def _draw(
    measured: Sequence[Measured], statistics: dict[str, dict[str, dict[str, Any]]]
) -> "Figure":
    figure = new_figure(9.0, 0.4 + 3.05 * len(measured))
    grid = figure.subplots(len(measured), len(_SYMBOLS), squeeze=False)
    for line, model in zip(grid, measured, strict=True):
        d_p = model.d_p.mean(dim=1)
        for axes, (key, errors) in zip(line, _others(model).items(), strict=True):
            other = errors.mean(dim=1)
            axes.plot([d_p.min(), d_p.max()], [d_p.min(), d_p.max()], color="black", ls="--", lw=1)
            axes.scatter(d_p, other, s=9, color="C0", alpha=0.6, linewidths=0)
            found = statistics[model.name][key]["images"]
            axes.set_title(
                f"{model.name}\nr = {found['pearson']:.3f}, rho = {found['spearman']:.3f}",
                fontsize=9,
            )
            axes.set_xlabel("$d_p$", fontsize=9)
            axes.set_ylabel(_SYMBOLS[key], fontsize=9)
            axes.tick_params(labelsize=8)
    return figure
