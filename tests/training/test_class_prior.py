import numpy as np
import pytest
import torch

from emodc.training.class_prior import class_prior
from emodc.training.recipe import Recipe, load_recipe

COUNTS = np.array([80, 19, 0])
SAMPLED = torch.tensor([0.6, 0.4, 0.0], dtype=torch.float64)


def recipe(kind: str, prior: str = "uniform") -> Recipe:
    given = load_recipe("face48")
    objective = {"kind": kind} if kind == "base" else {"kind": kind, "negative_prior": prior}
    phases = [{"share": 1.0, "objective": objective}]
    return Recipe.model_validate(given.model_dump(mode="json") | {"phases": phases})


def test_where_classes_compete_the_shares_of_the_samples_are_left() -> None:
    prior = class_prior(COUNTS, SAMPLED, recipe("amdit"), 20.0)
    assert prior.training == pytest.approx((80.5 / 100.5, 19.5 / 100.5, 0.5 / 100.5))
    assert prior.effective == pytest.approx((0.6, 0.4, 0.0), abs=1e-5)
    assert min(prior.effective) > 0
    assert prior.asked is None
    assert prior.nats == 20.0


@pytest.mark.parametrize(("kind", "negatives"), [("base", "uniform"), ("amdit", "frequency")])
def test_where_likelihoods_are_learnt_no_prior_is_left(kind: str, negatives: str) -> None:
    prior = class_prior(COUNTS, SAMPLED, recipe(kind, negatives), 20.0)
    assert prior.effective == pytest.approx((1 / 3,) * 3)
