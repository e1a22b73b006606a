import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from emodc.corruptions import CORRUPTIONS, SUITES, corrupt
from emodc.data.synthetic.dataset import read_synthetic
from emodc.faces.geometry import ARCFACE_GEOMETRY, FER2013_GEOMETRY

Pixels = NDArray[np.uint8]

RANDOM = {
    name
    for name in CORRUPTIONS
    if any(kind in name for kind in ("noise", "salt", "motion", "spatter"))
}
SHAPES = [(1, 1), (1, 9), (8, 8), (48, 30), (1, 1, 3), (8, 8, 3), (30, 48, 3)]


def drawn_faces(size: int, color: bool) -> list[Pixels]:
    release = read_synthetic(count=7, size=size, color=color)
    return [release.reader(i) for i in range(7)]


GRAY, COLOR = drawn_faces(48, color=False), drawn_faces(60, color=True)


def some_pixels(shape: tuple[int, ...], seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def psnr(one: Pixels, other: Pixels) -> float:
    return float(-10 * np.log10(((one / 255.0 - other / 255.0) ** 2).mean()))


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("faces", [GRAY, COLOR], ids=["gray", "color"])
def test_each_severity_is_further_from_the_image(name: str, faces: list[Pixels]) -> None:
    ratios = [
        np.mean([psnr(face, corrupt(face, name, severity, 1, i)) for i, face in enumerate(faces)])
        for severity in (1, 2, 3, 4, 5)
    ]
    assert (np.diff(ratios) < 0).all(), ratios
    assert ratios[0] < 45  # already the mildest is seen


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_is_a_function_of_its_arguments(name: str) -> None:
    face = COLOR[0]
    before = face.copy()
    one, other_seed, other_index = (
        corrupt(face, name, 3, seed, index) for seed, index in ((4, 5), (6, 5), (4, 6))
    )
    assert (corrupt(face, name, 3, 4, 5) == one).all()  # after others were made
    assert (face == before).all()
    for other in (other_seed, other_index):
        assert (other == one).all() == (name not in RANDOM)


def test_corruptions_and_severities_have_noise_of_their_own() -> None:
    face = np.full((40, 40), 128, dtype=np.uint8)
    noises = [
        corrupt(face, name, severity).astype(np.float64) - 128
        for name in ("gaussian_noise", "speckle_noise")
        for severity in (1, 2)
    ]
    correlations = np.corrcoef([noise.ravel() for noise in noises]) - np.eye(4)
    assert np.abs(correlations).max() < 0.1


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_shape_and_type_are_kept_whatever_the_size(name: str) -> None:
    for shape in SHAPES:
        for severity in (1, 5):
            corrupted = corrupt(some_pixels(shape), name, severity)
            assert corrupted.shape == shape
            assert corrupted.dtype == np.uint8


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(CORRUPTIONS)),
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
    st.sampled_from([0, 1, 128, 255]),
    st.integers(1, 5),
)
def test_gray_stays_gray_and_is_the_same_image_in_rgb(
    name: str, shape: tuple[int, int], level: int, severity: int
) -> None:
    gray = np.maximum(some_pixels(shape), np.uint8(level))
    rgb = np.repeat(gray[:, :, None], 3, axis=2)
    corrupted = corrupt(rgb, name, severity, 2, 3)
    assert (corrupted == corrupt(gray, name, severity, 2, 3)[:, :, None]).all()


def test_suites_contain_what_they_say() -> None:
    assert len(SUITES["rafdb-c"]) == 18
    assert set(SUITES["noise-blur"]) == {
        *("gaussian_noise", "shot_noise", "salt_and_pepper", "speckle_noise"),
        *("gaussian_blur", "defocus_blur", "motion_blur", "zoom_blur"),
    }
    assert set(SUITES["all"]) == set(CORRUPTIONS)
    for names in SUITES.values():
        assert len(set(names)) == len(names)
        assert set(names) <= set(CORRUPTIONS)
    assert all(len(corruption.levels) == 5 for corruption in CORRUPTIONS.values())


def test_mixed_corruptions_are_their_parts_one_after_the_other() -> None:
    for face in (GRAY[0], COLOR[0]):
        for whole, first in (
            ("contrast_down_brightness_down", "brightness_down"),
            ("contrast_down_brightness_up", "brightness_up"),
        ):
            parts = corrupt(corrupt(face, first, 3), "contrast_down", 4)
            mixed = corrupt(face, whole, 5)
            # In two steps the image is rounded to 8 bits once more.
            assert np.abs(parts.astype(int) - mixed).max() <= 1


def test_an_occlusion_lies_where_the_crop_shows_the_eyes() -> None:
    white = np.full((100, 100), 255, dtype=np.uint8)
    fer, arcface = (
        corrupt(white, "occlude_eyes", 3, geometry=geometry)
        for geometry in (FER2013_GEOMETRY, ARCFACE_GEOMETRY)
    )
    for covered, geometry in ((fer, FER2013_GEOMETRY), (arcface, ARCFACE_GEOMETRY)):
        for x, y in geometry.landmarks[:2]:
            assert covered[int(100 * y), int(100 * x)] == 0
        for x, y in geometry.landmarks[2:]:
            assert covered[int(100 * y), int(100 * x)] == 255
    assert (fer != arcface).any()


@pytest.mark.parametrize("severity", [-1, 0, 6])
def test_there_are_five_severities(severity: int) -> None:
    with pytest.raises(ValueError, match=f"jpeg: severity is {severity}, but must be 1 to 5"):
        corrupt(GRAY[0], "jpeg", severity)


def test_an_unknown_name_is_refused_with_the_list() -> None:
    with pytest.raises(ValueError, match="unknown corruption 'fog'") as caught:
        corrupt(GRAY[0], "fog", 1)
    assert all(name in str(caught.value) for name in CORRUPTIONS)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((8, 8), dtype=np.float32),
        np.zeros((8, 8, 4), dtype=np.uint8),
        np.zeros((8, 8, 1), dtype=np.uint8),
        np.zeros((2, 8, 8, 3), dtype=np.uint8),
        np.zeros((0, 8), dtype=np.uint8),
        np.zeros((8, 0, 3), dtype=np.uint8),
    ],
)
def test_what_is_no_image_is_refused(image: Pixels) -> None:
    with pytest.raises(ValueError, match="must be uint8"):
        corrupt(image, "gaussian_noise", 1)


@pytest.mark.parametrize(("seed", "index"), [(-1, 0), (0, -1), (2**64, 0)])
def test_seed_and_index_have_a_range(seed: int, index: int) -> None:
    with pytest.raises(ValueError, match=r"in 0\.\.2"):
        corrupt(GRAY[0], "gaussian_noise", 1, seed, index)


def edge_width(name: str, height: int, width: int) -> float:
    """Standard deviation, in pixels, of what a corruption makes of a sharp vertical edge."""
    edge = np.zeros((height, width), dtype=np.uint8)
    edge[:, width // 2 :] = 255
    slope = np.diff(corrupt(edge, name, 5)[height // 2].astype(float))
    place = np.arange(width - 1) - (width / 2 - 1)
    return float(np.sqrt((slope * place**2).sum() / slope.sum()))


@pytest.mark.parametrize("name", ["gaussian_blur", "defocus_blur", "motion_blur"])
def test_lengths_grow_with_the_shorter_side(name: str) -> None:
    base = edge_width(name, 100, 100)
    assert edge_width(name, 100, 300) == pytest.approx(base, rel=0.01)
    assert edge_width(name, 300, 300) == pytest.approx(3 * base, rel=0.05)


def test_gaussian_blur_has_the_stated_sigma_at_100_pixels() -> None:
    assert edge_width("gaussian_blur", 100, 100) == pytest.approx(4.0, rel=0.02)
