"""Recipes: YAML files read into frozen, checked settings.

A recipe says everything that decides a trained model but the data and the place to write to.
Unknown keys are refused with their dotted path; ``kind:`` picks a variant.
"""

from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, model_validator

from emodc.corruptions import CORRUPTIONS
from emodc.method.objectives import AMDiT, Base, CrossEntropy, FixedMargin, HardNeg, Softmax
from emodc.method.schedule import EvenLevels, LevelWeight, LogNormalLevels, ShiftedCosine
from emodc.model.settings import MODEL_KINDS, ModelSettings
from emodc.support.devices import Precision
from emodc.support.parsing import parse_yaml, read_yaml
from emodc.support.settings import Settings, checked, kinds
from emodc.support.text import printable, shortened

ObjectiveConfig = Annotated[
    Base | FixedMargin | AMDiT | HardNeg | Softmax | CrossEntropy, Field(discriminator="kind")
]

NoiseLevels = Annotated[EvenLevels | LogNormalLevels, Field(discriminator="kind")]

_MOST_SAMPLES, _MOST_BATCH = 10**11, 65_536

_RECIPES = resources.files("emodc") / "assets" / "recipes"


class CorruptSettings(Settings):
    """Corruption of training images, for models that are trained to withstand it.

    Images are corrupted at the codec's size and after all changes of geometry, whose resampling
    would smooth the noise.

    Attributes:
        share: of the samples that are corrupted.
        names: of `emodc.corruptions.CORRUPTIONS`; one of them is drawn for a sample, and its
            severity, 1 to 5.
    """

    share: float = Field(default=0.0, ge=0, le=1)
    names: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _names_are_known(self) -> "CorruptSettings":
        unknown = [name for name in self.names if name not in CORRUPTIONS]
        if unknown or (self.share and not self.names):
            raise ValueError(
                f"corrupt.names {', '.join(unknown) or 'is empty'}: known are "
                f"{', '.join(CORRUPTIONS)}"
            )
        return self


class Phase(Settings):
    """A stretch of training under one objective.

    Attributes:
        share: the phase's part of all samples, in (0, 1]; the shares of a recipe sum to 1.
        objective: the loss.
        level_weight: what the errors of a noise level count for, see
            `emodc.method.schedule.level_weights`.
        trunk_weight: weight of the auxiliary classification head's cross-entropy, a warm start:
            at a symmetric start the objectives hardly tell the trunk what to look for.
    """

    share: float = Field(default=1.0, gt=0, le=1)
    objective: ObjectiveConfig
    level_weight: LevelWeight = "eps"
    trunk_weight: float = Field(default=0.0, ge=0)


class OptimizerSettings(Settings):
    """Muon for the weight matrices of the hidden layers, AdamW for the rest.

    Attributes:
        learning_rate: AdamW's peak rate.
        muon_learning_rate: Muon's peak rate, in AdamW's units; 0 gives all to AdamW.
        weight_decay: decoupled decay of matrices and filters.
        warm_up: samples over which the rate rises from 0.
        final: the rate at the end as a share of the peak, reached along a cosine.
        clip: largest norm of the gradient.
        eight_bit: keep AdamW's moments in 8 bits; needs a GPU and bitsandbytes.
    """

    learning_rate: float = Field(default=1e-3, gt=0)
    muon_learning_rate: float = Field(default=2e-3, ge=0)
    weight_decay: float = Field(default=0.01, ge=0)
    warm_up: int = Field(default=2000, ge=1, le=_MOST_SAMPLES)
    final: float = Field(default=0.0, ge=0, le=1)
    clip: float = Field(default=1.0, gt=0)
    eight_bit: bool = False


class AugmentSettings(Settings):
    """Random changes of the training images; geometry only, the codec removes lighting.

    Attributes:
        flip: probability of mirroring.
        rotate: standard deviation of the rotation in degrees.
        zoom: standard deviation of the logarithm of the scale.
        shift: standard deviation of the shift as a share of the side.
        stretch: standard deviation of the logarithm of width over height.
        share: of the images that are turned, scaled, stretched and shifted; the others are only
            mirrored, so that they keep the sharpness that resampling takes.
    """

    flip: float = Field(default=0.5, ge=0, le=1)
    rotate: float = Field(default=7.0, ge=0)
    zoom: float = Field(default=0.08, ge=0)
    shift: float = Field(default=0.03, ge=0)
    stretch: float = Field(default=0.0, ge=0)
    share: float = Field(default=1.0, ge=0, le=1)


class ValidationSettings(Settings):
    """How a run is watched and its best checkpoint chosen.

    Attributes:
        every: samples between validations (and checkpoints).
        images: size of the fixed, stratified validation subset.
        steps: S of the draws used.
    """

    every: int = Field(default=50_000, ge=1, le=_MOST_SAMPLES)
    images: int = Field(default=700, ge=1, le=1_000_000)
    steps: int = Field(default=10, ge=1)


class Recipe(Settings):
    """Everything that decides a trained model but the data.

    Attributes:
        name: what the model is called.
        summary: one line for the model card.
        data: the data specification used when none is given on the command line.
        seed: seed of every draw in training.
        model: what is trained.
        samples: training samples seen in all, at most 10^11.
        batch_size: samples in one optimizer step, at most 65,536.
        phases: objectives in order, each for its share of the samples.
        optimizer: the optimizers and their rates.
        noise_levels: how the timesteps of training samples are drawn.
        augment: random changes of the training images.
        corrupt: noise and blur for a share of them.
        cache: keep x0 of the training images and their mirror images on disk, for codecs that
            are costly; see `emodc.training.encoded_cache`.
        balance: exponent b of class balancing; class k is drawn with weight n_k^(1-b), so 0
            keeps the natural frequencies and 1 draws all classes alike.
        soft_labels: draw the true class of a sample from the annotators' votes.
        p_null, p_non_class: shares of samples trained on the null and the non-class prompt.
        ema: half-life of the averaged weights in samples; 0 ships the raw weights.
        micro_batch: samples in one forward and backward pass; the batch in one go if 0. Bounds
            memory, and hardly changes the result.
        precision: of the network's arithmetic in training and in its validations; errors are
            always float32.
        validation: how the run is watched.
    """

    name: str
    summary: str = ""
    data: str | None = None
    seed: int = Field(default=0, ge=0, le=2**63 - 1)
    model: ModelSettings = ModelSettings()
    samples: int = Field(ge=1, le=_MOST_SAMPLES)
    batch_size: int = Field(default=64, ge=1, le=_MOST_BATCH)
    phases: tuple[Phase, ...] = Field(min_length=1, max_length=100)
    optimizer: OptimizerSettings = OptimizerSettings()
    noise_levels: NoiseLevels = EvenLevels()
    augment: AugmentSettings = AugmentSettings()
    corrupt: CorruptSettings = CorruptSettings()
    cache: bool = False
    balance: float = Field(default=0.5, ge=0, le=1)
    soft_labels: bool = False
    p_null: float = Field(default=0.05, ge=0, le=0.5)
    p_non_class: float = Field(default=0.05, ge=0, le=0.5)
    ema: int = Field(default=10_000, ge=0, le=_MOST_SAMPLES)
    micro_batch: int = Field(default=0, ge=0, le=_MOST_BATCH)
    precision: Precision = "fp32"
    validation: ValidationSettings = ValidationSettings()

    @model_validator(mode="after")
    def _settings_agree(self) -> "Recipe":
        total = sum(phase.share for phase in self.phases)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the shares of the phases sum to {total:g}, not 1")
        turned = [k for k in ("rotate", "zoom", "shift", "stretch") if getattr(self.augment, k) > 0]
        if self.cache and turned:
            raise ValueError(
                "cache: true keeps x0 of each image and its mirror image only: set "
                f"{', '.join(f'augment.{name}' for name in turned)} to 0"
            )
        if self.cache and self.corrupt.share:
            raise ValueError("cache: true keeps x0 of clean images: set corrupt.share to 0")
        backbone = self.model.backbone
        if not backbone.trainable:
            raise ValueError(f"backbone {backbone.kind} cannot be trained here; evaluate it")
        for phase in self.phases:
            if backbone.generative == isinstance(phase.objective, CrossEntropy):
                raise ValueError(
                    f"objective {phase.objective.kind} does not go with backbone {backbone.kind}: "
                    "face_classifier and resnet are trained by cross_entropy alone, the others "
                    "never"
                )
            if phase.trunk_weight and not backbone.auxiliary_head:
                raise ValueError(
                    f"backbone {backbone.kind} has no auxiliary classification head: set "
                    "trunk_weight to 0"
                )
        schedule = self.model.schedule  # a checkpoint's is not opened for its settings' sake
        if isinstance(schedule, ShiftedCosine) and self.validation.steps > schedule.timesteps:
            raise ValueError(
                f"validation.steps {self.validation.steps} exceeds the schedule's "
                f"{schedule.timesteps} timesteps"
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
            into a list: ``phases.0.objective.alpha=0.3``. The first step ``model.`` may be left
            out.

    Raises:
        ValueError: there is no such recipe, it is not YAML, or a key or value is wrong; the
            message names the file and the dotted path.
    """
    values = read_yaml(_file_of(name_or_path))
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
    variants = MODEL_KINDS | {
        "objective": kinds(ObjectiveConfig),
        "noise_levels": kinds(NoiseLevels),
    }
    return checked(Recipe, values, source, variants)


def dump_recipe(recipe: Recipe) -> str:
    """Return the recipe as YAML with every setting spelled out."""
    text: str = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
    return text


def _file_of(name_or_path: str) -> Path:
    if name_or_path.endswith((".yaml", ".yml")):
        return Path(name_or_path).expanduser()
    if name_or_path not in recipe_names():
        known = ", ".join(recipe_names())
        named = shortened(printable(name_or_path), 300)
        raise ValueError(f"unknown recipe '{named}': give a .yaml file or one of {known}")
    return Path(str(_RECIPES / f"{name_or_path}.yaml"))


def _apply(values: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise ValueError(f"--set takes dotted.path=value, not '{override}'")
    value = parse_yaml(text, f"--set {shortened(path, 300)}")
    *parents, last = path.split(".")
    # What is trained may be named without its first step: backbone.path.
    within_model = path.partition(".")[0] in ModelSettings.model_fields
    node: Any = values.setdefault("model", {}) if within_model else values
    try:
        for key in parents:
            node = node[int(key)] if isinstance(node, list) else node.setdefault(key, {})
        node[int(last) if isinstance(node, list) else last] = value
    except (TypeError, ValueError, IndexError, AttributeError):
        raise ValueError(f"--set {override}: there is no such setting") from None
