"""The training loop.

A run is a folder: ``config.yaml`` (the resolved recipe), ``metrics.jsonl``, ``state.safetensors``
(everything needed to go on), the best model by validation at the top and the latest one in
``last/``; at the end ``report.json`` and the card, ``README.md``. Running the same command again
goes on from the state.

Several processes, started by ``accelerate launch``, share every batch and every validation. All of
them hold the same state, or a part of it each, and step it by the same averaged gradient; the main
one writes the files.
"""

import logging
import math
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from emodc.data import FaceData
from emodc.evaluation.evaluate import REPORT, evaluate
from emodc.method.loss import Batch, sample_loss
from emodc.method.schedule import Schedule
from emodc.model.description import SETTINGS
from emodc.model.identity import weights_hash
from emodc.model.model import Model, build_backbone
from emodc.model.store import load_model
from emodc.publishing.export import write_card
from emodc.support.devices import DTYPES, when_memory_is_full
from emodc.support.distributed import World, join
from emodc.support.files import write_atomically
from emodc.support.fsdp import whole
from emodc.support.locks import holding
from emodc.training.batches import Sampler
from emodc.training.best_model import VALIDATION, ModelSelection
from emodc.training.initial import take_weights
from emodc.training.log import STATE, Meter, RunLog
from emodc.training.recipe import Phase, Recipe, dump_recipe
from emodc.training.state import RunState, TrainingDiverged

logger = logging.getLogger(__name__)

_LOG_EVERY = 50  # optimizer steps between lines of metrics.jsonl
_LESS_MEMORY = "lower micro_batch, or set backbone.gradient_checkpointing=true"
_LOSS_SCALE = 2.0**14  # of float16: gradients of the order of 1e-6 become normal numbers

OnMetrics = Callable[[int, dict[str, float]], None]
"""Called with the samples seen so far and the latest metrics."""


def train(
    recipe: Recipe,
    training: FaceData,
    validation: FaceData,
    output: Path,
    *,
    device: str = "auto",
    initial: Model | None = None,
    on_metrics: OnMetrics = lambda samples, metrics: None,
) -> Model:
    """Train a model, or go on training it.

    Args:
        recipe: what to train and how.
        training: the training split.
        validation: chooses the best checkpoint and fits the posterior's scale; a fixed,
            stratified subset of it is used.
        output: the run's folder.
        device: ``auto`` (accelerate's choice) or ``cpu``.
        initial: a model whose weights to begin with (`emodc.training.initial`); a run that goes on
            must be given the same.
        on_metrics: is told how the run goes, in the main process.

    Returns:
        The best model by validation accuracy; it computes in the recipe's precision.

    Raises:
        ValueError: the data or the initial model do not suit the recipe, or the folder holds
            another run, or another process (`emodc.support.locks.FolderInUse`).
        TrainingDiverged: the loss became NaN or infinite.
        KeyboardInterrupt: the run was stopped; the state up to then is saved.
        OSError: the folder cannot be written.
    """
    world = _join(recipe, device)
    with holding(output, world):
        return _train(recipe, training, validation, output, world, device, initial, on_metrics)


def _train(
    recipe: Recipe,
    training: FaceData,
    validation: FaceData,
    output: Path,
    world: World,
    device: str,
    initial: Model | None,
    on_metrics: OnMetrics,
) -> Model:
    accelerator = Accelerator(cpu=device == "cpu", mixed_precision="no")  # the recipe decides that
    schedule, classes = recipe.model.schedule.build(), len(training.label_set)
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        backbone = build_backbone(recipe.model, training.label_set, schedule).to(accelerator.device)
    identity, begun = run_identity(recipe, training, validation, initial), None
    if initial is not None:
        begun = take_weights(backbone, recipe.model, training.label_set, initial)
    state = RunState.fresh(backbone, recipe.optimizer, identity, split=world.splits)
    _resume(state, output, world)
    sampler = Sampler(training, recipe, schedule, accelerator.device, world)
    frequency = sampler.frequency.to(accelerator.device)
    selection = ModelSelection(
        recipe, training, validation, schedule, accelerator.device, world, sampler.frequency, begun
    )
    learner = backbone if world.splits else accelerator.prepare(backbone)
    if state.samples == 0 and world.is_main:
        write_atomically(output / VALIDATION, selection.listed())
    log = RunLog(output, identity["recipe"], state.samples) if world.is_main else None
    meter, fp16 = Meter(world, state.unlogged), recipe.precision == "fp16"
    clip = recipe.optimizer.clip * (_LOSS_SCALE if fp16 else 1)
    with world.finishing_the_step() as stopped:
        while state.samples < recipe.samples and not stopped():
            indices = world.share(range(state.samples, state.samples + recipe.batch_size))
            batch = sampler.batch(indices).to(accelerator.device)
            phase = phase_at(recipe, state.samples)
            with when_memory_is_full(_LESS_MEMORY):
                metrics = add_gradients(
                    accelerator, learner, schedule, batch, recipe, phase, classes, frequency
                )
            norm = whole(accelerator.clip_grad_norm_(backbone.parameters(), clip))
            if fp16 and not norm.isfinite():
                backbone.zero_grad()  # an overflow: this batch teaches nothing
            rate = learning_rate(recipe, state.samples)
            state.step(rate, recipe.optimizer, recipe.batch_size, recipe.ema)
            meter.add(metrics)

            validate = _crosses(state.samples, recipe)
            if not (validate or meter.steps == _LOG_EVERY):
                continue
            line = _settled(meter, state.samples) | {"rate": rate}
            if validate:
                line |= selection.keep_if_best(state, output)
            if log is not None:
                log.write(state.samples, line)
            if validate:
                state.unlogged = {}
                state.save(output / STATE, write=world.is_main)
            if log is not None:
                on_metrics(state.samples, line)
        if stopped():
            state.unlogged = meter.held()
            if meter.steps:
                _settled(meter, state.samples)  # a diverged state must not replace a good one
            state.save(output / STATE, write=world.is_main)
            raise KeyboardInterrupt
    world.wait()  # until the best model is written
    best = load_model(output, accelerator.device, recipe.precision)
    _report(best, recipe, validation, output, world)
    return best


def _join(recipe: Recipe, device: str) -> World:
    """Return the processes that train together.

    Raises:
        ValueError: they cannot share the recipe's batches.
    """
    world = join(device)
    if recipe.batch_size < world.size:
        raise ValueError(f"batch_size {recipe.batch_size} is less than the {world.size} processes")
    if world.splits and recipe.batch_size % world.size:  # all must call the network equally often
        raise ValueError(
            f"batch_size {recipe.batch_size} is not a multiple of the {world.size} processes, as "
            "FSDP asks"
        )
    return world


def _resume(state: RunState, output: Path, world: World) -> None:
    """Bring the state to where the folder's run is.

    Raises:
        ValueError: the folder holds another run.
        OSError: the folder cannot be written.
    """
    if world.from_main((output / STATE).exists):
        state.load(output / STATE)
        logger.info("going on from %d samples", state.samples)
    elif world.from_main((output / SETTINGS).exists):
        raise ValueError(f"{output}: holds a model but no training state; choose another --output")
    else:  # so that a run killed before its first validation is known for one
        state.save(output / STATE, write=world.is_main)


def _report(best: Model, recipe: Recipe, validation: FaceData, output: Path, world: World) -> None:
    """Evaluate the best model on the validation subset, and write report and card."""
    settings = recipe.validation
    report = evaluate(best, validation, steps=settings.steps, limit=settings.images, world=world)
    if world.is_main:
        report.write(output / REPORT)
        write_card(output, report)


def run_identity(
    recipe: Recipe, training: FaceData, validation: FaceData, initial: Model | None
) -> dict[str, str]:
    """Return what must be the same when a run goes on; its state holds it."""
    identity = {
        "recipe": dump_recipe(recipe),
        "training data": training.fingerprint(),
        "validation data": validation.fingerprint(),
    }
    return identity if initial is None else identity | {"initial model": weights_hash(initial)}


def add_gradients(
    accelerator: Accelerator,
    learner: nn.Module,
    schedule: Schedule,
    batch: Batch,
    recipe: Recipe,
    phase: Phase,
    num_classes: int,
    frequency: Tensor | None = None,
) -> dict[str, Tensor]:
    """Add up the gradients of a batch, by parts that fit into memory; return what to report."""
    device, dtype = accelerator.device.type, DTYPES[recipe.precision]
    # Gradients are averaged over the processes, whose shares may differ by a sample.
    scale = accelerator.num_processes / recipe.batch_size
    if recipe.precision == "fp16":  # lest gradients vanish; the optimizers do not see the scale
        scale *= _LOSS_SCALE
    sums: dict[str, Tensor] = {}
    parts = batch.split(recipe.micro_batch)
    for number, part in enumerate(parts, 1):
        last = number == len(parts)  # only then copies of a model need to exchange
        with nullcontext() if last else accelerator.no_sync(learner):
            with torch.autocast(device, dtype, enabled=dtype != torch.float32):
                loss, metrics = sample_loss(
                    learner,
                    schedule,
                    part,
                    phase.objective,
                    num_classes,
                    phase.trunk_weight,
                    phase.level_weight,
                    frequency,
                )
            accelerator.backward(loss * (len(part.x0) * scale))
        sums = {name: value + sums.get(name, 0) for name, value in metrics.items()}
    return sums


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
    settings = recipe.optimizer
    rise = min(1.0, (samples + recipe.batch_size) / settings.warm_up)
    cosine = 0.5 * (1 + math.cos(math.pi * samples / recipe.samples))
    return rise * (settings.final + (1 - settings.final) * cosine)


def _settled(meter: Meter, samples: int) -> dict[str, float]:
    """Return the means of the metrics.

    Raises:
        TrainingDiverged: the loss was not a number.
    """
    means = meter.means()
    if not math.isfinite(means["loss"]):
        raise TrainingDiverged(f"loss is {means['loss']}", samples)
    return means


def _crosses(samples: int, recipe: Recipe) -> bool:
    """Tell whether the step that ended here passed a validation point or the end."""
    return samples % recipe.validation.every < recipe.batch_size or samples >= recipe.samples
