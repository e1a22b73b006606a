"""One face under every corruption, with what each model makes of it."""

from typing import TYPE_CHECKING

import numpy as np

from emodc.experiments.robustness.conditions import CLEAN
from emodc.experiments.robustness.results import Results
from emodc.reports.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_IMAGE, _LINE = 1.3, 0.13  # heights in inches, of an image and of an answer


def face_chart(results: Results) -> "Figure":
    """Draw one face: corruptions down, severities across, the models' answers below each image.

    The face is the first that all models recognize when it is clean, so that every wrong answer
    is the corruption's doing, and not of the majority class, which a model answers when it sees
    nothing any more. It is the first of all if there is none. Nobody chose it for its looks.

    Args:
        results: finished, with corruptions.
    """
    sample, seed = results.sample, results.seeds[0]
    right = [results.right(subject, CLEAN).numpy() == 1 for subject in results.subjects]
    telling = (sample.labels != sample.labels.bincount().argmax()).numpy()
    row = int(np.argmax(np.logical_and.reduce([telling, *right])))
    truth = int(sample.labels[row])
    corruptions = [c for c in results.conditions if c.kind == "corruption"]
    names = list(dict.fromkeys(condition.name for condition in corruptions))
    severities = sorted({condition.severity for condition in corruptions})
    columns = [0, *severities]
    models = len(results.subjects)
    heights = [_IMAGE, models * _LINE] * len(names)
    figure = new_figure(1.35 * len(columns) + 0.6, sum(heights) + 1.0)
    grid = figure.subplots(len(heights), len(columns), squeeze=False, height_ratios=heights)
    known = {(c.name, c.severity): c for c in corruptions}
    for name, images, answers in zip(names, grid[::2], grid[1::2], strict=True):
        for axes, below, severity in zip(images, answers, columns, strict=True):
            condition = known[name, severity] if severity else CLEAN
            whole = sample.data.image(row)
            shown = condition.show(whole, seed, int(sample.index[row]), sample.geometry)[0]
            axes.imshow(shown, cmap="gray", vmin=0, vmax=255)
            axes.set_xticks([])
            axes.set_yticks([])
            below.set_axis_off()
            for number, subject in enumerate(results.subjects):
                answer = int(results.probabilities(subject, condition, seed)[row, 0].argmax())
                below.text(
                    *(0.5, 1 - (number + 0.5) / models),
                    sample.classes[answer],
                    ha="center",
                    va="center",
                    fontsize=7,
                    color=f"C{number}",
                    fontweight="normal" if answer == truth else "bold",
                    fontstyle="normal" if answer == truth else "italic",
                )
        images[0].set_ylabel(name.replace("_", " "), fontsize=7)
    for axes, severity in zip(grid[0], columns, strict=True):
        axes.set_title(f"severity {severity}" if severity else "clean", fontsize=8)
    for number, subject in enumerate(results.subjects):
        grid[0, 0].plot([], [], color=f"C{number}", lw=4, label=subject.name)
    figure.legend(
        loc="outside lower center",
        ncols=min(models, 4),
        fontsize=8,
        title=f"truth: {sample.classes[truth]}; bold italics: wrong",
        title_fontsize=8,
    )
    return figure
