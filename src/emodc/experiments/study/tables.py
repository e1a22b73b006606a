"""The study as Markdown; every number comes from study.json."""

from collections.abc import Mapping, Sequence
from typing import Any

from emodc.reports.tables import markdown_table

_READING = """\
Values are the mean ± standard deviation over the n trainings of an arm, which differ in their
seeds. Validation accuracy chose the setting; an ablation takes that of the arm it varies. d_p is
the mean error under the true class on the test images, of the weights that are evaluated. "d_p /
Base" is in units of Base's d_p with the same seed. A run is evaluated at its best validation
accuracy, which may be early, so the last column compares all runs after all their samples, on
validation images."""

_CLAIMS = """\
Differences of accuracy are on the same test images, averaged over the seeds that both arms have,
with the bootstrap interval over images (95 %). p is McNemar's exact test, two-sided, for each of
these seeds. The interval covers the choice of images, not the spread between trainings, which the
standard deviations show."""


def study_section(report: Mapping[str, Any]) -> list[str]:
    """Return tables, sizes and the command, as lines of Markdown.

    Args:
        report: of `emodc.experiments.study.summary.summarize_study`.
    """
    return [
        *_headline(report),
        "",
        _READING,
        "",
        *_claims(report),
        *_remarks(report),
        "```text",
        report["command"],
        "```",
    ]


def _headline(report: Mapping[str, Any]) -> list[str]:
    """Return the sizes and the table of arms, as lines of Markdown.

    Args:
        report: of `emodc.experiments.study.summary.summarize_study`.
    """
    data, seeds = report["data"], report["seeds"]
    images = data["images"]
    lines = [
        f"{data['name']}: {images['training']:,} training, {images['validation']:,} validation and "
        f"{images['test']:,} test images, {len(report['classes'])} classes; "
        f"{report['samples']:,} samples a run, {report['steps']} draws an image, "
        f"{seeds} {'seed' if seeds == 1 else 'seeds'} for the main arms.",
        "",
    ]
    if (initial := report.get("initial_model")) is not None:
        told = f"All arms begin with the weights of `{initial['name']}` "
        lines += [told + f"(sha256 {initial['weights_sha256'][:12]}).", ""]
    if not report["finished"]:
        lines += ["Not finished: some arms are still missing.", ""]
    return [*lines, *arm_table(report)]


def study_markdown(report: Mapping[str, Any], images: Sequence[str] = ()) -> str:
    """Return the page ``study.md``.

    Args:
        report: of `emodc.experiments.study.summary.summarize_study`.
        images: file names of figures beside it.
    """
    lines = ["# Training objectives compared", "", *study_section(report), "", *_choices(report)]
    lines += [line for name in images for line in (f"![{name}]({name})", "")]
    return "\n".join(lines).rstrip() + "\n"


def arm_table(report: Mapping[str, Any]) -> list[str]:
    """Return a line for each arm."""
    header = ["arm", "setting", "n", "accuracy", "mean class accuracy", "macro F1", "ECE"]
    header += ["d_p", "d_p / Base", "d_p / Base, at the end"]
    rows = []
    for arm in report["arms"]:
        if arm["setting"] is None:
            rows.append([arm["name"], "diverged", "0", *["-"] * (len(header) - 3)])
            continue
        figures = arm["figures"]
        rows.append(
            [
                arm["name"],
                arm["setting"],
                _count(arm),
                *(
                    _mean(figures[name])
                    for name in ("accuracy", "mean_class_accuracy", "macro_f1", "ece", "d_p")
                ),
                _mean(arm["d_p_to_base"]),
                _mean(arm["d_p_at_end_to_base"]),
            ]
        )
    return markdown_table(header, rows)


def _count(arm: Mapping[str, Any]) -> str:
    diverged = sum(run["diverged"] for run in arm["runs"])
    count = str(arm["figures"]["accuracy"]["n"])
    return f"{count} ({diverged} diverged)" if diverged else count


def _claims(report: Mapping[str, Any]) -> list[str]:
    if not report["comparisons"]:
        return []
    rows = []
    for row in report["comparisons"]:
        low, high = row["difference_ci95"]
        rows.append(
            [
                f"{row['arm']} against {row['reference']}",
                f"{row['difference']:+.3f} ({low:+.3f} to {high:+.3f})",
                ", ".join(_p(test["p"]) for test in row["mcnemar"]),
                ", ".join(map(str, row["seeds"])),
                f"{row['n_images']:,}",
            ]
        )
    header = ["claim", "difference of accuracy (95 %)", "p", "seeds", "images"]
    return [*markdown_table(header, rows), "", _CLAIMS, ""]


def _choices(report: Mapping[str, Any]) -> list[str]:
    """Return what was tried and what validation made of it."""
    rows = [
        [
            arm["name"],
            tried["setting"],
            "diverged" if tried["diverged"] else f"{tried['validation_accuracy']:.4f}",
            "chosen" if tried["setting"] == arm["setting"] else "",
        ]
        for arm in report["arms"]
        for tried in arm["tried"]
        if len(arm["tried"]) > 1
    ]
    if not rows:
        return []
    header = ["arm", "setting", "validation accuracy", ""]
    title = "Chosen on validation images, first seed"
    return [f"## {title}", "", *markdown_table(header, rows), ""]


def _remarks(report: Mapping[str, Any]) -> list[str]:
    lines = [f"{left['arm']} is left out: {left['reason']}." for left in report["left_out"]]
    lines += [f"{run['run']} diverged: {run['reason']}." for run in report["diverged"]]
    runs = [run for arm in report["arms"] for run in arm["runs"]]
    skipped = max((run["n_skipped"] or 0 for run in runs), default=0)
    if skipped:
        lines.append(f"{skipped} test images could not be read.")
    return [line for remark in lines for line in (remark, "")]


def _mean(spread: Mapping[str, Any]) -> str:
    if spread["mean"] is None:
        return "-"
    sd = "" if spread["sd"] is None else f" ± {spread['sd']:.3f}"
    return f"{spread['mean']:.3f}{sd}"


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"
