import math

import pytest
import torch
from torch import Tensor

from emodc.calibration.posterior import (
    LEAST_SCALE,
    best_steps,
    fit_posterior,
    fit_scale,
    fit_weights,
)
from emodc.evaluation.metrics import calibration_error, negative_log_likelihood
from emodc.method.errors import posterior


def two_classes(right: int, wrong: int, gap: float) -> tuple[Tensor, Tensor]:
    """Errors that always favor class 0 by ``gap``, which is the truth ``right`` times."""
    errors = torch.tensor([0.3, 0.3 + gap]).repeat(right + wrong, 1)
    return errors, torch.tensor([0] * right + [1] * wrong)


def sampled_world(images: int, scale: float) -> tuple[Tensor, Tensor]:
    """Errors (N, 4, 8) and labels drawn from the posterior that they have at ``scale``."""
    generator = torch.Generator().manual_seed(3)
    errors = 0.5 + 0.02 * torch.randn(images, 4, 8, generator=generator)
    labels = torch.multinomial(posterior(errors, scale), 1, generator=generator)
    return errors, labels.squeeze(1)


def test_two_classes_have_a_closed_form() -> None:
    errors, labels = two_classes(right=800, wrong=200, gap=0.01)
    # sigmoid(scale * gap) must equal the share of images on the right side, the pseudo-image
    # counted half on each.
    share = (800 + 0.5) / 1001
    assert fit_scale(errors, labels) == pytest.approx(
        math.log(share / (1 - share)) / 0.01, rel=1e-5
    )


def test_the_scale_that_made_the_labels_is_found() -> None:
    errors, labels = sampled_world(10_000, scale=250.0)
    scale = fit_scale(errors, labels)
    assert scale == pytest.approx(250.0, rel=0.05)
    assert calibration_error(posterior(errors, scale), labels) < 0.02


def test_no_other_scale_is_likelier() -> None:
    errors, labels = sampled_world(2000, scale=100.0)
    scale = fit_scale(errors, labels)

    def loss(factor: float) -> float:
        return negative_log_likelihood(posterior(errors, scale * factor), labels)

    assert loss(1.0) < min(loss(0.8), loss(1.25), loss(0.1), loss(10.0))


def test_the_scale_has_the_inverse_unit_of_the_errors() -> None:
    errors, labels = sampled_world(500, scale=100.0)
    scale = fit_scale(errors, labels)
    assert fit_scale(10 * errors, labels) == pytest.approx(scale / 10, rel=1e-5)
    assert fit_scale(errors + 0.25, labels) == pytest.approx(scale, rel=1e-4)


def test_mean_errors_and_errors_by_draw_are_the_same_to_it() -> None:
    errors, labels = sampled_world(100, scale=100.0)
    means = errors.double().mean(dim=2)
    assert fit_scale(means, labels) == pytest.approx(fit_scale(errors, labels), rel=1e-9)


def test_separable_images_get_the_confidence_that_their_number_supports() -> None:
    errors, labels = two_classes(right=99, wrong=0, gap=0.01)
    p = posterior(errors.unsqueeze(2), fit_scale(errors, labels))
    assert float(p[0, 0]) == pytest.approx(1 - 1 / 200, rel=1e-4)


def test_errors_that_point_the_wrong_way_give_the_least_scale() -> None:
    errors, labels = two_classes(right=10, wrong=90, gap=0.01)
    assert fit_scale(errors, labels) == pytest.approx(LEAST_SCALE)


def test_errors_that_are_not_numbers_are_refused() -> None:
    errors, labels = two_classes(right=3, wrong=1, gap=0.01)
    errors[2, 1] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        fit_scale(errors, labels)


# --- weights, few steps, prediction sets ---------------------------------------------------


def uneven_world(images: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Eight draws of which only the last two tell the class; errors and classes."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (images,), generator=g)
    errors = 0.1 * torch.randn(images, 3, 8, generator=g)
    errors[:, :, 6:] += 0.1
    errors[torch.arange(images), labels, 6:] -= 0.1
    return errors.float(), labels


def test_weights_go_to_the_draws_that_tell_and_help_on_new_images() -> None:
    errors, labels = uneven_world(400)
    weights = fit_weights(errors, labels)
    assert float(weights.mean()) == pytest.approx(1.0)
    assert bool((weights > 0).all())
    assert float(weights[6:].min()) > 2 * float(weights[:6].max())
    new_errors, new_labels = uneven_world(2000, seed=1)

    def loss(w: Tensor) -> float:
        p = posterior(new_errors, fit_scale(errors * w, labels), w)
        return float(-p[torch.arange(2000), new_labels].log().mean())

    assert loss(weights) < loss(torch.ones(8)) - 0.02


def test_weights_stay_equal_where_no_draw_tells_more() -> None:
    g = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (400,), generator=g)
    errors = 0.2 * torch.randn(400, 3, 30, generator=g)
    errors[torch.arange(400), labels] -= 0.02
    assert torch.equal(fit_weights(errors, labels), torch.ones(30).double())


def test_the_best_steps_are_the_ones_that_tell() -> None:
    errors, labels = uneven_world(400)
    found = best_steps(errors, labels, (1, 2, 4))
    assert found[1][0] in (6, 7)
    assert found[2] == (6, 7)
    assert set(found[2]) < set(found[4])


@pytest.mark.parametrize("power", [0.5, 1.0])
def test_the_power_that_made_the_labels_is_found(power: float) -> None:
    g = torch.Generator().manual_seed(1)
    errors = 0.3 + 0.05 * torch.rand(8_000, 4, 1, generator=g).square()
    p = posterior(errors, 10.0 if power == 0.5 else 60.0, power=power)
    labels = torch.multinomial(p, 1, generator=g).squeeze(1)
    scale, found = fit_posterior(errors.squeeze(2), labels)
    assert found == pytest.approx(power, abs=0.11)
    again = posterior(errors, scale, power=found)
    assert float((again - p).abs().mean()) < 0.01


def test_the_power_changes_no_answer() -> None:
    errors, _ = sampled_world(500, scale=100.0)
    plain = posterior(errors, 50.0)
    for power in (0.3, 1.4):
        assert torch.equal(posterior(errors, 50.0, power=power).argmax(1), plain.argmax(1))
