"""The report as Markdown; every number comes from the report."""

from collections.abc import Mapping, Sequence
from typing import Any

from emodc.reports.tables import markdown_table, skipped_lines

_READING = """\
Accuracies are shares of the faces, with 95 % confidence intervals: Wilson's for one accuracy, the
normal interval over faces for differences and means over corruptions, where each face counts once.
A difference is to the baseline, on the same faces. mCE and relative mCE are errors, and errors
added by corruption, in units of the baseline's; 1 is as many (Hendrycks and Dietterich, ICLR 2019).
Draws are those of one answer; for sequential scoring, their mean on clean and on corrupted
faces."""

_THREAT = """\
eps is in units of a pixel's full range. The attacker knows the weights and the decision rule. With
fixed draws it also knows the draws. With fresh draws it averages over `eot` banks of its own in
every query, and the defender answers with others. All classes and images share the noise of a bank.
A robust accuracy holds for this attack at this budget, so it is an upper bound on the true one."""

_MADE_ON = """\
"On" another rule or model: the attacker knows that one instead. Images are made against it, with
its margin raised to the last step, and judged by the model's own answers. Fixed draws of both come
from the same seed. Sequential scoring has no gradients, so its images are made on plain scoring
with all draws. Neither has checks of its own."""


def robustness_markdown(report: Mapping[str, Any], images: Sequence[str] = ()) -> str:
    """Return the report for people.

    Args:
        report: of `emodc.experiments.robustness.summary.summarize_comparison`.
        images: file names of figures beside it.
    """
    data = report["data"]
    seeds = ", ".join(map(str, report["seeds"]))
    lines = [
        f"# Robustness on {data['name']} {data['split']}",
        "",
        f"{report['n_images']:,} faces of {len(report['classes'])} classes, seed {seeds}"
        + (f"; baseline: {report['baseline']}." if report["baseline"] else "."),
        "",
        _READING,
        "",
        *_summary(report),
        *_by_corruption(report),
        *_by_severity(report),
        *_flips(report),
        *attack_tables(report),
        *_checks(report),
        *[f"![{name}]({name})" for name in images],
        *_left_out(report),
    ]
    return "\n".join(lines).rstrip() + "\n"


def summary_table(report: Mapping[str, Any]) -> list[str]:
    """Return the models' figures over all corruptions, as lines of Markdown."""
    header = ["model", "draws", "clean", "clean, class mean"]
    corrupted = any(model["corrupted"] for model in report["models"])
    if corrupted:
        header += ["corrupted", "corrupted, class mean", "difference", "relative drop"]
        header += ["mCE", "relative mCE"]
    flips = any(model["flip_rate"] is not None for model in report["models"])
    rows = []
    for model in report["models"]:
        clean, under = model["clean"], model["corrupted"]
        row = [model["name"], _draws(model), _share(clean)]
        row.append(f"{clean['mean_class_accuracy']:.3f}")
        if corrupted:
            row += [_share(under), f"{under['mean_class_accuracy']:.3f}"]
            row += [_difference(under), _number(under["relative_drop"])]
            row += [_number(under["mce"]), _number(under["relative_mce"])]
        if flips:
            row.append(_number(model["flip_rate"]))
        rows.append(row)
    return markdown_table([*header, *(["flip rate"] if flips else [])], rows)


def attack_tables(report: Mapping[str, Any], level: int = 2, notes: bool = True) -> list[str]:
    """Return robust accuracies and minimal perturbations, as lines of Markdown; none if no attack.

    Args:
        report: of `emodc.experiments.robustness.summary.summarize_comparison`.
        level: of the headings.
        notes: say how to read the table of robust accuracies.
    """
    lines: list[str] = []
    if report["attacks"]:
        header = ["model", "attack", "norm", "eps", "draws", "defense", "EOT", "evaluations"]
        rows = [
            [
                *(row["model"], attack_text(row), row["norm"], eps_text(row["eps"], row["norm"])),
                *(str(row["draws"] or "none"), row["defence"], str(row["eot"])),
                *(str(row["evaluations"]), f"{row['n_images']:,}", _share(row)),
            ]
            for row in report["attacks"]
        ]
        lines += [f"{'#' * level} Under attack", ""]
        lines += [_THREAT, ""] if notes else []
        if notes and any("made_on" in row for row in report["attacks"]):
            lines += [_MADE_ON, ""]
        lines += [*markdown_table([*header, "faces", "robust accuracy"], rows), ""]
    for left in report["not_attacked"]:
        lines += [f"{left['model']} was not attacked: {left['reason']}.", ""]
    if report["least"]:
        header = ["model", "norm", "draws", "faces", "median", "right when clean", "their median"]
        rows = [
            [
                *(row["model"], row["norm"], str(row["draws"] or "none"), f"{row['n_images']:,}"),
                *(_small(row["median"]), f"{row['right_when_clean']:,}"),
                _small(row["median_of_these"]),
            ]
            for row in report["least"]
        ]
        lines += [f"{'#' * level} Minimal adversarial perturbation", ""]
        lines += ["Upper bounds, fixed draws; a face answered wrongly from the start counts 0.", ""]
        lines += [*markdown_table(header, rows), ""]
    return lines


def _summary(report: Mapping[str, Any]) -> list[str]:
    return ["## Summary", "", *summary_table(report), ""]


def _by_corruption(report: Mapping[str, Any]) -> list[str]:
    models = [model for model in report["models"] if model["corrupted"]]
    if not models:
        return []
    header, rows = ["corruption"], []
    for model in models:
        header.append(model["name"])
        if model["name"] != report["baseline"] and report["baseline"]:
            header.append("difference")
    for name in models[0]["corrupted"]["by_corruption"]:
        row = [name]
        for model in models:
            found = model["corrupted"]["by_corruption"][name]
            row.append(f"{found['accuracy']:.3f}")
            if "difference" in found:
                row.append(_difference(found))
        rows.append(row)
    return [
        "## Accuracy by corruption, mean over severities",
        "",
        *markdown_table(header, rows),
        "",
    ]


def _by_severity(report: Mapping[str, Any]) -> list[str]:
    corrupted = [cell for cell in report["cells"] if cell["severity"]]
    severities = sorted({cell["severity"] for cell in corrupted})
    lines = []
    for model in report["models"]:
        own = {
            (cell["corruption"], cell["severity"]): cell
            for cell in corrupted
            if cell["model"] == model["name"]
        }
        names = dict.fromkeys(name for name, _ in own)
        rows = [
            [name, *(f"{_share(c)} / {c['mean_class_accuracy']:.3f}" for c in cells)]
            for name in names
            if (cells := [own[name, severity] for severity in severities])
        ]
        if rows:
            header = ["corruption", *(f"severity {severity}" for severity in severities)]
            lines += [f"## {model['name']}: accuracy / class mean, by severity", ""]
            lines += [*markdown_table(header, rows), ""]
    return lines


def _flips(report: Mapping[str, Any]) -> list[str]:
    if not report["flips"]:
        return []
    models = [model["name"] for model in report["models"]]
    rates = {(row["model"], row["sequence"]): row["flip_rate"] for row in report["flips"]}
    rows = [
        [name, *(f"{rates[model, name]:.3f}" for model in models)]
        for name in dict.fromkeys(name for _, name in rates)
    ]
    frames = report["flips"][0]["frames"]
    title = f"## Flip rate along sequences of {frames} frames"
    return [title, "", *markdown_table(["sequence", *models], rows), ""]


def _checks(report: Mapping[str, Any]) -> list[str]:
    if not report["findings"]:
        return []
    rows = [
        [
            *(row["model"], row["defence"], row["check"]),
            *("passed" if row["passed"] else "**FAILED**", row["detail"]),
        ]
        for row in report["findings"]
    ]
    lines = ["## Is the attack sound?", ""]
    if not all(row["passed"] for row in report["findings"]):
        lines += ["A check failed: the robust accuracies of that model are not to be believed.", ""]
    return [*lines, *markdown_table(["model", "defense", "check", "", "numbers"], rows), ""]


def _left_out(report: Mapping[str, Any]) -> list[str]:
    lines = []
    if count := report["data"]["images_left_out"]:
        lines.append(f"{count:,} faces of classes that not all models know were left out.")
    lines += skipped_lines(report["skipped"])
    return ["", *lines] if lines else []


def attack_text(row: Mapping[str, Any]) -> str:
    """Return an attack and its budget: "apgd-dlr, 20 steps"."""
    if "queries" in row:
        return f"{row['attack']}, {row['queries']:,} queries"
    text = f"{row['attack']}-{row['loss']}, {row['steps']} steps"
    if "made_on" in row:
        draws = f", {row['draws_there']} draws" if row["draws_there"] else ""
        text += f", on {row['made_on']}{draws}"
    if row["restarts"] > 1:
        text += f", {row['restarts']} restarts"
    return text + (f", {row['targets']} targets" if row["targets"] else "")


def eps_text(eps: float, norm: str) -> str:
    """Return an epsilon, in gray levels ("0.5/255") where the norm has such and it is round."""
    levels = eps * 255
    if norm == "linf" and abs(levels - round(levels, 1)) < 1e-6:
        return f"{levels:g}/255"
    return f"{eps:.3g}"


def _draws(model: Mapping[str, Any]) -> str:
    """Return an answer's draws; of sequential scoring the means on clean and corrupted faces."""
    known = [figures["draws"] for figures in (model["clean"], model["corrupted"]) if figures]
    if all(draws == model["draws"] for draws in known):
        return str(model["draws"] or "none")
    return " / ".join(f"{draws:.1f}" for draws in known)


def _share(figures: Mapping[str, Any]) -> str:
    text = f"{figures['accuracy']:.3f}"
    if (interval := figures["accuracy_ci95"]) is not None:
        text += f" ({interval[0]:.3f} to {interval[1]:.3f})"
    return text


def _difference(figures: Mapping[str, Any]) -> str:
    if "difference" not in figures:
        return "-"
    text = f"{figures['difference']:+.3f}"
    if (interval := figures["difference_ci95"]) is not None:
        text += f" ({interval[0]:+.3f} to {interval[1]:+.3f})"
    return text


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _small(value: float | None) -> str:
    return "-" if value is None else f"{value:.5f}"
