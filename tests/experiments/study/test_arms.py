import pytest
import torch

from emodc.backbones.conditional_unet import ConditionalUNetConfig
from emodc.backbones.face_classifier import FaceClassifierConfig
from emodc.experiments.study.arms import (
    ARMS,
    CLAIMS,
    Arm,
    Setting,
    arm_recipe,
    chosen_arms,
    quick_recipe,
    run_name,
)
from emodc.model.model import Model
from emodc.training.recipe import load_recipe
from tests.experiments.study.conftest import tiny

BY_NAME = {arm.name: arm for arm in ARMS}


@pytest.mark.parametrize("arm", ARMS, ids=lambda arm: arm.name)
def test_an_arm_differs_in_the_last_objective_alone(arm: Arm) -> None:
    base = load_recipe("study")
    for setting in arm.settings:
        followed = BY_NAME["amdit"].settings[2] if arm.follows else None
        recipe = arm_recipe(base, arm, setting, 1, followed)
        assert recipe.seed == base.seed + 1
        assert (recipe.samples, recipe.batch_size) == (base.samples, base.batch_size)
        assert recipe.balance == base.balance
        assert recipe.augment == base.augment
        assert recipe.phases[-1].objective.kind == arm.objective["kind"]
        if arm.denoises:
            assert recipe.phases[:-1] == base.phases[:-1]
            assert recipe.model == base.model
        for key, value in setting.objective.items():
            assert getattr(recipe.phases[-1].objective, key) == value
        rates = recipe.optimizer.learning_rate, recipe.optimizer.muon_learning_rate
        known = base.optimizer.learning_rate, base.optimizer.muon_learning_rate
        assert rates == pytest.approx([setting.rate * rate for rate in known])


def test_ablations_take_the_alpha_that_was_chosen() -> None:
    followed = Setting("alpha-0.4", {"alpha": 0.4})
    for arm in ARMS:
        if arm.follows is not None:
            objective = arm_recipe(tiny(), arm, Setting(), 0, followed).phases[-1].objective
            assert objective.kind == "amdit"
            assert objective.alpha == 0.4
            assert objective.weight == 2.0
            changed = {key: getattr(objective, key) for key in arm.objective}
            assert changed == dict(arm.objective)


def test_tuned_arms_are_tuned_alike_and_no_folder_is_shared() -> None:
    tuned = {len(arm.settings) for arm in ARMS if arm.follows is None}
    assert tuned == {3}
    names = [run_name(arm, setting, 0) for arm in ARMS for setting in arm.settings]
    assert len(set(names)) == len(names)
    assert run_name(BY_NAME["amdit"], BY_NAME["amdit"].settings[0], 2) == "amdit-alpha-0.2-seed2"
    order = [arm.name for arm in ARMS]
    assert all(arm.follows is None or arm.follows in order[:n] for n, arm in enumerate(ARMS))
    assert {name for claim in CLAIMS for name in claim} <= set(order)


def test_the_baseline_has_the_same_trunk_and_no_warm_start() -> None:
    base = load_recipe("study")
    recipe = arm_recipe(base, BY_NAME["baseline-cnn"], Setting(), 0)
    ours, theirs = base.model.backbone, recipe.model.backbone
    assert ours.kind == "face_unet"
    assert theirs.kind == "face_classifier"
    assert theirs.widths == ours.widths[:3]
    assert (theirs.depths, theirs.embedding) == (ours.depths, ours.embedding)
    assert [phase.objective.kind for phase in recipe.phases] == ["cross_entropy"]


def test_a_quick_study_has_the_main_arms_and_fewer_samples() -> None:
    quick, left_out = chosen_arms(tiny(), quick=True)
    assert quick == [BY_NAME[name] for name in ("base", "margin", "amdit")]
    assert left_out == []
    base = load_recipe("study")
    short = quick_recipe(base)
    assert base.validation.every < short.samples < base.samples
    assert 3 * short.samples == 2 * base.samples
    assert short.model_copy(update={"samples": base.samples}) == base


def test_hardneg_never_pushes_more_than_it_pulls() -> None:
    """Else it would raise the errors under all prompts together, without end."""
    for setting in BY_NAME["hardneg"].settings:
        objective = arm_recipe(tiny(), BY_NAME["hardneg"], setting, 0).phases[-1].objective
        d = torch.tensor([0.5], requires_grad=True)  # all prompts alike
        (slope,) = torch.autograd.grad(objective(d, d.unsqueeze(1).expand(-1, 6), d).sum(), d)
        assert slope.item() >= 0


def test_stable_diffusion_leaves_out_what_makes_no_sense() -> None:
    base = load_recipe("sd15-rafdb-amdit")
    arms, left_out = chosen_arms(base)
    assert [row["arm"] for row in left_out] == ["amdit-one", "baseline-cnn"]
    assert "the same as amdit" in left_out[0]["reason"]
    assert "stable_diffusion has no trunk" in left_out[1]["reason"]
    for arm in arms:
        followed = BY_NAME["amdit"].settings[0] if arm.follows else None
        recipe = arm_recipe(base, arm, arm.settings[0], 0, followed)
        assert recipe.phases[-1].trunk_weight == 0
        negatives = {"base": "none", "amdit-all": "all"}.get(arm.name, "one")
        assert recipe.phases[-1].objective.negatives == negatives


def test_a_study_of_one_negative_is_compared_with_all(tiny_model: Model) -> None:
    base = load_recipe("face48-generative")
    arms, left_out = chosen_arms(base, initial=tiny_model)
    assert "amdit-all" in [arm.name for arm in arms]
    assert [row["arm"] for row in left_out] == ["amdit-one", "baseline-cnn"]
    assert "cannot begin with the weights of tiny" in left_out[1]["reason"]
    trunk = arm_recipe(base, BY_NAME["baseline-cnn"], Setting(), 0).model.backbone
    assert isinstance(trunk, FaceClassifierConfig)
    assert isinstance(base.model.backbone, ConditionalUNetConfig)
    assert trunk.widths == base.model.backbone.widths


def test_a_recipe_that_all_arms_cannot_share_is_refused() -> None:
    with pytest.raises(ValueError, match="has the backbone face_classifier"):
        chosen_arms(load_recipe("baseline-cnn"))
    base = load_recipe("study")
    half = base.phases[0].model_copy(update={"share": 0.5})
    with pytest.raises(ValueError, match=r"phases\.0\.objective is amdit"):
        chosen_arms(base.model_copy(update={"phases": (half, half)}))
