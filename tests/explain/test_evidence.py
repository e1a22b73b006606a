"""The map is the difference of the scores that decide, pixel by pixel."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from emodc.backbones.conditional_unet import ConditionalUNetConfig
from emodc.codecs import PixelCodec
from emodc.explain.evidence import ScoredPixels, score_pixels
from emodc.faces.geometry import FER2013_GEOMETRY
from emodc.faces.reading import read_image
from emodc.method.errors import mean_errors
from emodc.model.decision import Decision, NoiseFloor
from emodc.model.label_shift import with_prior
from emodc.model.model import Model, build_backbone
from emodc.model.prior import ClassPrior
from emodc.model.settings import ModelSettings
from emodc.model.store import load_model

SAMPLES = Path(__file__).parents[2] / "samples"
FLOOR = NoiseFloor(texture=0.1, least=0.2, gain=5.0)
DECISIONS = {
    "plain": Decision(scale=40.0),
    "mirrored and weighted": Decision(scale=30.0, mirror=True, weights=(3.0, 1.0, 0.5), power=0.9),
    "noise-aware": Decision(scale=40.0, mirror=True, noise_floor=FLOOR),
}


@pytest.fixture(scope="module")
def generator(tiny_model: Model) -> Model:
    """A ConditionalUNet with random weights."""
    backbone = ConditionalUNetConfig(widths=(8, 16, 16), depths=(1, 1, 1), embedding=16)
    settings = ModelSettings(codec=PixelCodec(size=16), backbone=backbone)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_backbone(settings, tiny_model.label_set, tiny_model.schedule)
        for weight in network.parameters():  # nothing may hide behind a zero
            if not weight.any():
                torch.nn.init.normal_(weight, std=0.1)
    return replace(tiny_model, settings=settings, backbone=network.eval())


def face(noisy: bool = True) -> Tensor:
    across = torch.linspace(-2, 2, 16)
    x0 = across[:, None] * across[None, :].cos() + across
    if noisy:
        x0 = x0 + torch.randn(16, 16, generator=torch.Generator().manual_seed(0))
    return ((x0 - x0.mean()) / x0.std(correction=0)).view(1, 1, 16, 16)


def logits(model: Model, x0: Tensor, steps: int, seed: int) -> Tensor:
    """The scores by the code that decides."""
    bank = model.draws(steps, seed)
    errors = model.class_errors(x0, bank)
    return model.decision.logits(errors, bank.t, model.schedule.timesteps)[0]


@pytest.mark.parametrize("name", DECISIONS)
@pytest.mark.parametrize("network", ["tiny_model", "generator"])
def test_the_map_adds_up_to_the_difference_of_the_scores(
    network: str, name: str, request: pytest.FixtureRequest
) -> None:
    model = replace(request.getfixturevalue(network), decision=DECISIONS[name])
    x0 = face()
    assert (float(model.observe(x0)[1]) > 0) == (name == "noise-aware")
    scored = score_pixels(model, x0, steps=12, seed=3)
    expected = logits(model, x0, 12, 3)
    names = model.label_set.classes
    for a, b in ((0, 1), (4, 2)):
        evidence = scored.evidence(names[a], names[b])
        difference = float(expected[a] - expected[b])
        assert abs(difference) > 1e-3
        assert evidence.map.sum() == pytest.approx(difference, abs=1e-5)
        assert evidence.difference == pytest.approx(difference, abs=1e-5)
        assert sum(band.total for band in evidence.bands) == pytest.approx(difference, abs=1e-5)
        np.testing.assert_allclose(sum(band.map for band in evidence.bands), evidence.map)


def test_the_bundled_model_adds_up_on_a_face() -> None:
    model = load_model("face48", torch.device("cpu"))
    x0 = model.settings.codec.encode([read_image(SAMPLES / "happiness.jpg")])
    found = score_pixels(model, x0, steps=8).evidence()
    scores = logits(model, x0, 8, 0).sort(descending=True).values
    assert float(scores[0] - scores[1]) == pytest.approx(found.map.sum(), abs=1e-5)


def test_pixels_are_those_of_the_image_though_a_draw_shows_its_mirror_image(
    tiny_model: Model,
) -> None:
    """A network sees the mirrored image; what it says of it is mirrored back."""
    model = replace(tiny_model, decision=Decision(scale=1.0, mirror=True))
    bank = model.draws(2)
    flipped = replace(bank, mirrored=~bank.mirrored)
    errors = model.pixel_errors(face(), bank)
    turned = model.pixel_errors(face().flip(-1), flipped).flip(-1)
    torch.testing.assert_close(errors, turned)
    assert (errors - errors.flip(-1)).abs().max() > 1e-3


def test_the_errors_of_pixels_are_those_of_images(tiny_model: Model) -> None:
    model = replace(tiny_model, decision=DECISIONS["noise-aware"])
    x0 = torch.cat([face(), face(noisy=False)])
    bank = model.draws(5)
    pixels = model.pixel_errors(x0, bank, pairs=3)
    assert pixels.shape == (2, 7, 5, 16, 16)
    torch.testing.assert_close(pixels.sum(dim=(3, 4)), model.class_errors(x0, bank))


def test_swapped_classes_change_the_sign(tiny_model: Model) -> None:
    scored = score_pixels(tiny_model, face(), steps=10)
    one, other = scored.evidence("happy", "fear"), scored.evidence("fear", "happiness")
    assert (one.label, one.against) == (other.against, other.label) == ("happiness", "fear")
    np.testing.assert_allclose(one.map, -other.map)
    np.testing.assert_allclose(one.standard_error, other.standard_error)


def test_the_most_probable_classes_are_the_default(tiny_model: Model) -> None:
    scored = score_pixels(tiny_model, face(), steps=10)
    order = np.argsort(-scored.probabilities)
    names = [tiny_model.label_set.classes[i] for i in order]
    pairs = {
        (None, None): (names[0], names[1]),
        (names[3], None): (names[3], names[0]),
        (None, names[0]): (names[1], names[0]),
        (None, names[4]): (names[0], names[4]),
    }
    for (label, against), expected in pairs.items():
        evidence = scored.evidence(label, against)
        assert (evidence.label, evidence.against) == expected
    assert scored.evidence().difference > 0


def test_parts_of_the_face_add_up(tiny_model: Model) -> None:
    evidence = score_pixels(tiny_model, face(), steps=10).evidence()
    parts = evidence.by_region(FER2013_GEOMETRY)
    assert list(parts) == ["brows and eyes", "nose and cheeks", "mouth and chin"]
    assert sum(parts.values()) == pytest.approx(evidence.difference, abs=1e-5)
    assert parts["brows and eyes"] == pytest.approx(evidence.map[:8].sum())


def test_the_standard_error_is_what_another_seed_changes(tiny_model: Model) -> None:
    def at(seed: int) -> ScoredPixels:
        return score_pixels(tiny_model, face(), steps=40, seed=seed)

    found = [at(seed).evidence("anger", "fear") for seed in range(12)]
    unsmoothed = [e for e in found if e.smoothing == found[0].smoothing]
    spread = np.std([e.map for e in unsmoothed], axis=0, ddof=1)
    told = np.sqrt(np.mean([e.standard_error**2 for e in unsmoothed], axis=0))
    assert np.sqrt((spread**2).mean()) == pytest.approx(np.sqrt((told**2).mean()), rel=0.3)


def test_what_cannot_be_explained_is_refused(tiny_model: Model) -> None:
    with pytest.raises(ValueError, match="at least 8 draws, not 7"):
        score_pixels(tiny_model, face(), steps=7)
    with pytest.raises(ValueError, match="against itself"):
        score_pixels(tiny_model, face(), steps=8).evidence("sad", "sadness")
    with pytest.raises(ValueError, match="unknown class 'joyful'"):
        score_pixels(tiny_model, face(), steps=8).evidence("joyful")
    baseline = load_model("baseline-cnn", torch.device("cpu"))
    with pytest.raises(ValueError, match="'baseline-cnn' is a discriminative classifier"):
        score_pixels(baseline, torch.zeros(1, 1, 48, 48))
    with pytest.raises(ValueError, match="NaN or infinity"):
        score_pixels(tiny_model, torch.full((1, 1, 16, 16), torch.nan), steps=8)


def test_weights_count(tiny_model: Model) -> None:
    """Weights of one timestep alone leave the map of that timestep."""
    weighted = replace(tiny_model, decision=Decision(scale=1.0, weights=(1e-12, 1.0)))
    scored, bank = score_pixels(weighted, face(), steps=8), weighted.draws(8)
    late = mean_errors(weighted.class_errors(face(), bank)[..., 4:])[0].numpy()
    np.testing.assert_allclose(scored.logits, -late, atol=1e-6)
    assert abs(scored.evidence("fear", "anger").bands[0].total) < 1e-9


def test_a_prior_is_told_apart_and_classes_left_out_are_unknown(tiny_model: Model) -> None:
    known = ClassPrior(training=(0.4, *(0.1,) * 6), effective=(1 / 7,) * 7, nats=40.0)
    model = replace(tiny_model, decision=Decision(scale=40.0, mirror=True, prior=known))
    names = model.label_set.classes
    asked = with_prior(model, dict(zip(names, (0.4, 0.2, 0.1, 0.1, 0.1, 0.1, 0.0), strict=True)))
    scored = score_pixels(asked, face(), steps=10)
    evidence = scored.evidence(names[0], names[3])
    expected = logits(asked, face(), 10, 0)
    assert evidence.difference == pytest.approx(float(expected[0] - expected[3]), abs=1e-5)
    assert evidence.map.sum() + evidence.prior == pytest.approx(evidence.difference, abs=1e-5)
    assert evidence.prior > 0
    assert score_pixels(model, face(), steps=10).evidence(names[0], names[3]).prior == 0
    with pytest.raises(ValueError, match="unknown class 'fear'"):
        scored.evidence(names[6])
