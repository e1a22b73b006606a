"""What people read: an evaluation's tables for the terminal, and the model card."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from emodc.backbones.base import Classifier
from emodc.checkpoint import Model
from emodc.config import Recipe, dump_recipe
from emodc.model_files import BUNDLED

_TIMESTEPS_SHOWN = 10
_SHOWN = 10  # skipped images listed
_HEADING_LENGTH = 5  # of class names above the confusion matrix, to fit 80 columns

_HEADER = """\
---
license: apache-2.0
library_name: emodc
pipeline_tag: image-classification
tags: [facial-expression-recognition, {tag}]
---"""

_ABOUT = """\
A facial expression classifier that is a conditional diffusion model: it adds noise to a face,
predicts that noise under the prompt of every class, and answers with the class whose prediction
is best. The method is EmoDC, trained with adaptive margin discrepancy training where the recipe
says `amdit` (Dong et al., arXiv 2603.29578); the code and the weights are independent of the
paper's authors."""

_ABOUT_RIVAL = """\
A discriminative classifier of facial expressions, to compare EmoDC's diffusion classifier with:
trained on the same data, crops and samples, by cross-entropy in the place of noise prediction."""

_LIMITS = """\
Meant for research on expression recognition and its robustness. It names the *expression* a face
shows, as annotators would; it does not tell what a person feels, thinks or intends, and must not
be used as if it did, least of all to decide about people. Annotators disagree about expressions:
expect lower accuracy on other cameras, poses, ages, skin tones and cultures than those of the
training data, and measure it on your own data first. A class with few pictures is known less
well than the totals say. Probabilities are calibrated on validation data of the training set's
kind and on no other."""


def evaluation_table(report: Mapping[str, Any]) -> RenderableType:
    """Return the readable form of a report, for a rich console.

    Args:
        report: what :func:`emodc.evaluate.evaluate` returned.
    """
    figures = _table(_title(report))
    figures.show_header = False
    figures.add_column(style="bold")
    figures.add_column(justify="right")
    for pair in _figures(report):
        figures.add_row(*pair)

    names = [Text(name) for name in report["labels"]]
    classes = _table("By class", "class", "images", "precision", "recall", "F1")
    for name, row in zip(names, report["per_class"].values(), strict=True):
        classes.add_row(name, str(row["support"]), *_shares(row))
    confusion = _table("Confusion: row = true class, column = predicted", "true")
    for name in names:
        confusion.add_column(name[:_HEADING_LENGTH], justify="right")
    for name, counts in zip(names, report["confusion"], strict=True):
        confusion.add_row(name, *map(str, counts))
    groups = [_group_table(name, values) for name, values in report["groups"].items()]
    remarks = [Text(line) for line in _remarks(report)]
    return Group(figures, classes, confusion, *groups, *remarks)


def _group_table(name: str, values: Mapping[str, Mapping[str, Any]]) -> Table:
    table = _table(f"By {name}", name, "images", "accuracy", "95 % CI", "mean class accuracy")
    for value, row in values.items():
        low, high = row["accuracy_ci95"]
        shown = (f"{row['accuracy']:.4f}", f"{low:.4f} to {high:.4f}")
        table.add_row(value, f"{row['n_images']:,}", *shown, f"{row['mean_class_accuracy']:.4f}")
    return table


def calibration_table(facts: Mapping[str, Any]) -> Group:
    """Return what a calibration reached on the images that fitted nothing.

    Args:
        facts: ``facts["calibration"]`` of a model from :func:`emodc.calibrate.calibrate`.
    """
    noise = _table("Accounting for noise in the pictures", "severity", "plain", "noise-aware")
    for trial in facts["noise"].get("trials", []):
        pair = (f"{trial['plain']:.4f}", f"{trial['noise_aware']:.4f}")
        noise.add_row(str(trial["severity"] or "clean"), *pair)
    if "held_out" not in facts:
        return Group(noise)
    held_out = facts["held_out"]
    title = f"Held out: {held_out['images']:,} images of {facts['data']} {facts['split']}"
    figures = _table(title, "", "before", "after")
    for name in ("accuracy", "nll", "ece"):
        values = (held_out["before"][name], held_out["after"][name])
        figures.add_row(name, *(f"{value:.4f}" for value in values))
    stops = _table("Sequential scoring", "delta", "answers differ", "draws", "accuracy")
    for stop in held_out["stops"]:
        shown = (f"{stop['differ']:.4f}", f"{stop['draws']:.1f}", f"{stop['accuracy']:.4f}")
        stops.add_row(f"{stop['delta']:g}", *shown)
    return Group(figures, stops, noise) if noise.row_count else Group(figures, stops)


def model_card(
    model: Model,
    recipe: Recipe | None,
    evaluation: Mapping[str, Any] | None,
    samples: Mapping[str, Any] | None = None,
) -> str:
    """Write a model's card from its facts; every number comes from the arguments.

    Args:
        model: the model. Of its facts, ``training_data``, ``samples``, ``calibration`` and
            ``validation`` are used where they are present.
        recipe: how it was trained, if that is known.
        evaluation: a report of :func:`emodc.evaluate.evaluate`, if there is one.
        samples: how the pictures beside the card were drawn (`emodc.sample_sheet.facts_of`), if
            they were.

    Returns:
        Markdown with the YAML header that the Hugging Face hub reads.
    """
    parameters = sum(p.numel() for p in model.backbone.parameters())
    height, width = model.settings.codec.shape[1:]
    about = [
        _ABOUT_RIVAL if isinstance(model.backbone, Classifier) else _ABOUT,
        "",
        f"- classes, in order: {', '.join(model.label_set.classes)}",
        f"- network: {model.settings.backbone.kind}, {parameters:,} parameters, "
        f"pictures of {height}x{width} pixels, {model.schedule.timesteps} timesteps",
        *["- every other draw shows the mirror image"][: model.decision.mirror],
    ]
    named = model.name if model.name in BUNDLED else "path/to/this/folder"
    use = f"```sh\nemodc predict photo.jpg --model {named}\n```"
    sections = [
        ("", about if recipe is None or not recipe.summary else [recipe.summary, "", *about]),
        ("Use", [use]),
        ("Training data", _training_data(model.facts)),
        ("Training", _training(model.facts, recipe)),
        ("Calibration", _calibration(model.facts)),
        ("Results", _results(model.facts, evaluation)),
        *([("Samples", _samples(samples))] if samples else []),
        ("Limits and intended use", [_LIMITS]),
    ]
    tag = "discriminative" if isinstance(model.backbone, Classifier) else "diffusion-classifier"
    text = [_HEADER.format(tag=tag), f"# {model.name}"]
    for heading, lines in sections:
        text += ([f"## {heading}"] if heading else []) + ["\n".join(lines)]
    return "\n\n".join(text) + "\n"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=Text(title), title_justify="left", box=box.SIMPLE)
    for number, heading in enumerate(columns):
        table.add_column(heading, justify="right" if number else "left", no_wrap=True)
    return table


def _training_data(facts: Mapping[str, Any]) -> list[str]:
    if "training_data" not in facts:
        return ["Not recorded."]
    data = dict(facts["training_data"])
    notes = data.pop("notes", {})
    lines = [f"- {name}: {value}" for name, value in (data | notes).items()]
    return [*lines, "", "The licence of code and weights does not extend to these pictures."]


def _training(facts: Mapping[str, Any], recipe: Recipe | None) -> list[str]:
    lines = []
    if "samples" in facts:
        lines = [f"These are the weights after {facts['samples']:,} samples.", ""]
    if recipe is None:
        return lines or ["Not recorded."]
    rows = []
    for phase in recipe.phases:
        settings = dataclasses.asdict(phase.objective)
        kind = settings.pop("kind")
        described = ", ".join(f"{key} {value}" for key, value in settings.items())
        rows.append([f"{phase.share * recipe.samples:,.0f}", kind, described])
    lines += markdown_table(["samples", "objective", "settings"], rows)
    return [*lines, "", "The recipe, complete:", "", "```yaml", dump_recipe(recipe).rstrip(), "```"]


def _calibration(facts: Mapping[str, Any]) -> list[str]:
    if "calibration" not in facts:
        return ["Not calibrated: a temperature from training; see `emodc calibrate`."]
    fitted = facts["calibration"]
    source = f"{fitted['data']} {fitted['split']}, seed {fitted['seed']}, {fitted['date']}"
    noise = _noise(fitted.get("noise", {}))
    if "held_out" not in fitted:
        return [f"On {source}.", *noise]
    held_out = fitted["held_out"]
    keys = {"accuracy": "accuracy", "nll": "NLL", "ece": "ECE"}
    figures = [
        [name, f"{held_out['before'][key]:.4f}", f"{held_out['after'][key]:.4f}"]
        for key, name in keys.items()
    ]
    stops = [
        [f"{stop['delta']:g}", f"{stop['draws']:.1f}", f"{stop['differ']:.4f}"]
        for stop in held_out["stops"]
    ]
    return [
        f"On {fitted['images']:,} images of {source}, {fitted['steps']} draws. One half fits; the "
        f"other, {held_out['images']:,} images, gives the figures below and the thresholds.",
        "",
        *markdown_table(["held out", "before", "after"], figures),
        "",
        *markdown_table(["delta of sequential scoring", "draws", "answers differ"], stops),
        *noise,
    ]


def _noise(found: Mapping[str, Any]) -> list[str]:
    """Return what accounting for noise gave on validation images, and whether it was kept."""
    if not found:
        return []
    rows = [
        [str(trial["severity"] or "clean"), f"{trial['plain']:.4f}", f"{trial['noise_aware']:.4f}"]
        for trial in found["trials"]
    ]
    verdict = "is accounted for" if found["kept"] else "is not accounted for, as it did not help"
    return [
        "",
        f"Noise in the pictures {verdict}. Accuracy on {found['trials'][0]['images']:,} of these "
        f"images with {found['noise'].replace('_', ' ')} added, {found['steps']} draws:",
        "",
        *markdown_table(["severity", "plain", "noise-aware"], rows),
    ]


def _results(facts: Mapping[str, Any], report: Mapping[str, Any] | None) -> list[str]:
    validation = facts.get("validation", {})
    watched = [[name.replace("_", " "), f"{value:.4f}"] for name, value in validation.items()]
    lines = []
    if watched:
        lines += ["While training, on the validation subset that chose the weights:", ""]
        lines += [*markdown_table(["figure", "value"], watched), ""]
    if report is None:
        return [*lines, "Not evaluated yet."]
    lines += [f"{_title(report)}:", ""]
    lines += markdown_table(["figure", "value"], [list(pair) for pair in _figures(report)])
    rows = [[name, str(row["support"]), *_shares(row)] for name, row in report["per_class"].items()]
    lines += ["", *markdown_table(["class", "images", "precision", "recall", "F1"], rows)]
    if errors := report["error_by_timestep"]:  # sequential scoring has none
        shown = errors[:: math.ceil(len(errors) / _TIMESTEPS_SHOWN)]
        lines += ["", "Mean error d_p under the true class, by timestep:", ""]
        lines += markdown_table(
            ["t", *(str(entry["t"]) for entry in shown)],
            [["d_p", *(f"{entry['d_p']:.4f}" for entry in shown)]],
        )
    remarks = _remarks(report)
    return [*lines, *(["", *remarks] if remarks else [])]


def _samples(facts: Mapping[str, Any]) -> list[str]:
    return [
        "![Faces drawn by the model, a row for each class](samples.png)",
        "",
        f"Drawn by these weights from noise (DDIM, {facts['steps']} steps, guidance "
        f"{facts['guidance']:g}, seed {facts['seed']}), none of them chosen. Rows from top: "
        f"{', '.join(facts['classes'])}; the pictures of a column begin with the same noise.",
    ]


def _title(report: Mapping[str, Any]) -> str:
    data, delta = report["data"], report.get("delta")
    scoring = f"{report['steps']} steps"
    if delta is not None:
        scoring = f"sequential scoring of {scoring} at delta {delta:g}"
    found = ", faces detected" if report.get("detect") else ""
    precision = report["model"].get("precision", "fp32")
    computed = "" if precision == "fp32" else f", {precision}"
    return (
        f"{report['model']['name']} on {data['name']} {data['split']}, "
        f"{report['n_images']:,} images, {scoring}, seed {report['seed']}{found}{computed}"
    )


def _figures(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    low, high = report["accuracy_ci95"]
    return [
        ("accuracy", f"{report['accuracy']:.4f} (95 % CI {low:.4f} to {high:.4f})"),
        ("mean class accuracy", f"{report['mean_class_accuracy']:.4f}"),
        ("macro F1", f"{report['macro_f1']:.4f}"),
        ("always the commonest class", f"{report['majority_class_floor']:.4f}"),
        ("chance", f"{report['chance']:.4f}"),
        ("negative log-likelihood", f"{report['nll']:.4f} nats"),
        ("expected calibration error", f"{report['ece']:.4f}"),
        ("trunk passes per image", f"{report['trunk_passes_per_image']:,g}"),
        ("prompt evaluations per image", f"{report['prompt_evaluations_per_image']:,g}"),
        ("seconds per image", f"{report['seconds_per_image']:.3g}"),
    ]


def _remarks(report: Mapping[str, Any]) -> list[str]:
    """Return a line for everything that was left out."""
    lines = []
    if missing := report["model"]["classes_left_out"]:
        lines.append(f"Classes of the model that the data lack: {', '.join(missing)}.")
    if missing := report["data"]["classes_left_out"]:
        lines.append(
            f"Classes of the data that the model lacks: {', '.join(missing)} "
            f"({report['data']['images_left_out']} images left out)."
        )
    skipped = report["skipped"]
    lines += [f"Skipped {image['id']}: {image['reason']}." for image in skipped[:_SHOWN]]
    if len(skipped) > _SHOWN:
        lines.append(f"Skipped {len(skipped) - _SHOWN} more, which the report names.")
    return lines


def _shares(row: Mapping[str, Any]) -> list[str]:
    values = (row["precision"], row["recall"], row["f1"])
    return ["-" if value is None else f"{value:.3f}" for value in values]


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table as lines of Markdown; every row has as many cells as the header."""
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]
