"""What a recipe would cost: parameters, network evaluations, memory, and time from a probe step."""

from collections.abc import Mapping

import torch
from torch import Tensor

from emodc.backbones.base import Network
from emodc.labels import LabelSet
from emodc.method.loss import Batch, sample_loss, training_prompts
from emodc.method.schedule import Schedule
from emodc.model.model import build_backbone
from emodc.support.devices import DTYPES, when_memory_is_full
from emodc.support.timing import seconds_of
from emodc.training.loop import phase_at
from emodc.training.recipe import Recipe

_GIB = 2**30


def plan(recipe: Recipe, label_set: LabelSet, device: torch.device) -> dict[str, str]:
    """Build the network, take a training step on noise, and say what the whole run would cost.

    The step is one micro-batch forwards and backwards, the second of two, under the objective of
    the last phase; optimizer, reading and validation are not in its time.

    Args:
        recipe: what would be trained.
        label_set: the classes of the data.
        device: where to take the step.

    Returns:
        What to print, by its heading.

    Raises:
        ValueError: the checkpoint cannot be used, or the device's memory is too small.
        ImportError: the extra `sd` is not installed.
    """
    schedule = recipe.model.schedule.build()
    backbone = build_backbone(recipe.model, label_set, schedule).to(device)
    prompts = prompts_a_sample(recipe, len(label_set))
    seconds = probe_step(backbone, recipe, schedule, len(label_set), device)
    images, classes = recipe.validation.images, len(label_set)
    validations = recipe.samples // recipe.validation.every + 1
    scored = validations * images * recipe.validation.steps * classes
    probed = recipe.micro_batch or recipe.batch_size
    hours = seconds * recipe.samples / probed / 3600
    return {
        "trained": _trained(backbone),
        "network evaluations": (
            f"{prompts} a sample, {recipe.samples * prompts:,} in training, about {scored:,} "
            f"without gradient in {validations} validations"
        ),
        "memory": _memory(backbone, device),
        "probe step": (
            f"{seconds:.3g} s for {probed} samples on {device.type}: about {hours:.3g} h "
            f"for the {recipe.samples:,} samples on one such device, validations not counted"
        ),
    }


def probe_step(
    network: Network,
    recipe: Recipe,
    schedule: Schedule,
    num_classes: int,
    device: torch.device,
    repeats: int = 1,
) -> float:
    """Return the seconds of a micro-batch forwards and backwards; its gradients are left behind.

    Args:
        network: on the device.
        recipe: whose last phase is probed; the images are noise.
        schedule: the noise schedule.
        num_classes: K.
        device: where the network is.
        repeats: steps that are timed, after one that sets things up; the fastest counts.

    Raises:
        ValueError: the device's memory is too small.
    """
    batch = _noise(recipe, num_classes).to(device)
    phase = phase_at(recipe, recipe.samples)
    dtype = DTYPES[recipe.precision]

    def step() -> None:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            loss, _ = sample_loss(
                network,
                schedule,
                batch,
                phase.objective,
                num_classes,
                phase.trunk_weight,
                phase.level_weight,
                torch.full((num_classes,), 1 / num_classes, device=device),
            )
        torch.autograd.backward(loss)
        if device.type == "cuda":
            torch.cuda.synchronize(device)  # steps are queued

    with when_memory_is_full("lower micro_batch, or set backbone.gradient_checkpointing=true"):
        return seconds_of(step, repeats)


def prompts_a_sample(recipe: Recipe, num_classes: int) -> int:
    """Return how many prompts the last phase evaluates for a sample."""
    objective = phase_at(recipe, recipe.samples).objective
    frequency = torch.full((num_classes,), 1 / num_classes)
    return training_prompts(_noise(recipe, num_classes), objective, num_classes, frequency).shape[1]


def _noise(recipe: Recipe, num_classes: int) -> Batch:
    """Return a micro-batch whose images are noise: they cost what others cost."""
    images = recipe.micro_batch or recipe.batch_size
    shape = (images, *recipe.model.codec.shape)
    return Batch(
        x0=torch.randn(shape),
        c_p=torch.arange(images) % num_classes,
        t=torch.arange(images),
        eps=torch.randn(shape),
        replaced=torch.full((images,), -1),
        u=torch.full((images,), 0.5),
        augmentation=torch.zeros(images, 6),
    )


def _trained(backbone: Network) -> str:
    trained = sum(weight.numel() for weight in backbone.trained().values())
    total = sum(weight.numel() for weight in backbone.parameters())
    return f"{trained:,} of {total:,} parameters"


def _memory(backbone: Network, device: torch.device) -> str:
    """Return what the weights take, and what the probe step took where it can be measured."""
    trained, everything = backbone.trained(), dict(backbone.named_parameters())
    weights, changing = _bytes(everything), _bytes(trained)
    text = (
        f"{weights / _GIB:.2f} GiB of weights, {4 * changing / _GIB:.2f} GiB for gradients, two "
        "moments and the average of what is trained"
    )
    if device.type != "cuda":
        return f"{text}; activations can be measured on a GPU only"
    # Gradients are in the peak of the step, moments and average come on top.
    peak = torch.cuda.max_memory_allocated(device) + 3 * changing
    return f"{text}; {peak / _GIB:.2f} GiB in all at the peak of the probe step"


def _bytes(tensors: Mapping[str, Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
