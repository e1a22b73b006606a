"""From the results to study.json: every figure, ready for JSON."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from statistics import fmean, stdev
from typing import Any

import torch
from torch import Tensor

from emodc.evaluation.statistics import RESAMPLES, mcnemar, paired_bootstrap, share_right
from emodc.experiments.study.arms import CLAIMS
from emodc.experiments.study.protocol import ArmResult, Study
from emodc.experiments.study.runs import Outcome
from emodc.model.identity import weights_hash
from emodc.model.model import Model

FORMAT = 1
"""Of study.json."""

FIGURES = ("accuracy", "mean_class_accuracy", "macro_f1", "ece", "d_p", "d_p_at_end")
"""Figures of a run, of which an arm states mean and standard deviation over the seeds."""

_OF_EVALUATION = (
    *("accuracy", "accuracy_ci95", "mean_class_accuracy", "macro_f1", "ece", "nll"),
    *("n_images", "n_skipped", "majority_class_floor"),
)


def summarize_study(study: Study, results: Sequence[ArmResult], command: str) -> dict[str, Any]:
    """Return the report of the arms that are finished.

    Args:
        study: what was done.
        results: of its arms.
        command: that repeats it.

    Returns:
        ``arms`` (settings tried, the choice, runs, figures), ``comparisons`` (the claims),
        ``left_out``, ``diverged``, and what was compared on what.

    Raises:
        ValueError: two evaluations are of different images.
    """
    by_name = {result.arm.name: result for result in results}
    splits = study.splits
    left_out = [left["arm"] for left in study.left_out]
    return {
        "format": FORMAT,
        "command": command,
        "data": {
            "name": splits.test.name,
            "images": {split: len(data) for split, data in vars(splits).items() if split != "test"}
            | {"test": study.images},
            "fingerprints": {split: data.fingerprint() for split, data in vars(splits).items()},
            "notes": dict(splits.test.notes),
        },
        "classes": list(splits.training.label_set.classes),
        "recipe": study.base.model_dump(mode="json"),
        "initial_model": _initial(study.initial),
        "samples": study.base.samples,
        "seeds": study.seeds,
        "steps": study.steps,
        "limit": study.limit,
        "finished": {arm.name for arm in study.arms} <= {*by_name, *left_out},
        "arms": [_arm(result, by_name) for result in results],
        "comparisons": [
            compared
            for ours, theirs in CLAIMS
            if ours in by_name
            and theirs in by_name
            and (compared := _comparison(by_name[ours], by_name[theirs])) is not None
        ],
        "resamples": RESAMPLES,
        "left_out": list(study.left_out),
        "diverged": [
            {"run": outcome.run.name, "reason": outcome.diverged}
            for result in results
            for outcome in result.diverged
        ],
        "versions": {"emodc": version("emodc"), "torch": str(torch.__version__)},
    }


def _initial(model: Model | None) -> dict[str, str] | None:
    return None if model is None else {"name": model.name, "weights_sha256": weights_hash(model)}


def _arm(result: ArmResult, by_name: Mapping[str, ArmResult]) -> dict[str, Any]:
    runs = [outcome for outcome in result.outcomes if outcome.right is not None]
    rows = [_run(outcome) for outcome in result.outcomes]
    base, follows = by_name.get("base"), result.arm.follows
    chosen = (result if follows is None else by_name[follows]).chosen
    facts: dict[str, Any] = {
        "name": result.arm.name,
        "summary": result.arm.summary,
        "objective": result.outcomes[0].run.recipe.phases[-1].model_dump(mode="json")["objective"]
        if result.outcomes
        else dict(result.arm.objective),
        "tried": [
            {
                "run": outcome.run.name,
                "setting": outcome.run.setting.name,
                "validation_accuracy": outcome.validation_accuracy,
                "diverged": outcome.diverged is not None,
            }
            for outcome in result.tried
        ],
        "setting": chosen.name if result.outcomes and chosen is not None else None,
        "runs": rows,
        "figures": {name: _spread([row[name] for row in rows]) for name in FIGURES},
        "d_p_to_base": _spread(_ratios(result, base, "d_p")),
        "d_p_at_end_to_base": _spread(_ratios(result, base, "d_p_at_end")),
        "accuracy_ci95": None,
    }
    if runs:
        right = torch.stack([outcome.right for outcome in runs if outcome.right is not None])
        facts["accuracy_ci95"] = share_right(right.double().mean(dim=0))["accuracy_ci95"]
    return facts


def _run(outcome: Outcome) -> dict[str, Any]:
    """Return a run's figures; None where it diverged, or is no diffusion model."""
    report = outcome.report
    figures = {} if report is None else report.to_json()
    recipe = outcome.run.recipe
    return {
        "run": outcome.run.name,
        "seed": recipe.seed,
        "samples": recipe.samples,
        "diverged": outcome.diverged is not None,
        "validation_accuracy": outcome.validation_accuracy,
        "validations": [
            {"samples": samples, "accuracy": accuracy} for samples, accuracy in outcome.curve
        ],
        **{name: figures.get(name) for name in _OF_EVALUATION},
        "d_p": _d_p(outcome),
        "d_p_at_end": outcome.d_p_at_end,
        "weights_sha256": report.model.weights_sha256 if report else None,
        "precision": report.model.precision if report else None,
    }


def _d_p(outcome: Outcome) -> float | None:
    """Return the mean error under the true class over test images and draws."""
    if outcome.report is None or not outcome.run.arm.denoises:
        return None
    return fmean(entry.d_p for entry in outcome.report.error_by_timestep)


def _spread(values: Sequence[float | None]) -> dict[str, float | int | None]:
    """Return mean, standard deviation and number of what is known; nothing of what is not."""
    known = [value for value in values if value is not None]
    return {
        "mean": fmean(known) if known else None,
        "sd": stdev(known) if len(known) > 1 else None,
        "n": len(known),
    }


def _ratios(result: ArmResult, base: ArmResult | None, figure: str) -> list[float | None]:
    """Return a figure in units of Base's of the same seed."""
    if base is None:
        return []
    theirs = {outcome.run.seed: _run(outcome)[figure] for outcome in base.outcomes}
    ours = {outcome.run.seed: _run(outcome)[figure] for outcome in result.outcomes}
    return [
        value / theirs[seed]
        for seed, value in ours.items()
        if value is not None and theirs.get(seed) is not None
    ]


def _comparison(ours: ArmResult, theirs: ArmResult) -> dict[str, Any] | None:
    """Compare two arms on the seeds that both have; None if there is no such seed."""
    found = {
        k: pair
        for k in range(len(ours.outcomes))
        if (pair := _pair(ours.outcomes, theirs.outcomes, k)) is not None
    }
    if not found:
        return None
    first, second = (torch.stack(rows) for rows in zip(*found.values(), strict=True))
    return {
        "arm": ours.arm.name,
        "setting": ours.outcomes[0].run.setting.name,
        "reference": theirs.arm.name,
        "reference_setting": theirs.outcomes[0].run.setting.name,
        "n_images": first.shape[1],
        "seeds": [ours.outcomes[k].run.recipe.seed for k in found],
        **paired_bootstrap(first, second),
        "mcnemar": [mcnemar(a, b) for a, b in zip(first, second, strict=True)],
    }


def _pair(
    ours: Sequence[Outcome], theirs: Sequence[Outcome], k: int
) -> tuple[Tensor, Tensor] | None:
    """Return what the two runs of seed k classified correctly, (N,) each, if both have answered.

    Raises:
        ValueError: they answered different images.
    """
    if k >= len(theirs):
        return None
    first, second = ours[k], theirs[k]
    if first.right is None or second.right is None:
        return None
    if first.ids != second.ids:
        raise ValueError(
            f"{first.run.folder} and {second.run.folder} were evaluated on different images; "
            "delete their folders `test` and run this again"
        )
    return first.right, second.right
