"""The training loop.

A run is a folder: ``config.yaml`` (the resolved recipe), ``metrics.jsonl``, ``state.safetensors``
(everything needed to go on), the best model by validation at the top and the latest one in
``last/``; at the end ``report.json`` and the card, ``README.md``. Running the same command again
goes on from the state.
"""

import json
import logging
import math
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from emodc.checkpoint import (
    SETTINGS,
    Model,
    build_backbone,
    load_model,
    write_atomically,
)
from emodc.chooser import VALIDATION, Chooser
from emodc.config import Phase, Recipe, dump_recipe
from emodc.data import FaceData
from emodc.diffusion import Schedule, add_noise, noise_error
from emodc.evaluate import REPORT, evaluate
from emodc.export import write_card
from emodc.labels import prompt_texts
from emodc.runlog import STATE, RunLog
from emodc.sampling import Batch, Sampler, training_prompts
from emodc.state import RunState, TrainingDiverged

logger = logging.getLogger(__name__)

_LOG_EVERY = 50  # optimiser steps between lines of metrics.jsonl

Progress = Callable[[int, dict[str, float]], None]
"""Called with the samples seen so far and the latest metrics."""


def train(
    recipe: Recipe,
    training: FaceData,
    validation: FaceData,
    output: Path,
    *,
    device: str = "auto",
    progress: Progress = lambda samples, metrics: None,
) -> Model:
    """Train a model, or go on training it.

    Args:
        recipe: what to train and how.
        training: the training split.
        validation: chooses the best checkpoint and fits the posterior's scale; a fixed,
            stratified subset of it is used.
        output: the run's folder.
        device: ``auto`` (accelerate's choice) or ``cpu``.
        progress: is told how the run goes.

    Returns:
        The best model by validation accuracy.

    Raises:
        ValueError: the data do not suit the recipe, or the folder holds another run.
        TrainingDiverged: the loss became NaN or infinite.
        KeyboardInterrupt: the run was stopped; the state up to then is saved.
        OSError: the folder cannot be written.
    """
    accelerator = Accelerator(cpu=device == "cpu")
    if accelerator.num_processes > 1:
        raise ValueError("training on several processes is not supported yet; start one")
    schedule, classes = recipe.model.schedule.build(), len(training.label_set)
    prompt_texts(training.label_set, recipe.model.prompts)  # complains before any work is done
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        backbone = build_backbone(recipe.model, classes, schedule).to(accelerator.device)
    config = dump_recipe(recipe)
    identity = {
        "recipe": config,
        "training data": training.fingerprint(),
        "validation data": validation.fingerprint(),
    }
    state = RunState.fresh(backbone, recipe.optimiser, identity)
    if (output / STATE).exists():
        state.load(output / STATE)
        logger.info("going on from %d samples", state.samples)
    elif (output / SETTINGS).exists():
        raise ValueError(f"{output}: holds a model but no training state; choose another --output")
    else:  # so that a run killed before its first validation is known for one
        output.mkdir(parents=True, exist_ok=True)
        state.save(output / STATE)

    sampler = Sampler(training, recipe, schedule.timesteps)
    chooser = Chooser(recipe, training, validation, schedule, accelerator.device)
    learner = accelerator.prepare(backbone)
    if state.samples == 0:
        write_atomically(output / VALIDATION, chooser.listed())
    log, meter, half = RunLog(output, config, state.samples), _Meter(), recipe.precision == "bf16"
    with _finishing_the_step() as stopped:
        while state.samples < recipe.samples and not stopped():
            indices = range(state.samples, state.samples + recipe.batch_size)
            batch = sampler.batch(indices).to(accelerator.device)
            phase = phase_at(recipe, state.samples)
            with torch.autocast(accelerator.device.type, torch.bfloat16, enabled=half):
                loss, metrics = sample_loss(learner, schedule, batch, phase, classes)
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(backbone.parameters(), recipe.optimiser.clip)
            rate = learning_rate(recipe, state.samples)
            state.step(rate, recipe.optimiser, recipe.batch_size, recipe.ema)
            meter.add(metrics)

            validate = _crosses(state.samples, recipe)
            if not (validate or meter.steps == _LOG_EVERY):
                continue
            line = meter.means(state.samples) | {"rate": rate}
            if validate:
                line |= chooser.keep_if_best(state, output)
            log.write(state.samples, line)
            if validate:
                state.save(output / STATE)
            progress(state.samples, line)
        if stopped():
            if meter.steps:
                meter.means(state.samples)  # a diverged state must not replace a good one
            state.save(output / STATE)
            raise KeyboardInterrupt
    best = load_model(output, accelerator.device)
    settings = recipe.validation
    report = evaluate(best, validation, steps=settings.steps, limit=settings.images)
    write_atomically(output / REPORT, (json.dumps(report, indent=2) + "\n").encode())
    write_card(output, report)
    return best


def sample_loss(
    learner: nn.Module, schedule: Schedule, batch: Batch, phase: Phase, num_classes: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the mean loss of a batch, and what to report of it.

    One sample shares ``x0, t, eps`` over all its prompts. A sample whose class prompt was
    replaced by the null or the non-class prompt teaches that prompt, by ``d_p`` alone.
    """
    objective = phase.objective
    prompts = training_prompts(batch, objective, num_classes)  # (B, P)
    xt = add_noise(schedule, batch.x0, batch.eps, batch.t)  # (B, C, H, W)
    eps_theta, logits = learner(xt, batch.t, prompts)  # (B, P, C, H, W), (B, K)
    d = noise_error(eps_theta, batch.eps)  # (B, P)
    d_p = d[:, 0]
    d_n, d_nn = (d[:, 1:], d_p) if objective.reference == "positive" else (d[:, 1:-1], d[:, -1])

    named = batch.replaced < 0  # (B,)
    loss = torch.where(named, objective(d_p, d_n, d_nn), d_p).mean()
    trunk = F.cross_entropy(logits.float(), batch.c_p)
    metrics = {"loss": loss, "d_p": d_p.mean()}
    if d_n.shape[1]:
        right = (d_p.unsqueeze(1) < d_n).all(dim=1) & named
        metrics["training_accuracy"] = right.sum() / named.sum().clamp_min(1)
    if phase.trunk_weight:
        metrics["trunk"] = trunk
    return loss + phase.trunk_weight * trunk, {k: v.detach() for k, v in metrics.items()}


def phase_at(recipe: Recipe, samples: int) -> Phase:
    """Return the phase in force after this many samples."""
    end = 0.0
    for phase in recipe.phases[:-1]:
        end += phase.share
        if samples < end * recipe.samples:
            return phase
    return recipe.phases[-1]


def learning_rate(recipe: Recipe, samples: int) -> float:
    """Return the rate as a share of its peak: linear warm-up times a cosine to ``final``."""
    settings = recipe.optimiser
    rise = min(1.0, (samples + recipe.batch_size) / settings.warm_up)
    cosine = 0.5 * (1 + math.cos(math.pi * samples / recipe.samples))
    return rise * (settings.final + (1 - settings.final) * cosine)


@dataclass
class _Meter:
    """Means of the metrics since they were last asked for."""

    steps: int = 0

    def __post_init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, metrics: dict[str, Tensor]) -> None:
        self.steps += 1
        for name, value in metrics.items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(value)) + value
            self._counts[name] = self._counts.get(name, 0) + 1

    def means(self, samples: int) -> dict[str, float]:
        """Return the means and start anew.

        Raises:
            TrainingDiverged: the loss was not a number.
        """
        means = {name: float(total) / self._counts[name] for name, total in self._sums.items()}
        self.steps, self._sums, self._counts = 0, {}, {}
        if not math.isfinite(means["loss"]):
            raise TrainingDiverged(f"loss is {means['loss']}", samples)
        return means


def _crosses(samples: int, recipe: Recipe) -> bool:
    """Tell whether the step that ended here passed a validation point or the end."""
    return samples % recipe.validation.every < recipe.batch_size or samples >= recipe.samples


@contextmanager
def _finishing_the_step() -> Iterator[Callable[[], bool]]:
    """Turn Ctrl-C and a polite kill into a flag, so that no step is left half done."""
    caught: list[int] = []
    before = {
        number: signal.signal(number, lambda received, _: caught.append(received))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield lambda: bool(caught)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
