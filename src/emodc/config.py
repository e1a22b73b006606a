"""Recipes: YAML files read into frozen, checked settings.

A recipe says everything that decides a trained model but the data and the place to write to.
Unknown keys are refused with their dotted path; ``kind:`` picks a variant.
"""

from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from emodc.backbones.face_unet import FaceUNetConfig
from emodc.codecs import PixelCodec
from emodc.diffusion import ShiftedCosine
from emodc.objectives import AMDiT, Base, FixedMargin, HardNeg, Softmax

ObjectiveConfig = Annotated[
    Base | FixedMargin | AMDiT | HardNeg | Softmax, Field(discriminator="kind")
]

_RECIPES = resources.files("emodc") / "recipes"


class _Settings(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )


class ModelSettings(_Settings):
    """What is trained.

    Attributes:
        schedule: the noise schedule.
        codec: how a face crop becomes x0.
        backbone: the network.
        prompts: texts that differ from `emodc.labels.prompt_texts`, by class name, ``null`` or
            ``non_class``; stored with the weights, read by text-conditioned backbones.
    """

    schedule: ShiftedCosine = ShiftedCosine()
    codec: PixelCodec = PixelCodec()
    backbone: FaceUNetConfig = FaceUNetConfig()
    prompts: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _size_fits(self) -> "ModelSettings":
        if self.codec.size % self.backbone.multiple:
            raise ValueError(
                f"codec.size {self.codec.size} is not a multiple of {self.backbone.multiple}, "
                "as the backbone's patch asks"
            )
        return self


class Phase(_Settings):
    """A stretch of training under one objective.

    Attributes:
        share: the phase's part of all samples, in (0, 1]; the shares of a recipe sum to 1.
        objective: the loss.
        trunk_weight: weight of a cross-entropy on the trunk's linear reading of the class, a
            warm start: at a symmetric start the objectives hardly tell the trunk what to look
            for.
    """

    share: float = Field(default=1.0, gt=0, le=1)
    objective: ObjectiveConfig
    trunk_weight: float = Field(default=0.0, ge=0)


class OptimiserSettings(_Settings):
    """Muon for the weight matrices of the hidden layers, AdamW for the rest.

    Attributes:
        learning_rate: AdamW's peak rate.
        muon_learning_rate: Muon's peak rate, in AdamW's units; 0 gives all to AdamW.
        weight_decay: decoupled decay of matrices and filters.
        warm_up: samples over which the rate rises from 0.
        final: the rate at the end as a share of the peak, reached along a cosine.
        clip: largest norm of the gradient.
    """

    learning_rate: float = Field(default=1e-3, gt=0)
    muon_learning_rate: float = Field(default=2e-3, ge=0)
    weight_decay: float = Field(default=0.01, ge=0)
    warm_up: int = Field(default=2000, ge=1)
    final: float = Field(default=0.0, ge=0, le=1)
    clip: float = Field(default=1.0, gt=0)


class AugmentSettings(_Settings):
    """Random changes of the training pictures; geometry only, the codec removes lighting.

    Attributes:
        flip: probability of mirroring.
        rotate: standard deviation of the rotation in degrees.
        zoom: standard deviation of the logarithm of the scale.
        shift: standard deviation of the shift as a share of the side.
    """

    flip: float = Field(default=0.5, ge=0, le=1)
    rotate: float = Field(default=7.0, ge=0)
    zoom: float = Field(default=0.08, ge=0)
    shift: float = Field(default=0.03, ge=0)


class ValidationSettings(_Settings):
    """How a run is watched and its best checkpoint chosen.

    Attributes:
        every: samples between validations (and checkpoints).
        images: size of the fixed, stratified validation subset.
        steps: S of the draws used.
    """

    every: int = Field(default=50_000, ge=1)
    images: int = Field(default=700, ge=1)
    steps: int = Field(default=10, ge=1)


class Recipe(_Settings):
    """Everything that decides a trained model but the data.

    Attributes:
        name: what the model is called.
        summary: one line for the model card.
        data: the data specification used when none is given on the command line.
        seed: seed of every draw in training.
        model: what is trained.
        samples: training samples seen in all.
        batch_size: samples in one optimiser step.
        phases: objectives in order, each for its share of the samples.
        optimiser: the optimisers and their rates.
        augment: random changes of the training pictures.
        balance: exponent b of class balancing; class k is drawn with weight n_k^(1-b), so 0
            keeps the natural frequencies and 1 draws all classes alike.
        soft_labels: draw the true class of a sample from the annotators' votes.
        p_null, p_non_class: shares of samples trained on the null and the non-class prompt.
        ema: half-life of the averaged weights in samples; 0 ships the raw weights.
        precision: of the network in training; errors are always float32.
        validation: how the run is watched.
    """

    name: str
    summary: str = ""
    data: str | None = None
    seed: int = Field(default=0, ge=0)
    model: ModelSettings = ModelSettings()
    samples: int = Field(ge=1)
    batch_size: int = Field(default=64, ge=1)
    phases: tuple[Phase, ...] = Field(min_length=1)
    optimiser: OptimiserSettings = OptimiserSettings()
    augment: AugmentSettings = AugmentSettings()
    balance: float = Field(default=0.5, ge=0, le=1)
    soft_labels: bool = False
    p_null: float = Field(default=0.05, ge=0, le=0.5)
    p_non_class: float = Field(default=0.05, ge=0, le=0.5)
    ema: int = Field(default=10_000, ge=0)
    precision: Literal["fp32", "bf16"] = "fp32"
    validation: ValidationSettings = ValidationSettings()

    @model_validator(mode="after")
    def _settings_agree(self) -> "Recipe":
        total = sum(phase.share for phase in self.phases)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the shares of the phases sum to {total:g}, not 1")
        if self.validation.steps > self.model.schedule.timesteps:
            raise ValueError(
                f"validation.steps {self.validation.steps} exceeds the schedule's "
                f"{self.model.schedule.timesteps} timesteps"
            )
        return self


def recipe_names() -> tuple[str, ...]:
    """Return the names of the recipes that come with the package, sorted."""
    files = (entry.name for entry in _RECIPES.iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in files if name.endswith(".yaml")))


def load_recipe(name_or_path: str, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe by name, or from a YAML file, and change single settings.

    Args:
        name_or_path: a name from `recipe_names`, or a path that ends in ``.yaml``.
        overrides: ``dotted.path=value`` strings; values are read as YAML, and a number steps
            into a list: ``phases.0.objective.alpha=0.3``.

    Raises:
        ValueError: there is no such recipe, it is not YAML, or a key or value is wrong; the
            message names the file and the dotted path.
    """
    text = _read(name_or_path)
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{name_or_path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{name_or_path}: a recipe is a mapping of settings")
    for override in overrides:
        _apply(values, override)
    return parse_recipe(values, name_or_path)


def parse_recipe(values: dict[str, Any], source: str) -> Recipe:
    """Check settings and freeze them; ``source`` names them in error messages.

    Raises:
        ValueError: a key or value is wrong; the message has the dotted path.
    """
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(_describe(problem) for problem in error.errors())
        raise ValueError(f"{source}: {problems}") from None


def dump_recipe(recipe: Recipe) -> str:
    """Return the recipe as YAML with every setting spelled out."""
    text: str = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
    return text


def _read(name_or_path: str) -> str:
    if not name_or_path.endswith((".yaml", ".yml")):
        if name_or_path not in recipe_names():
            known = ", ".join(recipe_names())
            raise ValueError(
                f"unknown recipe '{name_or_path}': give a .yaml file or one of {known}"
            )
        return (_RECIPES / f"{name_or_path}.yaml").read_text(encoding="utf-8")
    try:
        return Path(name_or_path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{name_or_path}: cannot read the recipe: {error}") from None


def _apply(values: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise ValueError(f"--set takes dotted.path=value, not '{override}'")
    node: Any = values
    *parents, last = path.split(".")
    try:
        for key in parents:
            node = node[int(key)] if isinstance(node, list) else node.setdefault(key, {})
        node[int(last) if isinstance(node, list) else last] = yaml.safe_load(text)
    except (TypeError, ValueError, IndexError, AttributeError, yaml.YAMLError):
        raise ValueError(f"--set {override}: there is no such setting") from None


def _describe(problem: Any) -> str:
    # Pydantic puts the chosen variant's tag into the location; users wrote no such key.
    variants = {"base", "margin", "amdit", "hardneg", "softmax"}
    where = problem["loc"]
    path = ".".join(
        str(part)
        for i, part in enumerate(where)
        if not (i and where[i - 1] == "objective" and part in variants)
    )
    if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"unknown key '{path}'"
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{path}: {message}" if path else message
