import numpy as np
import pytest
import torch

from emodc.data import FaceData, open_data
from emodc.labels import BASIC7
from emodc.method.schedule import ShiftedCosine
from emodc.training.augment import augment
from emodc.training.batches import Sampler
from emodc.training.recipe import AugmentSettings, Recipe, parse_recipe

SCHEDULE = ShiftedCosine().build()

_AMDIT = {"objective": {"kind": "amdit"}}


def recipe(**changes: object) -> Recipe:
    values = {"name": "t", "samples": 64, "phases": [_AMDIT], **changes}
    return parse_recipe(values, "t")


def uneven_data(votes: bool = False) -> FaceData:
    """Nine images of class 0 and one of class 1; the image shows its index as brightness."""
    labels = np.array([0] * 9 + [1])
    shares = np.zeros((10, 7), np.float32)
    shares[:, 2] = 1.0
    return FaceData(
        name="uneven",
        split="train",
        label_set=BASIC7,
        labels=labels,
        ids=[str(i) for i in range(10)],
        reader=lambda i: np.add.outer(np.arange(48), np.full(48, i)).astype(np.uint8),
        stamp=lambda i: "",
        votes=shares if votes else None,
    )


def test_a_sample_depends_on_its_index_alone() -> None:
    sampler = Sampler(open_data("synthetic:count=14", "train"), recipe(), SCHEDULE)
    together = sampler.batch(range(6))
    for n in (5, 0, 3):
        alone = sampler.batch([n])
        for name, values in vars(alone).items():
            assert torch.equal(values[0], getattr(together, name)[n]), name


def test_another_seed_draws_other_samples() -> None:
    data = open_data("synthetic:count=14", "train")
    first = Sampler(data, recipe(), SCHEDULE).batch(range(4))
    second = Sampler(data, recipe(seed=1), SCHEDULE).batch(range(4))
    assert not torch.equal(first.eps, second.eps)


@pytest.mark.parametrize(("balance", "share"), [(0.0, 0.1), (0.5, 0.25), (1.0, 0.5)])
def test_balance_sets_the_class_frequencies(balance: float, share: float) -> None:
    labels = Sampler(uneven_data(), recipe(balance=balance), SCHEDULE).batch(range(3000)).c_p
    assert float((labels == 1).double().mean()) == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize("changes", [{"balance": 0.3}, {"soft_labels": True}], ids=str)
def test_the_frequencies_are_those_of_the_samples(changes: dict[str, object]) -> None:
    sampler = Sampler(uneven_data(votes=True), recipe(**changes), SCHEDULE)
    drawn = torch.bincount(sampler.batch(range(3000)).c_p, minlength=7) / 3000
    torch.testing.assert_close(drawn.double(), sampler.frequency, atol=0.03, rtol=0)
    assert float(sampler.frequency.sum()) == pytest.approx(1.0)


def test_negatives_by_frequency_need_two_classes() -> None:
    phases = [{"objective": {"kind": "amdit", "negative_prior": "frequency"}}]
    with pytest.raises(ValueError, match="one class only"):
        Sampler(uneven_data(votes=True), recipe(phases=phases, soft_labels=True), SCHEDULE)


def test_soft_labels_follow_the_votes() -> None:
    batch = Sampler(uneven_data(votes=True), recipe(soft_labels=True), SCHEDULE).batch(range(50))
    assert (batch.c_p == 2).all()


def test_soft_labels_without_votes_are_refused() -> None:
    with pytest.raises(ValueError, match="votes"):
        Sampler(uneven_data(), recipe(soft_labels=True), SCHEDULE)


def test_timesteps_and_images_are_in_range() -> None:
    batch = Sampler(open_data("synthetic:count=14", "train"), recipe(), SCHEDULE).batch(range(500))
    assert batch.t.min() >= 0
    assert batch.t.max() <= 999
    assert batch.t.float().mean() == pytest.approx(499.5, abs=50)
    assert torch.allclose(batch.x0.mean(dim=(1, 2, 3)), torch.zeros(500), atol=1e-4)
    assert torch.allclose(batch.x0.std(dim=(1, 2, 3)), torch.ones(500), atol=1e-2)


def test_null_and_non_class_prompts_take_their_shares() -> None:
    chosen = recipe(p_null=0.2, p_non_class=0.1)
    replaced = Sampler(uneven_data(), chosen, SCHEDULE).batch(range(3000)).replaced
    assert float((replaced == 7).double().mean()) == pytest.approx(0.2, abs=0.03)
    assert float((replaced == 8).double().mean()) == pytest.approx(0.1, abs=0.03)


def test_augmentation_off_changes_nothing() -> None:
    pixels = torch.rand(3, 1, 8, 8)
    off = AugmentSettings(flip=0, rotate=0, zoom=0, shift=0)
    everyone = np.ones(3, bool)
    changed, done = augment(pixels, np.random.default_rng(0).random((3, 7)), everyone, off)
    assert torch.allclose(changed, pixels, atol=1e-5)
    assert not done.any()


def test_the_share_that_is_not_chosen_is_mirrored_at_most() -> None:
    pixels = torch.rand(40, 1, 8, 8)
    chosen = np.arange(40) % 2 == 0
    u = np.random.default_rng(0).random((40, 7))
    changed, done = augment(pixels, u, chosen, AugmentSettings(stretch=0.2))
    mirror = torch.from_numpy(u[:, 0] < 0.5).view(-1, 1, 1, 1)
    still = torch.where(mirror, pixels.flip(3), pixels)
    assert torch.allclose(changed[1::2], still[1::2], atol=1e-5)
    assert not torch.allclose(changed[::2], still[::2], atol=1e-2)
    assert torch.equal(done[:, 0], torch.from_numpy(chosen).float())
    assert (done[1::2] == 0).all()
    assert (done[::2, 1:] != 0).all()


def test_stretch_changes_width_against_height_and_keeps_the_area() -> None:
    line = torch.linspace(-1, 1, 64)
    ramps = torch.stack([line.expand(64, 64), line.view(-1, 1).expand(64, 64)])  # x, y
    pixels = ramps.expand(500, 2, 64, 64).contiguous()
    settings = AugmentSettings(flip=0, rotate=0, zoom=0, shift=0, stretch=0.1)
    u = np.random.default_rng(0).random((500, 7))
    changed, _ = augment(pixels, u, np.ones(500, bool), settings)
    # The slope of a ramp is how many old pixels a new one takes.
    wide = changed[:, 0, 32, 34] - changed[:, 0, 32, 29]
    high = changed[:, 1, 34, 32] - changed[:, 1, 29, 32]
    assert float((wide / high).log().std()) == pytest.approx(0.1, rel=0.1)
    assert torch.allclose((wide * high).sqrt(), torch.tensor(5 * 2 / 63), rtol=1e-2)


def test_mirror() -> None:
    pixels = torch.rand(2, 1, 8, 8)
    settings = AugmentSettings(flip=1, rotate=0, zoom=0, shift=0)
    changed, _ = augment(pixels, np.full((2, 7), 0.5), np.ones(2, bool), settings)
    assert torch.allclose(changed, pixels.flip(3), atol=1e-5)


def test_shift_has_the_stated_spread() -> None:
    # A horizontal ramp moved by s of the side changes its center by s of the range.
    ramp = torch.linspace(0, 1, 64).expand(2000, 1, 64, 64).contiguous()
    settings = AugmentSettings(flip=0, rotate=0, zoom=0, shift=0.05)
    changed, _ = augment(
        ramp, np.random.default_rng(0).random((2000, 7)), np.ones(2000, bool), settings
    )
    center = changed[:, 0, 31:33, 31:33].mean(dim=(1, 2)) - 0.5
    assert float(center.std()) == pytest.approx(0.05, rel=0.1)
