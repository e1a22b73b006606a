from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from emodc.calibration import noise as noise_calibration
from emodc.calibration.noise import _losses, account_for_noise
from emodc.data import open_data
from emodc.inference.dataset_scores import Scores
from emodc.inference.scorer import plain_answers
from emodc.method.noise_level import diagonal_detail
from emodc.model.decision import NoiseFloor
from emodc.model.model import Model

DATA = open_data("synthetic:count=70,size=16", "validation")


def test_the_floor_is_the_detail_of_the_clean_images(
    tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(noise_calibration, "_accuracy", judged_by(lambda aware, _: float(aware)))
    found, figures = account_for_noise(tiny_model, DATA)
    detail = diagonal_detail(tiny_model.settings.codec.encode([DATA.image(i) for i in range(70)]))
    floor = found.decision.noise_floor
    assert floor is not None
    assert floor.texture == pytest.approx(float(detail.median()))
    assert float((detail <= floor.least).double().mean()) == pytest.approx(0.99, abs=0.015)
    assert [trial["severity"] for trial in figures["trials"]] == [0, 1, 3, 5]


def judged_by(
    accuracy: Callable[[bool, bool], float],
) -> Callable[[Tensor, Tensor], float]:
    """Stand in for the accuracy: a function of (accounts for noise, images are noisy)."""
    seen: list[Tensor] = []

    def judge(errors: Tensor, labels: Tensor) -> float:
        noisy = len(seen) >= 2  # the first two trials are on clean images
        aware = len(seen) % 2 == 1  # each trial is scored plainly first
        seen.append(errors)
        return accuracy(aware, noisy)

    return judge


@pytest.mark.parametrize(
    ("accuracy", "kept"),
    [
        (lambda aware, noisy: 0.6 if aware or not noisy else 0.3, True),
        (lambda aware, noisy: 0.6, False),  # it gives nothing
        (lambda aware, noisy: 0.6 if aware == noisy else 0.5, False),  # it costs clean accuracy
        (lambda aware, noisy: 0.4 if aware and noisy else 0.6, False),  # it harms
    ],
)
def test_noise_is_accounted_for_where_that_helps_and_costs_nothing(
    tiny_model: Model,
    accuracy: Callable[[bool, bool], float],
    kept: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(noise_calibration, "_accuracy", judged_by(accuracy))
    found, figures = account_for_noise(tiny_model, DATA)
    assert figures["kept"] == kept
    assert (found.decision.noise_floor is not None) == kept


def test_a_trial_goes_on_where_it_stopped(tiny_model: Model, tmp_path: Path) -> None:
    first = account_for_noise(tiny_model, DATA, folder=tmp_path)
    told: list[int] = []
    again = account_for_noise(
        tiny_model, DATA, folder=tmp_path, progress=lambda done, total, note="": told.append(done)
    )
    assert again[1] == first[1]
    other = replace(tiny_model, precision="bf16")
    with pytest.raises(ValueError, match="another precision"):
        account_for_noise(other, DATA, folder=tmp_path)


def smooth_and_noisy() -> Tensor:
    """Return two images: one that carries no noise, and one that is nothing else."""
    smooth = torch.linspace(-1.7, 1.7, 16).expand(1, 1, 16, 16)
    noise = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    return torch.cat([smooth, noise])


def test_plain_and_noise_aware_errors_differ_on_noisy_images_alone(tiny_model: Model) -> None:
    floor = NoiseFloor(texture=0.1, least=0.4)
    aware, x0 = tiny_model.with_noise_floor(floor), smooth_and_noisy()
    bank = aware.draws(4)
    found, plain = aware.class_errors(x0, bank), aware.ignoring_noise().class_errors(x0, bank)
    assert torch.equal(found[0], plain[0])
    assert not bool((found[1] == plain[1]).any())


def test_the_gain_is_the_one_under_which_noisy_images_are_most_likely() -> None:
    generator = torch.Generator().manual_seed(0)
    true_gain = 16.0

    def trial(sigma: Tensor) -> tuple[Scores, Tensor]:
        """Evidence is alike on all images; noise shrinks what is measured of it."""
        evidence = torch.rand(len(sigma), 7, generator=generator)
        labels = torch.softmax(-20 * evidence, dim=1).multinomial(1, generator=generator)
        errors = evidence / (1 + true_gain * sigma.square()).unsqueeze(1)
        values = {"errors": errors.unsqueeze(2), "sigma": sigma}
        return Scores(torch.arange(len(sigma)), values, (), 0.0), labels.squeeze(1)

    noisy = [trial(sigma + 0.5 * torch.rand(2000, generator=generator)) for sigma in (0.2, 0.8)]
    losses = _losses(trial(torch.zeros(2000)), *noisy)
    assert min(losses, key=losses.__getitem__) == pytest.approx(true_gain, rel=0.2)


def test_the_gain_multiplies_the_errors_of_noisy_images_alone(tiny_model: Model) -> None:
    x0 = smooth_and_noisy()
    once, more = (
        tiny_model.with_noise_floor(NoiseFloor(texture=0.1, least=0.4, gain=gain))
        for gain in (0.0, 5.0)
    )
    bank = once.draws(4)
    _, sigma = once.observe(x0)
    factor = (1 + 5 * sigma.square()).view(-1, 1, 1)
    assert factor[0] == 1
    assert factor[1] > 1
    found = more.class_errors(x0, bank)
    torch.testing.assert_close(found, once.class_errors(x0, bank) * factor)
    assert plain_answers(more, found, bank.t).probabilities.argmax(1).tolist() == (
        plain_answers(once, once.class_errors(x0, bank), bank.t).probabilities.argmax(1).tolist()
    )
    single = more.measure(x0, bank)(
        torch.tensor([1, 0]), torch.tensor([2, 3]), torch.tensor([[4], [1]])
    )
    torch.testing.assert_close(single.squeeze(1), torch.stack([found[1, 4, 2], found[0, 1, 3]]))
