"""The arms of the study: a table, and how a line of it becomes a recipe.

All arms share the base recipe: network, data, samples, optimizer, and every phase but the last.
The last phase trains by the arm's objective.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from emodc.backbones.conditional_unet import ConditionalUNetConfig
from emodc.backbones.face_classifier import FaceClassifierConfig
from emodc.backbones.face_unet import FaceUNetConfig
from emodc.model.model import Model
from emodc.training.recipe import Recipe, parse_recipe

_ALONE = ("base", "cross_entropy")  # objectives that look at no negative


@dataclass(frozen=True)
class Setting:
    """A value of what an arm is tuned by.

    Attributes:
        name: part of the run's folder; empty where nothing is tuned.
        objective: keys of the objective that differ.
        rate: factor of both peak learning rates.
    """

    name: str = ""
    objective: Mapping[str, float] = field(default_factory=dict)
    rate: float = 1.0


@dataclass(frozen=True)
class Arm:
    """A way of training.

    Attributes:
        name: part of the run's folder.
        summary: one line for tables and cards.
        objective: ``kind`` and the keys that make the arm what it is; ``negatives`` and ``weight``,
            where they are not among them, are those of the base recipe's last phase.
        settings: what is tried on validation.
        follows: an arm whose chosen setting is taken over, for ablations.
        many_seeds: whether it is trained with every seed, or with the first alone.
        quick: whether it belongs to a quick study.
    """

    name: str
    summary: str
    objective: Mapping[str, Any]
    settings: tuple[Setting, ...] = (Setting(),)
    follows: str | None = None
    many_seeds: bool = False
    quick: bool = False

    @property
    def denoises(self) -> bool:
        """Whether it is a diffusion model, which has errors d_p; baselines have none."""
        return str(self.objective["kind"]) != "cross_entropy"


def _grid(symbol: str, key: str, *values: float) -> tuple[Setting, ...]:
    return tuple(Setting(f"{symbol}-{value:g}", {key: value}) for value in values)


_RATES = (Setting("rate-1"), Setting("rate-0.5", rate=0.5), Setting("rate-2", rate=2.0))

QUICK_SHARE = 2 / 3
"""Of the samples of a run, in a quick study."""

ARMS = (
    Arm("base", "plain training, d_p", {"kind": "base"}, _RATES, many_seeds=True, quick=True),
    Arm(
        "margin",
        "fixed margin m_f",
        {"kind": "margin"},
        _grid("mf", "margin", 0.05, 0.02, 0.1),
        many_seeds=True,
        quick=True,
    ),
    Arm(
        "amdit",
        "adaptive margin, c_nn positive",
        {"kind": "amdit"},
        _grid("alpha", "alpha", 0.2, 0.1, 0.4),
        many_seeds=True,
        quick=True,
    ),
    Arm(
        "amdit-null",
        "AMDiT, c_nn the null prompt",
        {"kind": "amdit", "reference": "null"},
        follows="amdit",
    ),
    Arm(
        "amdit-non-class",
        "AMDiT, c_nn the non-class prompt",
        {"kind": "amdit", "reference": "non_class"},
        follows="amdit",
    ),
    Arm(
        "amdit-one",
        "AMDiT, one negative a sample",
        {"kind": "amdit", "negatives": "one"},
        follows="amdit",
    ),
    Arm(
        "amdit-all",
        "AMDiT, all negatives",
        {"kind": "amdit", "negatives": "all"},
        follows="amdit",
    ),
    Arm(
        "amdit-attached",
        "AMDiT, d_nn not detached",
        {"kind": "amdit", "detach_reference": False},
        follows="amdit",
    ),
    Arm(
        "hardneg",
        "HardNeg-DiffusionITM",
        # With a weight above 1, errors under all prompts would grow together without end.
        {"kind": "hardneg", "weight": 1.0},
        _grid("cap", "cap", 1.2, 1.1, 1.4),
    ),
    Arm(
        "softmax",
        "cross-entropy of errors",
        {"kind": "softmax"},
        _grid("tau", "tau", 0.1, 0.05, 0.2),
    ),
    Arm("baseline-cnn", "discriminative, same trunk", {"kind": "cross_entropy"}, _RATES),
)
"""The whole study; an arm comes after the one that it follows."""

CLAIMS = (("amdit", "base"), ("amdit", "margin"), ("margin", "base"), ("amdit", "baseline-cnn"))
"""What is tested: an arm, and the one that it is compared with."""


def run_name(arm: Arm, setting: Setting, seed: int) -> str:
    """Return what the folder of a run is called; ``seed`` counts from 0."""
    return "-".join(part for part in (arm.name, setting.name, f"seed{seed}") if part)


def arm_recipe(
    base: Recipe, arm: Arm, setting: Setting, seed: int, followed: Setting | None = None
) -> Recipe:
    """Return the recipe of one run.

    Args:
        base: what is varied, of `chosen_arms`.
        arm: how to train.
        setting: one of the arm's.
        seed: 0 for the base recipe's own seed, 1 for the next, and so on.
        followed: the chosen setting of the arm that this one follows.

    Raises:
        ValueError: the objective does not suit the base recipe.
    """
    name = run_name(arm, setting, seed)
    objective = {**_common(base, arm), **(followed or setting).objective, **arm.objective}
    values = base.model_dump(mode="json")
    values |= {"name": f"{base.name}-{name}", "seed": base.seed + seed}
    values["summary"] = f"{arm.summary}; a run of the study, {name}."
    rate = (followed or setting).rate
    for key in ("learning_rate", "muon_learning_rate"):
        values["optimizer"][key] *= rate
    values["phases"][-1]["objective"] = objective
    if not arm.denoises:  # no noise to predict, so it is trained by its own objective throughout
        values["phases"] = [{"objective": objective}]
        values["model"]["backbone"] = _baseline(base)
    return parse_recipe(values, name)


def quick_recipe(base: Recipe) -> Recipe:
    """Return the recipe of a quick study: `QUICK_SHARE` of the samples."""
    return base.model_copy(update={"samples": max(1, round(base.samples * QUICK_SHARE))})


def chosen_arms(
    base: Recipe, quick: bool = False, initial: Model | None = None
) -> tuple[list[Arm], list[dict[str, str]]]:
    """Return the arms that make sense under a recipe, and why the others are left out.

    Args:
        base: what is varied.
        quick: take the main arms only.
        initial: the model whose weights all arms begin with, if they do.

    Returns:
        The arms; and for those left out ``arm`` and ``reason``.

    Raises:
        ValueError: the recipe is not of a diffusion model, or an early phase has another objective
            than ``base``, which all arms would share.
    """
    if not base.model.backbone.generative:
        raise ValueError(
            f"a study compares diffusion models: recipe '{base.name}' has the backbone "
            f"{base.model.backbone.kind}, not conditional_unet, face_unet or stable_diffusion"
        )
    for number, phase in enumerate(base.phases[:-1]):
        if phase.objective.kind != "base":
            raise ValueError(
                f"recipe '{base.name}': phases.{number}.objective is {phase.objective.kind}; all "
                "arms share the phases before the last, so these must be base"
            )
    arms = [arm for arm in ARMS if arm.quick or not quick]
    reasons = {arm.name: _obstacle(base, arm, initial) for arm in arms}
    left_out = [{"arm": name, "reason": reason} for name, reason in reasons.items() if reason]
    return [arm for arm in arms if not reasons[arm.name]], left_out


def _obstacle(base: Recipe, arm: Arm, initial: Model | None) -> str | None:
    if not arm.denoises and initial is not None:
        return f"it cannot begin with the weights of {initial.name}, which predict noise"
    if not arm.denoises and not isinstance(
        base.model.backbone, FaceUNetConfig | ConditionalUNetConfig
    ):
        return f"backbone {base.model.backbone.kind} has no trunk for a classifier to share"
    if arm.follows is not None:
        (original,) = (other for other in ARMS if other.name == arm.follows)
        original_recipe = arm_recipe(base, original, original.settings[0], 0)
        own = arm_recipe(base, arm, Setting(), 0, original.settings[0])
        if own.phases == original_recipe.phases:
            return f"under this recipe it is the same as {arm.follows}"
    return None


def _common(base: Recipe, arm: Arm) -> dict[str, Any]:
    """Return what contrastive arms take over from the objective of the base recipe."""
    objective = base.phases[-1].objective
    if arm.objective["kind"] in _ALONE or objective.kind in _ALONE:
        return {}
    return {key: getattr(objective, key) for key in ("negatives", "weight")}


def _baseline(base: Recipe) -> dict[str, Any]:
    """Return the settings of a classifier on the trunk of the base recipe."""
    backbone = base.model.backbone
    assert isinstance(
        backbone, FaceUNetConfig | ConditionalUNetConfig
    )  # other backbones leave the arm out
    return {
        "kind": FaceClassifierConfig.kind,
        "patch": backbone.patch,
        "widths": list(backbone.widths[:3]),
        "depths": list(backbone.depths),
        "embedding": backbone.embedding,
    }
