import io
import time

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from emodc.data import open_release
from emodc.data.duplicates import group_keys, near_pairs, perceptual_hash, take_prints

FACES = [
    open_release("synthetic:count=24,size=96,color=true").split("test").image(i) for i in range(24)
]


def prints_of(*images: NDArray[np.uint8] | None):  # type: ignore[no-untyped-def]
    def read(index: int) -> NDArray[np.uint8]:
        image = images[index]
        if image is None:
            raise ValueError(f"p{index}: damaged")
        return image

    return take_prints(read, range(len(images)))


def saved_again(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    content = io.BytesIO()
    Image.fromarray(image).save(content, format="JPEG", quality=quality)
    return np.asarray(Image.open(content))


def resized(image: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    size = tuple(round(side * factor) for side in image.shape[1::-1])
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def brighter(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(ImageEnhance.Brightness(Image.fromarray(image)).enhance(1.1))


def test_copies_are_those_of_pixels_and_shape() -> None:
    flat = np.arange(24, dtype=np.uint8)
    prints = prints_of(FACES[0], FACES[1], FACES[0].copy(), flat.reshape(4, 6), flat.reshape(6, 4))
    assert prints.first.tolist() == [0, 1, 0, 3, 4]
    assert prints.sizes[3].tolist() == [4, 6]


def test_what_cannot_be_read_is_named_and_the_rest_go_on() -> None:
    prints = prints_of(FACES[0], None, FACES[0])
    assert prints.errors == {1: "p1: damaged"}
    assert prints.first.tolist() == [0, -1, 0]
    assert prints.readable.tolist() == [True, False, True]


def test_blank_images_are_those_without_contrast() -> None:
    blank = np.full((20, 20), 77, np.uint8)
    assert prints_of(FACES[0], blank).blank.tolist() == [False, True]


@pytest.mark.parametrize(
    "changed", [lambda p: saved_again(p, 40), lambda p: resized(p, 0.7), brighter]
)
def test_a_image_saved_resized_or_brightened_is_a_near_copy_of_itself_alone(changed) -> None:  # type: ignore[no-untyped-def]
    pairs = near_pairs(prints_of(*FACES, *map(changed, FACES))).tolist()
    found = {tuple(pair) for pair in pairs}
    expected = {(i, i + 24) for i in range(24)}
    assert found <= expected
    assert len(found) >= 22


def test_different_faces_are_no_near_copies() -> None:
    assert len(near_pairs(prints_of(*FACES))) == 0


def test_the_hash_ignores_brightness() -> None:
    thumbnails = np.random.default_rng(0).integers(0, 200, (5, 16, 16), dtype=np.uint8)
    assert perceptual_hash(thumbnails).tolist() == perceptual_hash(thumbnails + 20).tolist()
    assert len(set(perceptual_hash(thumbnails).tolist())) == 5


def test_groups_hang_together_by_key_and_by_pair() -> None:
    keys = group_keys(["a", "b", "c", "a", "e"], [(3, 1), (2, 4)])
    assert keys == ["a", "a", "c", "a", "c"]


@pytest.mark.slow
def test_thirty_six_thousand_hashes_take_seconds() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (36_000, 16, 16), dtype=np.uint8)
    prints = take_prints(lambda index: images[index], range(36_000))
    started = time.process_time()
    assert len(near_pairs(prints)) == 0
    assert time.process_time() - started < 60


def test_hashes_are_compared_alike_with_an_older_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    prints = prints_of(*FACES, *(saved_again(face, 30) for face in FACES))
    expected = near_pairs(prints).tolist()
    assert expected
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    assert near_pairs(prints).tolist() == expected


def test_near_copies_are_found_across_the_tiles_in_which_hashes_are_compared() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (5000, 16, 16), dtype=np.uint8)
    noise[4700] = noise[3] // 2 + 60
    assert near_pairs(prints_of(*noise)).tolist() == [[3, 4700]]


def test_blank_images_and_copies_are_no_near_copies() -> None:
    blank = np.full((20, 20), 77, np.uint8)
    speck = blank.copy()
    speck[3, 3] = 80
    assert near_pairs(prints_of(blank, speck, FACES[0], FACES[0])).tolist() == []


def test_errors_of_the_machine_are_not_taken_for_bad_images() -> None:
    def read(index: int) -> NDArray[np.uint8]:
        raise MemoryError

    with pytest.raises(MemoryError):
        take_prints(read, range(300))


@pytest.mark.slow
def test_thousands_of_drawn_faces_are_all_different() -> None:
    release = open_release("synthetic:count=2000,seed=5,size=100")
    assert near_pairs(take_prints(release.reader, range(len(release)))).tolist() == []
