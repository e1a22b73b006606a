import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from emodc.faces.candidates import Candidates
from emodc.faces.centerface import CenterFace
from emodc.faces.detector import (
    Face,
    FaceDetector,
    crop_face,
    enlarged,
    similarity_transform,
    whole_image_crop,
)
from emodc.faces.geometry import (
    FER2013_GEOMETRY,
)

pytest.importorskip("cv2")

SAMPLES = Path(__file__).parents[2] / "samples"
TEMPLATE = np.array(FER2013_GEOMETRY.landmarks)


def read(name: str) -> Image.Image:
    return Image.open(SAMPLES / f"{name}.jpg").convert("RGB")


def array(image: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(image, np.uint8)


def resized(image: Image.Image, factor: float) -> Image.Image:
    return image.resize((round(image.width * factor), round(image.height * factor)))


def difference(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    return float(np.abs(a.astype(float) - b).mean())


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector(working_size=512)  # for speed


@pytest.fixture(scope="module")
def astronaut(detector: FaceDetector) -> Face:
    (face,) = detector.detect(array(read("astronaut")))
    return face


# Geometry


@given(
    st.floats(0.01, 100),
    st.floats(-np.pi, np.pi),
    st.tuples(st.floats(-500, 500), st.floats(-500, 500)),
    st.integers(0, 2**32 - 1),
)
def test_the_similarity_transform_recovers_the_one_applied(
    scale: float, angle: float, shift: tuple[float, float], seed: int
) -> None:
    source = np.random.default_rng(seed).normal(size=(5, 2))
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.array([[c, -s], [s, c]])
    found = similarity_transform(source, source @ linear.T + shift)
    np.testing.assert_allclose(found[:, :2], linear, atol=1e-9 * scale)
    np.testing.assert_allclose(found[:, 2], shift, atol=1e-9 * (scale + 500))


def test_the_similarity_transform_never_mirrors_and_is_the_least_squares_one() -> None:
    target = TEMPLATE * [-1, 1]
    found = similarity_transform(TEMPLATE, target)
    assert np.linalg.det(found[:, :2]) > 0

    def error(matrix: NDArray[np.float64]) -> float:
        return float(((TEMPLATE @ matrix[:, :2].T + matrix[:, 2] - target) ** 2).sum())

    a, b = found[:, 0]
    for da, db, dx, dy in 1e-3 * np.random.default_rng(0).normal(size=(20, 4)):
        near = np.array([[a + da, -b - db, found[0, 2] + dx], [b + db, a + da, found[1, 2] + dy]])
        assert error(found) < error(near)


@pytest.mark.parametrize("points", [np.zeros((5, 2)), np.full((5, 2), np.nan)])
def test_landmarks_that_say_nothing_are_refused(points: NDArray[np.float64]) -> None:
    with pytest.raises(ValueError, match="no similarity transform"):
        similarity_transform(points, TEMPLATE)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((48, 48), (192, 192)), ((100, 60), (200, 120)), ((191, 3), (382, 6)), ((192, 5), (192, 5))],
)
def test_small_images_are_enlarged_by_a_whole_factor(
    shape: tuple[int, int], expected: tuple[int, int]
) -> None:
    image = np.full((*shape, 3), (10, 20, 30), np.uint8)
    assert enlarged(image).shape == (*expected, 3)
    assert (enlarged(image) == (10, 20, 30)).all()


# Cropping


def test_a_image_that_is_in_place_already_is_its_own_crop() -> None:
    image = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    face = Face((0, 0, 48, 48), TEMPLATE * 48, 1.0)
    np.testing.assert_array_equal(crop_face(image, face, FER2013_GEOMETRY, 48), image)


def test_shrinking_averages_instead_of_aliasing() -> None:
    checks = (np.indices((480, 480)).sum(axis=0) % 2 * 255).astype(np.uint8)
    image = np.repeat(checks[..., None], 3, axis=2)
    face = Face((0, 0, 480, 480), TEMPLATE * 480, 1.0)
    crop = crop_face(image, face, FER2013_GEOMETRY, 48)
    assert np.abs(crop.astype(int) - 127).max() <= 1


def test_beyond_the_image_its_edge_is_repeated() -> None:
    image = np.full((20, 20, 3), 77, np.uint8)
    face = Face((0, 0, 20, 20), TEMPLATE * 40 - 10, 1.0)
    assert (crop_face(image, face, FER2013_GEOMETRY, 48) == 77).all()


@pytest.mark.parametrize("angle", [-30, 15, 90])
def test_the_crop_of_a_turned_image_is_the_crop_of_the_image(astronaut: Face, angle: float) -> None:
    image = read("astronaut")
    turned = image.rotate(angle, Image.Resampling.BICUBIC)
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    about_center = np.array([[cosine, sine], [-sine, cosine]])
    center = np.array(image.size) / 2
    landmarks = (astronaut.landmarks - center) @ about_center.T + center
    face = Face(astronaut.box, landmarks, astronaut.score)
    expected = crop_face(array(image), astronaut, FER2013_GEOMETRY, 48)
    crop = crop_face(array(turned), face, FER2013_GEOMETRY, 48)
    assert difference(crop, expected) < 1.5


def test_a_image_too_long_to_warp_is_refused() -> None:
    image = np.zeros((4, 40_000, 3), np.uint8)
    with pytest.raises(ValueError, match="32766 pixels a side"):
        crop_face(image, Face((0, 0, 4, 4), TEMPLATE * 4, 1.0), FER2013_GEOMETRY, 48)


def test_a_whole_image_of_the_right_size_is_left_alone() -> None:
    image = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    np.testing.assert_array_equal(whole_image_crop(image, 48), image)


@pytest.mark.parametrize("shape", [(48, 20), (20, 48), (47, 48)])
def test_a_whole_image_is_padded_to_a_square(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    crop = whole_image_crop(image, 48)
    top, left = ((48 - n) // 2 for n in shape)
    np.testing.assert_array_equal(crop[top : top + shape[0], left : left + shape[1]], image)
    np.testing.assert_array_equal(crop[0, 0], image[0, 0])
    np.testing.assert_array_equal(crop[-1, -1], image[-1, -1])


def test_crops_check_what_they_are_given() -> None:
    gray, rgb = np.zeros((48, 48), np.uint8), np.zeros((48, 48, 3), np.uint8)
    face = Face((0, 0, 48, 48), TEMPLATE * 48, 1.0)
    with pytest.raises(ValueError, match="uint8 RGB"):
        whole_image_crop(gray, 48)
    with pytest.raises(ValueError, match="uint8 RGB"):
        crop_face(gray, face, FER2013_GEOMETRY, 48)
    with pytest.raises(ValueError, match="at least one pixel"):
        whole_image_crop(rgb, 0)
    with pytest.raises(ValueError, match="at least one pixel"):
        crop_face(rgb, face, FER2013_GEOMETRY, 0)


# Detection


@pytest.mark.parametrize("factor", [0.15, 0.5, 2, 3.3])
def test_a_face_is_found_at_the_same_place_at_every_size(
    detector: FaceDetector, astronaut: Face, factor: float
) -> None:
    (face,) = detector.detect(array(resized(read("astronaut"), factor)))
    between_eyes = astronaut.landmarks[1, 0] - astronaut.landmarks[0, 0]
    np.testing.assert_allclose(
        face.landmarks / factor, astronaut.landmarks, atol=0.12 * between_eyes
    )


def test_a_image_of_another_size_before_makes_no_difference(
    detector: FaceDetector, astronaut: Face
) -> None:
    for size in (96, 640, 300):
        detector.detect(np.zeros((size, size, 3), np.uint8))
    (again,) = detector.detect(array(read("astronaut")))
    np.testing.assert_array_equal(again.landmarks, astronaut.landmarks)


@pytest.mark.parametrize("angle", [-25, 25])
def test_a_tilted_face_is_found_and_set_upright(
    detector: FaceDetector, astronaut: Face, angle: float
) -> None:
    image = read("astronaut")
    turned = array(image.rotate(angle, Image.Resampling.BICUBIC))
    (face,) = detector.detect(turned)
    expected = crop_face(array(image), astronaut, FER2013_GEOMETRY, 48)
    assert difference(crop_face(turned, face, FER2013_GEOMETRY, 48), expected) < 20


@pytest.mark.parametrize("size", [48, 192, 600])
def test_a_face_that_fills_the_frame_is_found(
    detector: FaceDetector, astronaut: Face, size: int
) -> None:
    crop = crop_face(array(read("astronaut")), astronaut, FER2013_GEOMETRY, size)
    (face,) = detector.detect(crop)
    np.testing.assert_allclose(face.landmarks / size, TEMPLATE, atol=0.06)


def test_several_faces_come_largest_first(detector: FaceDetector) -> None:
    canvas = Image.new("RGB", (1000, 600), "gray")
    canvas.paste(resized(read("happiness"), 0.3), (20, 300))
    canvas.paste(resized(read("anger"), 0.8), (500, 100))
    canvas.paste(resized(read("neutral"), 0.5), (200, 20))
    faces = detector.detect(array(canvas))
    assert len(faces) == 3
    assert all(a.area > b.area for a, b in pairwise(faces))
    for face, (x, y, side) in zip(
        faces, ((500, 100, 410), (200, 20, 256), (20, 300, 154)), strict=True
    ):
        assert (face.landmarks > [x, y]).all()
        assert (face.landmarks < [x + side, y + side]).all()
        assert 0 < face.score <= 1


@pytest.mark.parametrize("name", sorted(path.stem for path in SAMPLES.glob("*.jpg")))
def test_every_sample_shows_one_face(detector: FaceDetector, name: str) -> None:
    (face,) = detector.detect(array(read(name)))
    left_eye, right_eye, nose, left_mouth, right_mouth = face.landmarks
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])


@pytest.mark.parametrize("shape", [(1, 1), (3, 500), (31, 31), (300, 200), (900, 700)])
def test_there_is_no_face_in_noise_or_on_a_wall(
    detector: FaceDetector, shape: tuple[int, int]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert detector.detect(noise) == []
    assert detector.detect(np.full((*shape, 3), 128, np.uint8)) == []


def test_views_of_an_array_are_accepted(detector: FaceDetector, astronaut: Face) -> None:
    mirrored = array(read("astronaut"))[:, ::-1]
    (face,) = detector.detect(mirrored)
    expected = (512 - astronaut.landmarks[:, 0])[[1, 0, 2, 4, 3]]
    np.testing.assert_allclose(face.landmarks[:, 0], expected, atol=4)
    assert crop_face(mirrored, face, FER2013_GEOMETRY, 48).shape == (48, 48, 3)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((48, 48), np.uint8),
        np.zeros((48, 48, 1), np.uint8),
        np.zeros((48, 48, 4), np.uint8),
        np.zeros((48, 48, 3), np.float32),
        np.zeros((0, 48, 3), np.uint8),
    ],
)
def test_anything_but_rgb_is_refused(detector: FaceDetector, image: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match=r"\(H, W, 3\) uint8 RGB"):
        detector.detect(image)


@pytest.mark.parametrize(
    "settings",
    [{"threshold": 0}, {"working_size": 64}, {"working_size": 10_000}, {"smallest_face": -1}],
)
def test_settings_are_checked(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        FaceDetector(**settings)  # type: ignore[arg-type]


def test_an_unknown_detector_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="no detector 'mtcnn': give one of centerface, yunet"):
        FaceDetector("mtcnn")


@pytest.mark.parametrize("name", sorted(path.stem for path in SAMPLES.glob("*.jpg")))
def test_yunet_agrees_about_every_sample(detector: FaceDetector, name: str) -> None:
    image = array(read(name))
    (expected,) = detector.detect(image)
    (face,) = FaceDetector("yunet", working_size=512).detect(image)
    between_eyes = expected.landmarks[1, 0] - expected.landmarks[0, 0]
    np.testing.assert_allclose(face.landmarks, expected.landmarks, atol=0.2 * between_eyes)


def crowd(width: int, height: int, side: int, corners: list[tuple[int, int]]) -> Image.Image:
    """Small faces on a gray wall."""
    canvas = Image.new("RGB", (width, height), "gray")
    for name, corner in zip(("happiness", "anger", "neutral"), corners, strict=False):
        canvas.paste(read(name).resize((side, side)), corner)
    return canvas


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("name", ["centerface", "yunet"])
def test_small_faces_of_a_panorama_are_found(name: str, turned: bool) -> None:
    panorama = crowd(6000, 1000, 120, [(150, 700), (1950, 300), (5800, 100)])
    image = array(panorama)
    if turned:  # the same faces, one below the other
        image = array(crowd(1000, 6000, 120, [(700, 150), (300, 1950), (100, 5800)]))
    finder = FaceDetector(name)
    faces = sorted(finder.detect(image), key=lambda face: face.landmarks.sum())
    assert len(faces) == 3
    expected = [(150, 700), (1950, 300), (5800, 100)]
    for face, corner in zip(faces, expected, strict=True):
        x, y = corner[::-1] if turned else corner
        assert (face.landmarks > [x, y]).all()
        assert (face.landmarks < [x + 120, y + 120]).all()


def test_a_large_face_of_a_panorama_is_one_face(detector: FaceDetector) -> None:
    canvas = Image.new("RGB", (3600, 600), "gray")
    canvas.paste(read("happiness").resize((560, 560)), (900, 20))  # across an edge of a part
    (face,) = detector.detect(array(canvas))
    assert (face.landmarks > [900, 20]).all()
    assert (face.landmarks < [1460, 580]).all()


def test_faces_that_are_too_small_are_left_out() -> None:
    image = array(crowd(800, 500, 150, [(50, 50), (500, 250)]))
    widths = [face.box[2] - face.box[0] for face in FaceDetector().detect(image)]
    assert len(widths) == 2
    least = int(min(widths)) + 20
    assert FaceDetector(smallest_face=least).detect(image) == []
    large = array(crowd(800, 500, 400, [(50, 50)]))
    assert len(FaceDetector(smallest_face=least).detect(large)) == 1


def test_without_the_extra_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ImportError, match=r"pip install .*\[faces\]"):
        FaceDetector()


def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The longer sides of what CenterFace is shown from now on."""
    seen: list[int] = []
    ask = CenterFace.__call__

    def counted(network: CenterFace, image: NDArray[np.uint8], threshold: float) -> Candidates:
        seen.append(max(image.shape[:2]))
        return ask(network, image, threshold)

    monkeypatch.setattr(CenterFace, "__call__", counted)
    return seen


def test_a_photo_of_one_large_face_is_not_looked_at_closely(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    finder = FaceDetector()
    seen = looks(monkeypatch)
    (face,) = finder.detect(array(resized(read("astronaut"), 2)))
    assert max(seen) == 320
    (again,) = FaceDetector(working_size=320).detect(array(resized(read("astronaut"), 2)))
    np.testing.assert_array_equal(face.landmarks, again.landmarks)


def test_small_faces_behind_a_large_one_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    canvas = crowd(1024, 700, 64, [(30, 40), (900, 60), (850, 600)])
    canvas.paste(read("surprise").resize((600, 600)), (200, 60))
    finder = FaceDetector()
    seen = looks(monkeypatch)
    assert len(finder.detect(array(canvas))) == 4
    assert max(seen) == 1024
    assert len(FaceDetector(smallest_face=100).detect(array(canvas))) == 1
