"""Measure temporal evidence: draws a frame, flips and delay, against frame by frame.

    python benchmarks/temporal.py --data fer2013plus:/path/to/fer2013 [--clips 20] [--work FOLDER]

Clips are made of faces of the validation split: one is held, fades into a face of another class,
and that one is held; every frame is shifted, turned and scaled a little, as detections do, and gets
noise. Still clips are single faces along sequences of `emodc.corruptions.sequences`. All
strategies are read off the same measured errors, which ``--work`` keeps.

Frame by frame, a frame takes the same draws as the others, or new ones, or stops early as
``emodc predict`` does. Pooled, the evidence of the frames before counts on
(`emodc.inference.temporal`). New draws of the bank have other timesteps, too; "at t" compares new
noise with the same noise at the timesteps that calibration found most informative. Early stopping
and "at t" are measured in clips that change. The right answer of a face is that of all its draws of
the bank together. Printed: a Markdown table; intervals are 95 % bootstrap intervals over clips.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import affine_transform
from torch import Tensor

from emodc.cli.console import progress
from emodc.corruptions.sequences import sequence
from emodc.data import FaceData, open_data
from emodc.inference.scorer import Scorer
from emodc.inference.temporal import CYCLE, Evidence
from emodc.method.draws import DrawBank
from emodc.method.randomness import standard_normal
from emodc.method.sequential import draw_order
from emodc.model.decision import Decision
from emodc.model.model import Model
from emodc.model.store import load_model
from emodc.support.devices import choose_device

RATE = 25.0  # frames a second
HOLD, FADE, SETTLE = 18, 6, 8  # frames; flips are not counted while a change is settling
FEW = (1, 2, 4)  # draws a frame that are tried
HALF_LIVES = (0.1, 0.2, 0.4)  # seconds
STILL = ("rotate", "gaussian_noise")
_STREAM = 0x7E4D  # of randomness

Errors = NDArray[np.float32]  # (F, K, S), NaN where not measured
Labels = NDArray[np.int64]  # (F,)


@dataclass(frozen=True)
class Clip:
    """A clip's measured errors.

    Attributes:
        errors: (F, K, S), NaN for draws of the bank that no strategy takes.
        early: (2, F) answers of early stopping, and its draws; None if the clip does not change.
        few: (2, F, K, 4) at the most informative timesteps, with the same noise in all frames, and
            with new; None likewise.
    """

    errors: Errors
    early: Labels | None
    few: Errors | None


def jittered(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a face as the next frame might show it: moved a little, with noise."""
    angle, scale = np.radians(rng.normal(0, 1.0)), 1 + rng.normal(0, 0.01)
    matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) * scale
    center = (np.array(image.shape[:2]) - 1) / 2
    offset = center - matrix @ (center + rng.normal(0, 0.4, 2))
    moved = affine_transform(image.astype(np.float64), matrix, offset, order=1, mode="nearest")
    noisy = np.rint(moved + rng.normal(0, 2, image.shape))
    return np.asarray(np.clip(noisy, 0, 255), np.uint8)


def faded(
    first: NDArray[np.uint8], second: NDArray[np.uint8], rng: np.random.Generator
) -> list[NDArray[np.uint8]]:
    """Return the frames of a clip that holds one face, then the other."""
    shares = np.concatenate([np.zeros(HOLD), np.linspace(0, 1, FADE + 2)[1:-1], np.ones(HOLD)])
    frames = [(1 - share) * first + share * second for share in shares]
    return [jittered(np.rint(frame).astype(np.uint8), rng) for frame in frames]


def clips(data: FaceData, count: int, seed: int) -> Iterator[tuple[str, list[NDArray[np.uint8]]]]:
    """Yield names and frames: ``count`` clips that change and half as many of each still kind."""
    rng = np.random.default_rng(seed)
    made = 0
    while made < count:
        i, j = rng.choice(len(data.labels), 2, replace=False)
        if data.labels[i] != data.labels[j]:
            yield f"change-{made}", faded(gray(data.image(i)), gray(data.image(j)), rng)
            made += 1
    for kind in STILL:
        for number in range(count // 2):
            image = gray(data.image(int(rng.integers(len(data.labels)))))
            yield f"{kind}-{number}", list(sequence(image, kind, seed=seed, index=number))


def gray(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return (H, W) of a face crop."""
    return np.asarray(image if image.ndim == 2 else image[:, :, 0], np.uint8)


def few_timesteps(model: Model) -> tuple[list[int], dict[int, list[int]]]:
    """Return the four most informative timesteps, and the places of the best one, two and four."""
    best = {len(few.t): few.t for few in model.decision.few_steps}
    four = list(best[max(FEW)])
    return four, {n: [four.index(t) for t in best[n]] for n in FEW}


def measured_few(model: Model, frames: list[NDArray[np.uint8]], seed: int) -> Errors:
    """Measure the errors at the most informative timesteps, with the same noise and with new."""
    four, _ = few_timesteps(model)
    count, n = len(frames), len(four)
    x0 = model.settings.codec.encode(frames, model.device)
    eps = standard_normal(seed, _STREAM, list(range(n * count)), tuple(x0.shape[1:]))
    # Every timestep shows the mirror image in every other frame, or with the same noise, in none.
    turns = (torch.arange(count).unsqueeze(1) + torch.arange(n)).flatten() % 2 == 1
    found = []
    for new in (False, True):
        bank = DrawBank(torch.tensor(four * count), eps, turns & new & model.decision.mirror)
        image = torch.arange(count).repeat_interleave(n)
        draw = torch.arange(n * count) if new else torch.arange(n).repeat(count)
        classes = torch.arange(len(model.label_set)).expand(len(image), -1)
        d = model.measure(x0, bank)(image, draw, classes)
        found.append(d.view(count, n, -1).transpose(1, 2).numpy())
    return np.stack(found)


def measured_early(model: Model, frames: list[NDArray[np.uint8]], seed: int) -> Labels:
    """Return the answers of early stopping, frame by frame, and its draws: (2, F)."""
    found = Scorer(model, seed=seed)(model.settings.codec.encode(frames, model.device))
    return torch.stack([found.probabilities.argmax(dim=1), found.draws]).numpy()


def measured(model: Model, frames: list[NDArray[np.uint8]], seed: int) -> Errors:
    """Measure the errors of all draws of the bank that a strategy takes."""
    bank, order = model.draws(CYCLE, seed), draw_order(CYCLE)
    x0 = model.settings.codec.encode(frames, model.device)
    pairs = set()
    for frame in range(len(frames)):
        pairs |= {(frame, int(s)) for s in order[: max(FEW)]}
        for n in FEW:
            pairs |= {(frame, int(s)) for s in order[fresh(frame, n)]}
    image, draw = torch.tensor(sorted(pairs)).T
    classes = torch.arange(len(model.label_set)).expand(len(image), -1)
    d = model.measure(x0, bank)(image, draw, classes)
    errors = np.full((len(frames), len(model.label_set), CYCLE), np.nan, np.float32)
    errors[image.numpy(), :, draw.numpy()] = d.numpy()
    return errors


def fresh(frame: int, n: int) -> NDArray[np.int64]:
    """Return the places in the order of the draws that a frame takes when it goes on."""
    return (frame * n + np.arange(n)) % CYCLE


def answers(errors: Errors, weights: Tensor, draws: list[list[int]], half_life: float) -> Tensor:
    """Return a strategy's mean errors (F, K), by the code that answers for videos.

    Args:
        errors: (F, K, S).
        weights: (S,).
        draws: the places of those that each frame takes.
        half_life: in seconds.
    """
    person = Evidence(torch.zeros(errors.shape[1], dtype=torch.float64))
    means = []
    for frame, (own, taken) in enumerate(zip(errors, draws, strict=True)):
        chosen = torch.from_numpy(own[:, taken])
        means.append(person.add(chosen, weights[taken], frame / RATE, half_life))
    return torch.stack(means)


def truth(clip: Clip, frames: slice, decision: Decision) -> int:
    """Return the answer of all measured draws of a stretch in which a face is held."""
    errors = clip.errors[frames]
    taken = np.isfinite(errors).any(axis=(0, 1))  # (S,)
    by_draw = np.nanmean(errors[:, :, taken], axis=0)  # (K, draws taken)
    return int(decision.posterior(torch.from_numpy(by_draw.mean(axis=1))[None]).argmax())


def judged(clip: Clip, labels: Labels, decision: Decision) -> tuple[float, float, float]:
    """Return flips a frame, the share of right answers, and the delay at the change in frames.

    Flips and right answers are those of the frames in which a face is held and has settled; the
    delay is counted from the middle of the fade, and NaN without a change of the right answer.
    """
    frames, changes = len(labels), clip.early is not None
    held = [slice(0, HOLD), slice(HOLD + FADE + SETTLE, frames)] if changes else [slice(0, frames)]
    truths = [truth(clip, part, decision) for part in held]
    flips = np.concatenate([labels[part][1:] != labels[part][:-1] for part in held])
    right = np.concatenate([labels[p] == label for p, label in zip(held, truths, strict=True)])
    delay = float("nan")
    if truths[0] != truths[-1]:
        # The first change to the right answer that holds for most of what follows.
        arrived = np.flatnonzero(labels[HOLD:] == truths[-1])
        steady = [f for f in arrived if (labels[HOLD + f :][:5] == truths[-1]).mean() >= 0.8]
        delay = float((steady[0] if steady else frames - HOLD) - FADE / 2)
    return float(flips.mean()), float(right.mean()), delay


def interval(values: NDArray[np.float64]) -> str:
    """Return a mean and its bootstrap interval over clips."""
    values = values[np.isfinite(values)]
    if not len(values):
        return ""
    rng = np.random.default_rng(0)
    means = rng.choice(values, (2000, len(values))).mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return f"{values.mean():.3g} [{low:.2g}, {high:.2g}]"


def strategies(found: list[Clip], model: Model) -> Iterator[tuple[str, float, list[Labels | None]]]:
    """Yield the name, the draws a frame and the answers (F,) to each clip of every strategy."""
    early = [clip.early for clip in found]
    draws = float(np.concatenate([e[1] for e in early if e is not None]).mean())
    yield "frame by frame, early stopping", draws, [None if e is None else e[0] for e in early]
    order = draw_order(CYCLE).numpy()
    weights = model.decision.weights_at(model.draws(CYCLE).t, model.schedule.timesteps)
    ones, best = torch.ones(max(FEW), dtype=torch.float64), few_timesteps(model)[1]

    def labels(errors: Errors | None, w: Tensor, draws: list[list[int]], h: float) -> Labels | None:
        if errors is None:
            return None
        means = answers(errors, w, draws[: len(errors)], h)
        return model.decision.posterior(means).argmax(dim=1).numpy()

    longest = max(len(clip.errors) for clip in found)
    for h, new, n in product((0.0, *HALF_LIVES), (False, True), FEW):
        name = (
            f"{f'pooled over {h:g} s' if h else 'frame by frame'}, {'new' if new else 'same'} {n}"
        )
        bank = [order[fresh(f if new else 0, n)].tolist() for f in range(longest)]
        yield name, n, [labels(clip.errors, weights, bank, h) for clip in found]
        few = [None if clip.few is None else clip.few[int(new)] for clip in found]
        yield f"{name} at t", n, [labels(e, ones, [best[n]] * longest, h) for e in few]


def table(found: list[Clip], model: Model) -> str:
    """Return the table of all strategies."""
    heads = ("strategy", "draws a frame", "flips a frame, %", "right, %", "delay, frames")
    rows = [f"| {' | '.join(heads)} | flips, still, % | right, still, % |", "|---" * 7 + "|"]
    for name, draws, labels in strategies(found, model):
        judged_clips = {True: list[tuple[float, ...]](), False: list[tuple[float, ...]]()}
        for clip, answer in zip(found, labels, strict=True):
            if answer is not None:
                judgment = judged(clip, answer, model.decision)
                judged_clips[clip.early is not None].append(judgment)
        cells = []
        for changes, places in ((True, (0, 1, 2)), (False, (0, 1))):
            values = np.array(judged_clips[changes]).reshape(-1, 3)
            cells += [interval((1 if place == 2 else 100) * values[:, place]) for place in places]
        rows.append(f"| {name} | {draws:.3g} | {' | '.join(cells)} |")
    return "\n".join(rows)


def kept(file: Path, measure: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """Return what a file keeps, measured if there is none."""
    if not file.exists():
        np.save(file, measure())
    return np.asarray(np.load(file))


def main() -> None:
    """Measure what is not yet measured, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, metavar="NAME:PATH")
    parser.add_argument("--model", default="face48")
    parser.add_argument("--clips", type=int, default=20, help="that change; as many are still")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("runs/temporal"))
    asked = parser.parse_args()
    model = load_model(asked.model, choose_device("cpu"))
    data = open_data(asked.data, "validation")
    asked.work.mkdir(parents=True, exist_ok=True)
    found, seed = [], asked.seed
    with progress("clips") as advance:
        for number, (name, frames) in enumerate(clips(data, asked.clips, seed)):
            file, early, few = (asked.work / f"{name}-{seed}{end}.npy" for end in ("", "-e", "-f"))
            errors = kept(file, partial(measured, model, frames, seed))
            if not name.startswith("change"):
                found.append(Clip(errors, None, None))
            else:
                early_found = kept(early, partial(measured_early, model, frames, seed))
                few_found = kept(few, partial(measured_few, model, frames, seed))
                found.append(Clip(errors, early_found, few_found))
            advance(number + 1, asked.clips + len(STILL) * (asked.clips // 2))
    print(f"{model.name}, {data.name} {data.split}, seed {asked.seed}, {len(found)} clips\n")
    print(table(found, model))


if __name__ == "__main__":
    main()
