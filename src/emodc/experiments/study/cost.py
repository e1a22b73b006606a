"""What is still to be done for each arm, and how long that takes, from a measured probe."""

from dataclasses import dataclass

import torch

from emodc.labels import LabelSet
from emodc.method.draws import draw_bank
from emodc.model.decision import Decision
from emodc.model.model import Model, build_backbone
from emodc.support.timing import Cost, seconds_of
from emodc.training.cost import probe_step
from emodc.training.recipe import Recipe
from emodc.training.state import RunState

_IMAGES, _DRAWS = 8, 8  # of the scoring probe
_REPEATS = 3  # of every probe: other work on the machine disturbs single ones


@dataclass(frozen=True)
class Pace:
    """How fast an arm is on this machine.

    Attributes:
        sample: seconds to train on a sample; reading and augmenting it are not counted.
        validation: seconds of one validation.
        test_image: seconds to evaluate an image.
    """

    sample: float
    validation: float
    test_image: float


def measured_pace(recipe: Recipe, label_set: LabelSet, steps: int, device: torch.device) -> Pace:
    """Take an optimizer step and score a few images, all of noise.

    Args:
        recipe: of one run of the arm.
        label_set: the classes of the data.
        steps: draws for each test image.
        device: where to.

    Raises:
        ValueError: the checkpoint cannot be used, or the device's memory is too small.
        ImportError: the extra `sd` is not installed.
    """
    schedule = recipe.model.schedule.build()
    network = build_backbone(recipe.model, label_set, schedule).to(device)
    part = recipe.micro_batch or recipe.batch_size
    backward = probe_step(network, recipe, schedule, len(label_set), device, _REPEATS) / part
    state = RunState.fresh(network, recipe.optimizer, {})
    update = seconds_of(
        lambda: state.step(0.0, recipe.optimizer, recipe.batch_size, recipe.ema), _REPEATS
    )
    model = Model(
        name=recipe.name,
        settings=recipe.model,
        label_set=label_set,
        geometry=None,
        backbone=state.average,
        schedule=schedule,
        decision=Decision(scale=1.0),
        precision=recipe.precision,
    )
    seconds = _seconds_per_draw(model)
    settings = recipe.validation
    draws, few = (steps, settings.steps) if model.sees_noise else (1, 1)
    return Pace(
        backward + update / recipe.batch_size, seconds * few * settings.images, seconds * draws
    )


def arm_cost(
    arm: str, recipe: Recipe, pace: Pace, left: list[int], evaluations: int, images: int
) -> Cost:
    """Add up what an arm still needs.

    Args:
        arm: its name.
        recipe: of one of its runs.
        pace: how fast it is.
        left: samples that each of its runs lacks.
        evaluations: runs to be evaluated.
        images: test images.
    """
    samples = sum(left)
    validations = sum(-(-lacking // recipe.validation.every) for lacking in left)
    seconds = samples * pace.sample + validations * pace.validation
    seconds += evaluations * images * pace.test_image
    amounts = {
        "trainings": sum(lacking > 0 for lacking in left),
        "samples": samples,
        "evaluations": evaluations,
    }
    return Cost(arm, amounts, seconds)


def _seconds_per_draw(model: Model) -> float:
    """Return the seconds to score an image on one draw, under all classes."""
    shape = model.settings.codec.shape
    bank = draw_bank(model.schedule.timesteps, _DRAWS if model.sees_noise else 1, shape)
    x0 = torch.randn(_IMAGES, *shape, device=model.device)
    return seconds_of(lambda: model.class_errors(x0, bank), _REPEATS) / (_IMAGES * len(bank))
