"""The report of an evaluation as a page for people."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emodc.backbones.base import Backbone
from emodc.evaluation.metrics import reliability
from emodc.evaluation.mistakes import Answered, examples, worst_mistakes
from emodc.explain.evidence import score_pixels
from emodc.explain.map_overlay import overlay
from emodc.faces.detector import whole_image_crop
from emodc.faces.reading import as_rgb
from emodc.model.model import Model
from emodc.reports.evaluation import class_shares, headline_figures, remarks_on, report_title
from emodc.reports.evaluation_report import EvaluationReport
from emodc.reports.html import (
    Block,
    Card,
    Cards,
    Confusion,
    Page,
    Points,
    Reliability,
    Section,
    Table,
    Text,
    data_uri,
)

_MISTAKES = 12  # shown
_DRAWS = 50  # for their maps
_THUMBNAIL = 48

METHOD = (
    "The model is a diffusion classifier (Li et al., ICCV 2023): noise is added to the face, the "
    "network predicts it under the prompt of every class, and the class whose prompt predicts the "
    "noise best is the answer. Baselines answer directly.",
    "The interval is Wilson's, over images. It covers the choice of images, not how the model "
    "would do on faces of another kind: other cameras, ages, cultures, or faces that are acted.",
    "Labels are what annotators saw in a face, not what a person felt. A face that the annotators "
    "disagree on has no right answer, and counts as a mistake here all the same.",
    "Emotion inference at work and in education is prohibited in the European Union, except for "
    "medical or safety reasons (AI Act, Article 5(1)(f)); elsewhere, people must be told that it "
    "is used on them (Article 50(3)).",
)


def evaluation_page(
    report: EvaluationReport, answered: Answered, model: Model, command: str
) -> Page:
    """Return the page of an evaluation.

    Args:
        report: of `emodc.evaluation.evaluate.evaluate`.
        answered: what it was told of.
        model: that was evaluated; draws the maps of its mistakes, if it is a diffusion model.
        command: that evaluates again.
    """
    low, high = report.accuracy_ci95
    answer = (
        f"{report.model.name} reads {report.accuracy:.1%} of {report.n_images:,} faces as their "
        f"annotators did (95 % interval {low:.1%} to {high:.1%}). Always answering the most "
        f"frequent class would be right for {report.majority_class_floor:.1%}."
    )
    sections = [
        Section("By class", _classes(report)),
        Section("What is taken for what", _confusion(report, answered)),
        Section("The worst mistakes", _mistakes(answered, model)),
        Section("Is it as sure as it is right?", _calibration(report, answered)),
        *_groups(report),
    ]
    if remarks := remarks_on(report):
        sections.append(Section("Left out", [Points(remarks)]))
    return Page(
        title=report_title(report),
        answer=answer,
        sections=sections,
        method=[
            *METHOD,
            f"This page holds images of {report.data.name}: pass it on only as their terms allow.",
        ],
        command=command,
        figures=headline_figures(report),
    )


def _classes(report: EvaluationReport) -> list[Block]:
    rows = [
        [name, f"{row.support:,}", *class_shares(row)]
        for name, row in zip(report.labels, report.per_class.values(), strict=True)
    ]
    return [
        Table(["class", "images", "precision", "recall", "F1"], rows),
        Text(
            "Recall: the share of the images of a class that are read so. Precision: the share of "
            "the images read so that are of the class."
        ),
    ]


def _confusion(report: EvaluationReport, answered: Answered) -> list[Block]:
    shown: dict[tuple[int, int], str] = {}
    for pair, row in examples(answered).items():
        if (image := _image(answered, row)) is not None:
            shown[pair] = data_uri(_thumbnail(image))
    return [
        Confusion(report.labels, report.confusion, shown),
        Text("The faces are those that the model was surest of, in each cell."),
    ]


def _mistakes(answered: Answered, model: Model) -> list[Block]:
    rows = worst_mistakes(answered, _MISTAKES)
    if not rows:
        return [Text("There are none.")]
    cards = [card for row in rows if (card := _mistake(answered, row, model)) is not None]
    text = "Faces whose true class the model found least probable."
    if isinstance(model.backbone, Backbone):
        text += (
            " In the second image, orange speaks for the class that was read, purple for the true "
            "one; the colors add up to the difference of their scores. Where the colors lie is "
            "where the noise was predicted better, which need not be what decided."
        )
    return [Text(text), Cards(cards)]


def _mistake(answered: Answered, row: int, model: Model) -> Card | None:
    image = _image(answered, row)
    if image is None:
        return None
    p = answered.probabilities[row]
    read, truth = int(answered.read[row]), int(answered.labels[row])
    images = [(data_uri(_thumbnail(image, 144)), "face")]
    if isinstance(model.backbone, Backbone):
        size = model.settings.codec.size
        x0 = model.settings.codec.encode([image], model.device)
        steps = min(_DRAWS, model.schedule.timesteps)
        evidence = score_pixels(model, x0, steps=steps).evidence(
            answered.classes[read], answered.classes[truth]
        )
        face = whole_image_crop(as_rgb(image), size)
        images.append((data_uri(overlay(face, evidence.map)), "evidence"))
    names = sorted(range(len(p)), key=lambda k: -float(p[k]))[:3]
    if truth not in names:
        names[-1] = truth
    return Card(
        title=f"{answered.classes[truth]}, read as {answered.classes[read]}",
        images=images,
        lines=[answered.name(row)],
        bars=[(answered.classes[k], float(p[k])) for k in names],
    )


def _calibration(report: EvaluationReport, answered: Answered) -> list[Block]:
    bins = reliability(answered.probabilities, answered.labels)
    text = (
        f"Of faces that the model reads with 80 % confidence, 80 % should be right. It is off by "
        f"{100 * report.ece:.1f} points on average (expected calibration error)."
    )
    if (sets := report.prediction_sets) is not None:
        text += (
            f" Its prediction sets hold the true class of {sets.coverage:.1%} of the faces, with "
            f"{sets.wanted_coverage:.0%} wanted, and {sets.mean_size:.2f} classes on average."
        )
    caption = "Each point is an equal share of the images; on the dashed line, none is too sure."
    return [Text(text), Reliability(bins, caption)]


def _groups(report: EvaluationReport) -> list[Section]:
    sections = []
    for name, values in report.groups.items():
        rows = [
            [
                value,
                f"{row.n_images:,}",
                f"{row.accuracy:.4f}",
                f"{row.accuracy_ci95[0]:.4f} to {row.accuracy_ci95[1]:.4f}",
                f"{row.mean_class_accuracy:.4f}",
            ]
            for value, row in values.items()
        ]
        header = [name, "images", "accuracy", "95 % interval", "mean class accuracy"]
        sections.append(Section(f"By {name}", [Table(header, rows)]))
    return sections


def _image(answered: Answered, row: int) -> NDArray[np.uint8] | None:
    """Return a face; None if its file is gone meanwhile."""
    try:
        return answered.image(row)
    except ValueError:
        return None


def _thumbnail(image: NDArray[np.uint8], side: int = _THUMBNAIL) -> NDArray[np.uint8]:
    picture = Image.fromarray(image)
    if min(picture.size) >= side or max(picture.size) > 4 * side:
        picture.thumbnail((side, side))
    return np.asarray(picture, np.uint8)
