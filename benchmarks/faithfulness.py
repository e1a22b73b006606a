"""Whether evidence maps show what the classifier looks at.

Deletion and insertion, shuffled weights, the pointing game, and integrated gradients beside them:

    python benchmarks/faithfulness.py --data fer2013plus:PATH --images 40

Faces are taken from the validation split. Intervals are over faces. Needs captum (extra dev).
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from captum.attr import IntegratedGradients
from numpy.typing import NDArray
from torch import Tensor

from emodc.attacks.victims import Victim
from emodc.backbones.base import Backbone
from emodc.cli.console import progress
from emodc.data import FaceData, open_data
from emodc.data.subset import stratified_subset
from emodc.data.synthetic.dataset import CHANGES, draw_change
from emodc.evaluation.faithfulness import (
    Answer,
    Curves,
    blurred,
    center_map,
    changed_region,
    curves,
    points_at,
    random_map,
    rank_correlation,
)
from emodc.evaluation.metrics import accuracy_interval
from emodc.evaluation.statistics import mean_interval
from emodc.explain.evidence import score_pixels
from emodc.explain.map_smoothing import Map, smoothed
from emodc.faces.arrays import Pixels
from emodc.inference.scorer import Scorer
from emodc.inference.victim import diffusion_victim
from emodc.model.model import Model
from emodc.model.store import load_model
from emodc.support.files import write_atomically

_STEPS = 10  # draws of an answer of the curves, and of integrated gradients
_PATH = 8  # points of the path of integrated gradients


def main(
    data: Annotated[str, typer.Option(help="NAME:PATH of labeled face crops.")],
    model: Annotated[str, typer.Option(help="A diffusion model.")] = "face48",
    baseline: Annotated[str, typer.Option(help="A discriminative model.")] = "baseline-cnn",
    images: Annotated[int, typer.Option(help="Faces of the validation split.")] = 40,
    people: Annotated[int, typer.Option(help="Drawn faces of the pointing game.")] = 20,
    seed: int = 0,
    output: Annotated[Path | None, typer.Option(help="FILE.json")] = None,
) -> None:
    """Measure how faithful evidence maps are, and print JSON."""
    torch.set_num_threads(1)
    device = torch.device("cpu")
    diffusion, plain = load_model(model, device), load_model(baseline, device)
    faces = open_data(data, "validation")
    faces = faces.subset(stratified_subset(faces.labels, images, seed))
    with progress("faces") as advance:
        report = {
            "model": model,
            "baseline": baseline,
            "data": faces.name,
            "images": len(faces),
            "seed": seed,
            **on_faces(diffusion, plain, faces, seed, advance),
            "pointing": pointing(diffusion, people, seed),
        }
    text = json.dumps(report, indent=2)
    if output is not None:
        write_atomically(output, (text + "\n").encode())
    typer.echo(text)


def on_faces(
    model: Model, baseline: Model, faces: FaceData, seed: int, advance: object
) -> dict[str, object]:
    """Return areas under the curves, and rank correlations with maps of shuffled weights."""
    ours, theirs = answers(model, seed + 1), answers(baseline, seed + 1)
    shuffled = with_shuffled_weights(model, seed)
    found: list[dict[str, Curves]] = []
    beside: list[dict[str, Curves]] = []
    same: list[float] = []
    for number, crop in enumerate(faces.readable()):
        gray = model.settings.codec.to_pixels([crop])[0, 0].numpy()
        size = len(gray)
        x0 = model.settings.codec.encode([gray])
        evidence = score_pixels(model, x0, seed=seed).evidence()
        label = model.label_set.index(evidence.label)
        random, center = random_map(size, size / 24, number), center_map(size)
        gradients = integrated(diffusion_victim(model, _STEPS), gray, label, seed)
        maps = {
            "evidence": evidence.map,
            "evidence, smoothed": smoothed(evidence.map, size / 24),
            "integrated gradients": smoothed(gradients, size / 24),
            "random": random,
            "center": center,
        }
        found.append(curves(ours, gray, maps, label))
        other = score_pixels(shuffled, x0, seed=seed).evidence(evidence.label, evidence.against)
        same.append(rank_correlation(evidence.map, other.map))
        read = int(theirs([gray])[0].argmax())
        gradients = integrated(discriminative(baseline), gray, read, seed)
        maps = {
            "integrated gradients": smoothed(gradients, size / 24),
            "random": random,
            "center": center,
        }
        beside.append(curves(theirs, gray, maps, read))
        advance(number + 1, len(faces))  # type: ignore[operator]
    return {
        "curves": areas(found),
        "curves_of_baseline": areas(beside),
        "correlation_with_shuffled_weights": summary(same),
    }


def answers(model: Model, seed: int) -> Answer:
    """Return the classifier as a function of crops, with draws of their own."""
    scorer = Scorer(model, steps=_STEPS, seed=seed)

    def answer(crops: object) -> NDArray[np.float64]:
        x0 = model.settings.codec.encode(list(crops), model.device)  # type: ignore[call-overload]
        return scorer(x0).probabilities.numpy()

    return answer


def discriminative(model: Model) -> Victim:
    """Return the logits of a baseline that is shown no noise."""
    return diffusion_victim(model, 1)


def integrated(victim: Victim, crop: Pixels, label: int, seed: int) -> Map:
    """Return integrated gradients (Sundararajan et al., ICML 2017), (H, W)."""

    def logits(pixels: Tensor) -> Tensor:
        return torch.cat([victim.answer(part, seed) for part in torch.split(pixels, victim.batch)])

    start, end = (
        torch.from_numpy(image)[None, None].float() / 255 for image in (blurred(crop), crop)
    )
    found = IntegratedGradients(logits).attribute(end, start, target=label, n_steps=_PATH)
    return np.asarray(found[0, 0].detach().numpy(), np.float64)


def with_shuffled_weights(model: Model, seed: int) -> Model:
    """Return the model with the numbers of every weight shuffled: as large, but nothing learnt."""
    network = model.settings.backbone.build(
        [""] * (len(model.label_set) + 2), model.schedule
    ).eval()
    assert isinstance(network, Backbone)
    g = torch.Generator().manual_seed(seed)
    state = {
        name: weight.flatten()[torch.randperm(weight.numel(), generator=g)].view_as(weight)
        for name, weight in model.backbone.state_dict().items()
    }
    network.load_state_dict(state)
    return replace(model, backbone=network)


def pointing(model: Model, people: int, seed: int) -> dict[str, object]:
    """Return how often the map points at the part of a drawn face that changed."""
    report: dict[str, object] = {}
    for part in CHANGES:
        hits: dict[str, list[bool]] = {"evidence": [], "change of the evidence": [], "center": []}
        area, mass = [], []
        for number in range(people):
            change = draw_change(part, number, seed=seed, size=model.settings.codec.size)
            region = changed_region(change.before, change.after)
            before, after = (
                score_pixels(model, model.settings.codec.encode([image]), steps=50, seed=seed)
                .evidence(change.label, "neutral")
                .map
                for image in (change.before, change.after)
            )
            width = len(before) / 24
            hits["evidence"].append(points_at(smoothed(after, width), region))
            moved = smoothed(after - before, width)
            hits["change of the evidence"].append(points_at(moved, region))
            hits["center"].append(points_at(center_map(len(before)), region))
            area.append(float(region.mean()))
            positive = np.maximum(moved, 0)
            mass.append(float(positive[region].sum() / positive.sum()))
        report[part] = {
            "towards": CHANGES[part][0],
            "people": people,
            "hits": {
                name: {"share": sum(v) / people, "ci95": list(accuracy_interval(sum(v), people))}
                for name, v in hits.items()
            },
            "area": sum(area) / people,
            "share_of_gained_evidence": summary(mass),
        }
    return report


def areas(found: list[dict[str, Curves]]) -> dict[str, object]:
    """Return mean areas, and their differences to the baselines, face by face."""
    report: dict[str, object] = {}
    for name in found[0]:
        rows: dict[str, object] = {}
        for kind in ("deletion_area", "insertion_area"):
            own = np.array([getattr(face[name], kind) for face in found])
            rows[kind] = summary(own)
            for baseline in {"random", "center"} - {name}:
                other = np.array([getattr(face[baseline], kind) for face in found])
                rows[f"{kind}_minus_{baseline}"] = summary(own - other)
        report[name] = rows
    return report


def summary(values: list[float] | NDArray[np.float64]) -> dict[str, object]:
    """Return a mean over faces and its 95 % interval."""
    tensor = torch.as_tensor(np.asarray(values))
    return {"mean": float(tensor.mean()), "ci95": mean_interval(tensor)}


if __name__ == "__main__":
    typer.run(main)
