"""Measure what scoring costs and what it keeps: plain, keep-k, best-M and sequential.

    python benchmarks/scoring.py --data fer2013plus:/path/to/fer2013 [--limit 1000] [--seeds 0 1 2]

Three things, in one run. The errors of all classes under all draws are measured on the test split
for every seed and kept in ``--work`` (an interrupted run goes on there); every method's answers
follow from them. The methods' speed is measured side by side on a few images, beside the reference:
a loop over images, classes and batches of 32 draws, as in Algorithm 1 of Li et al. (ICCV 2023).
Last come single faces through `EmotionClassifier.predict`, and memory.

Written: ``--output`` .json and .png.
"""

import argparse
import json
import platform
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emodc.cli.console import progress
from emodc.data import FaceData, open_data
from emodc.data.subset import stratified_subset
from emodc.evaluation.metrics import (
    calibration_error,
    calibration_error_interval,
    negative_log_likelihood,
)
from emodc.inference.classifier import EmotionClassifier
from emodc.inference.dataset_scores import score_errors, score_images
from emodc.inference.scorer import (
    plain_answers,
    require_adaptive,
    sequential_answers,
    sequential_outcome,
)
from emodc.method.draws import DrawBank, draw_bank, spaced_timesteps
from emodc.method.errors import class_errors, measure_errors, one_by_one
from emodc.method.sequential import KeepBest, draw_order, score_sequentially
from emodc.method.stopping import simulate
from emodc.model.model import Model
from emodc.model.store import load_model
from scoring_report import draw, tables

STEPS, BLOCK, PARITY_IMAGES = 100, 2, 500
PLAIN = (1, 2, 4, 8, 16, 32, 64)
KEEP = (1, 2, 4, 8)


@dataclass(frozen=True)
class Found:
    """A method's answers for N images: labels, draws and (draw, class) pairs, each (N,)."""

    label: Tensor
    draws: Tensor
    evaluations: Tensor


@dataclass(frozen=True)
class Method:
    """A way of scoring.

    Attributes:
        family: curve that it belongs to.
        name: setting on that curve.
        simulate: answers from known errors (N, K, S).
        run: the same from x0 (B, C, H, W), with the network; returns the labels (B,).
    """

    family: str
    name: str
    simulate: Callable[[Tensor], Found]
    run: Callable[[Model, Tensor], Tensor]


def faithful(model: Model, x0: Tensor, bank: DrawBank) -> Tensor:
    """Return (B,) labels by the published algorithm, prompts one by one."""
    classes = len(model.label_set)
    return one_by_one(model.predict_noise, model.schedule, x0, bank, classes).argmin(dim=1)


def fixed_draws(family: str, name: str, positions: Sequence[int], bank: DrawBank) -> Method:
    """Return scoring with some of the bank's draws, the same for every image."""
    chosen = torch.tensor(positions)
    part = DrawBank(bank.t[chosen], bank.eps[chosen], bank.mirrored[chosen])

    def known(errors: Tensor) -> Found:
        label = errors[:, :, chosen].double().mean(dim=2).argmin(dim=1)
        draws = torch.full_like(label, len(chosen))
        return Found(label, draws, draws * errors.shape[1])

    def run(model: Model, x0: Tensor) -> Tensor:
        classes = len(model.label_set)
        errors = class_errors(model.shown_errors, model.schedule, x0, part, classes)
        return errors.double().mean(dim=2).argmin(dim=1)

    return Method(family, name, known, run)


def keep_k(first: int, bank: DrawBank) -> Method:
    """Return Li et al.'s stages: the best 4, 2, 1 classes after 2, 4, 8 times so many draws."""
    rule = KeepBest([(2 * first, 4), (4 * first, 2), (8 * first, 1)])

    def known(errors: Tensor) -> Found:
        ones = torch.ones(errors.shape[2])
        outcome = simulate(errors, ones, rule, BLOCK)
        # `simulate` evaluates all classes; where prompts share no trunk, dropped ones cost nothing.
        evaluations = first * (2 * errors.shape[1] + 2 * 4 + 4 * 2)
        return Found(outcome.label, outcome.draws, torch.full_like(outcome.draws, evaluations))

    def run(model: Model, x0: Tensor) -> Tensor:
        measure = measure_errors(model.shown_errors, model.schedule, x0, bank)
        order = draw_order(len(bank))
        return score_sequentially(
            measure, len(x0), len(model.label_set), order, rule, block=BLOCK
        ).label

    return Method("keep-k", f"{2 * first}, {4 * first}, {8 * first} draws", known, run)


def adaptive(delta: float, model: Model, bank: DrawBank) -> Method:
    """Return sequential scoring with the threshold certified for ``delta``."""
    settings, timesteps = require_adaptive(model), model.schedule.timesteps
    order, classes = draw_order(len(bank)), len(model.label_set)
    rule = model.decision.rule(settings.stop(delta), bank.t, timesteps, order, classes)
    weights = model.decision.weights_at(bank.t, timesteps)

    def known(errors: Tensor) -> Found:
        outcome = simulate(errors, weights, rule, settings.block)
        return Found(outcome.label, outcome.draws, outcome.evaluations)

    def run(model: Model, x0: Tensor) -> Tensor:
        return sequential_outcome(model, x0, bank, delta).label

    return Method("adaptive", f"delta {delta:g}", known, run)


def methods(model: Model, bank: DrawBank) -> list[Method]:
    """Return all methods; the first is the plain protocol with all draws."""
    few = [
        (len(choice.t), torch.searchsorted(bank.t, torch.tensor(choice.t)).tolist())
        for choice in model.decision.few_steps
    ]
    spaced = {m: spaced_timesteps(len(bank), m).tolist() for m in PLAIN}
    return [
        fixed_draws("plain", str(STEPS), range(STEPS), bank),
        *(fixed_draws("plain", str(m), spaced[m], bank) for m in reversed(PLAIN)),
        *(keep_k(first, bank) for first in reversed(KEEP)),
        *(fixed_draws("best M", str(m), positions, bank) for m, positions in reversed(few)),
        *(adaptive(stop.delta, model, bank) for stop in require_adaptive(model).stops),
    ]


def encoded(model: Model, data: FaceData, count: int) -> Tensor:
    """Return x0 of a stratified choice of images."""
    chosen = stratified_subset(data.labels, count, 0)
    return model.settings.codec.encode([data.image(int(i)) for i in chosen])


def timed(action: Callable[[], object]) -> float:
    """Return the seconds that an action takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def side_by_side(actions: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return median seconds of every action, after one round to warm up; they take turns."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for attempt in range(repeats + 1):
        for name, action in actions.items():
            spent = timed(action)
            if attempt:
                times[name].append(spent)
    return {name: median(spent) for name, spent in times.items()}


def paired(found: Tensor, reference: Tensor, truth: Tensor) -> tuple[float, float, float]:
    """Return the difference of two accuracies on the same images, and its 95 % interval."""
    off = (found == truth).double() - (reference == truth).double()
    mean, error = float(off.mean()), float(off.std()) / len(off) ** 0.5
    return mean, mean - 1.96 * error, mean + 1.96 * error


def mean_of(counts: list[Tensor]) -> float:
    """Return the mean over seeds and images."""
    return float(torch.stack(counts).double().mean())


def quality(known: list[Method], errors: dict[int, Tensor], truth: Tensor) -> list[dict[str, Any]]:
    """Return for every method its work, agreement and accuracy over the seeds."""
    reference = {seed: known[0].simulate(e).label for seed, e in errors.items()}
    rows = []
    for method in known:
        found = {seed: method.simulate(e) for seed, e in errors.items()}
        agreement = [float((f.label == reference[s]).double().mean()) for s, f in found.items()]
        accuracy = [float((f.label == truth).double().mean()) for f in found.values()]
        pooled = torch.cat([f.label for f in found.values()])
        whole = torch.cat(list(reference.values()))
        rows.append(
            {
                "family": method.family,
                "name": method.name,
                "trunk_passes": float(
                    torch.stack([f.draws.double() for f in found.values()]).mean()
                ),
                "prompt_evaluations": float(
                    torch.stack([f.evaluations.double() for f in found.values()]).mean()
                ),
                "agreement": {
                    "mean": sum(agreement) / len(agreement),
                    "least": min(agreement),
                    "greatest": max(agreement),
                },
                "accuracy": {
                    "mean": sum(accuracy) / len(accuracy),
                    "least": min(accuracy),
                    "greatest": max(accuracy),
                },
                "accuracy_difference": paired(pooled, whole, truth.repeat(len(found))),
            }
        )
    return rows


def calibration(model: Model, errors: dict[int, Tensor], truth: Tensor) -> list[dict[str, Any]]:
    """Return NLL, ECE and coverage of the test images' probabilities, plain and sequential."""
    timesteps = model.schedule.timesteps
    t = spaced_timesteps(timesteps, STEPS)
    settings = require_adaptive(model)
    weights = model.decision.weights_at(t, timesteps)
    rows = []
    for seed, known in errors.items():
        answers = {"plain": plain_answers(model, known, t)}
        for stop in settings.stops:
            rule = model.decision.rule(stop, t, timesteps, draw_order(STEPS), len(model.label_set))
            outcome = simulate(known, weights, rule, settings.block)
            answers[f"delta {stop.delta:g}"] = sequential_answers(model, outcome, stop.delta)
        for name, answer in answers.items():
            p, least = answer.probabilities, answer.thresholds
            held = p >= (torch.zeros(1) if least is None else least)
            rows.append(
                {
                    "seed": seed,
                    "name": name,
                    "nll": negative_log_likelihood(p, truth),
                    "ece": calibration_error(p, truth),
                    "ece_ci95": calibration_error_interval(p, truth),
                    "wanted_coverage": model.decision.coverage,
                    "coverage": float(held[torch.arange(len(truth)), truth].double().mean()),
                    "mean_set_size": float(held.sum(dim=1).double().mean()),
                }
            )
    return rows


def peak_mib() -> float:
    """Return the process's peak memory in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if platform.system() == "Darwin" else 1024)


def memory(model: Model, x0: Tensor, shape: tuple[int, ...]) -> dict[str, float]:
    """Return peaks after little and after much scoring; warm-up included in the first."""
    classes, timesteps = len(model.label_set), model.schedule.timesteps

    def score(images: int, steps: int) -> None:
        bank = draw_bank(timesteps, steps, shape)
        class_errors(model.shown_errors, model.schedule, x0[:images], bank, classes)

    score(8, 24)  # two full calls of the network
    before = peak_mib()
    score(len(x0), STEPS)
    return {"8 images, 24 draws": before, f"{len(x0)} images, {STEPS} draws": peak_mib()}


def measured(
    model: Model, data: FaceData, seed: int, work: Path
) -> tuple[NDArray[np.int64], Tensor]:
    """Return the positions of the images that could be read and their errors (N, K, S)."""
    with progress(f"images, seed {seed}, {model.precision}") as advance:
        scores = score_images(
            model,
            data,
            score_errors(model, steps=STEPS, seed=seed),
            {"steps": STEPS, "seed": seed},
            folder=work / f"{model.precision}-seed{seed}-{len(data)}",
            progress=advance,
        )
    return scores.index.numpy(), scores.values["errors"]


def timings(
    known: list[Method], models: Sequence[Model], x0: Tensor, bank: DrawBank, repeats: int
) -> tuple[float, dict[str, list[float]]]:
    """Return seconds an image of the faithful loop in fp32, and of every method by precision.

    Sequential scoring takes another mean number of draws on these few images than on all, so its
    time is divided by the draws that it took here.

    Returns:
        Seconds an image; seconds a draw by precision, in the methods' order.
    """
    plain, few = models[0], x0[:4]
    errors = class_errors(plain.shown_errors, plain.schedule, x0, bank, len(plain.label_set))
    draws = [method.simulate(errors).draws for method in known]

    def run(method: Method, model: Model) -> Callable[[], object]:
        return lambda: method.run(model, x0)

    actions: dict[str, Callable[[], object]] = {"faithful": lambda: faithful(plain, few, bank)}
    for number, method in enumerate(known):
        actions |= {f"{model.precision} {number}": run(method, model) for model in models}
    seconds = side_by_side(actions, repeats)
    return seconds["faithful"] / len(few), {
        model.precision: [
            seconds[f"{model.precision} {number}"] / float(taken.sum())
            for number, taken in enumerate(draws)
        ]
        for model in models
    }


def main() -> None:
    """Measure; write report and figure; print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="NAME:PATH; the test split is used")
    parser.add_argument("--model", default="face48")
    parser.add_argument("--limit", type=int, help="a stratified subset of this many images")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--half", choices=("bf16", "fp16"), default="bf16", help="beside fp32")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("runs/scoring"))
    parser.add_argument("--output", type=Path, default=Path("runs/scoring/scoring"))
    options = parser.parse_args()

    plain = load_model(options.model)
    half = replace(plain, precision=options.half)
    data = open_data(options.data, "test")
    if options.limit is not None:
        data = data.subset(stratified_subset(data.labels, options.limit, 0))
    x0 = encoded(plain, data, 48)
    peaks = memory(plain, x0, plain.settings.codec.shape)  # first: a peak only rises
    found = {seed: measured(half, data, seed, options.work) for seed in options.seeds}
    errors = {seed: values for seed, (_, values) in found.items()}
    first = options.seeds[0]
    truth = torch.from_numpy(data.labels[found[first][0]])
    some = stratified_subset(data.labels, PARITY_IMAGES, 0)
    in_fp32 = measured(plain, data.subset(some), first, options.work)[1]

    bank = draw_bank(plain.schedule.timesteps, STEPS, plain.settings.codec.shape, first)
    known = methods(plain, bank)
    rows = quality(known, errors, truth)
    reference, by_precision = timings(known, (plain, half), x0, bank, options.repeats)
    for number, row in enumerate(rows):
        row["milliseconds"] = {
            precision: 1000 * row["trunk_passes"] * seconds[number]
            for precision, seconds in by_precision.items()
        }
    position = {int(i): place for place, i in enumerate(found[first][0])}
    same = torch.tensor([position[int(i)] for i in some])
    report = {
        "model": plain.name,
        "data": {"name": data.name, "split": data.split, "images": len(truth)},
        "seeds": options.seeds,
        "machine": f"torch {torch.__version__}, {torch.get_num_threads()} threads",
        "half": options.half,
        "half_agreement": {
            "images": len(some),
            "share": mean_of(
                [known[0].simulate(in_fp32).label == known[0].simulate(errors[first][same]).label]
            ),
        },
        "faithful_milliseconds": 1000 * reference,
        "faithful_agrees": bool(
            (faithful(plain, x0[:4], bank) == known[0].run(plain, x0[:4])).all()
        ),
        "methods": rows,
        "calibration": calibration(plain, errors, truth),
        "one_face_milliseconds": {
            model.precision: one_face(model, data, options.repeats) for model in (plain, half)
        },
        "peak_memory_mib": peaks,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.with_suffix(".json").write_text(json.dumps(report, indent=2) + "\n")
    draw(report, options.output.with_suffix(".png"))
    print("\n".join(tables(report)))


def one_face(model: Model, data: FaceData, repeats: int) -> float:
    """Return the median milliseconds of `predict` on one crop, model loaded, no detection."""
    classifier = EmotionClassifier(model)
    crops = [data.image(int(i)) for i in stratified_subset(data.labels, 20 * repeats, 1)]
    list(classifier.iter_predict(crops[:3], from_crops=True))

    def predict(crop: NDArray[np.uint8]) -> Callable[[], object]:
        return lambda: list(classifier.iter_predict([crop], from_crops=True))

    return 1000 * median(timed(predict(crop)) for crop in crops)


if __name__ == "__main__":
    main()
