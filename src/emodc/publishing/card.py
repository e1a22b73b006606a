"""A model's card, written from its facts."""

import math
from collections.abc import Mapping
from typing import Any

import yaml

from emodc.model.model import Model
from emodc.model.store import bundled_models
from emodc.reports.evaluation import (
    class_shares,
    headline_figures,
    remarks_on,
    report_title,
)
from emodc.reports.evaluation_report import EvaluationReport
from emodc.reports.tables import markdown_table

_TIMESTEPS_SHOWN = 10
_SAMPLERS = {"ddim": "DDIM", "dpm-solver": "DPM-Solver++(2M)"}

_HEADER = """\
---
{license}library_name: emodc
pipeline_tag: image-classification
tags: [facial-expression-recognition, {tag}]
---"""

_ABOUT = """\
A facial expression classifier that is a conditional diffusion model: it adds noise to a face,
predicts that noise under the prompt of every class, and answers with the class whose prediction
is best. The method is EmoDC, trained with adaptive margin discrepancy training where the recipe
says `amdit` (Dong et al., arXiv 2603.29578); the code and the weights are independent of the
paper's authors."""

_ABOUT_BASELINE = """\
A discriminative classifier of facial expressions, trained by cross-entropy: a baseline for EmoDC's
diffusion classifiers."""

_NOT_STATED = "not stated"  # as datasets say it of their terms
_NO_LICENSE = "not stated; `emodc export --license ID` states it"
_TERMS = "The license of the weights does not extend to these images."
_NO_TERMS = "Their terms of use are not recorded: check them before you share the weights."

_LIMITS = """\
Meant for research on expression recognition and its robustness. It names the *expression* a face
shows, as annotators would; it does not tell what a person feels, thinks or intends, and must not
be used as if it did, least of all to decide about people. Annotators disagree about expressions:
expect lower accuracy on other cameras, poses, ages, skin tones and cultures than those of the
training data, and measure it on your own data first. Figures of a class with few images are less
certain than the totals. {probabilities}"""

_CALIBRATED = (
    "Probabilities are calibrated on validation data of the training set's kind and on no other."
)

_NOT_CALIBRATED = "Probabilities are not calibrated: their temperature was fitted while training."


def model_card(
    model: Model,
    evaluation: EvaluationReport | None,
    samples: Mapping[str, Any] | None = None,
) -> str:
    """Write a model's card from its facts; every number comes from the arguments.

    Args:
        model: the model. Of its facts, ``training_data``, ``samples``, ``initial_model``,
            ``calibration``, ``validation``, ``recipe`` and ``license`` are used where they are
            present.
        evaluation: of the model, if it was evaluated.
        samples: how the images beside the card were drawn
            (`emodc.explain.sample_sheet.facts_of`), if they were.

    Returns:
        Markdown with the YAML header that the Hugging Face hub reads.
    """
    error = "error under the true class" if model.backbone.generative else "cross-entropy"
    calibrated = "held_out" in model.facts.get("calibration", {})
    limits = _LIMITS.format(probabilities=_CALIBRATED if calibrated else _NOT_CALIBRATED)
    named = model.name if model.name in bundled_models() else "path/to/this/folder"
    use = f"```sh\nemodc predict photo.jpg --model {named}\n```"
    sections = [
        ("", _about(model)),
        ("Use", [use]),
        ("Training data", _training_data(model.facts)),
        ("Training", _training(model.facts)),
        ("Calibration", _calibration(model.facts)),
        *([("Priors", _priors(model))] if model.decision.prior is not None else []),
        ("Results", _results(model.facts, evaluation, error)),
        *([("Samples", _samples(samples))] if samples else []),
        ("Limits and intended use", [limits]),
    ]
    text = [_header(model), f"# {model.name}"]
    for heading, lines in sections:
        text += ([f"## {heading}"] if heading else []) + ["\n".join(lines)]
    return "\n\n".join(text) + "\n"


def _header(model: Model) -> str:
    """Return what the hub reads; a license that nobody stated is left out."""
    tag = "diffusion-classifier" if model.backbone.generative else "discriminative"
    stated = model.facts.get("license")
    line = yaml.safe_dump({"license": str(stated).lower()}) if stated else ""
    return _HEADER.format(tag=tag, license=line)


def _about(model: Model) -> list[str]:
    """Return what the model is."""
    parameters = sum(p.numel() for p in model.backbone.parameters())
    height, width = model.settings.codec.shape[1:]
    if model.sees_noise:
        steps = f", {model.schedule.timesteps} timesteps"
        mirror = "every other draw shows the mirror image"
    else:
        steps, mirror = "", "the answer is the mean over the face and its mirror image"
    return [
        _ABOUT if model.backbone.generative else _ABOUT_BASELINE,
        "",
        f"- classes, in order: {', '.join(model.label_set.classes)}",
        f"- network: {model.settings.backbone.kind}, {parameters:,} parameters, "
        f"images of {height}x{width} pixels{steps}",
        *[f"- {mirror}"][: model.decision.mirror],
        f"- license of the weights: {model.facts.get('license') or _NO_LICENSE}",
    ]


def _priors(model: Model) -> list[str]:
    """Return the class shares that it learnt, and those of its answers."""
    prior = model.decision.prior
    if prior is None:
        return []
    columns = zip(
        model.label_set.classes, prior.training, prior.effective, prior.answered, strict=True
    )
    rows = [[name, *(f"{share:.3f}" for share in shares)] for name, *shares in columns]
    return [
        "Class shares of the training labels, the prior that training left in the errors, and the "
        "prior of the answers where no other is asked for (`--prior`):",
        "",
        *markdown_table(["class", "training", "effective", "answers"], rows),
    ]


def _training_data(facts: Mapping[str, Any]) -> list[str]:
    if "training_data" not in facts:
        return ["Not recorded."]
    data = dict(facts["training_data"])
    notes = data.pop("notes", {})
    lines = [f"- {name}: {value}" for name, value in (data | notes).items()]
    lines += _earlier_data(facts.get("initial_model", {}))
    known = data.get("terms", _NOT_STATED) != _NOT_STATED
    return [*lines, "", _TERMS if known else f"{_TERMS} {_NO_TERMS}"]


def _earlier_data(initial: Mapping[str, Any]) -> list[str]:
    """Return a line for every model that training began with, the latest first."""
    if not initial:
        return []
    data = initial.get("training_data", {})
    terms = f" ({data['terms']})" if data.get("terms") else ""
    line = f"- before, as {initial['name']}: {data.get('name', 'not recorded')}{terms}"
    return [line, *_earlier_data(initial.get("initial_model", {}))]


def _training(facts: Mapping[str, Any]) -> list[str]:
    lines = []
    if "samples" in facts:
        lines = [f"These are the weights after {facts['samples']:,} samples.", ""]
    if initial := facts.get("initial_model"):
        after = f" after {initial['samples']:,} samples" if "samples" in initial else ""
        lines += [
            f"They began as the weights of {initial['name']}{after} (SHA-256 "
            f"{initial['weights_sha256']}). Classes it knew: "
            f"{', '.join(initial['kept']) or 'none'}; new to it: "
            f"{', '.join(initial['fresh']) or 'none'}.",
            "",
        ]
    if "recipe" not in facts:
        return lines or ["Not recorded."]
    recipe = facts["recipe"]
    if recipe["summary"]:
        lines += [f"By the recipe `{recipe['name']}`: {recipe['summary']}", ""]
    rows = []
    for phase in recipe["phases"]:
        settings = dict(phase["objective"])
        kind = settings.pop("kind")
        described = ", ".join(f"{key} {value}" for key, value in settings.items())
        rows.append([f"{phase['share'] * recipe['samples']:,.0f}", kind, described])
    lines += markdown_table(["samples", "objective", "settings"], rows)
    text = yaml.safe_dump(recipe, sort_keys=False)
    return [*lines, "", "The recipe, complete:", "", "```yaml", text.rstrip(), "```"]


def _calibration(facts: Mapping[str, Any]) -> list[str]:
    if "calibration" not in facts:
        return ["Not calibrated: the temperature was fitted while training; see `emodc calibrate`."]
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
    if "folds" in held_out:
        return [
            f"On {fitted['images']:,} images of {source}, {fitted['steps']} draws: only the scale "
            f"of the probabilities, with {held_out['folds']}-fold cross-validation.",
            "",
            *markdown_table(["cross-validated", "before", "after"], figures),
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
        f"Noise in the images {verdict}. Accuracy on {found['trials'][0]['images']:,} of these "
        f"images with {found['noise'].replace('_', ' ')} added, {found['steps']} draws:",
        "",
        *markdown_table(["severity", "plain", "noise-aware"], rows),
        *_noisy_losses(found),
    ]


def _noisy_losses(found: Mapping[str, Any]) -> list[str]:
    """Return what it gave that errors of noisy images count more, where that was fitted."""
    if "loss" not in found:
        return []
    return [
        "",
        f"Loss on the noisy ones: {found['loss']:.3f} nats; {found['loss_without_gain']:.3f} if "
        "their errors counted for no more than those of clean ones.",
    ]


def _results(facts: Mapping[str, Any], report: EvaluationReport | None, error: str) -> list[str]:
    watched = [
        [name.replace("d_p", error).replace("_", " "), f"{value:.4f}"]
        for name, value in facts.get("validation", {}).items()
    ]
    lines = []
    if watched:
        lines += ["While training, on the validation subset that chose the weights:", ""]
        lines += [*markdown_table(["figure", "value"], watched), ""]
    if report is None:
        return [*lines, "Not evaluated yet."]
    lines += [f"{report_title(report)}:", ""]
    lines += markdown_table(["figure", "value"], [list(pair) for pair in headline_figures(report)])
    rows = [[name, str(row.support), *class_shares(row)] for name, row in report.per_class.items()]
    lines += ["", *markdown_table(["class", "images", "precision", "recall", "F1"], rows)]
    if errors := report.error_by_timestep:  # sequential scoring has none
        shown = errors[:: math.ceil(len(errors) / _TIMESTEPS_SHOWN)]
        lines += ["", "Mean error d_p under the true class, by timestep:", ""]
        lines += markdown_table(
            ["t", *(str(entry.t) for entry in shown)],
            [["d_p", *(f"{entry.d_p:.4f}" for entry in shown)]],
        )
    remarks = remarks_on(report)
    return [*lines, *(["", *remarks] if remarks else [])]


def _samples(facts: Mapping[str, Any]) -> list[str]:
    sampler = _SAMPLERS[facts.get("sampler", "ddim")]
    return [
        "![Faces drawn by the model, a row for each class](samples.png)",
        "",
        f"Drawn by these weights from noise ({sampler}, {facts['steps']} steps, guidance "
        f"{facts['guidance']:g}, seed {facts['seed']}), none of them chosen. Rows from top: "
        f"{', '.join(facts['classes'])}; the images of a column begin with the same noise.",
    ]
